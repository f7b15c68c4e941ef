"""The sinks: writers of tables into files, one for each format.

All of it is synchronous, and needs a format's libraries only when that format is written or read.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ..._columns import MisfitError
from ..tables import Format, Table
from .base import Check, Merge, OpenSink, Options, Separator, Sink, Write
from .duckdb import check_duckdb, count_duckdb, open_duckdb
from .extras import require
from .files import file_name
from .parquet import check_parquet, count_parquet, open_parquet
from .sqlite import check_sqlite, count_sqlite, open_sqlite
from .text import count_text, open_csv, open_jsonl

__all__ = [
    "CHECKS",
    "SINKS",
    "Check",
    "Merge",
    "MisfitError",
    "OpenSink",
    "Options",
    "Separator",
    "Sink",
    "Write",
    "check",
    "count_rows",
    "file_name",
    "require",
]

SINKS: Mapping[Format, OpenSink] = {
    "jsonl": open_jsonl,
    "csv": open_csv,
    "parquet": open_parquet,
    "duckdb": open_duckdb,
    "sqlite": open_sqlite,
}
# What tells as early as rows are read that a format's columns can't hold them.
CHECKS: Mapping[Format, Check] = {
    "parquet": check_parquet,
    "duckdb": check_duckdb,
    "sqlite": check_sqlite,
}


def check(file_format: Format, compress: bool, excel: bool, separator: str = ",") -> None:
    """Refuse options that a format does not have.

    Raises:
        ValueError: It names the argument.
    """
    if file_format not in SINKS:
        raise ValueError(f"format must be one of {', '.join(SINKS)}, not {file_format!r}")
    if compress and file_format not in ("jsonl", "csv"):
        raise ValueError(f"compress is for jsonl and csv, not for {file_format}")
    if excel and file_format != "csv":
        raise ValueError(f"excel is for csv, not for {file_format}")
    if separator not in (",", ";"):
        raise ValueError(f"separator must be ',' or ';', not {separator!r}")
    if separator != "," and file_format != "csv":
        raise ValueError(f"separator is for csv, not for {file_format}")


def count_rows(file_format: Format, path: Path, table: Table) -> int:
    """Count the rows of a table by reading its file back, in flat memory.

    Args:
        file_format: The file's format.
        path: The file; text is unpacked if the name ends with `.gz`.
        table: Which table of a database; the other files have one.

    Raises:
        ConfigurationError: A library that the format needs is not installed.
        OSError: The file can't be read, is damaged, or has no such table; `filename` is `path`.
    """
    if file_format == "parquet":
        return count_parquet(path)
    if file_format == "duckdb":
        return count_duckdb(path, table)
    if file_format == "sqlite":
        return count_sqlite(path, table)
    return count_text(file_format, path)
