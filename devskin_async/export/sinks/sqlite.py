"""SQLite: one file for all tables, by the standard library alone.

SQLite has no type for exact money: it keeps a number as a 64-bit float, of which 15 digits are
sure. It has none for instants either: they are text of one width, so that the order of the text
is the order in time. What would not come back the same is refused, as it is by the other formats.
"""

from __future__ import annotations

import datetime as dt
import errno
import os
import re
import sqlite3
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from decimal import Decimal
from operator import itemgetter
from pathlib import Path
from typing import cast

from attrs import AttrsInstance, frozen

from ... import convert
from ..._columns import ONCE, PLACES, Column, Kind, columns, is_text, misfit, without_noise
from ...errors import DecodeError
from ..tables import Batch, Table
from .base import Merge, Options, Sink, Write
from .files import closing, file_name, unreadable, unusable
from .merging import base_file
from .sql import TABLE_INFO, DatabaseSink, Declared, Types, quoted

INSERT_ROWS = 10_000

_ELSEWHERE = "(jsonl and csv hold any value)"
_HOLDS: Mapping[Kind, str] = {
    "integer": f"an integer of 64 bits {_ELSEWHERE}",
    "money": f"money of at most 15 digits, 2 of them after the point {_ELSEWHERE}",
    "quantity": f"a quantity of at most 15 digits, 3 of them after the point {_ELSEWHERE}",
    "instant": f"an instant in milliseconds, from the year 1 to 9999 in UTC {_ELSEWHERE}",
}

# Many amounts at once: it is C that looks at them.
_PLAIN: Mapping[Kind, re.Pattern[str]] = {
    kind: re.compile(rf"(?:-?[0-9]{{1,{15 - places}}}(?:\.[0-9]{{1,{places}}})?\n)*")
    for kind, places in PLACES.items()
}
_WIDTH = len("2026-02-10T14:30:00.000Z")
_INT64 = range(-(2**63), 2**63)
_DIGITS = 18  # what DECIMAL(18,2) holds, here as in the other formats

_TYPES: Types = {
    "integer": "INTEGER",
    "text": "TEXT",
    "money": "DECIMAL(18,2)",
    "quantity": "DECIMAL(18,3)",
    "instant": "TEXT",
    "day": "TEXT",
}

_ERRNO = {
    sqlite3.SQLITE_FULL: errno.ENOSPC,
    sqlite3.SQLITE_PERM: errno.EACCES,
    sqlite3.SQLITE_READONLY: errno.EACCES,
    sqlite3.SQLITE_CANTOPEN: errno.EACCES,
    sqlite3.SQLITE_IOERR: errno.EIO,
}


@contextmanager
def open_sqlite(options: Options) -> Iterator[Sink]:
    """Write rows as a SQLite database, starting from the earlier one where there is one.

    Money is in DECIMAL columns, which compare and add up as numbers; instants are text such as
    2026-02-10T14:30:00.000Z, always in UTC and with milliseconds; days are text too.

    Args:
        options: Where to write, and what to merge into.

    Yields:
        A sink that makes one file.

    Raises:
        ConfigurationError: The earlier database can't be merged into.
    """
    name = file_name("sqlite", "")
    path = options.folder / name
    base = base_file(options, name)
    # Python's error says more than SQLite's, which has one for all that can be in the way.
    path.open("xb").close()
    with _translating(path, base):
        if base:
            _copy(base, path)
        # One call may run in another thread than the next.
        connection = sqlite3.connect(path.absolute(), isolation_level=None, check_same_thread=False)
    with closing(connection):
        engine = _SQLite(connection, path, base, options.rounded)
        # The file counts for nothing until it is whole and the caller has synced it.
        for setting in ("journal_mode=OFF", "synchronous=OFF", "locking_mode=EXCLUSIVE"):
            engine.execute(f"PRAGMA {setting}")
        yield DatabaseSink(engine, base)


def _copy(base: Path, path: Path) -> None:
    """Copy a database, its write-ahead log included, without the room that it has left free."""
    base.open("rb").close()
    with closing(_open_to_read(base)) as connection:
        # Absolute, or a folder `file:x` would be an address; bytes, as not all names are UTF-8.
        connection.execute("VACUUM INTO CAST(? AS TEXT)", (os.fsencode(path.absolute()),))


def _open_to_read(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)


@contextmanager
def _translating(path: Path, base: Path | None) -> Iterator[None]:
    """Turn SQLite's errors into one line about the file they mean."""
    try:
        yield
    except sqlite3.Error as error:
        code = _ERRNO.get(getattr(error, "sqlite_errorcode", 0) & 0xFF)
        if base and not code:
            raise unusable(base, error) from error
        reason = str(error) if code in (None, errno.EIO) else os.strerror(code)
        raise OSError(code or errno.EIO, reason, str(path)) from error


@frozen
class _SQLite:
    _connection: sqlite3.Connection
    _path: Path
    _base: Path | None
    _rounded: Counter[str]
    types: Types = _TYPES

    def _translating(self) -> AbstractContextManager[None]:
        return _translating(self._path, self._base)

    def execute(self, statement: str) -> None:
        with self._translating():
            self._connection.execute(statement)

    def declared(self, table: str) -> Sequence[Declared]:
        with self._translating():
            found = self._connection.execute(TABLE_INFO.format("?"), (table,)).fetchall()
        return [(name, kind, bool(required), bool(key)) for name, kind, required, key in found]

    def discard(self, table: Table, merge: Merge) -> None:
        self._connection.create_function("comes", 1, merge.ids.__contains__)
        with self._translating():
            self._connection.execute(
                f"DELETE FROM {quoted(table.name)} WHERE created_at >= ? OR comes(id)",  # noqa: S608
                (_first_text(merge.since),),
            )

    @contextmanager
    def inserting(self, table: Table) -> Iterator[Write]:
        waiting: list[tuple[object, ...]] = []
        rows = rounded = 0

        def flush() -> None:
            self._insert(table, waiting)
            waiting.clear()

        def write(batch: Batch) -> None:
            nonlocal rows, rounded
            found = columns(table.record)
            made = [_cells(table, rows, column, batch.records) for column in found]
            waiting.extend(zip(*(cells for cells, _ in made), strict=True))
            rounded += sum(count for _, count in made)
            rows += len(batch)
            if len(waiting) >= INSERT_ROWS:
                flush()

        self.execute("BEGIN")
        yield write
        flush()
        self.execute("COMMIT")
        self._rounded[table.name] += rounded

    def _insert(self, table: Table, rows: list[tuple[object, ...]]) -> None:
        names = [column.name for column in columns(table.record)]
        before = self._connection.total_changes
        marks = ", ".join("?" for _ in names)
        if table.key:
            # The API sends the newest first, which would leave every page half empty.
            rows.sort(key=itemgetter(names.index("id")))
        with self._translating():
            try:
                self._connection.executemany(
                    f"INSERT INTO {quoted(table.name)} VALUES ({marks})",  # noqa: S608
                    rows,
                )
            except sqlite3.IntegrityError as error:
                twice = rows[self._connection.total_changes - before][names.index("id")]
                raise DecodeError(f"{table.name}.id", ONCE, str(twice)) from error


def check_sqlite(table: Table, records: Sequence[AttrsInstance]) -> None:
    """Raise `MisfitError` for a record that its SQLite columns can't hold."""
    for column in columns(table.record):
        if column.kind != "text":
            _cells(table, 0, column, records)


def _cells(
    table: Table, first: int, column: Column, records: Sequence[AttrsInstance]
) -> tuple[list[object], int]:
    """Make a column's cells, and say how many of them were rounded.

    Raises:
        MisfitError: SQLite would not give a value back as it was.
    """
    values, rounded = column.values(records), 0
    cells = _written(column.kind, values)
    if column.kind in PLACES and not _fit(column.kind, cells):
        values, rounded = without_noise(values, column.kind)
        cells = _written(column.kind, values)
    if (column.optional or all(value is not None for value in values)) and _fit(column.kind, cells):
        return cells, rounded
    for row, cell in enumerate(cells):
        if (cell is None and not column.optional) or not _fit(column.kind, [cell]):
            raise misfit(table.name, first + row, column, _HOLDS.get(column.kind, ""), values[row])
    raise AssertionError("each cell fits alone")  # pragma: no cover


def _written(kind: Kind, values: Sequence[object]) -> list[object]:
    """Write values as SQLite keeps them."""
    if kind in PLACES:
        amounts = cast(Sequence[Decimal | int | None], values)
        return [None if x is None else f"{Decimal(x):f}" for x in amounts]
    if kind == "instant":
        instants = cast(Sequence[dt.datetime | None], values)
        return [x if x is None else convert.instant(x) for x in instants]
    if kind == "day":
        return [x and x.isoformat() for x in cast(Sequence[dt.date | None], values)]
    return list(values)


def _fit(kind: Kind, cells: Iterable[object]) -> bool:
    """Say whether SQLite gives cells back as they were."""
    given = [cell for cell in cells if cell is not None]
    if kind == "integer":
        return all(map(_INT64.__contains__, given))
    texts = cast(list[str], given)
    if kind == "text":
        return is_text("".join(texts))
    if kind in PLACES:
        many = _PLAIN[kind].fullmatch("".join([f"{text}\n" for text in texts]))
        return many is not None or all(_is_sure(text, PLACES[kind]) for text in texts)
    return kind == "day" or {*map(len, texts)} <= {_WIDTH}


def _is_sure(amount: str, places: int) -> bool:
    """Tell whether SQLite gives an amount back as it was, but for zeros at its end."""
    whole, _, parts = amount.lstrip("-").partition(".")
    parts = parts.rstrip("0")
    digits = (whole + parts).strip("0")
    return (
        len(whole) <= _DIGITS - places
        and len(parts) <= places
        and len(digits) <= sys.float_info.dig
    )


def _first_text(since: dt.datetime) -> str:
    """Write the first instant in milliseconds that is not before another."""
    rest = since.microsecond % 1000
    try:
        utc = since.astimezone(dt.UTC) + dt.timedelta(microseconds=-rest % 1000)
    except OverflowError:
        return "" if since.year == dt.MINYEAR else "~"  # before all, or after all
    return convert.instant(utc)


def count_sqlite(path: Path, table: Table) -> int:
    """Count the rows of a table of a database.

    Raises:
        OSError: The file can't be read, or has no such table; `filename` is `path`.
    """
    path.open("rb").close()
    try:
        with closing(_open_to_read(path)) as connection:
            found = connection.execute(f"SELECT count(*) FROM {quoted(table.name)}")  # noqa: S608
            return int(found.fetchone()[0])
    except sqlite3.Error as error:
        raise unreadable(path, "sqlite", error) from error
