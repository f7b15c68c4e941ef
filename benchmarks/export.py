"""How fast and how large an export of many orders is: `python -m benchmarks.export`.

1,000,000 orders with the budget lifted, in each format, beside a hand-written loop over the same
rows with the same writers. The server is a process on a core of its own; every measurement is a
fresh process on another.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import asdict, frozen

from benchmarks.measuring import CLIENT_CORE, MIB, Server, serving
from benchmarks.report import (
    Figure,
    fail,
    figure,
    keep,
    print_figures,
    quartiles,
    shown,
    yes_or_no,
)

ROWS, ROUNDS = 1_000_000, 3
SMALLER = 10  # how many times fewer rows the export has that memory is compared with
MOST_MIB = 250
MOST_GROWTH = 1.10
LIBRARIES = ("pyarrow", "duckdb")
FORMATS: dict[str, dict[str, Any]] = {
    "jsonl": {"format": "jsonl"},
    "jsonl --compress": {"format": "jsonl", "compress": True},
    "csv": {"format": "csv"},
    "parquet": {"format": "parquet"},
    "duckdb": {"format": "duckdb"},
    "sqlite": {"format": "sqlite"},
}


@frozen(kw_only=True)
class Run:
    """One measurement.

    Args:
        rows: Rows that were written.
        requests: Requests that it took.
        seconds: How long it took.
        assembling: Seconds of these for making the files of what was read.
        peak: The most memory that the process had, in bytes.
        server: The share of the time in which the server worked.
    """

    rows: int
    requests: int
    seconds: float
    assembling: float
    peak: int
    server: float = 0.0

    @property
    def speed(self) -> float:
        """Rows a second."""
        return self.rows / self.seconds


def measure(what: str, name: str, server: Server) -> Run:
    """Do something once, in a fresh process."""
    job = {"what": what, **FORMATS[name], "base_url": server.base_url, "core": CLIENT_CORE}
    busy = server.busy
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.export_run", json.dumps(job)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    told = json.loads(done.stdout)
    share = (server.busy - busy) / told["seconds"] if told["seconds"] else 0.0
    return Run(**told, server=share)


@frozen(kw_only=True)
class Found:
    """What was found out of a format.

    Args:
        name: The format.
        imports: Memory of a process that only imports what the format needs, in bytes.
        export: The exports of all rows, one a round.
        loop: The loops over all rows.
        smaller: The exports of a tenth of the rows.
    """

    name: str
    imports: int
    export: list[Run]
    loop: list[Run]
    smaller: list[Run]

    @property
    def peak(self) -> float:
        """The memory of an export of all rows, in bytes: the median."""
        return statistics.median(run.peak for run in self.export)

    @property
    def smaller_peak(self) -> float:
        """The memory of an export of a tenth of the rows."""
        return statistics.median(run.peak for run in self.smaller)

    @property
    def mib(self) -> float:
        """The memory beyond the imports, in MiB."""
        return (self.peak - self.imports) / MIB

    @property
    def growth(self) -> float:
        """How many times as much memory all rows take as a tenth of them."""
        return self.peak / self.smaller_peak

    @property
    def growth_beyond(self) -> float:
        """The same of the memory beyond the imports alone."""
        return (self.peak - self.imports) / (self.smaller_peak - self.imports)

    @property
    def times(self) -> list[float]:
        """How many times as long the exports take as the loops, within each round."""
        return [e.seconds / loop.seconds for e, loop in zip(self.export, self.loop, strict=True)]

    @property
    def met(self) -> bool:
        """Whether memory keeps within its bounds."""
        return self.mib <= MOST_MIB and self.growth <= MOST_GROWTH

    def told(self) -> dict[str, Any]:
        """Tell it as plain data."""
        return {
            **asdict(self),
            "rows_a_second": statistics.median(run.speed for run in self.export),
            "rows_a_second_of_loop": statistics.median(run.speed for run in self.loop),
            "times_the_loop": statistics.median(self.times),
            "mib_beyond_imports": self.mib,
            "growth": self.growth,
            "growth_beyond_imports": self.growth_beyond,
            "met": self.met,
        }


def find_out(name: str, large: Server, small: Server, rounds: int) -> Found:
    """Measure a format in every way; what is compared takes turns."""
    found = Found(
        name=name,
        imports=measure("imports", name, small).peak,
        export=[],
        loop=[],
        smaller=[],
    )
    for _ in range(rounds):
        found.export.append(measure("export", name, large))
        found.loop.append(measure("loop", name, large))
        found.smaller.append(measure("export", name, small))
    return found


def speeds(found: Found) -> str:
    """Show how fast a format is."""
    each = found.export
    assembling = statistics.median(run.assembling / run.seconds for run in each)
    return (
        f"{found.name:17}{shown(quartiles([run.speed / 1000 for run in each]), '.1f'):>24}"
        f"{shown(quartiles([run.speed / 1000 for run in found.loop]), '.1f'):>26}"
        f"{shown(quartiles(found.times)):>24}{assembling:>9.0%}"
        f"{statistics.median(run.requests / run.rows * 100 for run in each):>10.2f}"
        f"{max(run.server for run in each + found.loop):>8.0%}"
    )


def memory(found: Found) -> str:
    """Show how large a format is."""
    return (
        f"{found.name:17}{found.imports / MIB:>9.1f}{found.smaller_peak / MIB:>11.1f}"
        f"{found.peak / MIB:>11.1f}{found.mib:>10.1f}{found.growth:>8.3f}"
        f"{found.growth_beyond:>8.3f}  {yes_or_no(found.met)}"
    )


def figures(formats: Sequence[Mapping[str, Any]]) -> list[Figure]:
    """Give the figures of the formats as they are kept, each of the worst of them."""

    def worst(what: str) -> Mapping[str, Any]:
        return max(formats, key=lambda each: float(each[what]))

    slow, large, growing = map(worst, ("times_the_loop", "mib_beyond_imports", "growth"))
    pairs = zip(slow["export"], slow["loop"], strict=True)
    return [
        figure(
            f"time to export 1,000,000 orders, the longest of {len(formats)} formats "
            f"({slow['name']})",
            "a plain loop with the same writer",
            [export["seconds"] / loop["seconds"] for export, loop in pairs],
        ),
        figure(
            f"memory of an export, the most of {len(formats)} formats ({large['name']})",
            "its imports alone",
            [(run["peak"] - large["imports"]) / MIB for run in large["export"]],
            "MiB more",
            at_most=MOST_MIB,
        ),
        figure(
            f"memory of an export, the steepest of {len(formats)} formats ({growing['name']})",
            "a tenth of the rows",
            [growing["growth"]],
            at_most=MOST_GROWTH,
        ),
    ]


def main() -> None:
    """Measure, print the tables, keep them, and fail if memory is over its bounds."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.export", description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS, help=f"orders ({ROWS:,})")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"measurements ({ROUNDS})")
    parser.add_argument("formats", nargs="*", help=f"some of {', '.join(FORMATS)}; all")
    asked = parser.parse_args()
    if unknown := set(asked.formats) - set(FORMATS):
        parser.error(f"no such format: {', '.join(sorted(unknown))}")
    names, rows = asked.formats or list(FORMATS), asked.rows
    begin = time.perf_counter()
    with (
        serving("page_server", str(rows)) as large,
        serving("page_server", str(rows // SMALLER)) as small,
    ):
        print(f"{rows:,} orders, {asked.rounds} rounds; speeds in 1,000 rows a second (quartiles)")
        print(
            f"{'format':17}{'export':>24}{'loop':>26}{'times as long':>24}{'files':>9}"
            f"{'requests':>10}{'server':>8}"
        )
        print(f"{'':17}{'':24}{'':26}{'':24}{'made in':>9}{'per 100':>10}{'busy':>8}")
        found = []
        for name in names:
            found.append(find_out(name, large, small, asked.rounds))
            print(speeds(found[-1]), flush=True)
    print("\npeak memory in MiB")
    print(
        f"{'format':17}{'imports':>9}{rows // SMALLER:>11,}{rows:>11,}{'beyond':>10}"
        f"{'times':>8}{'times':>8}"
    )
    print(f"{'':17}{'':9}{'':11}{'':11}{'imports':>10}{'in all':>8}{'beyond':>8}  met")
    print("\n".join(map(memory, found)))
    print(f"bounds: {MOST_MIB} MiB beyond the imports, {MOST_GROWTH} times in all")
    if not asked.formats and (rows, asked.rounds) == (ROWS, ROUNDS):
        formats = [each.told() for each in found]
        print()
        print_figures(made := figures(formats))
        keep("export", made, LIBRARIES, rows=rows, formats=formats)
    print(f"\n{time.perf_counter() - begin:.1f} s in all")
    if not all(each.met for each in found):
        fail("an export takes more memory than it may")


if __name__ == "__main__":
    main()
