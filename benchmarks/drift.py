"""What a listing and an export lose while the store lives: `python -m benchmarks.drift`.

The sandbox's orders come, move on and go while `store.orders.list()` and `export` read them, each
from a store of its own made from the same seed. Everything runs 100 times as fast as the real
API: 100 requests in 0.6 s, and traffic at 100 times the rate that the table names, so that as much
happens between two requests.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any

from attrs import asdict

from benchmarks.drift_run import (
    CHANGES,
    EXPORT,
    LISTING,
    REQUESTS,
    SPEED,
    TODAY,
    WAYS,
    Run,
    Setting,
    run,
)
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

ORDERS, SEEDS = 50_000, 3
QUICK_ORDERS, QUICK_SEEDS = 20_000, 1
MOST_REQUESTS = 1.6
SETTINGS = (
    Setting(),
    Setting(inserts=0.02, removals=0.01),
    Setting(inserts=0.1, removals=0.05),
    Setting(inserts=0.5, removals=0.25),
    Setting(inserts=2, removals=1),
    Setting(inserts=0.1, removals=0.05, today=50),
    Setting(inserts=0.1, removals=0.05, order="oldest"),
    Setting(inserts=0.1, removals=0.05, order="id"),
    Setting(inserts=0.1, removals=0.05, status="paid"),
    Setting(inserts=0.1, removals=0.05, status="paid", on_server=True),
    Setting(inserts=0.5, removals=0.25, status="paid", on_server=True),
)


def judged(setting: Setting, way: str) -> bool:
    """Say whether the bound of requests is for this: a filter on the server leaves few rows."""
    return way == EXPORT and not setting.on_server


def line(setting: Setting, way: str, runs: list[Run]) -> str:
    """Show the runs of one setting and one way of reading."""
    proofs = Counter(each.proof for each in runs if each.proof)
    told = ", ".join(f"{proof} {count}" for proof, count in sorted(proofs.items()))
    most = max(each.per_100 for each in runs)
    met = ""
    if way == EXPORT:
        dear = judged(setting, way) and most > MOST_REQUESTS
        met = yes_or_no(not dear and not any(each.lied for each in runs))
    return (
        f"{setting.name if way == LISTING else '':40}{way:8}"
        f"{mean(each.missing for each in runs):9.1f}"
        f"{mean(each.repeated for each in runs):9.1f}"
        f"{mean(each.requests for each in runs):10.1f}"
        f"{most:10.2f}"
        f"{mean(each.events / each.requests for each in runs):9.2f}"
        f"{mean(each.seconds for each in runs):9.0f}  {met:4} {told}"
    ).rstrip()


def measure(orders: int, seeds: int) -> list[dict[str, Any]]:
    """Run every setting in every way, and print a line for each."""
    print(
        f"{orders:,} orders and {TODAY} of today; {REQUESTS} requests a minute; means of {seeds} "
        f"runs\ntraffic: orders a second, and {CHANGES} changes of status for each that comes"
    )
    heads = f"{'missing':>9}{'repeated':>9}{'requests':>10}{'per 100':>10}{'events a':>9}"
    print(f"\n{'traffic':40}{'way':8}{heads}{'seconds':>9}  met  proofs")
    print(f"{'':40}{'':36}{'rows, most':>10}{'request':>9}")
    rows = []
    for setting in SETTINGS:
        for name, way in WAYS.items():
            runs = [asyncio.run(run(setting, way, orders, seed)) for seed in range(1, seeds + 1)]
            print(line(setting, name, runs), flush=True)
            told = [
                asdict(each) | {"seconds": round(each.seconds), "per_100": round(each.per_100, 3)}
                for each in runs
            ]
            dear = judged(setting, name) and any(each.per_100 > MOST_REQUESTS for each in runs)
            verdict = {"not_as_proven": sum(each.lied for each in runs), "too_many": dear}
            rows.append({**asdict(setting), "way": name, **verdict, "runs": told})
    return rows


def figures(rows: Sequence[Mapping[str, Any]]) -> list[Figure]:
    """Give the figures of the rows as they are kept."""
    listings = [run for row in rows if row["way"] == LISTING for run in row["runs"]]
    exports = [run for row in rows if row["way"] == EXPORT for run in row["runs"]]
    proven = [run for run in exports if run["proof"] != "unproven"]
    judged = [row for row in rows if row["way"] == EXPORT and not row["on_server"]]

    def wrong(runs: Sequence[Mapping[str, Any]]) -> list[int]:
        return [run["missing"] + run["repeated"] for run in runs]

    return [
        figure(
            f"rows lost or repeated in a living store, the most of {len(proven)} proven exports",
            f"a listing: {shown(quartiles(wrong(listings)), '.0f')}",
            [max(wrong(proven), default=0)],
            "rows",
            at_most=0,
        ),
        figure(
            "requests of an export for 100 rows of a living store, the most",
            "a listing: 1",
            [max(run["per_100"] for row in judged for run in row["runs"])],
            "requests",
            at_most=MOST_REQUESTS,
        ),
    ]


def main() -> None:
    """Measure, print the table, keep it, and fail if a target is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.drift", description=__doc__)
    parser.add_argument("--orders", type=int, help=f"orders in a store ({ORDERS:,})")
    parser.add_argument("--seeds", type=int, help=f"runs of each kind ({SEEDS})")
    parser.add_argument("--quick", action="store_true", help="a few small runs; nothing is kept")
    asked = parser.parse_args()
    orders = asked.orders or (QUICK_ORDERS if asked.quick else ORDERS)
    seeds = asked.seeds or (QUICK_SEEDS if asked.quick else SEEDS)
    start = time.perf_counter()
    rows = measure(orders, seeds)
    print()
    print_figures(made := figures(rows))
    if (orders, seeds) == (ORDERS, SEEDS):
        keep("drift", made, orders=orders, speed=SPEED, runs=rows)
    exports = [run["proof"] for row in rows if row["way"] == EXPORT for run in row["runs"]]
    unproven = exports.count("unproven")
    lied = sum(row["not_as_proven"] for row in rows)
    dear = sum(row["too_many"] for row in rows)
    print(
        f"\n{len(exports) - unproven} of {len(exports)} exports report a proof; with rows missing "
        f"or repeated all the same: {lied}"
    )
    print(f"settings with more than {MOST_REQUESTS} requests for 100 rows: {dear}")
    print(f"{time.perf_counter() - start:.1f} s in all")
    if lied or dear:
        fail("an export is not as it says, or takes too many requests")


if __name__ == "__main__":
    main()
