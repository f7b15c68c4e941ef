"""What the tests of the sinks share: rows to write, and readers that know nothing of the sinks."""

from __future__ import annotations

import csv
import datetime as dt
import gzip
import io
import json
import resource
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from decimal import Decimal
from functools import partial
from pathlib import Path

import duckdb
from attrs import AttrsInstance
from pyarrow import parquet as pq

from devskin_async import OrderStatus, OrderSummary, convert
from devskin_async.export import DetailedOrder, OrderLine
from devskin_async.export.sinks import SINKS, Merge, Options, file_name
from devskin_async.export.tables import Batch, Format, Table

ORDERS = Table("orders", OrderSummary)
DETAILED = Table("orders", DetailedOrder)
LINES = Table("order_items", OrderLine)
TEXT: tuple[Format, ...] = ("jsonl", "csv")
DATABASES: tuple[Format, ...] = ("duckdb", "sqlite")
BINARY: tuple[Format, ...] = ("parquet", *DATABASES)
DECODING: tuple[Format, ...] = ("csv", *BINARY)
FORMATS: tuple[Format, ...] = ("jsonl", *DECODING)

NOON = dt.datetime(2026, 2, 10, 12, tzinfo=dt.UTC)

Row = dict[str, object]


def order(
    number: int = 1,
    *,
    total: str = "199.90",
    name: str | None = "John Doe",
    status: str = "paid",
    created_at: dt.datetime = NOON,
) -> OrderSummary:
    """Make an order."""
    return OrderSummary(
        id=number,
        order_number=f"ORD-{number}",
        status=OrderStatus(status),
        total=Decimal(total),
        customer_name=name,
        created_at=created_at,
    )


def decoded(*records: AttrsInstance) -> Batch:
    """Make a batch that has records and no lines worth writing."""
    return Batch([b"{}"] * len(records), lambda _: records)


def batches(records: Sequence[AttrsInstance], size: int) -> Iterator[Batch]:
    """Cut records into batches that have both lines and records."""
    for start in range(0, len(records), size):
        some = records[start : start + size]
        yield Batch([convert.dumps(record) for record in some], partial(_given, some))


def written(
    file_format: Format,
    folder: Path,
    *given: Batch,
    table: Table = ORDERS,
    base: Path | None = None,
    merge: Merge | None = None,
    compress: bool = False,
    excel: bool = False,
) -> Path:
    """Write one table and give its file."""
    folder.mkdir(exist_ok=True)
    options = Options(folder=folder, base=base, compress=compress, excel=excel)
    with SINKS[file_format](options) as sink, sink.table(table, merge) as write:
        for batch in given:
            write(batch)
    return folder / file_name(file_format, table.name, compress=compress)


def _given(records: Sequence[AttrsInstance], _: Sequence[bytes]) -> Sequence[AttrsInstance]:
    return records


def query(path: Path, statement: str) -> list[Row]:
    """Ask a database."""
    if path.suffix == ".sqlite":
        with closing(sqlite3.connect(path)) as connection:
            found = connection.execute(statement)
            names = [column[0] for column in found.description]
            return [dict(zip(names, row, strict=True)) for row in found]
    with duckdb.connect(path, read_only=True) as database:
        # Through Arrow: duckdb's own rows need pytz for an instant.
        rows: list[Row] = database.sql(statement).to_arrow_table().to_pylist()
        return rows


def read(file_format: Format, path: Path, table: str = "orders") -> list[Row]:
    """Read a table back as its format has it."""
    if file_format in DATABASES:
        return query(path, f'SELECT * FROM "{table}"')
    if file_format == "parquet":
        rows: list[Row] = pq.read_table(path).to_pylist()
        return rows
    content = path.read_bytes()
    text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode()
    if file_format == "jsonl":
        return [json.loads(line, parse_float=Decimal) for line in text.split("\n")[:-1]]
    return [dict(row) for row in csv.DictReader(io.StringIO(text, newline=""))]


def ids(file_format: Format, path: Path) -> list[int]:
    """Read the ids of the orders in the order of the file."""
    return [int(str(row["id"])) for row in read(file_format, path)]


@contextmanager
def room(size: int) -> Iterator[None]:
    """Let no file grow beyond a size, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
