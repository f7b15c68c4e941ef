"""What servers send on a connection that nobody asked for, each by its quirk."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import aiohttp
import pytest

from devskin_async.sandbox import Faults, Sandbox, connections
from tests.sandbox.support import Api, calling
from tests.support import until


def quirky(*quirks: str, faults: Faults | None = None) -> Sandbox:
    return Sandbox(limiter="none", orders=9, quirks=quirks, faults=faults)


async def ask(api: Api, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """Send a request on a connection and read its answer, head and body."""
    head = f"GET /api/v1/orders/1 HTTP/1.1\r\nHost: x\r\nX-API-Key: {api.box.api_key}\r\n\r\n"
    writer.write(head.encode())
    answer = await reader.readuntil(b"\r\n\r\n")
    length = int(answer.partition(b"Content-Length: ")[2].partition(b"\r\n")[0])
    return answer + await reader.readexactly(length)


@asynccontextmanager
async def connected(
    box: Sandbox,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", box.port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


@pytest.mark.parametrize("quirk", ["idle-408", "idle-408=0", "idle-408=0.01"])
async def test_an_idle_connection_gets_a_408_that_nobody_asked_for(quirk: str) -> None:
    async with quirky(quirk) as box, calling(box) as api, connected(box) as (reader, writer):
        assert (await ask(api, reader, writer)).startswith(b"HTTP/1.1 200 OK\r\n")
        unasked = await reader.read()
        head, _, body = unasked.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.0 408 Request Time-out\r\n")
        assert b"\r\nConnection: close" in head
        assert b"Content-Length" not in head
        assert b"408" in body


async def test_after_the_408_a_connection_stays_open_and_is_never_answered() -> None:
    box = quirky("idle-408=0.05")
    async with box, calling(box) as api, connected(box) as (reader, writer):
        await ask(api, reader, writer)
        await reader.readuntil(b"</html>\n")
        writer.write(b"GET /api/v1/orders HTTP/1.1\r\nHost: x\r\n\r\n")
        assert await reader.read() == b""
        assert box.counts.requests == 1


async def test_a_connection_in_use_gets_no_408(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "IDLE_SECONDS", 3600)
    box = quirky("idle-408", faults=Faults(script=("ok", "slow"), slow=7200))
    loop = asyncio.get_running_loop()
    time, passed = loop.time, 0
    monkeypatch.setattr(loop, "time", lambda: time() + passed)
    async with box, calling(box) as api, connected(box) as (reader, writer):
        assert b" 200 OK\r\n" in await ask(api, reader, writer)
        asked = asyncio.create_task(ask(api, reader, writer))
        await until(lambda: box.counts.requests == 2)
        for passed in (3700, 7300):  # noqa: B007 - what the loop's clock adds
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        assert b" 200 OK\r\n" in await asked


@pytest.mark.parametrize("quirk", ["double-answer", "double-answer=0"])
async def test_the_first_answer_of_a_connection_comes_again(quirk: str) -> None:
    async with quirky(quirk) as box, calling(box) as api:
        for _ in range(2):
            async with connected(box) as (reader, writer):
                first = await ask(api, reader, writer)
                assert await reader.readexactly(len(first)) == first
                later = await ask(api, reader, writer)
                assert later.partition(b"\r\n\r\n")[2] == first.partition(b"\r\n\r\n")[2]
        assert [seen.status for seen in box.requests] == [200] * 4


async def test_a_client_that_went_gets_nothing_more() -> None:
    box = quirky("double-answer=0.01", "idle-408=0.01")
    async with box, calling(box) as api:
        async with connected(box) as (reader, writer):
            await ask(api, reader, writer)
        assert (await api.get("/orders")).status == 200


async def test_a_fault_of_the_connection_goes_with_its_quirks() -> None:
    async with quirky("double-answer", "idle-408") as box, calling(box) as api:
        box.fail_next("reset", "reset", "truncated")
        with pytest.raises(aiohttp.ClientOSError):
            await api.get("/orders")
        with pytest.raises(aiohttp.ClientPayloadError):
            await api.get("/orders")
        await until(lambda: len(box.requests) == 3)
