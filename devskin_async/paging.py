"""Many requests at once and their responses in order: bounded, cancellable, failing once."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from itertools import count, islice
from typing import Generic, Self, TypeVar

from attrs import evolve

from .api import PageNumbers
from .records import Page

A = TypeVar("A")
T = TypeVar("T")


class PageNote(str):
    """The note of an error that names the page that could not be read."""

    __slots__ = ()


class Ordered(Generic[A, T]):
    """Calls `fetch` with each argument concurrently and returns the results in order.

    The first error of a call is raised at once and cancels the others.

    Args:
        fetch: What to call.
        arguments: Taken one by one, as calls are started.
        concurrency: How many calls are in flight, or done and not taken yet, at the most.
    """

    def __init__(
        self, fetch: Callable[[A], Awaitable[T]], arguments: Iterable[A], concurrency: int
    ) -> None:
        self._fetch = fetch
        self._rest = iter(arguments)
        self._concurrency = concurrency
        self._under_way: deque[asyncio.Future[T]] = deque()
        self._failure: BaseException | None = None
        self._awaited: asyncio.Future[T] | None = None
        self._wakeup: asyncio.Future[None] | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        try:
            self._start_more(self._concurrency)
            if self._under_way:
                return await self._first()
        except BaseException:
            await self.aclose()
            raise
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Cancel what is in flight; there are no further results then."""
        self._rest = iter(())
        await self._cancel()

    async def _cancel(self) -> None:
        tasks = tuple(self._under_way)
        self._under_way.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _first(self) -> T:
        head = self._under_way[0]
        if not head.done() and self._failure is None:
            self._awaited, self._wakeup = head, asyncio.get_running_loop().create_future()
            await self._wakeup
            self._awaited = None  # keep no reference to a result that was delivered
        if self._failure is not None:
            raise self._failure
        return self._under_way.popleft().result()

    def _start_more(self, most: int) -> None:
        for argument in self._next(most - len(self._under_way)):
            self._start(argument)

    def _next(self, room: int) -> Iterable[A]:
        return islice(self._rest, room)

    def _start(self, argument: A) -> None:
        call = asyncio.ensure_future(self._fetch(argument))
        call.add_done_callback(partial(self._note, argument))
        self._under_way.append(call)

    def _note(self, argument: A, call: asyncio.Future[T]) -> None:
        error = None if call.cancelled() else call.exception()
        if self._failure is None and error is not None:
            self._failure = error
            self._explain(argument, error)
        wanted = call is self._awaited or self._failure is not None
        if wanted and self._wakeup is not None and not self._wakeup.done():
            self._wakeup.set_result(None)

    def _explain(self, argument: A, error: BaseException) -> None:
        """Add to the error of a call what a subclass knows of it."""


class Pages(Ordered[int, Page[T]]):
    """Reads a list: page 1 has its length, then the others are fetched concurrently.

    The pages come in order, up to the last one that `PageNumbers` finds. An error has a note that
    names the page.

    Args:
        fetch_page: Fetches the page of a number, from 1.
        concurrency: How many pages are in flight or held at the most.
        first_page: The number of the first page to read.
        wanted: How many rows are wanted, None for all; the last page is cut to have no more.
        request: What is read, for errors.

    Raises:
        InconsistentListError: The pages contradict each other or their totals. It is raised after
            the last page.
    """

    def __init__(
        self,
        fetch_page: Callable[[int], Awaitable[Page[T]]],
        concurrency: int,
        *,
        first_page: int = 1,
        wanted: int | None = None,
        request: str | None = None,
    ) -> None:
        super().__init__(fetch_page, count(first_page), concurrency)
        self._numbers = PageNumbers(wanted, first_page)
        self._request = request
        self._requested = first_page - 1  # the number of the last page requested
        self._checked = False

    async def __anext__(self) -> Page[T]:
        numbers = self._numbers
        if not numbers.over:
            page = await super().__anext__()
            items = numbers.take(page)
            if numbers.over:
                await self._cancel()
            else:
                self._start_more(self._concurrency - 1)  # this page counts until it is consumed
            if items or (numbers.first == 1 and not numbers.rows):
                return page if len(items) == len(page.items) else evolve(page, items=items)
        await self._check()
        raise StopAsyncIteration

    def _next(self, room: int) -> Iterable[int]:
        numbers = tuple(super()._next(max(0, min(room, self._numbers.last - self._requested))))
        self._requested += len(numbers)
        return numbers

    def _start(self, argument: int) -> None:
        try:
            super()._start(argument)
        except Exception as error:  # it was not sent, as it would have waited too long
            self._explain(argument, error)
            raise

    def _explain(self, argument: int, error: BaseException) -> None:
        # Listings that share a request share its error too.
        note = PageNote(f"page {argument} of the list")
        if note not in getattr(error, "__notes__", ()):
            error.add_note(note)

    async def aclose(self) -> None:
        """Cancel what is in flight; there are no further pages then."""
        self._checked = True
        await super().aclose()

    async def _check(self) -> None:
        if self._checked:
            return
        self._checked = True
        if (number := self._numbers.recounted) is not None:
            self._start(number)
            self._numbers.recount(await super().__anext__())
        if error := self._numbers.inconsistency(self._request):
            raise error
