"""`devskin export`: resources as files, with a proof that they are complete."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, TypeAlias, get_args

from attrs import frozen
from cyclopts import App, Group, Parameter, Token

from ..client import DevSkinClient
from ..export import Exported, Format, OnProgress, Resource, plan
from ..export import export as export_files
from ..export import verify as verify_files
from ..ratelimit import Lane
from .bulk import AS_USUAL, HOW, Care, Choice, Job, Resources, carry_out, chosen
from .failures import FAILED, UNPROVEN
from .options import DEFAULTS, Connection, Day, Flag, LocalPath, check_span, open_store
from .read import Status
from .render import show, stderr, stdout
from .reports import checked, foretold, wrong
from .waits import Waits

app: App = App(
    name="export",
    usage="Usage: devskin export RESOURCE... [OPTIONS]\n       devskin export verify DIR",
    help_epilogue="",
)


@Parameter(name="*", group=Group("Which rows", sort_key=1))
@frozen(kw_only=True)
class Selection:
    """Which rows are read.

    Args:
        status: Only this status.
        filter_on_server: Let the API filter by --status: it saves requests in large stores.
        date_from: Only orders from this day on: YYYY-MM-DD, in UTC.
        date_to: Only orders up to and on this day: YYYY-MM-DD, in UTC.
        details: Read addresses and items too, by one request an order.
    """

    status: Status | None = None
    filter_on_server: Annotated[bool, Flag] = False
    date_from: Day | None = None
    date_to: Day | None = None
    details: Annotated[bool, Flag] = False


Separator: TypeAlias = Literal["comma", "semicolon"]


def _separator(_: object, tokens: Sequence[Token]) -> Separator:
    match tokens[0].value:
        case "comma" | ",":
            return "comma"
        case "semicolon" | ";":
            return "semicolon"
        case other:
            raise ValueError(f'"{other}" is not one of comma, semicolon')


@Parameter(name="*", group=Group("Which files", sort_key=2))
@frozen(kw_only=True)
class Files:
    """What is written.

    Args:
        out: The folder; it is made where it is missing, and older files are replaced.
        file_format: A file for each resource, or one database: duckdb, sqlite.
        compress: Compress jsonl and csv with gzip.
        excel: Write csv so that Excel opens it well and runs nothing in it; see --separator too.
        separator: What separates cells in csv: semicolon is for Excel in Brazil and most of Europe.
        rejects: A folder for rows that can't be decoded; otherwise they end the export.
    """

    out: LocalPath = Path("export")
    file_format: Annotated[Format, Parameter(name="--format")] = "jsonl"
    compress: Annotated[bool, Flag] = False
    excel: Annotated[bool, Flag] = False
    separator: Annotated[Separator, Parameter(converter=_separator)] = "comma"
    rejects: LocalPath | None = None


@app.default
async def export(
    *resources: Resources,
    selection: Selection = Selection(),
    files: Files = Files(),
    care: Care = AS_USUAL,
    plan_only: Annotated[bool, Flag, Parameter(name="--plan", group=HOW)] = False,
    connection: Connection = DEFAULTS,
) -> int:
    """Write resources to files, with a proof that nothing is missing or comes twice.

    A file stands under its name only when it is whole, and manifest.json beside
    it has the proof. After an interruption the same command goes on where it ended.

    Exit code 3: something is not proven to be complete, or was set aside.

    Example: devskin export all --sandbox --out export

    Args:
        resources: One or more, or all. Revenue is the days of a year.
        selection: Which rows.
        files: What to write.
        care: How to read.
        plan_only: Write nothing; only tell what it would cost: requests, time, budget.
        connection: Which store to read, and how.
    """
    if not resources:
        raise ValueError(
            f"name what to export: {', '.join(get_args(Choice))}; for example: devskin export all"
        )
    _check(chosen(resources), selection, files)
    job = Job(
        connection=connection,
        resources=chosen(resources),
        out=files.out,
        care=care,
        rejects=files.rejects,
    )
    if plan_only:
        return await _plan(job, selection)
    max_age = care.age

    async def work(store: DevSkinClient, on_progress: OnProgress) -> Exported:
        return await export_files(
            store,
            job.resources,
            files.out,
            format=files.file_format,
            status=selection.status,
            filter_on_server=selection.filter_on_server,
            date_from=selection.date_from,
            date_to=selection.date_to,
            verify=care.verify,
            details=selection.details,
            rejects=files.rejects,
            compress=files.compress,
            excel=files.excel,
            separator=";" if files.separator == "semicolon" else ",",
            max_age=max_age,
            fresh=care.fresh,
            on_progress=on_progress,
        )

    return await carry_out(job, work)


def _check(resources: Sequence[Resource], selection: Selection, files: Files) -> None:
    """Check that options go together, and name them as they are typed.

    Raises:
        ValueError: Two of them do not.
    """
    check_span(selection.date_from, selection.date_to)
    of_orders = {
        "--status": selection.status is not None,
        "--date-from": selection.date_from is not None,
        "--date-to": selection.date_to is not None,
        "--details": selection.details,
    }
    for option, given in of_orders.items():
        if given and "orders" not in resources:
            raise ValueError(f"{option} is for orders, which this does not export")
    if selection.filter_on_server and selection.status is None:
        raise ValueError("--filter-on-server needs --status, which it filters by")
    of_formats = {
        "--compress": (files.compress, ("jsonl", "csv")),
        "--excel": (files.excel, ("csv",)),
        "--separator": (files.separator != "comma", ("csv",)),
    }
    for option, (given, formats) in of_formats.items():
        if given and files.file_format not in formats:
            raise ValueError(
                f"{option} is for --format {' and '.join(formats)}, not for {files.file_format}"
            )


async def _plan(job: Job, selection: Selection) -> int:
    waits = Waits(stderr(), lane=Lane.BULK)
    async with open_store(job.connection, waits=waits) as store:
        waits.doing("Asking how much there is")
        planned = await plan(
            store,
            job.resources,
            status=selection.status,
            filter_on_server=selection.filter_on_server,
            date_from=selection.date_from,
            date_to=selection.date_to,
            verify=job.care.verify,
            details=selection.details,
        )
    show(stdout(), *foretold(planned))
    return 0


@app.command(help_epilogue="")
def verify(folder: Annotated[LocalPath, Parameter(name="DIR")], /) -> int:
    """Check the files of an export against its manifest: their bytes, and their rows.

    Exit code 1: a file is not as the manifest says.
    Exit code 3: they are, but not all was proven complete, or rows were set aside.

    Example: devskin export verify export

    Args:
        folder: The export's folder.
    """
    found = verify_files(folder)
    show(stdout(), *checked(found, folder))
    if found.problems:
        show(stderr(), wrong(found))
        return FAILED
    return UNPROVEN if found.manifest.unproven or found.manifest.set_aside else 0
