"""One export: what is wanted is read into a journal, and the journal becomes files."""

from __future__ import annotations

import asyncio
import datetime as dt
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, TypeAlias

import msgspec
from attrs import evolve, frozen

from .._version import __version__
from ..client import DevSkinClient
from .arithmetic import wrong_rows
from .assemble import Assembled, Changes, Layout, assemble, put_in_place, put_rejected
from .choose import Day, Status, Verify, choose
from .files import check_folder_name
from .identity import StoreMark, mark
from .journal import Journal
from .manifest import Certificate, Manifest, check_folder, known_before, write_manifest
from .readers import Progress, Readers, Wanted
from .reading import Choice, Session
from .resume import Terms, resume
from .sinks import CHECKS, Separator, check, require
from .slice_notes import newest_orders
from .stage import Stage
from .tables import Format, Resource

OnProgress: TypeAlias = Callable[[Progress], object]

PLACING = "placing"
MAX_AGE: Final[dt.timedelta] = dt.timedelta(hours=6)


@frozen(kw_only=True)
class Exported:
    """What an export did.

    Args:
        out: The folder.
        manifest: What was read, what shows that it is complete, and the files. It also knows of
            what earlier exports have left in the folder.
        resources: What was read in this export.
        requests: Requests sent in this session.
        refused: Requests of the client that were answered with 429 meanwhile.
        seconds: How long this session took.
        resumed: Whether it went on where an earlier session had ended.
    """

    out: Path
    manifest: Manifest
    resources: tuple[Resource, ...]
    requests: int
    refused: int
    seconds: float
    resumed: bool

    @property
    def certificates(self) -> dict[Resource, Certificate]:
        """How each resource was read in this export."""
        return {name: self.manifest.resources[name] for name in self.resources}

    @property
    def unproven(self) -> tuple[str, ...]:
        """What of this export is not proven to be complete, in words."""
        return self._mine.unproven

    @property
    def set_aside(self) -> tuple[str, ...]:
        """What of this export was set aside as `rejects` has it, in words."""
        return self._mine.set_aside

    @property
    def _mine(self) -> Manifest:
        mine = {str(name): certificate for name, certificate in self.certificates.items()}
        return evolve(self.manifest, resources=mine)

    def __repr__(self) -> str:
        rows = ", ".join(f"{name} {each.rows:,}" for name, each in self.certificates.items())
        proven = "not all" if self.unproven else "all"
        return f"<Exported to {str(self.out)!r}: {rows}; {proven} proven complete>"


@frozen(kw_only=True)
class Job:
    """An export whose arguments are checked.

    Args:
        choice: How to read.
        wanted: What to read.
        layout: What to write.
        max_age: How old may be what an earlier session has read.
        fresh: Forget what an earlier session has read.
        merge: Says, once everything was read, what it is merged into; None merges nothing.
        amend: Adds to the certificate of orders; None leaves it as it is.
    """

    choice: Choice
    wanted: Wanted
    layout: Layout
    max_age: dt.timedelta = MAX_AGE
    fresh: bool = False
    merge: Callable[[Journal, Layout, Certificate | None], Layout] | None = None
    amend: Callable[[Certificate], Certificate] | None = None


async def export(
    store: DevSkinClient,
    resources: Iterable[Resource],
    out: Path | str,
    *,
    format: Format = "jsonl",  # noqa: A002 - the word that a caller looks for
    status: Status | None = None,
    filter_on_server: bool = False,
    date_from: Day | None = None,
    date_to: Day | None = None,
    verify: Verify = "twice",
    details: bool = False,
    rejects: Path | str | None = None,
    compress: bool = False,
    excel: bool = False,
    separator: Separator = ",",
    max_age: dt.timedelta = MAX_AGE,
    fresh: bool = False,
    on_progress: OnProgress | None = None,
) -> Exported:
    """Write resources to files, with a proof that nothing is missing and nothing comes twice.

    What was read is kept in `out`/.devskin-export until the files are whole; then they are
    renamed into place, and `manifest.json` says how they were made. An export that failed, was
    cancelled or killed goes on from there when it is called again with the same arguments.

    Args:
        store: The client to read with; all requests are one job of its bulk lane.
        resources: What to write: `orders`, `products`, `customers`, `revenue` (the daily series
            of a year), `overview` (one row).
        out: The folder, made where it is missing.
        format: `jsonl` (the server's own rows), `csv`, `parquet`, or one database `duckdb` or
            `sqlite`.
        status: Only orders of this status; all are read, and the others left out.
        filter_on_server: Let the API filter by `status`. It saves requests; but orders leave such
            a list while it is read, so that each page of several is read twice.
        date_from: Only orders from this day on, a date or YYYY-MM-DD.
        date_to: Only orders up to this day.
        verify: `once` accepts one reading of a list whose total held, with exactly that many
            distinct ids, in place of two that agree.
        details: Read each order's detail, one request an order: its address, and its lines as a
            table `order_items`.
        rejects: A folder for rows that can't be decoded or do not fit the format's columns, and for
            orders whose detail can't be read, as RESOURCE.rejected.jsonl; None ends the export at
            the first of them.
        compress: Compress jsonl and csv with gzip.
        excel: Write csv so that Excel opens it well, and runs nothing that is in it.
        separator: What stands between the cells of csv, `,` or `;`.
        max_age: How old may be what an earlier session has read.
        fresh: Forget what an earlier session has read.
        on_progress: Called with a `Progress` as it goes on.

    Returns:
        What was done. Look at `unproven`, which is empty where all is proven, and at `set_aside`.

    Raises:
        ValueError: An argument is out of its bounds; the message names it.
        ConfigurationError: A library that the format needs is not installed, or another export is
            writing to `out`.
        DecodeError: A row is not what the reference describes, or does not fit its column.
        OSError: A file can't be written; `filename` says which.
    """
    folder = check_folder_name(out)
    aside = None if rejects is None else check_folder_name(rejects, "rejects")
    check(format, compress, excel, separator)
    require(format)
    choice, wanted = choose(
        resources,
        status=status,
        filter_on_server=filter_on_server,
        date_from=date_from,
        date_to=date_to,
        verify=verify,
        details=details,
        lenient=rejects is not None,
    )
    layout = Layout(
        resources=wanted.resources,
        format=format,
        details=wanted.details,
        status=choice.status,
        compress=compress,
        excel=excel,
        separator=separator,
        rejects=aside,
    )
    job = Job(choice=choice, wanted=wanted, layout=layout, max_age=max_age, fresh=fresh)
    return await run(store, folder, job, on_progress)


async def run(
    store: DevSkinClient,
    out: Path,
    job: Job,
    on_progress: OnProgress | None,
) -> Exported:
    """Run an export whose arguments are checked.

    Args:
        store: The client.
        out: The folder.
        job: What to do.
        on_progress: Called as it goes on.
    """
    choice, wanted, layout = job.choice, job.wanted, job.layout
    loop = asyncio.get_running_loop()
    began = loop.time()
    check_folder(out)
    async with Stage(out, fresh=job.fresh) as stage:
        session = Session(store, stage, choice, check=CHECKS.get(layout.format))
        terms = Terms(
            base_url=store.reader.sender.base_url,
            status=choice.status,
            filter_on_server=choice.filter_on_server,
            first=wanted.days.first,
            last=wanted.days.last,
            lenient=choice.lenient,
            once=choice.once,
        )
        resumed = await resume(session, terms, job.max_age.total_seconds())
        readers = Readers(session, wanted, on_progress)
        await readers.start()
        certificates = await readers.read()
        if job.merge is not None:
            layout = await stage.run(job.merge, stage.journal, layout, certificates.get("orders"))
        made = await _assembled(stage, layout)
        if job.amend is not None and "orders" in certificates:
            certificates["orders"] = job.amend(certificates["orders"])
        known = mark(store, await stage.run(newest_orders, stage.journal))
        manifest = _manifest(terms.base_url, layout, certificates, made, known)
        merged = layout.base is not None
        manifest = await stage.run(lambda: known_before(out, manifest, merged=merged))
        await stage.run(_put_in_place, stage, layout, out, manifest, made)
        return Exported(
            out=out,
            manifest=manifest,
            resources=wanted.resources,
            requests=session.requests,
            refused=readers.refused,
            seconds=loop.time() - began,
            resumed=resumed > 0,
        )


async def _assembled(stage: Stage, layout: Layout) -> Assembled:
    stop = threading.Event()
    assembling = asyncio.ensure_future(stage.run(assemble, stage.journal, layout, stop))
    try:
        return await asyncio.shield(assembling)
    except asyncio.CancelledError:
        stop.set()
        await asyncio.wait((assembling,))
        assembling.exception()
        raise


def _manifest(
    base_url: str,
    layout: Layout,
    certificates: dict[Resource, Certificate],
    made: Assembled,
    store: StoreMark,
) -> Manifest:
    tables = {name: count for file in made.files for name, count in file.tables.items()}
    return Manifest(
        library=f"devskin-async {__version__}",
        base_url=base_url,
        format=layout.format,
        resources={
            name: _with_files(each, tables[name], made.changes[name])
            for name, each in certificates.items()
        },
        files=made.files,
        store=store,
    )


def _with_files(certificate: Certificate, rows: int, changes: Changes) -> Certificate:
    certificate = evolve(
        certificate,
        rows=rows,
        rejected=certificate.rejected + len(changes.rejected),
        replaced=changes.replaced,
        rounded=changes.rounded,
    )
    if not (wrong := tuple(wrong_rows(certificate))):
        return certificate
    return evolve(certificate, proof="unproven", remarks=(*certificate.remarks, *wrong))


def _put_in_place(
    stage: Stage, layout: Layout, out: Path, manifest: Manifest, made: Assembled
) -> None:
    put_rejected(stage.journal, layout, made.changes)
    # Who is killed in between leaves files that are newer than the manifest, and knows them again.
    stage.journal.keep([], {PLACING: msgspec.json.encode(made.files)})
    put_in_place(stage.journal, made.files, out)
    write_manifest(out, manifest, stage.journal.folder)
    stage.journal.remove()
