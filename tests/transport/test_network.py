"""Over a network: anything but a complete response is an error, bounded and without the key."""

from __future__ import annotations

import asyncio
import gzip
import ssl

import aiohttp
import pytest
from aiohttp import web
from aioresponses import aioresponses
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from devskin_async import (
    APIError,
    DecodeError,
    DevSkinClient,
    Retry,
    ServerError,
    TransportError,
)
from devskin_async.testing import virtual_time
from tests import samples
from tests.conftest import AT_ONCE
from tests.serving import KEY, answering, serving, whole_text
from tests.transport.addresses import OVERVIEW

FAILURES = (
    TimeoutError(),
    aiohttp.ServerTimeoutError("read"),
    aiohttp.ServerDisconnectedError(),
    aiohttp.ClientPayloadError("not enough data"),
    aiohttp.ClientOSError(104, "Connection reset by peer"),
    aiohttp.ClientConnectionError("Connection closed"),
    ConnectionRefusedError(111, "refused"),
    ssl.SSLError(1, "certificate verify failed"),
    aiohttp.ClientResponseError(
        aiohttp.RequestInfo(
            url=URL(OVERVIEW),
            method="GET",
            headers=CIMultiDictProxy(CIMultiDict({"X-API-Key": KEY})),
            real_url=URL(OVERVIEW),
        ),
        (),
        message="Bad HTTP message",
    ),
)


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: type(failure).__name__)
@virtual_time
async def test_a_failing_connection_is_a_transport_error_that_does_not_hold_the_key(
    failure: Exception,
) -> None:
    with aioresponses() as mocked:
        mocked.get(OVERVIEW, exception=failure, repeat=True)
        async with DevSkinClient(KEY, retry=AT_ONCE) as store:
            with pytest.raises(TransportError, match=r"^GET /analytics/overview: .+") as caught:
                await store.analytics.overview()
    assert KEY not in whole_text(caught.value)


async def test_a_body_over_32_mib_is_an_error_that_is_not_retried() -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(34):
            await response.write(b" " * 2**20)
        return response

    async with serving(answer) as store:
        with pytest.raises(DecodeError, match="expected a body of at most 32 MiB"):
            await store.analytics.overview()
        assert store.budget.sent == 1


async def test_the_body_of_an_error_is_read_only_as_far_as_its_message_needs() -> None:
    sent = 0

    async def answer(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse(status=503)
        await response.prepare(request)
        for _ in range(64):
            await response.write(b"x" * 2**20)
            sent += 1
        return response

    async with serving(answer, retry=Retry(attempts=3, wait_initial=0, wait_jitter=0)) as store:
        with pytest.raises(ServerError, match=r"503 Service Unavailable; .*: x+…$"):
            await store.analytics.overview()
        assert store.budget.sent == 3
    assert sent < 3 * 64


async def test_a_body_that_unpacks_to_over_32_mib_is_an_error() -> None:
    bomb = gzip.compress(b" " * (40 * 2**20))
    async with serving(answering(bomb, headers={"Content-Encoding": "gzip"})) as store:
        with pytest.raises(DecodeError, match="expected a body of at most 32 MiB"):
            await store.analytics.overview()


async def test_a_server_that_does_not_speak_http_is_a_transport_error() -> None:
    async def babble(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"\x15\x03\x01 not http " + KEY.encode() + b"\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(babble, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with (
        server,
        DevSkinClient(KEY, base_url=f"http://127.0.0.1:{port}/api/v1", retry=AT_ONCE) as store,
    ):
        with pytest.raises(TransportError) as caught:
            await store.analytics.overview()
    assert KEY not in whole_text(caught.value)


async def test_a_server_without_tls_at_an_https_address_is_a_transport_error() -> None:
    async with serving(answering(samples.OVERVIEW)) as plain:
        address = plain.reader.sender.base_url.replace("http:", "https:")
        async with DevSkinClient(KEY, base_url=address, retry=AT_ONCE) as store:
            with pytest.raises(TransportError, match=r"can't connect to 127\.0\.0\.1 .*SSL"):
                await store.analytics.overview()


async def test_nobody_listening_is_a_transport_error(unused_port: int) -> None:
    async with DevSkinClient(
        KEY, base_url=f"http://127.0.0.1:{unused_port}", retry=AT_ONCE
    ) as store:
        with pytest.raises(
            TransportError, match=r"can't connect to 127\.0\.0\.1 port \d+: Connection refused$"
        ):
            await store.analytics.overview()


@pytest.fixture
async def unused_port() -> int:
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port: int = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    return port


async def test_a_redirect_is_not_followed() -> None:
    seen: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append(request.path)
        return web.Response(status=302, headers={"Location": "/elsewhere"})

    async with serving(answer) as store:
        with pytest.raises(APIError, match="302 redirects to /elsewhere; redirects are not"):
            await store.analytics.overview()
    assert seen == ["/api/v1/analytics/overview"]


async def test_the_key_goes_into_its_header_and_nowhere_else() -> None:
    seen: list[tuple[str, dict[str, str]]] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append((str(request.url), dict(request.headers)))
        return web.Response(body=samples.OVERVIEW)

    async with serving(answer) as store:
        await store.analytics.overview()
    url, headers = seen[0]
    assert headers.pop("X-API-Key") == KEY
    assert headers["Accept"] == "application/json"
    assert headers["User-Agent"].startswith("devskin-async/")
    assert KEY not in url + repr(headers)


async def test_cookies_are_not_kept() -> None:
    seen: list[str | None] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append(request.headers.get("Cookie"))
        return web.Response(body=samples.OVERVIEW, headers={"Set-Cookie": "session=1"})

    async with serving(answer) as store:
        await store.analytics.overview()
        await store.analytics.overview()
    assert seen == [None, None]


async def test_the_settings_of_the_callers_session_do_not_change_what_is_read() -> None:
    body = gzip.compress(b'{"success": false, "error": "no such order"}')
    settings = {"raise_for_status": True, "auto_decompress": False}
    async with aiohttp.ClientSession(**settings) as session:  # type: ignore[arg-type]  # by name
        handler = answering(body, 404, {"Content-Encoding": "gzip"})
        async with serving(handler, session=session) as store:
            with pytest.raises(APIError, match="404 no such order"):
                await store.orders.get(1)
