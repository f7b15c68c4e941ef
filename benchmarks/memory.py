"""What memory a listing of 1,000,000 orders takes as it goes: `python -m benchmarks.memory`.

A fresh process reads them by `async for`, the budget lifted. Every 10,000 rows it notes its memory,
lets what it asked for arrive, and counts the pages that are held. Before the first note there are
10,000 rows, so that what follows is growth.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from benchmarks.measuring import CLIENT_CORE, LIFTED, MIB, pin, serving
from benchmarks.report import figure, keep, print_figures, quartiles, shown
from devskin_async import DevSkinClient, Page

ROWS, ROUNDS, EVERY = 1_000_000, 5, 10_000
CONCURRENCY = 10
SETTLING = 0.02  # seconds in which all pages that are on their way arrive
MOST_GROWTH = 1.05
MOST_PAGES = CONCURRENCY + 1  # those ahead, and the one whose rows are given out


class Note(NamedTuple):
    """The memory in bytes after so many rows, and the pages held."""

    rows: int
    memory: int
    pages: int


def memory() -> int:
    """Give the memory that this process has at the moment, in bytes."""
    resident = Path("/proc/self/statm").read_text().split()[1]
    return int(resident) * os.sysconf("SC_PAGE_SIZE")


def pages_held() -> int:
    """Count the pages that are alive."""
    return sum(type(each) is Page for each in gc.get_objects())


async def read(base_url: str) -> list[Note]:
    """List all orders, and note how it goes."""
    rows, notes = 0, []
    async with DevSkinClient(
        "key", base_url=base_url, rate_limit=LIFTED, concurrency=CONCURRENCY
    ) as store:
        async for _ in store.orders.list():
            rows += 1
            if rows % EVERY == 0:
                await asyncio.sleep(SETTLING)
                notes.append(Note(rows, memory(), pages_held()))
    return notes


def notes_of_a_process(base_url: str) -> list[Note]:
    """Have a fresh process list all orders."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.memory", "--read", base_url],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return [Note(*each) for each in json.loads(done.stdout)]


def main() -> None:
    """Measure, print the table and keep it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__)
    text = f"measurements ({ROUNDS}); with another number nothing is kept"
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=text)
    parser.add_argument("--read", metavar="BASE_URL", help="be the process that is measured")
    asked = parser.parse_args()
    if asked.read:
        pin(CLIENT_CORE)
        print(json.dumps(asyncio.run(read(asked.read))))
        return
    with serving("page_server", str(ROWS)) as server:
        runs = [notes_of_a_process(server.base_url) for _ in range(asked.rounds)]
    told = {}
    print(f"{ROWS:,} orders by `async for`, {asked.rounds} processes; memory in MiB (quartiles)")
    for rows in (EVERY, ROWS // 10, ROWS // 2, ROWS):
        at = rows // EVERY - 1
        told[rows] = quartiles([run[at].memory / MIB for run in runs])
        print(f"after {rows:>9,} rows{shown(told[rows]):>26}")
    growth = [max(note.memory for note in run) / run[0].memory for run in runs]
    pages = [max(note.pages for note in run) for run in runs]
    assert min(pages) > 0, "pages are no longer seen by the garbage collector"
    what = f"listing {ROWS:,} orders by async for"
    made = [
        figure(f"{what}, the most memory", "after 10,000 rows", growth, at_most=MOST_GROWTH),
        figure(
            f"{what}, pages held, the most", "10 at once", [max(pages)], "pages", at_most=MOST_PAGES
        ),
    ]
    print()
    print_figures(made)
    if asked.rounds == ROUNDS:
        keep("memory", made, mib_after_rows=told)


if __name__ == "__main__":
    main()
