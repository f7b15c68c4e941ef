"""DuckDB: one file for all tables, filled from Arrow batches.

duckdb is imported only when a file is written or read.
"""

from __future__ import annotations

import datetime as dt
import errno
import os
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import AttrsInstance, frozen

from ..._arrow import ArrowBatches
from ..._columns import ONCE
from ...errors import DecodeError
from ..files import naming
from ..tables import Batch, Table
from .base import Merge, Options, Sink, Write
from .extras import require
from .files import closing, file_name, unreadable, unusable
from .merging import base_file
from .sql import TABLE_INFO, DatabaseSink, Declared, Types, quoted

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

INSERT_ROWS = 10_000

_HOLDS = "what a DuckDB {} holds (jsonl and csv hold any value)"

_TYPES: Types = {
    "integer": "BIGINT",
    "text": "VARCHAR",
    "money": "DECIMAL(18,2)",
    "quantity": "DECIMAL(18,3)",
    "instant": "TIMESTAMP WITH TIME ZONE",
    "day": "DATE",
}
# No part of DuckDB is loaded from the network.
_SETTINGS: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": "false",
    "threads": 1,  # more hold more memory, and are no faster at writing rows as they come
}
# DuckDB puts the system's words into its message, and nowhere a number.
_SYSTEM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EIO)
# Where a backslash divides folders, no name has one. The last are of names that are no UTF-8.
_MISREAD = re.compile("[?\ud800-\udfff]" if os.sep == "\\" else r"[?\\\ud800-\udfff]")
_TWICE = re.compile(r'key "(?:id: )?(-?\d+)"')


@contextmanager
def open_duckdb(options: Options) -> Iterator[Sink]:
    """Write rows as a DuckDB database, starting from a copy of the earlier one if there is one.

    Args:
        options: Where to write, and what to merge into.

    Yields:
        A sink that makes one file.

    Raises:
        ConfigurationError: duckdb or pyarrow is not installed, or the earlier database can't be
            merged into.
    """
    require("duckdb")
    import duckdb

    name = file_name("duckdb", "")
    path = options.folder / name
    base = base_file(options, name)
    # Python's error says more than DuckDB's, and has a filename.
    path.open("xb").close()
    path.unlink()
    with _usable(path) as usable:
        _copy(base, usable)
        with _translating(path, base):
            connection = duckdb.connect(usable, config=_SETTINGS)
        with closing(connection):
            engine = _DuckDB(connection, path, base, options.rounded)
            yield DatabaseSink(engine, base)
            # Closing writes the same, but would hide its errors.
            engine.execute("CHECKPOINT")


@contextmanager
def _usable(path: Path) -> Iterator[Path]:
    """Give a path that DuckDB takes for the file it means.

    It takes a relative one such as `md:x` for the name of a service, and what follows a question
    mark for something else than a name. A backslash it takes for a slash, and what is no UTF-8 not
    at all. Where it stands in a folder's name, the database is in a temporary folder meanwhile.
    """
    real = path.resolve()
    if not _MISREAD.search(str(real)):
        yield real
        return
    with tempfile.TemporaryDirectory(prefix="devskin-") as folder:
        usable = Path(folder).resolve() / path.name
        if path.exists():
            shutil.copyfile(path, usable)
            yield usable
        else:
            yield usable
            with naming(path):
                shutil.copyfile(usable, path)


def _copy(base: Path | None, path: Path) -> None:
    """Copy a database, with its write-ahead log if it was left one."""
    for end in ("", ".wal") if base else ():
        source = Path(f"{base}{end}")
        if source.exists():
            target = Path(f"{path}{end}")
            with source.open("rb") as old, target.open("xb") as new, naming(target):
                shutil.copyfileobj(old, new, 1 << 20)


@contextmanager
def _translating(path: Path, base: Path | None) -> Iterator[None]:
    """Turn DuckDB's errors into one line about the file they mean."""
    import duckdb

    try:
        yield
    except duckdb.Error as error:
        text = str(error)
        code = next((code for code in _SYSTEM if os.strerror(code) in text), None)
        if base and not code:
            raise unusable(base, error) from error
        reason = os.strerror(code) if code else text.splitlines()[0]
        raise OSError(code or errno.EIO, reason, str(path)) from error


@frozen
class _DuckDB:
    _connection: duckdb.DuckDBPyConnection
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
        import duckdb

        info = TABLE_INFO.format(quoted(table, "'"))
        with self._translating():
            try:
                found = self._connection.execute(info).fetchall()
            except duckdb.CatalogException:
                return []
        return [(name, kind, bool(required), bool(key)) for name, kind, required, key in found]

    def discard(self, table: Table, merge: Merge) -> None:
        import pyarrow as pa

        name = quoted(table.name)
        with self._translating():
            # Deleted and committed first: the same ids may come again after that.
            self._connection.execute(
                f"DELETE FROM {name} WHERE epoch_us(created_at) >= ?",  # noqa: S608
                [_microseconds(merge.since)],
            )
            self._connection.execute(f"SELECT id FROM {name}")  # noqa: S608
            coming: list[int] = []
            while rows := self._connection.fetchmany(INSERT_ROWS):
                coming += [number for (number,) in rows if number in merge.ids]
            ids = pa.table({"id": pa.array(coming, pa.int64())})
            self._run(f"DELETE FROM {name} WHERE id IN (SELECT id FROM arrow_rows)", ids)  # noqa: S608

    @contextmanager
    def inserting(self, table: Table) -> Iterator[Write]:
        batches = ArrowBatches(table.name, table.record, _HOLDS)
        waiting: list[pa.RecordBatch] = []

        def write(batch: Batch) -> None:
            waiting.append(batches.take(batch.records))
            if sum(map(len, waiting)) >= INSERT_ROWS:
                self._insert(table, waiting)

        # Not in one transaction, which DuckDB would hold in memory: the file counts for nothing
        # until it is whole.
        yield write
        self._insert(table, waiting)
        self._rounded[table.name] += batches.rounded

    def _insert(self, table: Table, waiting: list[pa.RecordBatch]) -> None:
        import duckdb
        import pyarrow as pa

        if not waiting:
            return
        with self._translating():
            try:
                rows = pa.Table.from_batches(waiting)
                self._run(f"INSERT INTO {quoted(table.name)} SELECT * FROM arrow_rows", rows)  # noqa: S608
            except duckdb.ConstraintException as error:
                twice = _TWICE.search(str(error))
                number = twice[1] if twice else "one twice"
                raise DecodeError(f"{table.name}.id", ONCE, number) from error
        waiting.clear()
        self.execute("CHECKPOINT")

    def _run(self, statement: str, rows: pa.Table) -> None:
        """Run a statement that reads `arrow_rows`."""
        self._connection.register("arrow_rows", rows)
        self._connection.execute(statement)
        self._connection.unregister("arrow_rows")


def check_duckdb(table: Table, records: Sequence[AttrsInstance]) -> None:
    """Raise `MisfitError` for a record that its DuckDB columns can't hold."""
    ArrowBatches(table.name, table.record, _HOLDS).check(records)


def _microseconds(instant: dt.datetime) -> int:
    return (instant - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(microseconds=1)


def count_duckdb(path: Path, table: Table) -> int:
    """Count the rows of a table of a database.

    Raises:
        ConfigurationError: duckdb or pyarrow is not installed.
        OSError: The file can't be read, or has no such table; `filename` is `path`.
    """
    require("duckdb")
    import duckdb

    path.open("rb").close()
    try:
        with (
            _usable(path) as usable,
            closing(duckdb.connect(usable, read_only=True, config=_SETTINGS)) as connection,
        ):
            # The number alone stands in the metadata: the hash has the rows read.
            count = f"SELECT count(*), bit_xor(hash(row)) FROM {quoted(table.name)} AS row"  # noqa: S608
            connection.execute(count)
            (number, _) = connection.fetchone() or (0, None)
            return int(number)
    except duckdb.Error as error:
        raise unreadable(path, "duckdb", error) from error
