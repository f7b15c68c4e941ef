"""Many requests at once and their answers in order: bounded, cancellable, failing once.

`Ordered` and `Pages` are plain iterators; `Rows` and `Listing` put one async generator on top, so
that leaving a loop early closes them. One generator is never inside another: an event loop that
shuts down closes all of them at once, in any order.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Generator,
    Iterable,
)
from contextlib import aclosing
from itertools import islice
from typing import Any, Generic, Protocol, Self, TypeVar, overload

from .protocol import page_count
from .records import Page

A = TypeVar("A")
T = TypeVar("T")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class Reading(Protocol[R_co]):
    """Results that are read one by one, and cancelled by `aclose`."""

    def __aiter__(self) -> AsyncIterator[R_co]:
        """Read on."""
        ...

    async def aclose(self) -> None:
        """Cancel what is in flight."""
        ...


class Rows(Generic[T]):
    """Rows that are read as they are asked for.

    `async for row in rows` reads them in order, with further answers on their way meanwhile;
    `await rows` collects them. Each of these reads anew. Leaving a loop early cancels what is in
    flight.

    Args:
        start: Starts one reading of the rows.
    """

    def __init__(self, start: Callable[[], Reading[T]]) -> None:
        self._start = start

    def __aiter__(self) -> AsyncIterator[T]:
        return _each(self._start)

    def __await__(self) -> Generator[object, None, list[T]]:
        return self._collect().__await__()

    async def _collect(self) -> list[T]:
        return [row async for row in self]


class Listing(Rows[T]):
    """The rows of a list, which can be read page by page too.

    Args:
        start: Starts one reading of the pages.
    """

    def __init__(self, start: Callable[[], Reading[Page[T]]]) -> None:
        self._pages = start

    def __aiter__(self) -> AsyncIterator[T]:
        return _rows(self._pages)

    def pages(self) -> AsyncGenerator[Page[T], None]:
        """Read the list page by page, in order."""
        return _each(self._pages)


async def _each(start: Callable[[], Reading[T]]) -> AsyncGenerator[T, None]:
    async with aclosing(start()) as reading:
        async for result in reading:
            yield result


async def _rows(start: Callable[[], Reading[Page[T]]]) -> AsyncGenerator[T, None]:
    async with aclosing(start()) as pages:
        async for page in pages:
            for row in page.items:
                yield row


class Ordered(Generic[A, T]):
    """Calls `fetch` with each argument concurrently and gives the results in order.

    The first error that a call raises comes out at once and cancels the others.

    Args:
        fetch: What to call.
        arguments: Taken one by one, as calls are started.
        concurrency: How many calls are in flight, or done and not taken yet, at the most.
        finish: Makes a result of what a call gave, when its turn has come, or a future of what is
            to be finished in its place; None gives it as it is.
    """

    @overload
    def __init__(
        self, fetch: Callable[[A], Awaitable[T]], arguments: Iterable[A], concurrency: int
    ) -> None: ...
    @overload
    def __init__(
        self,
        fetch: Callable[[A], Awaitable[Any]],
        arguments: Iterable[A],
        concurrency: int,
        finish: Callable[[Any], T | asyncio.Future[Any]],
    ) -> None: ...
    def __init__(
        self,
        fetch: Callable[[A], Awaitable[Any]],
        arguments: Iterable[A],
        concurrency: int,
        finish: Callable[[Any], T | asyncio.Future[Any]] | None = None,
    ) -> None:
        self._fetch = fetch
        self._finish: Callable[[Any], T | asyncio.Future[Any]] = finish or _as_it_is
        self._rest = iter(arguments)
        self._concurrency = concurrency
        self._under_way: deque[asyncio.Future[Any]] = deque()
        self._failure: BaseException | None = None
        self._awaited: asyncio.Future[Any] | None = None
        self._wakeup: asyncio.Future[None] | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        try:
            for argument in islice(self._rest, self._concurrency - len(self._under_way)):
                self._start(argument)
            while self._under_way:
                result = await self._first()
                if not isinstance(result, asyncio.Future):
                    self._under_way.popleft()
                    return result
                self._under_way[0] = self._noted(result)
        except BaseException:
            await self.aclose()
            raise
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Cancel what is in flight; there are no further results then."""
        self._rest = iter(())
        tasks = tuple(self._under_way)
        self._under_way.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _first(self) -> T | asyncio.Future[Any]:
        head = self._under_way[0]
        if not head.done() and self._failure is None:
            self._awaited, self._wakeup = head, asyncio.get_running_loop().create_future()
            await self._wakeup
            self._awaited = None  # what was delivered is not held
        if self._failure is not None:
            raise self._failure
        return self._finish(head.result())

    def _start(self, argument: A) -> None:
        self._under_way.append(self._noted(asyncio.ensure_future(self._fetch(argument))))

    def _noted(self, call: asyncio.Future[Any]) -> asyncio.Future[Any]:
        call.add_done_callback(self._note)
        return call

    def _note(self, call: asyncio.Future[Any]) -> None:
        error = None if call.cancelled() else call.exception()
        if self._failure is None:
            self._failure = error
        wanted = call is self._awaited or self._failure is not None
        if wanted and self._wakeup is not None and not self._wakeup.done():
            self._wakeup.set_result(None)


class Pages(Generic[T]):
    """Reads a list: page 1 tells the total, then the others are fetched concurrently.

    The pages come in order, up to the one that page 1's total makes the last, or up to the first
    empty one: the list may shrink meanwhile.

    Args:
        fetch_page: Fetches the page of a number, from 1.
        concurrency: How many pages are in flight or held at the most.
        finish: Makes a page of what was fetched, as for `Ordered`, and makes it again when asked;
            None is for pages as they are.
    """

    @overload
    def __init__(
        self, fetch_page: Callable[[int], Awaitable[Page[T]]], concurrency: int
    ) -> None: ...
    @overload
    def __init__(
        self,
        fetch_page: Callable[[int], Awaitable[Any]],
        concurrency: int,
        finish: Callable[[Any], Page[T] | asyncio.Future[Any]],
    ) -> None: ...
    def __init__(
        self,
        fetch_page: Callable[[int], Awaitable[Any]],
        concurrency: int,
        finish: Callable[[Any], Page[T] | asyncio.Future[Any]] | None = None,
    ) -> None:
        self._fetch_page = fetch_page
        self._concurrency = concurrency
        self._finish: Callable[[Any], Page[T] | asyncio.Future[Any]] = finish or _as_it_is
        self._first: Any = None
        self._ordered: Ordered[int, Page[T]] | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Page[T]:
        if self._ordered is None:
            self._first = await self._fetch_page(1)
            while isinstance(first := self._finish(self._first), asyncio.Future):
                self._first = await first
            numbers = range(1, page_count(first.total, first.limit) + 1)
            self._ordered = Ordered(self._fetch, numbers, self._concurrency, self._finish)
        page = await anext(self._ordered)
        if not page.items:
            await self.aclose()
        return page

    async def aclose(self) -> None:
        """Cancel what is in flight; there are no further pages then."""
        if self._ordered is not None:
            await self._ordered.aclose()

    def _fetch(self, number: int) -> Awaitable[Any]:
        first, self._first = self._first, None
        return self._fetch_page(number) if first is None else _given(first)


async def _given(result: R) -> R:
    return result


def _as_it_is(result: R) -> R:
    return result
