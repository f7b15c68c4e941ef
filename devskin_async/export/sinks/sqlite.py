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
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from decimal import Decimal
from operator import itemgetter
from pathlib import Path
from typing import cast

from attrs import AttrsInstance, frozen

from ... import convert
from ...errors import DecodeError
from ..tables import Batch, Table
from .base import Merge, Options, Sink, Write
from .columns import ONCE, Column, Kind, columns, is_text, misfit
from .files import closing, file_name, unreadable, unusable
from .merging import base_file
from .sql import TABLE_INFO, DatabaseSink, Declared, Types, quoted

INSERT_ROWS = 10_000

_ELSEWHERE = "(jsonl and csv hold any value)"
_MONEY = f"money of at most 15 digits, 2 of them after the point {_ELSEWHERE}"
_INSTANT = f"an instant in milliseconds, from the year 1 to 9999 in UTC {_ELSEWHERE}"
_INTEGER = f"an integer of 64 bits {_ELSEWHERE}"

# Many amounts at once: it is C that looks at them.
_PLAIN_MONEY = re.compile(r"(?:-?[0-9]{1,13}(?:\.[0-9]{1,2})?\n)*")
_WIDTH = len("2026-02-10T14:30:00.000Z")
_INT64 = range(-(2**63), 2**63)
_WHOLE, _CENTS = 16, 2  # what DECIMAL(18,2) holds, here as in the other formats

_TYPES: Types = {
    "integer": "INTEGER",
    "text": "TEXT",
    "money": "DECIMAL(18,2)",
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
        engine = _SQLite(connection, path, base)
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
        waiting: list[AttrsInstance] = []
        rows = 0

        def flush() -> None:
            nonlocal rows
            self._insert(table, rows, waiting)
            rows += len(waiting)
            waiting.clear()

        def write(batch: Batch) -> None:
            waiting.extend(batch.records)
            if len(waiting) >= INSERT_ROWS:
                flush()

        self.execute("BEGIN")
        yield write
        flush()
        self.execute("COMMIT")

    def _insert(self, table: Table, first: int, records: Sequence[AttrsInstance]) -> None:
        head = columns(table.record)
        rows = list(zip(*(_CELLS[c.kind](table, first, c, records) for c in head), strict=True))
        names = [column.name for column in head]
        before = self._connection.total_changes
        marks = ", ".join("?" for _ in head)
        with self._translating():
            try:
                if table.key:
                    # The API sends the newest first, which would leave every page half empty.
                    rows.sort(key=itemgetter(names.index("id")))
                self._connection.executemany(
                    f"INSERT INTO {quoted(table.name)} VALUES ({marks})",  # noqa: S608
                    rows,
                )
            except (TypeError, OverflowError, UnicodeEncodeError, sqlite3.IntegrityError) as error:
                _refuse(table, first, records)
                twice = rows[self._connection.total_changes - before][names.index("id")]
                raise DecodeError(f"{table.name}.id", ONCE, str(twice)) from error


def _plain(
    table: Table,  # noqa: ARG001
    first: int,  # noqa: ARG001
    column: Column,
    records: Sequence[AttrsInstance],
) -> Iterable[object]:
    return column.values(records)


def _money(
    table: Table, first: int, column: Column, records: Sequence[AttrsInstance]
) -> Iterable[object]:
    values = cast(list[Decimal | None], column.values(records))
    texts = [value if value is None else f"{value:f}" for value in values]
    if not _PLAIN_MONEY.fullmatch("\n".join([*filter(None, texts), ""])):
        for row, text in enumerate(texts, first):
            if text is not None and not _is_sure(text):
                raise misfit(table, row, column, _MONEY, values[row - first])
    return texts


def _is_sure(amount: str) -> bool:
    """Tell whether SQLite gives an amount back as it was, but for zeros at its end."""
    whole, _, cents = amount.lstrip("-").partition(".")
    cents = cents.rstrip("0")
    digits = (whole + cents).strip("0")
    return len(whole) <= _WHOLE and len(cents) <= _CENTS and len(digits) <= sys.float_info.dig


def _instants(
    table: Table, first: int, column: Column, records: Sequence[AttrsInstance]
) -> Iterable[object]:
    values = cast(list[dt.datetime | None], column.values(records))
    texts = [value if value is None else convert.instant(value) for value in values]
    for row, text in enumerate(texts, first):
        if text is not None and len(text) != _WIDTH:
            raise misfit(table, row, column, _INSTANT, values[row - first])
    return texts


def _days(
    table: Table,  # noqa: ARG001
    first: int,  # noqa: ARG001
    column: Column,
    records: Sequence[AttrsInstance],
) -> Iterable[object]:
    return [day and day.isoformat() for day in cast(list[dt.date | None], column.values(records))]


_CELLS: Mapping[Kind, Callable[..., Iterable[object]]] = {
    "integer": _plain,
    "text": _plain,
    "money": _money,
    "instant": _instants,
    "day": _days,
}


def _refuse(table: Table, first: int, records: Sequence[AttrsInstance]) -> None:
    """Name the value that SQLite did not take, if it is one for itself."""
    for row, record in enumerate(records, first):
        for column in columns(table.record):
            (value,) = column.values([record])
            if (
                (value is None and not column.optional)
                or (isinstance(value, str) and not is_text(value))
                or (isinstance(value, int) and value not in _INT64)
            ):
                raise misfit(table, row, column, _INTEGER, value)


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
