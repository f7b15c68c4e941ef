"""Parquet: the schema comes from the record, not from the rows that happen to be there.

pyarrow is imported here alone, and only when a file is written.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from decimal import Decimal
from types import NoneType
from typing import TYPE_CHECKING, BinaryIO, get_args, get_type_hints

from attrs import AttrsInstance

from .. import convert
from ..errors import ConfigurationError, DecodeError

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow.parquet import ParquetWriter

ROW_GROUP = 10_000


@contextmanager
def parquet_writer(
    file: BinaryIO, record: type[AttrsInstance], resource: str
) -> Iterator[Callable[[Sequence[AttrsInstance]], object]]:
    """Write records as Parquet, compressed with zstd, in row groups of about `ROW_GROUP` rows.

    Args:
        file: Where to write.
        record: What each row is. Money becomes decimal(18,2), an instant a UTC timestamp in
            microseconds; only what may be None may be null.
        resource: What an error calls the rows.

    Yields:
        A function that takes the next records.

    Raises:
        ConfigurationError: pyarrow is not installed.
        DecodeError: A value does not fit its column.
    """
    try:
        from pyarrow.parquet import ParquetWriter
    except ModuleNotFoundError:
        raise ConfigurationError(
            'parquet needs pyarrow: pip install "devskin-async[parquet]"'
        ) from None
    parquet = ParquetWriter(file, _schema(record), compression="zstd")
    groups = _RowGroups(parquet, resource)
    try:
        yield groups.add
        groups.flush()
    except BaseException:
        # Left open, it would write its end whenever it is collected, and fail there unseen.
        with suppress(Exception):
            parquet.close()
        raise
    parquet.close()


class _RowGroups:
    """Gathers records until they make a row group."""

    def __init__(self, parquet: ParquetWriter, resource: str) -> None:
        self._parquet = parquet
        self._resource = resource
        self._waiting: list[AttrsInstance] = []
        self._written = 0

    def add(self, rows: Sequence[AttrsInstance]) -> None:
        self._waiting.extend(rows)
        if len(self._waiting) >= ROW_GROUP:
            self.flush()

    def flush(self) -> None:
        if self._waiting:
            schema = self._parquet.schema
            batch = _batch(schema, self._waiting, self._resource, self._written)
            self._parquet.write_batch(batch)
            self._written += len(self._waiting)
            self._waiting.clear()


def _schema(record: type[AttrsInstance]) -> pa.Schema:
    import pyarrow as pa

    columns = {
        Decimal: pa.decimal128(18, 2),
        dt.datetime: pa.timestamp("us", tz="UTC"),
        dt.date: pa.date32(),
        int: pa.int64(),
    }

    def column(name: str, hint: object) -> pa.Field:
        kinds = set(get_args(hint) or (hint,))
        nullable = NoneType in kinds
        (kind,) = kinds - {NoneType}
        # What is left is text: a string, or an enum of strings.
        return pa.field(name, columns.get(kind, pa.string()), nullable=nullable)

    return pa.schema([column(*item) for item in get_type_hints(record).items()])


def _batch(
    schema: pa.Schema, rows: Sequence[AttrsInstance], resource: str, first: int
) -> pa.RecordBatch:
    import pyarrow as pa

    plain = [convert.to_plain(row) for row in rows]
    try:
        return pa.RecordBatch.from_pylist(plain, schema=schema)
    except (pa.ArrowInvalid, OverflowError):
        pass
    for number, row in enumerate(plain, first):
        for column in schema:
            try:
                pa.array([row[column.name]], column.type)
            except (pa.ArrowInvalid, OverflowError):
                raise DecodeError(
                    f"{resource}[{number}].{column.name}",
                    f"what a Parquet {column.type} holds (jsonl and csv hold any value)",
                    convert.describe(row[column.name]),
                ) from None
    raise AssertionError("each value fits alone")  # pragma: no cover
