"""An export that is brought up to date: new days are read, and those in which orders still move."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import msgspec
from attrs import evolve

from .. import convert
from ..client import DevSkinClient
from ..errors import ConfigurationError
from ..records import OrderSummary
from .assemble import Layout
from .choose import Verify, choose
from .files import check_folder_name, digest
from .identity import check_same_store
from .journal import Journal
from .manifest import NAME, Certificate, MadeFile, Manifest, instant_of, read_manifest
from .reading import now
from .run import MAX_AGE, PLACING, Exported, Job, OnProgress, run
from .sinks import Merge, count_rows, require
from .slices import Slice
from .survey import Survey
from .tables import Format, Resource, table_named

_LONG_AGO = dt.datetime(2, 1, 1, tzinfo=dt.UTC)

FORMATS: tuple[Format, ...] = ("parquet", "duckdb", "sqlite")


async def sync(
    store: DevSkinClient,
    out: Path | str,
    resources: Iterable[Resource] = ("orders",),
    *,
    format: Format | None = None,  # noqa: A002 - the word that a caller looks for
    lookback: dt.timedelta = dt.timedelta(days=30),
    verify: Verify = "twice",
    max_age: dt.timedelta = MAX_AGE,
    fresh: bool = False,
    on_progress: OnProgress | None = None,
) -> Exported:
    """Bring an export up to date, or make it where there is none.

    Orders are read from `lookback` before the last sync on, and take the place of those with the
    same ids; what the store does not have any more in those days is removed, of the first of them
    as far as the store's time zone allows. Other resources are read whole.

    Args:
        store: The client to read with.
        out: The folder of the export.
        resources: What to bring up to date.
        format: `parquet`, `duckdb` or `sqlite`; None is what stands there, or parquet.
        lookback: How long after its creation an order may still change: the API can't be asked
            what was changed.
        verify: How strictly lists are read, as for `export`.
        max_age: How old may be what an earlier session has read.
        fresh: Write everything anew.
        on_progress: Called with a `Progress` as it goes on.

    Returns:
        What was done.

    Raises:
        ValueError: An argument is out of its bounds.
        ConfigurationError: The folder holds an export of another store or format.
    """
    if format not in (None, *FORMATS):
        raise ValueError(f"format must be one of {', '.join(FORMATS)}, not {format!r}")
    if lookback < dt.timedelta(0):
        raise ValueError("lookback must not be negative")
    choice, wanted = choose(resources, verify=verify)
    folder = check_folder_name(out)
    before = _before(folder, store, format, fresh=fresh)
    file_format: Format = format or (before.format if before else "parquet")
    require(file_format)
    layout = Layout(resources=wanted.resources, format=file_format)
    job = Job(choice=choice, wanted=wanted, layout=layout, max_age=max_age, fresh=fresh)
    if before is not None and not fresh:
        if before.store is not None:
            await check_same_store(store, before.store, folder)
        if all((folder / file.name).is_file() for file in before.files):
            job = _merging(job, folder, before, lookback)
    return await run(store, folder, job, on_progress)


def _merging(job: Job, folder: Path, before: Manifest, lookback: dt.timedelta) -> Job:
    """Make a job read only what may have changed, and merge it."""
    orders = before.resources.get("orders")
    if orders is None or "orders" not in job.wanted.resources:
        return evolve(job, merge=partial(_merge, folder, before, None))
    since = _since(orders, lookback)
    first = since.toordinal()
    return evolve(
        job,
        wanted=evolve(job.wanted, days=Slice(first, None), known=_known(orders, first)),
        merge=partial(_merge, folder, before, since),
        amend=partial(_amend, orders, since),
    )


def _before(
    folder: Path, store: DevSkinClient, file_format: Format | None, *, fresh: bool
) -> Manifest | None:
    """Give the manifest of the export that stands there, if it can be brought up to date.

    Raises:
        ConfigurationError: It can't be, and is not to be written anew.
    """
    if not (folder / NAME).exists():
        return None
    manifest = read_manifest(folder)
    if fresh:
        return manifest if manifest.format in FORMATS else None
    wrong = _obstacle(manifest, store.reader.sender.base_url, file_format)
    if wrong is not None:
        raise ConfigurationError(
            f"{folder} holds an export {wrong}: give another folder, or --fresh to write it anew"
        )
    return manifest


def _obstacle(manifest: Manifest, base_url: str, file_format: Format | None) -> str | None:
    """Say why an export can't be brought up to date; None where it can."""
    orders = manifest.resources.get("orders")
    if manifest.base_url != base_url:
        return f"of {manifest.base_url}, not of {base_url}"
    if manifest.format not in FORMATS or file_format not in (None, manifest.format):
        return f"as {manifest.format}, which can't become {file_format or ' or '.join(FORMATS)}"
    if orders is not None:
        if orders.gone is not None:
            return "with order details, which a sync does not read"
        slices = orders.slices
        whole = slices and slices[0].first is None and slices[-1].last is None
        if orders.status is not None or not whole:
            return "of some orders only"
    return None


def _since(orders: Certificate, lookback: dt.timedelta) -> dt.date:
    """Say from which day on orders may have changed or come since they were read."""
    began = orders.began
    if began > instant_of(now()) and orders.newest is not None:
        began = orders.newest  # the clock was wrong then, or is now
    # Half a day back it may still have been the day before, where the store is.
    back = max(lookback, dt.timedelta(hours=12))
    return (began - min(back, began - _LONG_AGO)).date()


def _known(orders: Certificate, first: int) -> Survey | None:
    """Guess from the last slices how many orders there are since a day.

    Returns:
        None where the API must be asked how it takes a day.
    """
    if orders.inclusive is None:
        return None
    recent = [each for each in orders.slices if each.last is None or each.last.toordinal() >= first]
    total = sum(each.total for each in recent)
    return Survey(total=total, first=first, inclusive=orders.inclusive, asked=False)


def _merge(  # noqa: PLR0917 - the first three are known before anything is read
    folder: Path,
    before: Manifest,
    since: dt.date | None,
    journal: Journal,
    layout: Layout,
    orders: Certificate | None,
) -> Layout:
    """Say what of the export that stands there is kept: all, where nothing is proven.

    Raises:
        ConfigurationError: It is not what it was any more.
    """
    _check_base(folder, before, journal)
    if since is None:
        return evolve(layout, base=folder)
    kept_before = dt.datetime.max.replace(tzinfo=dt.UTC)
    if orders is not None and orders.proof != "unproven":
        # In any time zone a day later is among what was read; and so is what is newer than that.
        a_day_later = dt.datetime.combine(since, dt.time(), dt.UTC) + dt.timedelta(days=1)
        kept_before = min(a_day_later, _oldest(journal) or a_day_later)
    ids = {row for row in journal.ids("orders") if isinstance(row, int)}
    return evolve(layout, base=folder, merges={"orders": Merge(since=kept_before, ids=ids)})


def _check_base(folder: Path, before: Manifest, journal: Journal) -> None:
    """See that the files to merge into are those that the manifest tells of."""
    if read_manifest(folder) != before:
        raise ConfigurationError(f"another export into {folder} has ended meanwhile: start again")
    noted = journal.note(PLACING)
    placed = () if noted is None else msgspec.json.decode(noted, type=tuple[MadeFile, ...])
    known = {file.sha256 for file in (*before.files, *placed)}
    for file in before.files:
        path = folder / file.name
        if digest(path) in known:
            continue
        try:
            tables = {n: count_rows(before.format, path, table_named(n)) for n in file.tables}
        except OSError as error:
            raise ConfigurationError(
                f"{path} can't be merged into: {error.strerror}; --fresh writes it anew"
            ) from None
        if tables != file.tables:
            raise ConfigurationError(
                f"{path} was changed since {NAME} was written: --fresh writes it anew"
            )


def _oldest(journal: Journal) -> dt.datetime | None:
    """Give when the oldest order that was read was created."""
    lines = next((lines for lines in journal.batches("orders") if lines), [])
    orders = convert.loads_rows(lines, OrderSummary)
    return min((order.created_at for order in orders), default=None)


def _amend(before: Certificate, since: dt.date, new: Certificate) -> Certificate:
    """Say of orders which were read before, and which anew."""
    day_before = since - dt.timedelta(days=1)
    kept = [
        evolve(each, last=min(each.last or day_before, day_before))
        for each in before.slices
        if each.first is None or each.first < since
    ]
    slices = (*kept, *new.slices)
    slice_unproven = any(each.proof == "unproven" for each in slices)
    # What no slice is to blame for, such as a total that fits none, stays until all is read anew.
    before_unproven = before.proof == "unproven" and all(
        each.proof != "unproven" for each in before.slices
    )
    unproven = slice_unproven or before_unproven or new.proof == "unproven"
    return evolve(
        new,
        proof="unproven" if unproven else "sliced",
        remarks=(*(before.remarks if before_unproven else ()), *new.remarks),
        since=since,
        slices=slices,
        inclusive=before.inclusive if new.inclusive is None else new.inclusive,
    )
