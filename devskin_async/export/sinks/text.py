"""The text formats: jsonl, lossless, and csv, for spreadsheets."""

from __future__ import annotations

import csv
import datetime as dt
import gzip
import io
import unicodedata
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import IO, Literal, TypeAlias, cast

from attrs import AttrsInstance, frozen

from ... import convert
from ..._columns import PLACES, Column, columns, is_text, misfit
from ...errors import DecodeError
from ..tables import Batch, Table
from .base import Merge, Options, Separator, Sink, Write
from .files import closing, file_name, new_file, unreadable

_TextFormat: TypeAlias = Literal["jsonl", "csv"]
_Put: TypeAlias = Callable[[bytes], object]

_BOM = b"\xef\xbb\xbf"
_SIGNS = frozenset("=+-@")
_CONTROLS = ("\t", "\r", "\n")
_BLOCK = 1 << 20
_LEVEL = 6  # the size of level 9 within a percent or two, at a fraction of its time


@contextmanager
def open_jsonl(options: Options) -> Iterator[Sink]:
    """Write each row as the line of JSON that it came as.

    Args:
        options: Where to write, and whether compressed.

    Yields:
        A sink that makes one file a table.
    """
    yield _TextSink("jsonl", options, _jsonl)


@contextmanager
def open_csv(options: Options) -> Iterator[Sink]:
    """Write rows as RFC 4180 describes them, in UTF-8, under a line of the columns' names.

    Money has the digits that the API sent and no exponent, instants are written as
    `convert.instant` does, and None is an empty cell, as empty text is. With `excel` the file
    starts with a byte order mark, without which Excel reads it in a code page, and text that a
    spreadsheet could take for a formula gets a ' in front, which changes such cells: write csv
    for programs without it. Such text begins with = + - @, also with white space before them or
    in their full-width forms, or with a tab or a line end. Numbers stay as they are; Excel itself
    keeps 15 digits of them.

    An Excel that takes `;` for the separator takes `,` for the decimal point, so that with both
    options money has that.

    Args:
        options: Where to write, whether compressed, whether for Excel, and the separator.

    Yields:
        A sink that makes one file a table.
    """
    yield _TextSink("csv", options, _csv)


@frozen
class _TextSink:
    _format: _TextFormat
    _options: Options
    _write: Callable[[Table, Options, _Put], Write]

    @contextmanager
    def table(self, table: Table, merge: Merge | None = None) -> Iterator[Write]:
        """Write one table; see `Sink`."""
        if merge is not None:
            raise ValueError(f"merge is not for {self._format}, which is written whole")
        name = file_name(self._format, table.name, compress=self._options.compress)
        with new_file(self._options.folder / name) as file:
            if not self._options.compress:
                yield self._write(table, self._options, file.write)
                return
            # Neither a time nor a name in the header: the same rows give the same bytes.
            packed = gzip.GzipFile("", "wb", _LEVEL, file, mtime=0)
            with closing(packed):
                yield self._write(table, self._options, packed.write)


def _jsonl(table: Table, options: Options, put: _Put) -> Write:  # noqa: ARG001
    return lambda batch: put(b"".join([line + b"\n" for line in batch.lines]))


def _csv(table: Table, options: Options, put: _Put) -> Write:
    head = columns(table.record)
    text = _encoded([[column.name for column in head]], options.separator)
    put(_BOM + text if options.excel else text)
    rows = 0

    def write(batch: Batch) -> None:
        nonlocal rows
        cells = [_cells(column, batch.records, options) for column in head]
        try:
            put(_encoded(zip(*cells, strict=True), options.separator))
        except UnicodeEncodeError:
            raise _refusal(table, rows, batch.records) from None
        rows += len(batch)

    return write


def _encoded(lines: Iterable[Iterable[object]], separator: Separator) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=separator).writerows(lines)
    return text.getvalue().encode()


def _cells(column: Column, records: Sequence[AttrsInstance], options: Options) -> Iterable[object]:
    values = column.values(records)
    if column.kind in PLACES:
        # Its own text may have an exponent, which spreadsheets round.
        point = "," if options.excel and options.separator == ";" else "."
        return [
            f"{value:f}".replace(".", point) if isinstance(value, Decimal) else value
            for value in values
        ]
    if column.kind == "instant":
        return [value and convert.instant(cast(dt.datetime, value)) for value in values]
    if column.kind == "text" and options.excel:
        return [_guarded(cast(str | None, value)) for value in values]
    return values


def _guarded(value: str | None) -> str | None:
    return f"'{value}" if value and _may_be_formula(value) else value


def _may_be_formula(value: str) -> bool:
    # What is not seen may stand before a sign: white space, control characters, marks of no width.
    first = next((c for c in value if c.isprintable() and c != " "), "")
    return value.startswith(_CONTROLS) or unicodedata.normalize("NFKC", first) in _SIGNS


def _refusal(table: Table, first: int, records: Sequence[AttrsInstance]) -> DecodeError:
    """Name the text that could not be written."""
    return next(
        misfit(table.name, row, column, "", value)
        for column in columns(table.record)
        for row, value in enumerate(column.values(records), first)
        if isinstance(value, str) and not is_text(value)
    )


def count_text(file_format: _TextFormat, path: Path) -> int:
    """Count the rows of a text file, compressed or not, without its header.

    Only whole lines count, so a file that was cut off has too few.

    Raises:
        OSError: The file can't be read; `filename` is `path`.
    """
    with path.open("rb") as file:
        if path.suffix != ".gz":
            return _count(file_format, file)
        try:
            with gzip.open(file) as unpacked:
                return _count(file_format, cast(IO[bytes], unpacked))
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise unreadable(path, file_format, error) from error


def _count(file_format: _TextFormat, file: IO[bytes]) -> int:
    if file_format == "jsonl":
        return sum(block.count(b"\n") for block in iter(lambda: file.read(_BLOCK), b""))
    quotes = ends = 0
    for line in file:
        quotes += line.count(b'"')
        # A line end within quotes belongs to its cell, and a quote there is written twice.
        ends += line.endswith(b"\n") and quotes % 2 == 0
    return max(ends - 1, 0)
