"""Parquet: one file a table, which the rows of an earlier one may begin."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import AttrsInstance, frozen

from ..._arrow import ArrowBatches
from ..tables import Table
from .base import Merge, Options, Sink, Write
from .extras import require
from .files import closing, file_name, new_file, unreadable, unusable
from .merging import base_file, check_mergeable, differences

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow.parquet import ParquetFile, ParquetWriter

ROW_GROUP = 10_000

_HOLDS = "what a Parquet {} holds (jsonl and csv hold any value)"


@contextmanager
def open_parquet(options: Options) -> Iterator[Sink]:
    """Write rows as Parquet, compressed with zstd, in row groups of `ROW_GROUP` rows.

    The same rows give the same bytes, in whatever batches they come.

    Args:
        options: Where to write, and what to merge into.

    Yields:
        A sink that makes one file a table.

    Raises:
        ConfigurationError: pyarrow is not installed, or the earlier file can't be merged into.
    """
    require("parquet")
    yield _ParquetSink(options)


@frozen
class _ParquetSink:
    _options: Options

    @contextmanager
    def table(self, table: Table, merge: Merge | None = None) -> Iterator[Write]:
        """Write one table; see `Sink`."""
        from pyarrow.parquet import ParquetWriter

        check_mergeable(table, merge)
        batches = ArrowBatches(table.name, table.record, _HOLDS)
        name = file_name("parquet", table.name)
        with (
            new_file(self._options.folder / name) as file,
            # Left open, it would write its end whenever it is collected, and fail there unseen.
            closing(ParquetWriter(file, batches.schema, compression="zstd")) as parquet,
        ):
            groups = _RowGroups(parquet)
            base = base_file(self._options, name)
            if merge and base:
                for kept in _kept(base, batches.schema, merge):
                    groups.add(kept)
            yield lambda batch: groups.add(batches.take(batch.records))
            groups.flush()
            self._options.rounded[table.name] += batches.rounded


def check_parquet(table: Table, records: Sequence[AttrsInstance]) -> None:
    """Raise `MisfitError` for a record that its Parquet columns can't hold."""
    ArrowBatches(table.name, table.record, _HOLDS).check(records)


class _RowGroups:
    """Gathers batches, and cuts them into row groups."""

    def __init__(self, parquet: ParquetWriter) -> None:
        self._parquet = parquet
        self._waiting: list[pa.RecordBatch] = []
        self._rows = 0

    def add(self, batch: pa.RecordBatch) -> None:
        self._waiting.append(batch)
        self._rows += batch.num_rows
        if self._rows >= ROW_GROUP:
            self._write(self._rows - self._rows % ROW_GROUP)

    def flush(self) -> None:
        if self._rows:
            self._write(self._rows)

    def _write(self, rows: int) -> None:
        import pyarrow as pa

        # In one piece, since where pages end depends on the pieces.
        table = pa.Table.from_batches(self._waiting).combine_chunks()
        self._parquet.write_table(table.slice(0, rows), row_group_size=ROW_GROUP)
        self._waiting = table.slice(rows).to_batches()
        self._rows -= rows


def _kept(path: Path, schema: pa.Schema, merge: Merge) -> Iterator[pa.RecordBatch]:
    """Read the rows of an earlier file that a merge keeps."""
    import pyarrow as pa
    from pyarrow import compute
    from pyarrow.parquet import ParquetFile

    since = pa.scalar(merge.since, schema.field("created_at").type)
    with path.open("rb") as file, _damage(lambda reason: unusable(path, reason)):
        earlier = ParquetFile(file)
        if not earlier.schema_arrow.equals(schema):
            found, wanted = _described(earlier.schema_arrow), _described(schema)
            raise unusable(path, differences(found, wanted))
        for batch in _batches(earlier):
            older = batch.filter(compute.call_function("less", [batch["created_at"], since]))
            stay = [number not in merge.ids for number in older["id"].to_pylist()]
            yield older.filter(pa.array(stay, pa.bool_()))


def _batches(file: ParquetFile) -> Iterator[pa.RecordBatch]:
    # pyarrow 18 fails on a file that has no row group.
    return file.iter_batches(ROW_GROUP) if file.num_row_groups else iter(())


def _described(schema: pa.Schema) -> dict[str, str]:
    return {field.name: f"{field.type}{'' if field.nullable else ' NOT NULL'}" for field in schema}


@contextmanager
def _damage(make: Callable[[object], Exception]) -> Iterator[None]:
    """Make another error of what pyarrow says about a file that is not whole Parquet."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError, ValueError) as error:
        raise make(error) from error


def count_parquet(path: Path) -> int:
    """Count the rows of a Parquet file by reading them all.

    Raises:
        ConfigurationError: pyarrow is not installed.
        OSError: The file can't be read; `filename` is `path`.
    """
    require("parquet")
    from pyarrow.parquet import ParquetFile

    with path.open("rb") as file, _damage(lambda reason: unreadable(path, "parquet", reason)):
        return sum(batch.num_rows for batch in _batches(ParquetFile(file)))
