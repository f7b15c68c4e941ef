"""`devskin sync`: an export that is brought up to date."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from ..client import DevSkinClient
from ..export import Exported, OnProgress
from ..export import sync as sync_files
from .bulk import AS_USUAL, Care, Job, Resources, carry_out, chosen
from .options import DEFAULTS, Connection, LocalPath, Whole

Format = Literal["parquet", "duckdb", "sqlite"]

_MOST_DAYS = 36_500


async def sync(
    *resources: Resources,
    out: LocalPath = Path("export"),
    file_format: Annotated[Format | None, Parameter(name="--format")] = None,
    lookback: Whole = 30,
    care: Care = AS_USUAL,
    connection: Connection = DEFAULTS,
) -> int:
    """Bring an export up to date, or make it where there is none.

    Orders are read from --lookback days before the last sync on, all else whole.

    Exit code 3: all was read, and something is not proven to be complete.

    Example: devskin sync orders customers --out copy --format duckdb

    Args:
        resources: What to bring up to date: one or more, or all; by default orders.
        out: The folder of the export.
        file_format: The files' format; by default that of the files there, or else parquet.
        lookback: How many days after its creation an order may still change.
        care: How to read.
        connection: Which store to read, and how.
    """
    if not 0 <= lookback <= _MOST_DAYS:
        raise ValueError(f"--lookback must be 0 to {_MOST_DAYS:,} days, not {lookback:,}")
    names = chosen(resources or ("orders",))
    job = Job(connection=connection, resources=names, out=out, care=care)
    max_age = care.age

    async def work(store: DevSkinClient, on_progress: OnProgress) -> Exported:
        return await sync_files(
            store,
            out,
            job.resources,
            format=file_format,
            lookback=dt.timedelta(days=lookback),
            verify=care.verify,
            max_age=max_age,
            fresh=care.fresh,
            on_progress=on_progress,
        )

    return await carry_out(job, work)
