"""What is sent and what comes back: request headers, invalid responses, certificates."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from aiohttp import web

from devskin_async import BadRequestError, DevSkinClient, RateLimit, Retried, TransportError
from devskin_async.transport import plain_reason
from tests import samples
from tests.conftest import AT_ONCE, UNLIMITED
from tests.serving import KEY, answering, serving, whole_text

FINE = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


@asynccontextmanager
async def babbling(data: bytes) -> AsyncIterator[str]:
    """A server that writes the same bytes to any request, and closes."""

    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(data)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(babble, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/api/v1"


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()


BROKEN = {
    "not http at all": (b"\x15\x03\x01\x00\x02\x02P", "the response is not valid HTTP: "),
    "another protocol": (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "the response is not valid HTTP: "),
    "no status": (b"HTTP/1.1\r\n\r\n", "the response is not valid HTTP: "),
    "a status of two digits": (b"HTTP/1.1 20 OK\r\n\r\n", "the response is not valid HTTP: "),
    "a header without a colon": (b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n", "is not valid HTTP: "),
    "a length that is none": (FINE + b"Content-Length: many\r\n\r\n", "is not valid HTTP: "),
    "two lengths": (FINE + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n{", "not valid HTTP: "),
    "a header over 32 kB": (FINE + b"X: " + b"x" * 40_000 + b"\r\n\r\n", "is not valid HTTP: "),
    "a control character": (FINE + b"X: a\x00b\r\n\r\n", "the response is not valid HTTP: "),
    "a body cut short": (FINE + b"Content-Length: 99\r\n\r\n{", "the response body is broken: "),
    "a broken chunk": (
        FINE + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n",
        "the response is not valid HTTP: ",
    ),
    "no gzip": (
        FINE + b"Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}",
        "the response body is broken: ",
    ),
    "nothing": (b"", "the server closed the connection before it responded"),
}


@pytest.mark.parametrize(("data", "reason"), BROKEN.values(), ids=BROKEN)
async def test_the_error_of_a_response_that_breaks_http_says_how_in_one_line(
    data: bytes, reason: str
) -> None:
    async with (
        babbling(data) as url,
        DevSkinClient(KEY, base_url=url, rate_limit=UNLIMITED, retry=AT_ONCE) as store,
    ):
        with pytest.raises(TransportError) as caught:
            await store.analytics.overview()
        assert store.budget.sent == AT_ONCE.attempts
    text = str(caught.value)
    assert reason in text
    assert text.startswith("GET /analytics/overview: ")
    assert text.isprintable()
    assert len(text.partition(reason)[2]) > 8 or reason == BROKEN["nothing"][1]
    assert "ClientResponseError" not in text
    assert "400" not in text, "a status that nobody sent"


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\r\n" + KEY.encode() + b" \r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * 80 + KEY.encode() * 3000 + b"\r\n\r\n",
        b"HTTP/1.1 2" + KEY.encode()[:-2],
    ],
    ids=["in a header", "cut in a long header", "cut in the status"],
)
async def test_a_response_that_breaks_http_and_repeats_the_key_does_not_bring_it_into_the_error(
    data: bytes,
) -> None:
    async with (
        babbling(data) as url,
        DevSkinClient(KEY, base_url=url, rate_limit=UNLIMITED, retry=AT_ONCE) as store,
    ):
        with pytest.raises(TransportError) as caught:
            await store.analytics.overview()
    assert KEY[:10] not in whole_text(caught.value)


@pytest.mark.parametrize("size", [8_000, 16_000, 32_000])
async def test_headers_may_have_up_to_32_kb(size: int) -> None:
    headers = {"Content-Security-Policy": "x" * size}
    async with serving(answering(samples.OVERVIEW, headers=headers)) as store:
        assert (await store.analytics.overview()).total_products == 87
        assert store.budget.sent == 1


async def test_requests_ask_for_no_cached_responses() -> None:
    seen: list[str | None] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append(request.headers.get("Cache-Control"))
        return web.Response(body=samples.OVERVIEW)

    async with serving(answer) as store:
        await store.analytics.overview()
    assert seen == ["no-cache"]


async def test_a_reason_in_another_shape_is_shown() -> None:
    async with serving(answering(b'{"error": {"message": "limit is too large"}}', 400)) as store:
        with pytest.raises(BadRequestError, match=r"400 limit is too large$"):
            await store.analytics.overview()


async def test_a_certificate_that_is_not_trusted_ends_the_call_at_once_and_takes_no_slot() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(Path(__file__).with_name("untrusted.pem"))
    server = await asyncio.start_server(silent, "127.0.0.1", 0, ssl=context)
    events: list[object] = []
    async with server:
        port = server.sockets[0].getsockname()[1]
        async with DevSkinClient(
            KEY,
            base_url=f"https://127.0.0.1:{port}/api/v1",
            rate_limit=RateLimit(10, 3600),
            on_event=events.append,
        ) as store:
            with pytest.raises(TransportError, match=r"can't trust 127\.0\.0\.1 port .*self") as e:
                await store.analytics.overview()
            assert (store.budget.sent, store.budget.available) == (1, 10)
    assert (e.value.sent, e.value.transient) == (False, False)
    assert not any(isinstance(event, Retried) for event in events)


async def test_a_connection_that_is_not_made_in_time_takes_no_slot() -> None:
    # It accepts and then sends nothing; the TLS handshake is part of making the connection.
    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with (
        server,
        DevSkinClient(
            KEY,
            base_url=f"https://127.0.0.1:{port}/api/v1",
            rate_limit=RateLimit(10, 3600),
            timeout=0.2,
            retry=AT_ONCE,
        ) as store,
    ):
        with pytest.raises(TransportError, match=r"no response within 0\.2 s") as caught:
            await store.analytics.overview()
        assert not caught.value.sent
        assert store.budget.available == 10
    await server.wait_closed()


@pytest.mark.parametrize("error", [OSError(), ConnectionResetError()])
def test_an_error_without_a_message_is_shown_by_its_name(error: OSError) -> None:
    assert plain_reason(error) == type(error).__name__
