"""What a listing and an export lose while the store lives: `python -m benchmarks.drift`.

The sandbox's orders come, move on and go while `store.orders.list()` and `export` read them, each
from a store of its own made from the same seed. Everything runs 100 times as fast as the real
API: 100 requests in 0.6 s, and traffic at 100 times the rate that the table names, so that as much
happens between two requests.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from importlib.metadata import version
from pathlib import Path
from statistics import mean
from typing import Any, TypeAlias

import msgspec
from attrs import asdict, frozen

from devskin_async import DevSkinClient, RateLimit
from devskin_async.export import export
from devskin_async.sandbox import Sandbox, Traffic
from devskin_async.sandbox.records import ListOrder

SPEED = 100
REQUESTS, PER = 100, 60 / SPEED
ORDERS, SEEDS = 50_000, 3
QUICK_ORDERS, QUICK_SEEDS = 20_000, 1
CHANGES = 3  # steps of open orders for each new one
TODAY = 150  # orders placed before a run begins: a day that goes on, and more than a page of it
MOST_REQUESTS = 1.6
RESULTS = Path(__file__).parent / "results" / "drift.json"
LISTING, EXPORT = "listing", "export"


@frozen(kw_only=True)
class Setting:
    """A store's traffic, and how it is read.

    Args:
        inserts: New orders a second at the real API's scale.
        removals: Orders removed a second.
        order: The order of the server's lists.
        status: Only orders of this status.
        on_server: Whether the server filters for the export; for the listing it always does.
        today: Orders that are placed today before the run begins.
    """

    inserts: float = 0.0
    removals: float = 0.0
    order: ListOrder = "newest"
    status: str | None = None
    on_server: bool = False
    today: int = TODAY

    @property
    def traffic(self) -> Traffic:
        """The traffic at the scale of the benchmark."""
        inserts, removals = self.inserts * SPEED, self.removals * SPEED
        return Traffic(inserts=inserts, changes=inserts * CHANGES, removals=removals)

    @property
    def name(self) -> str:
        """What it is called in the table."""
        parts = [f"{self.inserts:g} in, {self.removals:g} out" if self.inserts else "none"]
        if self.order != "newest":
            parts.append(f"order={self.order}")
        if self.status is not None:
            parts.append(f"status={self.status}{' (server)' if self.on_server else ''}")
        if self.today != TODAY:
            parts.append(f"{self.today} of today")
        return "; ".join(parts)


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


@frozen
class Output:
    """What a way of reading gave.

    Args:
        ids: The ids of the orders, in its order.
        read: Rows that it had to read, before any filter on our side.
        proof: What the export says of its completeness; None for a listing, which says nothing.
    """

    ids: list[int]
    read: int
    proof: str | None = None


@frozen(kw_only=True)
class Run:
    """One run.

    Args:
        seed: The seed of the store and its traffic.
        rows: Rows in the output.
        read: Rows that had to be read.
        missing: Orders that were in the store all the time, and are not in the output.
        repeated: Rows whose id had come before.
        requests: Requests that the server counted.
        refused: How many of them it refused.
        events: What happened in the store meanwhile.
        seconds: How long it took, at the real API's scale.
        proof: What the export says of its completeness; None for a listing.
    """

    seed: int
    rows: int
    read: int
    missing: int
    repeated: int
    requests: int
    refused: int
    events: int
    seconds: float
    proof: str | None

    @property
    def per_100(self) -> float:
        """Requests for each 100 rows that had to be read."""
        return self.requests / self.read * 100

    @property
    def proven(self) -> bool:
        """Whether it says that nothing is missing and nothing comes twice."""
        return self.proof not in (None, "unproven")

    @property
    def lied(self) -> bool:
        """Whether what it says is not so."""
        return self.proven and (self.missing > 0 or self.repeated > 0)


Way: TypeAlias = Callable[[DevSkinClient, Setting], Coroutine[Any, Any, Output]]


class _Id(msgspec.Struct):
    id: int


async def by_listing(store: DevSkinClient, setting: Setting) -> Output:
    """Read a plain listing."""
    rows = await store.orders.list(status=setting.status)
    return Output([row.id for row in rows], len(rows))


async def by_export(store: DevSkinClient, setting: Setting) -> Output:
    """Read an export, and its file."""
    with tempfile.TemporaryDirectory() as folder:
        done = await export(
            store,
            ["orders"],
            folder,
            status=setting.status,
            filter_on_server=setting.on_server,
        )
        certificate = done.certificates["orders"]
        lines = (Path(folder) / "orders.jsonl").read_bytes()
        rows = msgspec.json.Decoder(_Id).decode_lines(lines)
        return Output([row.id for row in rows], certificate.distinct_ids, certificate.proof)


WAYS: dict[str, Way] = {LISTING: by_listing, EXPORT: by_export}


def present(box: Sandbox, status: str | None) -> set[int]:
    """Give the ids of a store's orders, from its database."""
    found = box.connection.execute(
        "SELECT id FROM orders WHERE status = coalesce(?, status)", (status,)
    )
    return {order_id for (order_id,) in found}


async def run(setting: Setting, way: Way, orders: int, seed: int) -> Run:
    """Read a store of its own once."""
    async with Sandbox(
        orders=orders,
        seed=seed,
        limit=REQUESTS,
        per=PER,
        traffic=setting.traffic,
        order=setting.order,
    ) as box:
        for _ in range(setting.today):
            box.live.insert()
        events: Counter[str] = Counter()
        box.live.listeners.add(lambda _: events.update(("event",)))
        limit = RateLimit(REQUESTS, PER, burst=REQUESTS, reserve=0)
        before = present(box, setting.status)
        start = time.perf_counter()
        async with DevSkinClient(box.api_key, base_url=box.base_url, rate_limit=limit) as store:
            output = await way(store, setting)
        seconds = time.perf_counter() - start
        # A status never comes back, so who has it before and after had it all the time.
        stayed = before & present(box, setting.status)
        ids = set(output.ids)
        return Run(
            seed=seed,
            rows=len(output.ids),
            read=output.read,
            missing=len(stayed - ids),
            repeated=len(output.ids) - len(ids),
            requests=box.counts.requests,
            refused=box.counts.refused,
            events=events["event"],
            seconds=seconds * SPEED,
            proof=output.proof,
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
        met = "NO" if dear or any(each.lied for each in runs) else "yes"
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
    if (orders, seeds) == (ORDERS, SEEDS):
        how = {
            "command": "python -m benchmarks.drift",
            "python": platform.python_version(),
            "devskin-async": version("devskin-async"),
            "orders": orders,
            "speed": SPEED,
        }
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(how | {"runs": rows}, indent=1) + "\n")
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
        sys.exit(1)


if __name__ == "__main__":
    main()
