"""Many requests at once and their answers in order: bounded, cancellable, failing once."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator, Iterable
from contextlib import aclosing
from itertools import islice
from typing import Generic, TypeVar

from .protocol import page_count
from .records import Page

A = TypeVar("A")
T = TypeVar("T")


class Rows(Generic[T]):
    """Rows that are read as they are asked for.

    `async for row in rows` reads them in order, with further answers on their way meanwhile;
    `await rows` collects them. Each of these reads anew. Leaving a loop early cancels what is in
    flight.

    Args:
        read: Starts one reading.
    """

    def __init__(self, read: Callable[[], AsyncGenerator[T, None]]) -> None:
        self._read = read

    def __aiter__(self) -> AsyncIterator[T]:
        return self._read()

    def __await__(self) -> Generator[object, None, list[T]]:
        return self._collect().__await__()

    async def _collect(self) -> list[T]:
        return [row async for row in self]


class Listing(Rows[T]):
    """The rows of a list, which can be read page by page too.

    Args:
        pages: Starts one reading of the pages.
    """

    def __init__(self, pages: Callable[[], AsyncGenerator[Page[T], None]]) -> None:
        super().__init__(self._rows)
        self._pages = pages

    def pages(self) -> AsyncGenerator[Page[T], None]:
        """Read the list page by page, in order."""
        return self._pages()

    async def _rows(self) -> AsyncGenerator[T, None]:
        async with aclosing(self._pages()) as pages:
            async for page in pages:
                for row in page.items:
                    yield row


async def fan_out(
    fetch_page: Callable[[int], Awaitable[Page[T]]], concurrency: int
) -> AsyncGenerator[Page[T], None]:
    """Read a list: page 1 tells the total, then the others are fetched concurrently.

    Args:
        fetch_page: Fetches the page of a number, from 1.
        concurrency: How many pages are in flight or held at the most.

    Yields:
        The pages in order, up to the one that page 1's total makes the last, or up to the first
        empty one: the list may shrink meanwhile.
    """
    first = await fetch_page(1)

    async def fetch(number: int) -> Page[T]:
        return first if number == 1 else await fetch_page(number)

    numbers = range(1, page_count(first.total, first.limit) + 1)
    async with aclosing(ordered(fetch, numbers, concurrency)) as pages:
        async for page in pages:
            yield page
            if not page.items:
                return


async def ordered(
    fetch: Callable[[A], Awaitable[T]], arguments: Iterable[A], concurrency: int
) -> AsyncGenerator[T, None]:
    """Call `fetch` with each argument concurrently and give the results in order.

    Args:
        fetch: What to call.
        arguments: Taken one by one, as calls are started.
        concurrency: How many calls are in flight, or done and not taken yet, at the most.

    Raises:
        Exception: The first that a call raised, at once; the other calls are cancelled.
    """
    failed: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()
    under_way: deque[asyncio.Task[T]] = deque()

    def note_failure(task: asyncio.Task[T]) -> None:
        if not task.cancelled() and (error := task.exception()) and not failed.done():
            failed.set_result(error)

    async def start(argument: A) -> T:
        return await fetch(argument)

    rest = iter(arguments)
    try:
        while True:
            for argument in islice(rest, concurrency - len(under_way)):
                task = asyncio.create_task(start(argument))
                task.add_done_callback(note_failure)
                under_way.append(task)
            if not under_way:
                return
            await asyncio.wait((under_way[0], failed), return_when=asyncio.FIRST_COMPLETED)
            if failed.done():
                raise failed.result()
            yield under_way.popleft().result()
    finally:
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
