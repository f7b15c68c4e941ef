"""What is shown: consoles, tables, and values from outside made harmless."""

from __future__ import annotations

import datetime as dt
import math
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from decimal import Decimal
from typing import Generic, Literal, TypeVar

from attrs import AttrsInstance, frozen
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from .. import convert

T = TypeVar("T")

# A table that is piped is as wide as its rows: nothing is cut off, one line stays one line.
_UNBOUNDED = 10_000
_NARROWEST = 40
_PADDING = 2
_CUT = 8  # as narrow as a column that shrinks may become before others are left out

_MINUTE = 60
_KILO = 1000
_UNITS = ("kB", "MB", "GB", "TB")


def stdout() -> Console:
    """Make a console for data."""
    return _console(stderr=False)


def stderr() -> Console:
    """Make a console for what is told about the data."""
    return _console(stderr=True)


def _console(*, stderr: bool) -> Console:
    console = Console(stderr=stderr, highlight=False, markup=False, emoji=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = _UNBOUNDED
    # A table cut to less than this says nothing; a line that wraps still does. A width that was set
    # stays as it is, whatever becomes of the terminal.
    if console.width < _NARROWEST:  # noqa: PLR1730 - to set it makes it stay
        console.width = _NARROWEST
    return console


def show(console: Console, *parts: RenderableType) -> None:
    """Print, without the spaces that pad a table's last column where nobody looks at them.

    Args:
        console: Where to.
        parts: One below the other. A string is one line, however long, so that it can be copied.
    """
    with nullcontext() if console.is_terminal else console.capture() as capture:
        for part in parts:
            console.print(part, soft_wrap=isinstance(part, str))
    if capture is None:
        return
    lines = (line.rstrip() for line in capture.get().splitlines())
    console.file.write("".join(f"{line}\n" for line in lines))
    console.file.flush()


def write_json(*values: AttrsInstance) -> None:
    """Put values on stdout, each as one line of JSON."""
    write_bytes(b"".join(harmless_json(convert.dumps(value).decode()) + b"\n" for value in values))


def harmless_json(text: str) -> bytes:
    r"""Write as \uXXXX what could steer a terminal, or turn the order of its letters.

    JSON has such characters only in strings, so that this changes no value. Its line ends and tabs
    are between the values, and become spaces.
    """
    if text.isprintable():
        return text.encode()
    return "".join(c if c.isprintable() else _escaped(c) for c in text).encode()


def _escaped(c: str) -> str:
    if c in "\t\r\n":
        return " "
    units = c.encode("utf-16-be").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))


def write_bytes(data: bytes) -> None:
    """Put data on stdout as it is, for whoever reads along."""
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def printable(text: str) -> str:
    """Make one harmless line of a text: no control sequences, no line ends."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def words(text: str | None) -> Text:
    """Show a text from the API; None is left blank."""
    return Text(printable(text or ""), no_wrap=True, overflow="ellipsis")


def number(value: int | Decimal | None) -> Text:
    """Show a number with the digits that it came with, in groups of three; None is left blank."""
    if value is None:
        return Text()
    return Text(f"{value:,f}" if isinstance(value, Decimal) else f"{value:,}")


def counted(count: int, noun: str) -> str:
    """Say how many there are of what a noun with a regular plural names."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def lasting(seconds: float) -> str:
    """Say how long something takes, as exactly as somebody who waits needs it."""
    whole = math.ceil(seconds)
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < 10 * _MINUTE:
        return f"{whole // _MINUTE} min {whole % _MINUTE:02} s"
    minutes = math.ceil(seconds / _MINUTE)
    if minutes < _MINUTE:
        return f"{minutes} min"
    return f"{minutes // _MINUTE:,} h {minutes % _MINUTE:02} min"


def size(count: int) -> str:
    """Say how large something of so many bytes is."""
    if count < _KILO:
        return f"{count} B"
    value, unit = count / _KILO, 0
    while value >= _KILO and unit < len(_UNITS) - 1:
        value, unit = value / _KILO, unit + 1
    return f"{value:,.1f} {_UNITS[unit]}"


def instant(value: dt.datetime | None) -> Text:
    """Show an instant in UTC, to the minute; None is left blank."""
    return Text() if value is None else Text(convert.instant(value)[:16].replace("T", " "))


def day(value: dt.datetime) -> Text:
    """Show an instant's day in UTC."""
    return Text(convert.instant(value)[:10])


@frozen
class Column(Generic[T]):
    """A column of a table.

    Args:
        title: What stands above it.
        cell: Makes a row's cell.
        justify: To which side the cells go.
        shrinks: Whether its cells are cut where a terminal is narrow.
        spare: In which turn it is left out where even that is not enough, the highest first; a
            column of 0 stays.
    """

    title: str
    cell: Callable[[T], Text]
    justify: Literal["left", "right"] = "left"
    shrinks: bool = False
    spare: int = 0


@frozen
class _Fitted(Generic[T]):
    """A table with those columns that a console has room for."""

    columns: Sequence[Column[T]]
    rows: Sequence[T]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        room = options.max_width
        shown = list(self.columns)
        widths = {column.title: self._least_width(column) for column in shown}
        for column in sorted(shown, key=lambda each: -each.spare):
            needed = sum(widths[each.title] + _PADDING for each in shown) - _PADDING
            if needed <= room or not column.spare:
                break
            shown.remove(column)
        yield _table(shown, self.rows)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement.get(console, options, _table(self.columns, self.rows))

    def _least_width(self, column: Column[T]) -> int:
        widest = max((column.cell(row).cell_len for row in self.rows), default=0)
        return max(len(column.title), min(widest, _CUT) if column.shrinks else widest)


def table(columns: Sequence[Column[T]], rows: Iterable[T]) -> RenderableType:
    """Make a table, one line a row.

    Args:
        columns: From left to right.
        rows: From top to bottom.

    Returns:
        A table without a frame.
    """
    return _Fitted(columns, tuple(rows))


def _table(columns: Sequence[Column[T]], rows: Sequence[T]) -> Table:
    made = Table(box=None, pad_edge=False, padding=(0, _PADDING, 0, 0), header_style="bold")
    for column in columns:
        made.add_column(column.title, justify=column.justify, no_wrap=not column.shrinks)
    for row in rows:
        made.add_row(*(column.cell(row) for column in columns))
    return made


def facts(pairs: Iterable[tuple[str, Text]], *, justify: Literal["left", "right"]) -> Table:
    """Make a table of names and values.

    Args:
        pairs: From top to bottom.
        justify: To which side the values go.

    Returns:
        A table without a frame.
    """
    made = Table.grid(padding=(0, 2, 0, 0))
    made.add_column(style="bold", no_wrap=True)
    made.add_column(justify=justify, overflow="fold")
    for pair in pairs:
        made.add_row(*pair)
    return made
