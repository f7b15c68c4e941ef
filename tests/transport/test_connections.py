"""What comes on an idle connection never becomes the response to another request."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest

from devskin_async import DecodeError, DevSkinClient, DevSkinError, TransportError
from tests import samples
from tests.conftest import AT_ONCE, UNLIMITED
from tests.serving import KEY

LATE_408 = b"HTTP/1.0 408 Request Time-out\r\nConnection: close\r\n\r\nToo slow"

Answer = Callable[[str], bytes]
After = Callable[["Connection"], Awaitable[None]]


class Connection:
    """A server's end of one connection.

    Args:
        number: Which of the server's connections it is, from 1.
        writer: Where it writes to.
    """

    def __init__(self, number: int, writer: asyncio.StreamWriter) -> None:
        self.number = number
        self.writer = writer
        self.answered = 0
        self.last = b""

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()


@asynccontextmanager
async def raw_server(answer: Answer, after: After) -> AsyncIterator[str]:
    """A server that writes `answer(target)` and then does `after`, for each request."""
    writers: list[asyncio.StreamWriter] = []
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        connection = Connection(len(writers), writer)
        try:
            while request := await reader.readuntil(b"\r\n\r\n"):
                target = request.split(b" ", 2)[1].decode()
                connection.last = answer(target)
                await connection.send(connection.last)
                connection.answered += 1
                task = asyncio.create_task(_ignoring_resets(after(connection)))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        port = server.sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}/api/v1"
    finally:
        for task in tuple(tasks):
            task.cancel()
        server.close()
        for writer in writers:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()


async def _ignoring_resets(work: Awaitable[None]) -> None:
    with suppress(ConnectionError):
        await work


def http(body: bytes, head: str = "HTTP/1.1 200 OK") -> bytes:
    fields = f"{head}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return fields.encode() + body


def numbered_store() -> Answer:
    """Responds to each request with what it is for; overviews are numbered."""
    overviews = 0

    def answer(target: str) -> bytes:
        nonlocal overviews
        url = urlsplit(target)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        if url.path.endswith("/overview"):
            overviews += 1
            return http(samples.OVERVIEW.replace(b"1563", str(overviews).encode()))
        if "/orders/" in url.path:
            return http(samples.ORDER.replace(b"1234,", f"{url.path.rsplit('/')[-1]},".encode(), 1))
        row = json.loads(samples.ORDERS)["data"]["items"][0] | {
            "status": query.get("status", "paid")
        }
        data = {"items": [row], "total": 1, "page": int(query["page"]), "limit": 20}
        return http(json.dumps({"success": True, "data": data}).encode())

    return answer


async def nothing(_: Connection) -> None:
    pass


async def late_408(connection: Connection) -> None:
    await connection.send(LATE_408)


async def late_408_and_close(connection: Connection) -> None:
    await connection.send(LATE_408)
    connection.writer.close()


async def once_more(connection: Connection) -> None:
    await connection.send(connection.last)


async def once_more_the_first_time(connection: Connection) -> None:
    if connection.number == connection.answered == 1:
        await once_more(connection)


async def half_an_answer(connection: Connection) -> None:
    await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{")


async def a_byte(connection: Connection) -> None:
    await connection.send(b"\n")


class Unasked:
    """Does something to a connection right after each response, or when the client has it.

    Args:
        after: What is done.
        moment: "at once"; "in the socket", and the client asks again before it could be read; or
            "read", and it asks when its event loop has seen it.
    """

    def __init__(self, after: After, moment: str) -> None:
        self.after = after
        self.moment = moment
        self.latest: asyncio.Queue[Connection] = asyncio.Queue()

    async def __call__(self, connection: Connection) -> None:
        if self.moment == "at once":
            await self.after(connection)
        self.latest.put_nowait(connection)

    async def happens(self) -> None:
        """Do it to the connections with a response; the client has all their responses."""
        async with asyncio.timeout(10):
            connections = {await self.latest.get()}
        while not self.latest.empty():
            connections.add(self.latest.get_nowait())
        if self.moment == "at once":
            return
        for connection in connections:
            await _ignoring_resets(self.after(connection))
        if self.moment == "read":
            for _ in range(5):
                await asyncio.sleep(0)


moments = pytest.mark.parametrize("moment", ["at once", "in the socket", "read"])


@moments
@pytest.mark.parametrize(
    "after",
    [
        late_408,
        late_408_and_close,
        once_more,
        once_more_the_first_time,
        half_an_answer,
        a_byte,
    ],
)
async def test_every_response_is_the_one_to_its_request(after: After, moment: str) -> None:
    unasked = Unasked(after, moment)
    async with (
        raw_server(numbered_store(), unasked) as url,
        DevSkinClient(KEY, base_url=url, timeout=2, rate_limit=UNLIMITED, retry=AT_ONCE) as store,
    ):
        for number in range(1, 6):
            for status in ("paid", "shipped"):
                assert (await store.orders.page(status=status)).items[0].status == status
                await unasked.happens()
            assert (await store.orders.get(number)).id == number
            await unasked.happens()


@moments
@pytest.mark.parametrize("after", [once_more, once_more_the_first_time])
async def test_the_overview_is_never_the_response_to_the_request_before(
    after: After, moment: str
) -> None:
    unasked = Unasked(after, moment)
    async with (
        raw_server(numbered_store(), unasked) as url,
        DevSkinClient(KEY, base_url=url, rate_limit=UNLIMITED, retry=AT_ONCE) as store,
    ):
        for number in range(1, 6):
            assert (await store.analytics.overview()).total_orders == number
            await unasked.happens()


async def test_a_quiet_connection_is_used_again() -> None:
    connections: list[int] = []

    async def note(connection: Connection) -> None:
        connections.append(connection.number)

    async with (
        raw_server(numbered_store(), note) as url,
        DevSkinClient(KEY, base_url=url, rate_limit=UNLIMITED) as store,
    ):
        for number in range(1, 6):
            await store.orders.get(number)
    assert connections == [1] * 5


async def test_the_timeout_ends_an_attempt_whatever_the_connection_does() -> None:
    """The caller's own session has connections of its own: what is stale there is not dropped."""
    async with (
        raw_server(numbered_store(), late_408) as url,
        aiohttp.ClientSession() as session,
        DevSkinClient(
            KEY, base_url=url, timeout=0.2, rate_limit=UNLIMITED, retry=AT_ONCE, session=session
        ) as store,
    ):
        for number in range(1, 4):
            async with asyncio.timeout(10):
                try:
                    assert (await store.orders.get(number)).id == number
                except DevSkinError as error:
                    assert isinstance(error, TransportError), error


@pytest.mark.parametrize(
    "other",
    ["/orders/7", "/orders?page=1&status=paid", "/orders?page=2", "/analytics/overview"],
)
@pytest.mark.parametrize("kind", ["order", "page", "overview"])
async def test_a_request_whose_response_belongs_to_another_is_retried(
    kind: str, other: str
) -> None:
    seen: list[str] = []
    right = numbered_store()

    def first_wrong(target: str) -> bytes:
        seen.append(target)
        return right(f"/api/v1{other}" if len(seen) == 1 else target)

    async with (
        raw_server(first_wrong, nothing) as url,
        DevSkinClient(KEY, base_url=url, rate_limit=UNLIMITED, retry=AT_ONCE) as store,
    ):
        if kind == "order":
            assert (await store.orders.get(5)).id == 5
        elif kind == "page":
            assert (await store.orders.page(status="shipped")).items[0].status == "shipped"
        else:
            assert (await store.analytics.overview()).total_products == 87
    # An overview does not say which request it belongs to.
    assert len(seen) == (1 if kind == "overview" and "overview" in other else 2)


async def test_a_response_that_stays_mismatched_is_an_error_that_names_the_place() -> None:
    seen: list[str] = []

    def shipped(target: str) -> bytes:
        seen.append(target)
        return numbered_store()(target.replace("paid", "shipped"))

    async with (
        raw_server(shipped, nothing) as url,
        DevSkinClient(KEY, base_url=url, rate_limit=UNLIMITED, retry=AT_ONCE) as store,
    ):
        with pytest.raises(DecodeError, match=r'items\[0\]\.status: expected "paid", got "ship'):
            await store.orders.page(status="paid")
    assert len(seen) == 3
