"""What a caller reads: rows by `async for` or `await`, and the pages of a list.

Each reading is one async generator over a plain iterator such as `paging.Pages`, so that leaving a
loop early closes it. Generators are never nested: an event loop that shuts down closes all of them
at once, in any order.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator
from contextlib import aclosing
from typing import TYPE_CHECKING, Generic, NoReturn, Protocol, TypeVar, cast

from attrs import AttrsInstance

from .api import positive
from .records import Page

if TYPE_CHECKING:
    import pyarrow as pa

T = TypeVar("T")
R_co = TypeVar("R_co", covariant=True)


class Reading(Protocol[R_co]):
    """Results that are read one by one, and cancelled by `aclose`."""

    def __aiter__(self) -> AsyncIterator[R_co]:
        """Return the iterator."""
        ...

    async def aclose(self) -> None:
        """Cancel what is in flight."""
        ...


class Rows(Generic[T]):
    """Rows that are read as they are iterated over.

    `async for row in rows` reads them in order, while further requests are in flight;
    `await rows` collects them in a list. Each of these reads the rows again. Leaving a loop early
    cancels what is in flight.

    Args:
        start: Starts one reading of the rows.
        what: What they are, such as `3 orders`.
        record: The class of each; None if it is known only from the rows.
    """

    def __init__(
        self,
        start: Callable[[], Reading[T]],
        what: str = "rows",
        record: type[T] | None = None,
    ) -> None:
        self._read: Callable[[], AsyncGenerator[T, None]] = lambda: _each(start)
        self._what = what
        self._record = record

    def __aiter__(self) -> AsyncIterator[T]:
        return self._read()

    def __await__(self) -> Generator[object, None, list[T]]:
        return self._collect().__await__()

    if not TYPE_CHECKING:  # which rejects such a loop by itself

        def __iter__(self) -> NoReturn:
            raise TypeError(f'{self!r} is not read by a plain "for"')

    def __repr__(self) -> str:
        return f'<{type(self).__name__} of {self._what}: use "async for" or "await">'

    async def to_arrow(self) -> pa.Table:
        """Read all rows into an Arrow table, as an export writes them in Parquet.

        Returns:
            A `pyarrow.Table`; see `convert.to_arrow` for its columns. Without rows it has the
            same columns.

        Raises:
            ConfigurationError: pyarrow is not installed; nothing was sent.
            DecodeError: A value does not fit its column, such as money with real digits beyond
                cents.
            DevSkinError: What reading the rows raises.
            TypeError: The rows have a field that holds more than one value.
        """
        from ._arrow import ArrowTable

        table = ArrowTable(cast(type[AttrsInstance] | None, self._record))
        async with aclosing(self._read()) as rows:
            async for row in rows:
                table.add(cast(AttrsInstance, row))
        return table.finish()

    async def _collect(self) -> list[T]:
        return [row async for row in self]


class Listing(Rows[T]):
    """The rows of a list, which can be read page by page too.

    If the pages contradict each other or their totals, a reading raises
    `InconsistentListError` after the last row. The error of a page that can't be read is raised at
    once, perhaps before the rows of earlier pages; it has a note, which tracebacks show, with the
    number of the page.

    Args:
        start: Starts one reading of the pages that hold so many rows, None for all, from the page
            of a number on.
        what: What is listed, such as `orders, status=paid`.
        limit: How many rows it has at the most; None is all.
        record: The class of each row; None if it is known only from the rows.
    """

    def __init__(
        self,
        start: Callable[[int | None, int], Reading[Page[T]]],
        what: str = "rows",
        limit: int | None = None,
        record: type[T] | None = None,
    ) -> None:
        self._pages = start
        self._limit = limit
        self._read = lambda: _rows(start, limit)
        self._what = what
        self._record = record

    def pages(self, start: int = 1) -> AsyncGenerator[Page[T], None]:
        """Read the list page by page, in order.

        Args:
            start: The number of the first page to read, such as the one after the last page that
                an earlier reading gave. Where it is above 1, pages have 100 rows, and the
                listing's `limit` counts the rows from there on.

        Returns:
            The pages, by `async for`; none if the list ends before `start`. The rows are
            checked against the total as if the skipped pages had been read too.

        Raises:
            ValueError: `start` is not a positive integer.
        """
        first_page = positive("start", start)
        return _each(lambda: self._pages(self._limit, first_page))

    async def first(self) -> T | None:
        """Read the first row alone; None if there is none."""
        async with aclosing(_rows(self._pages, 1)) as rows:
            return await anext(rows, None)


async def _each(start: Callable[[], Reading[T]]) -> AsyncGenerator[T, None]:
    async with aclosing(start()) as reading:
        async for result in reading:
            yield result


async def _rows(
    start: Callable[[int | None, int], Reading[Page[T]]], limit: int | None
) -> AsyncGenerator[T, None]:
    async with aclosing(start(limit, 1)) as pages:
        async for page in pages:
            for row in page.items:
                yield row
