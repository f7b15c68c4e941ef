"""One process that exports all orders once, or reads them in a plain loop, or only imports.

`benchmarks.export` starts it and reads what it prints, as JSON. It imports little of its own, so
that its memory is that of what is measured.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import resource
import sys
import tempfile
import time
from collections import deque
from pathlib import Path
from typing import NamedTuple

import aiohttp
import msgspec

from benchmarks.measuring import LIFTED
from devskin_async import DevSkinClient, OrderSummary, convert
from devskin_async.export import export
from devskin_async.export.sinks import SINKS, Options
from devskin_async.export.tables import Batch, Format, Table

# "export.run" is a module here; its name is a function's elsewhere.
exporting = importlib.import_module("devskin_async.export.run")

CONCURRENCY = 10
LIMIT, PAGES_A_BATCH = 100, 10
NEEDS = {"parquet": ("pyarrow.parquet",), "duckdb": ("pyarrow", "duckdb")}


class Job(msgspec.Struct):
    """What to do: `export`, `loop` or `imports`."""

    what: str
    format: Format
    compress: bool = False
    base_url: str = ""
    core: int | None = None


class Done(NamedTuple):
    """What was done: rows, requests, and seconds in all and for making the files of them."""

    rows: int = 0
    requests: int = 0
    seconds: float = 0.0
    assembling: float = 0.0


class _Data(msgspec.Struct):
    items: list[msgspec.Raw]
    total: int


class _Envelope(msgspec.Struct):
    data: _Data


async def by_export(job: Job, folder: Path) -> Done:
    """Export, and time the part of it that makes the files."""
    spent: list[float] = []
    assemble = exporting.assemble

    def timed(*args: object) -> object:
        start = time.perf_counter()
        made = assemble(*args)
        spent.append(time.perf_counter() - start)
        return made

    exporting.assemble = timed  # type: ignore[attr-defined]
    start = time.perf_counter()
    async with DevSkinClient(
        "key", base_url=job.base_url, rate_limit=LIFTED, concurrency=CONCURRENCY
    ) as store:
        done = await export(store, ["orders"], folder, format=job.format, compress=job.compress)
    seconds = time.perf_counter() - start
    certificate = done.certificates["orders"]
    assert not done.unproven, done.unproven
    return Done(certificate.rows, done.requests, seconds, sum(spent))


async def by_loop(job: Job, folder: Path) -> Done:
    """Read page after page, ten on their way at once, and give them to the same writer."""
    decoder = msgspec.json.Decoder(_Envelope)
    options = Options(folder=folder, compress=job.compress)
    rows = 0
    start = time.perf_counter()
    async with aiohttp.ClientSession(headers={"X-API-Key": "key"}) as session:

        async def fetch(page: int) -> _Data:
            url = f"{job.base_url}/orders?page={page}&limit={LIMIT}"
            async with session.get(url) as response:
                response.raise_for_status()
                return decoder.decode(await response.read()).data

        total = (await fetch(1)).total
        pages = -(-total // LIMIT)
        rest = iter(range(1, pages + 1))
        under_way = deque(asyncio.create_task(fetch(next(rest))) for _ in range(CONCURRENCY))
        lines: list[bytes] = []
        with SINKS[job.format](options) as sink, sink.table(Table("orders", OrderSummary)) as write:
            while under_way:
                data = await under_way.popleft()
                if (page := next(rest, None)) is not None:
                    under_way.append(asyncio.create_task(fetch(page)))
                lines += map(bytes, data.items)
                if len(lines) >= LIMIT * PAGES_A_BATCH or not under_way:
                    rows += len(lines)
                    write(Batch(lines, lambda lines: convert.loads_rows(lines, OrderSummary)))
                    lines = []
    return Done(rows, pages + 1, time.perf_counter() - start)


def peak() -> int:
    """Give the most memory that this process has had, in bytes."""
    try:
        # The other figure begins, after a fork, with that of the process that started this one.
        status = Path("/proc/self/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024
    except (OSError, IndexError):
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024


def main() -> None:
    """Do what the argument says."""
    job = msgspec.json.decode(sys.argv[1], type=Job)
    if job.core is not None:
        os.sched_setaffinity(0, {job.core})
    for module in NEEDS.get(job.format, ()):
        importlib.import_module(module)
    done = Done()
    if job.what != "imports":
        with tempfile.TemporaryDirectory() as folder:
            way = by_export if job.what == "export" else by_loop
            done = asyncio.run(way(job, Path(folder)))
    print(msgspec.json.encode({**done._asdict(), "peak": peak()}).decode())


if __name__ == "__main__":
    main()
