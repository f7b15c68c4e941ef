"""Lists: no more pages are asked for than the wanted rows need."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import TypeAlias, TypeVar

from attrs import AttrsInstance

from .. import convert
from ..client import DevSkinClient
from ..errors import InconsistentListError
from ..paging import Pages
from ..protocol import MAX_LIMIT
from ..records import Page
from .render import Column, show, stderr, stdout, table, write_bytes
from .waits import telling_waits

R = TypeVar("R", bound=AttrsInstance)
ReadPage: TypeAlias = Callable[[int, int], Awaitable[Page[R]]]

TABLE_ROWS = 20
CONCURRENCY = 10


async def show_list(
    store: DevSkinClient,
    noun: str,
    read_page: ReadPage[R],
    columns: Sequence[Column[R]],
    max_rows: int | None,
    *,
    as_json: bool,
) -> None:
    """List rows on stdout, as a table or as JSON lines.

    Args:
        store: Where the rows come from.
        noun: What the rows are.
        read_page: Reads the page of a number, with so many rows a page.
        columns: The table's.
        max_rows: How many rows, 0 for all; None is `TABLE_ROWS` for a table, all for JSON.
        as_json: Write JSON lines, page by page.

    Raises:
        ValueError: `max_rows` is negative.
        InconsistentListError: What the API tells of the list contradicts itself; all rows that
            came are on stdout.
    """
    if max_rows is not None and max_rows < 0:
        raise ValueError(f"--max must be 0 (for all) or more, not {max_rows}")
    if as_json:
        await _write_json(noun, read_page, max_rows or sys.maxsize)
    else:
        wanted = TABLE_ROWS if max_rows is None else max_rows or sys.maxsize
        await _show_table(store, noun, read_page, columns, wanted)


async def _write_json(noun: str, read_page: ReadPage[R], wanted: int) -> None:
    async with aclosing(_pages(noun, read_page, wanted)) as pages:
        async for page in pages:
            write_bytes(b"".join(convert.dumps(row) + b"\n" for row in page.items))


async def _show_table(
    store: DevSkinClient,
    noun: str,
    read_page: ReadPage[R],
    columns: Sequence[Column[R]],
    wanted: int,
) -> None:
    rows: list[R] = []
    total = 0
    failure: InconsistentListError | None = None
    console = stderr()
    with console.status(f"Reading {noun}") as status:

        def say(wait: str) -> None:
            so_far = f": {len(rows):,} of {min(wanted, total):,}" if rows else ""
            status.update(f"Reading {noun}{so_far} {wait}".rstrip())

        async with telling_waits(store, say), aclosing(_pages(noun, read_page, wanted)) as pages:
            try:
                async for page in pages:
                    rows += page.items
                    total = page.total
                    say("")
            except InconsistentListError as error:  # it comes after the last row
                failure = error
    show(stdout(), table(columns, rows))
    if failure is not None:
        raise failure
    if wanted == len(rows) < total:
        note = f"{len(rows):,} of {total:,} {noun}; --max N shows N of them, --max 0 all"
    else:
        note = f"{len(rows):,} {noun}"
    show(console, note)


def _pages(noun: str, read_page: ReadPage[R], wanted: int) -> Pages[R]:
    """Read the pages that hold the first `wanted` rows."""
    limit = min(wanted, MAX_LIMIT)
    return Pages(
        lambda number: read_page(number, limit), CONCURRENCY, wanted=wanted, request=f"GET /{noun}"
    )
