"""Requests through a proxy: which one, what it can see, and the errors when it fails."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import socket
import ssl
from pathlib import Path

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from devskin_async import (
    ConfigurationError,
    DevSkinClient,
    RateLimit,
    Retried,
    Retry,
    TransportError,
)
from devskin_async.testing import MockTransport, respond
from devskin_async.transport import find_proxy

from . import samples
from .conftest import AT_ONCE
from .proxying import BASE_URL, PEM, connect_proxy, run_python, tls_store
from .serving import KEY, answering, serving, whole_text

STORE = URL(BASE_URL)
PASSWORD = "p@ss/w#rd"
QUOTED = "p%40ss%2Fw%23rd"
OVERVIEW = ("-m", "devskin_async.cli", "overview", "--json")
LOGIN = base64.b64encode(f"me:{PASSWORD}".encode()).decode()


def found(base_url: str = BASE_URL, given: str | None = None) -> str | None:
    proxy = find_proxy(URL(base_url), given)
    return None if proxy is None else str(proxy.url)


def through(proxy: str | None = None, **options: object) -> DevSkinClient:
    """A client of `store.example`, which nobody but a proxy can reach."""
    settings = {"rate_limit": RateLimit(10, 3600), "retry": AT_ONCE} | options
    return DevSkinClient(KEY, base_url=BASE_URL, proxy=proxy, **settings)  # type: ignore[arg-type]


async def failure(store: DevSkinClient) -> TransportError:
    """The error of a call that is not sent; it takes no slot."""
    async with store:
        available = store.budget.available
        with pytest.raises(TransportError) as caught:
            await store.analytics.overview()
        assert store.budget.available == available
    assert not caught.value.sent
    return caught.value


# Which proxy


def test_https_proxy_is_taken_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.test:3128")
    assert found() == "http://proxy.test:3128"


def test_without_any_variable_there_is_no_proxy() -> None:
    assert found() is None


def test_lower_case_takes_precedence_over_upper_case(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://upper.test:3128")
    monkeypatch.setenv("https_proxy", "http://lower.test:3128")
    assert found() == "http://lower.test:3128"
    monkeypatch.setenv("NO_PROXY", "store.example")
    monkeypatch.setenv("no_proxy", "other.example")
    assert found() == "http://lower.test:3128"


def test_all_proxy_is_taken_where_there_is_no_https_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://all.test:3128")
    assert found() == "http://all.test:3128"
    monkeypatch.setenv("HTTPS_PROXY", "http://https.test:3128")
    assert found() == "http://https.test:3128"


def test_http_proxy_is_for_plain_http_and_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://proxy.test:3128")
    assert found() is None


@pytest.mark.parametrize(
    ("no_proxy", "base_url", "direct"),
    [
        ("*", BASE_URL, True),
        ("store.example", BASE_URL, True),
        ("STORE.example", BASE_URL, True),
        ("example", BASE_URL, True),
        (".example", BASE_URL, True),
        ("a.test, store.example ,b.test", BASE_URL, True),
        ("store.example:443", BASE_URL, True),
        ("store.example:8443", BASE_URL, False),
        ("store.example:8443", "https://store.example:8443/api/v1", True),
        ("tore.example", BASE_URL, False),
        ("other.example", BASE_URL, False),
        ("", BASE_URL, False),
        ("10.1.2.3", "https://10.1.2.3/api/v1", True),
        ("10.0.0.0/8", "https://10.1.2.3/api/v1", True),
        ("10.0.0.0/16", "https://10.1.2.3/api/v1", False),
        ("10.0.0.0/8", BASE_URL, False),
        ("2001:db8::7", "https://[2001:db8::7]/api/v1", True),
        ("2001:db8::/32", "https://[2001:db8::7]/api/v1", True),
        ("[2001:db8::7],[2001:db8::8]", "https://[2001:db8::8]/api/v1", True),
        ("[2001:db8::7]", "https://[2001:db8::8]/api/v1", False),
    ],
)
def test_no_proxy_names_hosts_domains_ports_and_networks(
    no_proxy: str, base_url: str, direct: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.test:3128")
    monkeypatch.setenv("NO_PROXY", no_proxy)
    assert (found(base_url) is None) == direct


def test_a_proxy_that_is_given_takes_precedence_over_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.test:3128")
    monkeypatch.setenv("NO_PROXY", "*")
    assert found(given="http://given.test:8080") == "http://given.test:8080"


def test_an_empty_proxy_means_none_whatever_the_environment_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.test:3128")
    assert found(given="") is None


def test_an_address_without_a_scheme_is_an_http_proxys() -> None:
    assert found(given="proxy.test:3128") == "http://proxy.test:3128"


@pytest.mark.parametrize(
    "base_url",
    [
        "http://127.0.0.1:8000/api/v1",
        "http://127.8.9.1/api/v1",
        "http://localhost:8000/api/v1",
        "http://[::1]:8000/api/v1",
        "https://localhost/api/v1",
    ],
)
def test_loopback_is_reached_directly_whatever_is_given_or_set(
    base_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "socks5://unusable.test")
    assert found(base_url) is None
    assert found(base_url, "http://given.test:3128") is None


UNUSABLE = [
    "socks5://proxy.test:1080",
    "ftp://proxy.test",
    "http://",
    "http://:3128",
    "proxy.test:port",
    "http://proxy.test:99999",
    "http://proxy.test:0",
    "http://proxy.test/proxy.pac",
    f"http://me:{PASSWORD}@proxy.test:3128",
    "http://me:1234#secret@proxy.test:3128",
]


@pytest.mark.parametrize("address", UNUSABLE)
@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
def test_the_error_of_an_unusable_address_names_its_variable_alone(
    variable: str, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, address)
    with pytest.raises(ConfigurationError) as caught:
        through()
    assert str(caught.value).startswith(
        f"{variable} must be an address such as http://proxy.example:3128 or "
    )
    assert PASSWORD not in whole_text(caught.value)
    assert "1234" not in whole_text(caught.value)


@pytest.mark.parametrize("address", UNUSABLE)
@pytest.mark.parametrize("base_url", [BASE_URL, "http://127.0.0.1:8000/api/v1"])
def test_the_error_of_an_unusable_argument_names_it_proxy(address: str, base_url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^proxy must be an address such as http://"):
        DevSkinClient(KEY, base_url=base_url, proxy=address)


@given(st.text(st.characters(codec="utf-8"), max_size=12))
def test_any_text_is_a_proxy_or_that_error(text: str) -> None:
    try:
        find_proxy(STORE, text)
    except ConfigurationError as error:
        assert str(error).startswith("proxy must be an address such as ")


async def test_a_session_and_a_proxy_together_are_refused() -> None:
    async with aiohttp.ClientSession() as session:
        with pytest.raises(ValueError, match=r"aiohttp\.ClientSession\(proxy=\.\.\.\)"):
            through("http://proxy.test:3128", session=session)


def test_a_callers_transport_uses_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    transport = MockTransport(lambda _: respond())
    with pytest.raises(ValueError, match="pass a proxy, or else a session or a transport"):
        through("http://proxy.test:3128", transport=transport)
    monkeypatch.setenv("HTTPS_PROXY", "socks5://unusable.test")
    through(transport=transport)


# What it gets to see


async def test_a_program_needs_nothing_but_the_environments_variables(
    tmp_path: Path,
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login nobody password elsewhere\n")
    async with tls_store() as store, connect_proxy(store.port) as proxy:
        code, out, err = await run_python(
            *OVERVIEW, HTTPS_PROXY=proxy.url, DEVSKIN_API_KEY=KEY, NETRC=str(netrc)
        )
    assert (code, err) == (0, "")
    assert json.loads(out)["total_products"] == 87
    [connect] = proxy.connects
    assert connect.startswith("CONNECT store.example:443 HTTP/1.1\r\n")
    [request] = store.requests
    assert request["X-API-Key"] == KEY
    assert KEY not in connect
    assert proxy.carried, "the tunnel was used"
    assert KEY.encode() not in proxy.carried
    # netrc is not read, neither for the proxy nor for the store.
    assert "Authorization" not in connect
    assert "Authorization" not in request


async def test_the_user_and_password_are_sent_to_the_proxy_and_not_to_the_store() -> None:
    async with tls_store() as store, connect_proxy(store.port) as proxy:
        code, _, err = await run_python(
            *OVERVIEW, "--proxy", proxy.with_login(f"me:{QUOTED}"), DEVSKIN_API_KEY=KEY
        )
    assert (code, err) == (0, "")
    assert f"\r\nProxy-Authorization: Basic {LOGIN}\r\n" in proxy.connects[0]
    assert not any("Authorization" in name for name in store.requests[0])


async def test_the_proxy_itself_may_speak_tls() -> None:
    async with tls_store() as store, connect_proxy(store.port, tls=True) as proxy:
        code, _, err = await run_python(*OVERVIEW, HTTPS_PROXY=proxy.url, DEVSKIN_API_KEY=KEY)
    assert (code, err) == (0, "")
    assert proxy.connects[0].startswith("CONNECT store.example:443 ")
    assert KEY.encode() not in proxy.carried


async def test_a_certificate_is_trusted_through_ssl_cert_file_alone() -> None:
    async with tls_store() as store:
        address = f"https://127.0.0.1:{store.port}/api/v1"
        options = {"DEVSKIN_API_KEY": KEY, "DEVSKIN_BASE_URL": address}
        code, out, err = await run_python(*OVERVIEW, **options)
        assert (code, err) == (0, "")
        assert json.loads(out)["total_products"] == 87
        code, _, err = await run_python(*OVERVIEW, **options, SSL_CERT_FILE="")
        assert code == 1
        assert f"can't trust 127.0.0.1 port {store.port}" in err


THREE_CALLS = """
import asyncio
from devskin_async import DevSkinClient

async def main():
    async with DevSkinClient() as store:
        for _ in range(3):
            await store.analytics.overview()

asyncio.run(main())
"""


async def test_a_tunnel_is_kept_for_the_next_requests() -> None:
    async with tls_store() as store, connect_proxy(store.port) as proxy:
        proxied = proxy.with_login("me:secret")
        code, _, err = await run_python("-c", THREE_CALLS, HTTPS_PROXY=proxied, DEVSKIN_API_KEY=KEY)
    assert (code, err) == (0, "")
    assert (len(store.requests), len(proxy.connects)) == (3, 1)


async def test_a_store_at_loopback_is_reached_directly_even_if_a_proxy_is_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with connect_proxy() as proxy:
        for name in ("http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        async with serving(answering(samples.OVERVIEW), proxy=proxy.url) as store:
            await store.analytics.overview()
    assert not proxy.connects


@pytest.mark.parametrize("how", ["proxy", "trust_env"])
async def test_not_even_a_session_with_a_proxy_sends_the_key_there_in_clear(
    how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connect_proxy() as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        given = proxy.url if how == "proxy" else None
        async with (
            aiohttp.ClientSession(proxy=given, trust_env=given is None) as session,
            serving(answering(samples.OVERVIEW), session=session) as store,
        ):
            await store.analytics.overview()
    assert not proxy.connects


async def test_a_session_of_the_callers_uses_its_own_proxy_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    async with tls_store() as store, connect_proxy(store.port) as proxy:
        context = ssl.create_default_context(cafile=PEM)
        connector = aiohttp.TCPConnector(ssl=context)
        async with (
            aiohttp.ClientSession(proxy=proxy.url, connector=connector) as session,
            through(session=session) as client,
        ):
            assert (await client.analytics.overview()).total_products == 87
    assert len(proxy.connects) == 1


# What is said when it fails


@pytest.mark.parametrize(
    ("status", "text", "transient"),
    [
        (407, "407 Proxy Authentication Required", False),
        (403, "403 Forbidden", False),
        (502, "502 Bad Gateway", True),
        (599, "599", True),
    ],
)
async def test_the_error_names_a_proxy_that_refuses(
    status: int, text: str, transient: bool
) -> None:
    echo = f"HTTP/1.1 {status} {QUOTED} {LOGIN}\r\nX-Echo: {LOGIN}\r\nContent-Length: 0\r\n\r\n"
    events: list[object] = []
    async with connect_proxy(reply=echo.encode()) as proxy:
        error = await failure(through(proxy.with_login(f"me:{QUOTED}"), on_event=events.append))
    assert str(error) == (
        f"GET /analytics/overview: the proxy 127.0.0.1 port {proxy.port} refused: {text}"
    )
    assert error.transient == transient
    assert any(isinstance(event, Retried) for event in events) == transient


@pytest.mark.parametrize("reply", [b"", b"SSH-2.0-OpenSSH_9.2\r\n\r\n", b"HTTP/1.1 2"])
async def test_the_error_names_a_proxy_that_gives_no_http_response(reply: bytes) -> None:
    async with connect_proxy(reply=reply) as proxy:
        error = await failure(through(proxy.url))
    assert str(error).endswith(f": no valid response from the proxy 127.0.0.1 port {proxy.port}")


async def test_the_error_names_a_proxy_that_is_unreachable() -> None:
    async with connect_proxy() as proxy:
        pass
    error = await failure(through(proxy.url))
    assert str(error).endswith(
        f": can't connect to the proxy 127.0.0.1 port {proxy.port}: Connection refused"
    )
    assert error.transient


async def test_the_error_names_a_proxy_whose_name_is_not_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def not_found(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", not_found)
    error = await failure(through("http://proxy.invalid:3128"))
    assert ": can't connect to the proxy proxy.invalid port 3128: " in str(error)
    assert str(error).endswith("Name or service not known")


async def test_the_error_names_a_proxy_that_does_not_respond() -> None:
    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        error = await failure(through(f"127.0.0.1:{port}", timeout=0.2, retry=Retry(attempts=1)))
    await server.wait_closed()
    assert str(error).endswith(
        f": no connection through the proxy 127.0.0.1 port {port} within 0.2 s"
    )


async def test_the_error_names_a_proxy_whose_certificate_is_not_trusted() -> None:
    async with connect_proxy(tls=True) as proxy:
        error = await failure(through(proxy.url))
    assert f": can't trust the https proxy 127.0.0.1 port {proxy.port}: " in str(error)
    assert not error.transient


async def test_the_error_of_a_proxy_without_tls_says_that_its_address_is_https() -> None:
    async def answer_in_clear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(answer_in_clear, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        error = await failure(through(f"https://127.0.0.1:{port}"))
    assert f": can't connect to the https proxy 127.0.0.1 port {port}: " in str(error)
    assert "wrong version number" in str(error)


async def test_the_error_of_a_store_that_is_not_trusted_does_not_name_the_proxy() -> None:
    async with tls_store() as store, connect_proxy(store.port) as proxy:
        error = await failure(through(proxy.url))
    assert ": can't trust store.example port 443: " in str(error)


async def test_the_password_shows_in_no_error_no_log_no_event_and_no_repr(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    asyncio.get_running_loop().set_debug(True)
    events: list[object] = []
    echo = f"HTTP/1.1 502 {LOGIN}\r\nContent-Length: 0\r\n\r\n".encode()
    async with connect_proxy(reply=echo) as proxy:
        address = proxy.with_login(f"me:{QUOTED}")
        store = through(address, on_event=events.append)
        error = await failure(store)
    shown = [
        whole_text(error),
        caplog.text,
        repr(events),
        repr(store),
        repr(find_proxy(STORE, address)),
    ]
    assert events
    for secret in (PASSWORD, QUOTED, LOGIN):
        assert secret not in "".join(shown)
