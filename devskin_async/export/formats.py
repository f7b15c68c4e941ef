"""The formats: each has a writer, which puts records into a file as they come.

A writer is a context manager over an open binary file. It yields a function that takes the next
records; the file is complete when its block has ended.
"""

from __future__ import annotations

import csv
import datetime as dt
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from decimal import Decimal
from typing import BinaryIO, Literal, TypeAlias

from attrs import AttrsInstance, fields

from .. import convert
from .parquet import parquet_writer

Format = Literal["jsonl", "csv", "parquet"]
Write: TypeAlias = Callable[[Sequence[AttrsInstance]], object]
Writer: TypeAlias = Callable[
    [BinaryIO, type[AttrsInstance], str],
    AbstractContextManager[Write],
]


@contextmanager
def _jsonl_writer(file: BinaryIO, record: type[AttrsInstance], resource: str) -> Iterator[Write]:  # noqa: ARG001
    yield lambda rows: file.write(b"".join(convert.dumps(row) + b"\n" for row in rows))


@contextmanager
def _csv_writer(file: BinaryIO, record: type[AttrsInstance], resource: str) -> Iterator[Write]:  # noqa: ARG001
    file.write(_csv([[field.name for field in fields(record)]]))
    yield lambda rows: file.write(
        _csv([map(_csv_value, convert.to_plain(row).values()) for row in rows])
    )


def _csv(lines: Sequence[Iterable[object]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(lines)
    return text.getvalue().encode()


def _csv_value(value: object) -> object:
    if isinstance(value, Decimal):
        return f"{value:f}"  # its own text may have an exponent, which spreadsheets round
    return convert.instant(value) if isinstance(value, dt.datetime) else value


WRITERS: Mapping[Format, Writer] = {
    "jsonl": _jsonl_writer,
    "csv": _csv_writer,
    "parquet": parquet_writer,
}
