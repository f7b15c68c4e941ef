"""`devskin export`: resources as files, with a bar for each while it runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Literal, Self, get_args

from cyclopts import Parameter
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from ..export import Exported, Format, Resource
from ..export import export as export_files
from .options import DEFAULTS, PATIENT, Connection, open_store
from .render import Column, number, printable, show, stderr, table
from .waits import telling_waits

Choice = Literal["all", "orders", "products", "customers", "revenue", "overview"]

_COLUMNS: Sequence[Column[Exported]] = (
    Column("resource", lambda done: Text(done.resource)),
    Column("rows", lambda done: number(done.rows), "right"),
    Column("pages", lambda done: number(done.pages), "right"),
    Column("requests", lambda done: number(done.requests), "right"),
    Column("refused", lambda done: number(done.refused), "right"),
    Column("seconds", lambda done: Text(f"{done.seconds:.2f}"), "right"),
    Column("file", lambda done: Text(printable(str(done.path)), overflow="fold"), shrinks=True),
)


async def export(
    *resources: Annotated[Choice, Parameter(name="RESOURCE")],
    out: Path = Path("export"),
    file_format: Annotated[Format, Parameter(name="--format")] = "jsonl",
    connection: Connection = DEFAULTS,
) -> None:
    """Write resources to files.

    A file stands under its name only when it is whole. Revenue is the daily series of a year.

    Example: devskin export all --sandbox --out export

    Args:
        resources: What to export: one or more, or all.
        out: The folder to write to. It is made where it is missing; older files are replaced.
        file_format: The files' format, and the ending of their names.
        connection: Which store to read, and how.
    """
    if not resources:
        raise ValueError(f"export what? {', '.join(get_args(Choice))}; for example: export all")
    names: Sequence[Resource] = get_args(Resource)
    wanted = [name for name in names if not {name, "all"}.isdisjoint(resources)]
    console = stderr()
    done: list[Exported] = []
    try:
        async with open_store(connection, PATIENT) as store:
            with _Bars(wanted, console) as bars:
                async with telling_waits(store, bars.say):
                    for name in wanted:
                        done += await export_files(
                            store, [name], out, format=file_format, on_progress=bars.update
                        )
    finally:
        if done:
            show(console, table(_COLUMNS, done), "")
    show(console, *_closing(done, out, sandbox=connection.sandbox))


def _closing(done: Sequence[Exported], out: Path, *, sandbox: bool) -> tuple[str, ...]:
    refused = sum(each.refused for each in done)
    said = (
        f"{_counted(len(done), 'file')} in {printable(str(out))}: "
        f"{_counted(sum(each.rows for each in done), 'row')} in "
        f"{_counted(sum(each.requests for each in done), 'request')}, "
        f"{refused or 'none'} refused."
    )
    if not sandbox:
        return (said,)
    return (said, "Made-up data. For your own store: set DEVSKIN_API_KEY and leave --sandbox out.")


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


class _Bars:
    """A bar for each resource, on a terminal; nothing elsewhere."""

    def __init__(self, resources: Iterable[Resource], console: Console) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(pulse_style="bar.back"),  # a resource that waits for its turn stands still
            TextColumn("{task.fields[rows]}", justify="right"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[wait]}"),
            console=console,
        )
        self._drawn = console.is_terminal
        self._current: Resource | None = None
        self._tasks = {
            name: self._progress.add_task(name, start=False, rows="", wait="") for name in resources
        }

    def update(self, resource: Resource, rows: int, total: int) -> None:
        """Draw how far a resource is."""
        task = self._tasks[resource]
        self._current = resource
        self._progress.start_task(task)
        self._progress.update(
            task,
            wait="",
            total=total or 1,
            completed=rows if total else 1,
            rows=f"{rows:,} of {total:,} rows",
        )

    def say(self, wait: str) -> None:
        """Say beside the bar that moved last what it waits for."""
        if self._current is not None:
            self._progress.update(self._tasks[self._current], wait=wait)

    def __enter__(self) -> Self:
        if self._drawn:
            self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._drawn:
            self._progress.stop()
            self._progress.console.print()
