"""From the journal to the files: what was read becomes tables, in an order that is always the same.

It blocks, and runs in the journal's thread. Nothing in it asks the API, so that it can be begun
again after any interruption.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from threading import Event

from attrs import AttrsInstance, asdict, define, field, frozen

from .. import convert
from .._order_rows import DetailedOrder, detailed, order_lines
from ..errors import ConfigurationError, DecodeError
from ..records import Order, OrderSummary
from .details import SCOPE as DETAILS
from .details import detail_lines
from .files import digest, make_folder, place, write_whole
from .journal import Journal
from .manifest import MadeFile
from .rows import rejected_entry
from .sinks import (
    SINKS,
    Merge,
    MisfitError,
    Options,
    Separator,
    Write,
    count_rows,
    file_name,
)
from .tables import (
    ORDER_ITEMS,
    RECORDS,
    Batch,
    Format,
    Resource,
    Table,
)
from .work_folder import FILES, PRIVATE

_ROWS = 1000
_DATABASES = (".duckdb", ".sqlite")


@define
class Changes:
    """What of a resource's rows is not in the files as it was read.

    Args:
        replaced: Unpaired surrogates that are U+FFFD.
        rounded: Amounts that typed columns hold without their float noise.
        rejected: Entries of the rows that typed columns can't hold.
    """

    replaced: int = 0
    rounded: int = 0
    rejected: list[bytes] = field(factory=list)


@frozen
class Assembled:
    """Files, and what in them is not as it was read, by resource."""

    files: tuple[MadeFile, ...]
    changes: Mapping[Resource, Changes]


class Stopped(Exception):  # noqa: N818 - it is no error
    """The export was cancelled meanwhile."""


@frozen(kw_only=True)
class Layout:
    """What is to be written, and how.

    Args:
        resources: What was read.
        format: The files' format.
        details: Whether orders have their details.
        status: Only orders of this status; a detail may have moved on since its order was listed.
        compress: Compress text with gzip.
        excel: Write csv so that Excel opens it as it is meant.
        separator: What stands between the cells of csv.
        rejects: Where rejected rows go; None where there can be none.
        base: The folder whose files are merged into; None writes them anew.
        merges: Of which resources which rows of the base are kept.
    """

    resources: tuple[Resource, ...]
    format: Format
    details: bool = False
    status: str | None = None
    compress: bool = False
    excel: bool = False
    separator: Separator = ","
    rejects: Path | None = None
    base: Path | None = None
    merges: dict[Resource, Merge] = field(factory=dict)

    @property
    def tables(self) -> tuple[Table, ...]:
        """The tables of all resources."""
        return tuple(table for name in self.resources for table in self.tables_of(name))

    def tables_of(self, resource: Resource) -> tuple[Table, ...]:
        """The tables of one resource."""
        if resource == "orders" and self.details:
            return (Table("orders", DetailedOrder), ORDER_ITEMS)
        return (Table(resource, RECORDS[resource]),)


def assemble(journal: Journal, layout: Layout, stop: Event) -> Assembled:
    """Write the tables of a journal into files, in its own folder.

    A row that does not fit its columns is set aside, if rejected rows are.

    Args:
        journal: What was read.
        layout: What to write, and how.
        stop: Set when the export is cancelled.

    Returns:
        The files, counted and digested as they were read back.

    Raises:
        DecodeError: A value does not fit its column, and rejected rows are not set aside.
        OSError: A file can't be written.
        Stopped: `stop` was set.
    """
    folder = journal.work.files()
    options = Options(
        folder=folder,
        base=layout.base,
        compress=layout.compress,
        excel=layout.excel,
        separator=layout.separator,
    )
    changes = {resource: Changes() for resource in layout.resources}
    with SINKS[layout.format](options) as sink:
        for resource in layout.resources:
            for table in layout.tables_of(resource):
                with sink.table(table, layout.merges.get(resource)) as write:
                    for batch in batches(journal, table, resource, layout.status):
                        if stop.is_set():
                            raise Stopped
                        _write(write, batch, layout, changes[resource])
                changes[resource].rounded += options.rounded[table.name]
    names = {
        file_name(layout.format, t.name, compress=layout.compress): None for t in layout.tables
    }
    return Assembled(tuple(_made(folder / name, layout) for name in names), changes)


def _write(write: Write, batch: Batch, layout: Layout, changes: Changes) -> None:
    try:
        write(batch)
    except MisfitError as error:
        if layout.rejects is None:
            raise
        if len(batch) > 1:
            for line, record in zip(batch.lines, batch.records, strict=True):
                _write(write, Batch([line], partial(_given, [record])), layout, changes)
            return
        column = error.path.rpartition(".")[2]
        wrong = DecodeError(f"$.{column}", error.expected, error.received)
        changes.rejected.append(rejected_entry(batch.lines[0], wrong))
    else:
        changes.replaced += sum(line.count(convert.REPLACED) for line in batch.lines)


def _given(records: Sequence[AttrsInstance], _: Sequence[bytes]) -> Sequence[AttrsInstance]:
    return records


def put_in_place(journal: Journal, files: Iterable[MadeFile], out: Path) -> None:
    """Put files that were assembled under their names.

    Raises:
        OSError: One can't be; `filename` says which.
        ConfigurationError: A database that stands there is in use.
    """
    for file in files:
        for end in ("-wal", "-journal", ".wal"):
            beside = out / f"{file.name}{end}"
            if beside.exists() and beside.stat().st_size:
                # It belongs to the file that stands there, and would be applied to the new one.
                raise ConfigurationError(
                    f"{beside}: another program has {file.name} open, or ended without closing it:"
                    " close it, and start this again"
                )
    journal.work.check()
    for file in files:
        private = PRIVATE if Path(file.name).suffix in _DATABASES else None
        place(journal.folder / FILES / file.name, out / file.name, private)


def put_rejected(journal: Journal, layout: Layout, changes: Mapping[Resource, Changes]) -> None:
    """Write rejected rows into their folder; a file that has none any more is removed.

    Args:
        journal: What has those that could not be decoded.
        layout: Where they go.
        changes: What has those that did not fit their columns.

    Raises:
        OSError: One can't be written.
    """
    if layout.rejects is None:
        return
    make_folder(layout.rejects)
    for resource in layout.resources:
        path = layout.rejects / f"{resource}.rejected.jsonl"
        scopes = (resource, DETAILS) if resource == "orders" and layout.details else (resource,)
        entries = [entry for scope in scopes for entry in journal.rejected(scope)]
        entries += changes[resource].rejected
        if entries:
            write_whole(path, b"\n".join([*entries, b""]), journal.folder)
        else:
            path.unlink(missing_ok=True)


def batches(
    journal: Journal, table: Table, resource: Resource, status: str | None
) -> Iterator[Batch]:
    """Go through the rows of a table, about a thousand at a time."""
    for lines in _thousands(journal.batches(resource)):
        if table.record is DetailedOrder:
            yield _detailed(*_of_status(lines, detail_lines(journal, lines), status))
        elif table is ORDER_ITEMS:
            yield _items(_of_status(lines, detail_lines(journal, lines), status)[1])
        else:
            yield Batch(lines, _decoder(table.record))


def _made(path: Path, layout: Layout) -> MadeFile:
    tables = [
        table
        for table in layout.tables
        if file_name(layout.format, table.name, compress=layout.compress) == path.name
    ]
    return MadeFile(
        name=path.name,
        sha256=digest(path),
        size=path.stat().st_size,
        tables={table.name: count_rows(layout.format, path, table) for table in tables},
    )


def _thousands(parts: Iterable[list[bytes]]) -> Iterator[list[bytes]]:
    gathered: list[bytes] = []
    for lines in parts:
        gathered += lines
        if len(gathered) >= _ROWS:
            yield gathered
            gathered = []
    if gathered:
        yield gathered


def _decoder(record: type[AttrsInstance]) -> Callable[[Sequence[bytes]], Sequence[AttrsInstance]]:
    return lambda lines: convert.loads_rows(lines, record)


def _detailed(lines: Sequence[bytes], details: Sequence[bytes | None]) -> Batch:
    """Make rows of orders from their details, or from the list where there is none."""

    def decode(_: Sequence[bytes]) -> Sequence[AttrsInstance]:
        orders = iter(convert.loads_rows([d for d in details if d is not None], Order))
        return [
            detailed(next(orders)) if detail is not None else _without_detail(line)
            for line, detail in zip(lines, details, strict=True)
        ]

    best = [detail or line for line, detail in zip(lines, details, strict=True)]
    return Batch(best, decode)


def _of_status(
    lines: Sequence[bytes], details: Sequence[bytes | None], status: str | None
) -> tuple[list[bytes], list[bytes | None]]:
    """Leave out the orders whose detail has another status; None leaves out none."""
    if status is None:
        return list(lines), list(details)
    orders = iter(convert.loads_rows([each for each in details if each is not None], Order))
    pairs = [
        (line, detail)
        for line, detail in zip(lines, details, strict=True)
        if detail is None or next(orders).status == status
    ]
    return [line for line, _ in pairs], [detail for _, detail in pairs]


def _without_detail(line: bytes) -> DetailedOrder:
    order = convert.loads(line, OrderSummary)
    return DetailedOrder(**asdict(order, recurse=False))


def _items(details: Sequence[bytes | None]) -> Batch:
    orders = convert.loads_rows([detail for detail in details if detail is not None], Order)
    rows = [line for order in orders for line in order_lines(order)]
    return Batch([convert.dumps(row) for row in rows], partial(_given, rows))
