"""Refusals and makespan under every kind of server, in virtual time: `python -m benchmarks.limits`.

1,000 requests from 16 callers; one way takes 20 ms and an exponential of mean 40 ms. The real
scheduler runs on a clock that jumps; nothing sleeps. Names of clients as arguments measure only
these, and keep nothing.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from attrs import asdict, frozen

from benchmarks import latency
from benchmarks.clients import CLIENTS, OURS, Turn
from benchmarks.report import Figure, figure, keep, print_figures, yes_or_no
from benchmarks.servers import (
    PER,
    Bucket,
    FirstRequest,
    FixedWindow,
    Server,
    SlidingCounter,
    SlidingLog,
)
from benchmarks.simulation import simulate, work

TOTAL, CALLERS = 1000, 16
SEEDS, SEEDS_OF_PEERS, SEEDS_OF_LATENCY = 20, 5, 10
LIBRARIES = ("pyrate-limiter",)


@frozen
class Case:
    """A server, how to make one, and what the scheduler should reach.

    Args:
        name: What it is called in the table.
        make: Makes one.
        refusals: How many there may be in the mean.
        ratio: How many times the best possible makespan may take.
        best: That makespan in seconds; None takes that of the greedy sender.
    """

    name: str
    make: Callable[[random.Random], Server]
    refusals: float
    ratio: float
    best: float | None = None


@frozen
class Means:
    """The means over the seeds, and the most refusals that any seed had."""

    refusals: float
    most_refusals: int
    ratio: float


# 100 at once and 100 more after each minute end after 9 minutes. No client can know at which
# second the server's window turns, so that is the best for a window of any kind, and as much for a
# bucket that refills at 100 a minute. Beside another user who takes 50 a minute, 50 are left.
CASES = (
    Case("fixed window", lambda rng: FixedWindow(rng.uniform(0, PER)), 0, 1.01, 540),
    Case("window from the first request", lambda _: FirstRequest(), 0, 1.01, 540),
    Case("sliding log", lambda _: SlidingLog(), 0, 1.01, 540),
    Case("token bucket of 100", lambda _: Bucket(100), 0, 1.01, 540),
    Case("weighted sliding counter", lambda rng: SlidingCounter(rng.uniform(0, PER)), 16, 1.05),
    Case("bucket of 20", lambda _: Bucket(20), 16, 1.05),
    Case("sliding log, another user at 50/min", lambda _: SlidingLog(others=50), 30, 1.10, 1140),
    Case("restart, Retry-After sent", lambda _: SlidingLog(100, says=True), 16, 1.05),
    Case("restart, Retry-After not sent", lambda _: SlidingLog(100), 30, 1.05),
)


def best_possible(server: Server) -> float:
    """Send whenever the server accepts, without a network in between: the greedy sender."""
    now, accepted = 0.0, 0
    while accepted < TOTAL:
        if server.hit(now):
            accepted += 1
        else:
            now += 0.01
    return now


async def run(server: Server, turn: Turn, rng: random.Random) -> tuple[int, float]:
    """Send all requests and give the refusals and the makespan in seconds."""
    refusals = await work(server, turn, rng, total=TOTAL, callers=CALLERS)
    return refusals, asyncio.get_running_loop().time()


def measure(case: Case, make: Callable[[], Turn], best: list[float]) -> Means:
    """Measure a client once for each seed, for which the best possible is given."""
    refusals, ratios = [], []
    for seed, shortest in enumerate(best):

        async def one(seed: int = seed) -> tuple[int, float]:
            rng = random.Random(seed)
            return await run(case.make(rng), make(), rng)

        refused, makespan = simulate(one)
        refusals.append(refused)
        ratios.append(makespan / shortest)
    return Means(statistics.mean(refusals), max(refusals), statistics.mean(ratios))


def limits(names: list[str]) -> list[dict[str, Any]]:
    """Measure clients under every server and print a line for each."""
    print(
        f"{TOTAL:,} requests from {CALLERS} callers; means of {SEEDS} seeds for {OURS}, "
        f"of {SEEDS_OF_PEERS} for the others"
    )
    heads = f"{'refusals':>9} {'target':>7} {'time/best':>10} {'target':>7}  met"
    print(f"{'server':36} {'client':22} {heads}")
    rows = []
    for case in CASES:
        best = [case.best or best_possible(case.make(random.Random(seed))) for seed in range(SEEDS)]
        for name in names:
            ours = name == OURS
            seeds = SEEDS if ours else SEEDS_OF_PEERS
            found = measure(case, CLIENTS[name], best[:seeds])
            met = found.refusals <= case.refusals and found.ratio <= case.ratio if ours else None
            targets = (f"{case.refusals:.0f}", f"{case.ratio:.2f}") if ours else ("", "")
            print(
                f"{case.name if name == names[0] else '':36} {name:22} {found.refusals:9.1f} "
                f"{targets[0]:>7} {found.ratio:10.3f} {targets[1]:>7}  {yes_or_no(met)}".rstrip(),
                flush=True,
            )
            row = {"server": case.name, "client": name, "seeds": seeds, **asdict(found)}
            row["best_seconds"] = statistics.mean(best[:seeds])
            if ours:
                row["targets"] = {"refusals": case.refusals, "ratio": case.ratio}
            rows.append({**row, "met": met})
    return rows


def queue_times() -> list[dict[str, Any]]:
    """Measure how long interactive calls queue beside a listing, and print a line for each way."""
    print(
        f"\nqueue time in seconds of one call every {latency.EVERY:.0f} s beside a listing of "
        f"{latency.PAGES:,} pages, sliding log, {SEEDS_OF_LATENCY} seeds"
    )
    heads = f"{'p99':>8} {'target':>7} {'longest':>8} {'refusals':>9}  met"
    print(f"{'how they share the budget':42} {'calls':>6} {'median':>8} {heads}")
    rows = []
    for setting in latency.SETTINGS:
        found = latency.measure(setting, SEEDS_OF_LATENCY)
        met = None if setting.target is None else found.p99 <= setting.target
        target = "" if setting.target is None else f"{setting.target:.2f}"
        print(
            f"{setting.name:42} {found.calls:6} {found.median:8.3f} {found.p99:8.3f} {target:>7} "
            f"{found.longest:8.3f} {found.refusals:9.1f}  {yes_or_no(met)}".rstrip(),
            flush=True,
        )
        row = {"setting": setting.name, "seeds": SEEDS_OF_LATENCY, **asdict(found)}
        rows.append({**row, "target_p99": setting.target, "met": met})
    return rows


def figures(
    found: Sequence[Mapping[str, Any]], queueing: Sequence[Mapping[str, Any]]
) -> list[Figure]:
    """Give the figures of the rows as they are kept, servers of one target as one."""
    made = []
    for what, beside in (("refusals", "none"), ("ratio", "the best possible")):
        groups: dict[float, list[float]] = {}
        for row in found:
            if row["client"] == OURS:
                groups.setdefault(row["targets"][what], []).append(row[what])
        title = {"refusals": "refusals of 1,000 requests", "ratio": "time to the last answer"}[what]
        made += [
            figure(
                f"{title}, the most under {len(values)} of {len(CASES)} kinds of server",
                beside,
                [max(values)],
                "times" if what == "ratio" else "",
                at_most=target,
            )
            for target, values in sorted(groups.items())
        ]
    judged = [row for row in queueing if row["target_p99"] is not None]
    one_queue = max(row["p99"] for row in queueing)
    p99, target = (max(row[name] for row in judged) for name in ("p99", "target_p99"))
    title = "queue time of interactive calls beside a listing, 99th percentile"
    beside = f"one queue for all, {one_queue:.0f} s"
    return [*made, figure(title, beside, [p99], "s", at_most=target)]


def main() -> None:
    """Measure every client under every server, print the tables and keep them."""
    start = time.perf_counter()
    only = sys.argv[1:]
    if unknown := set(only) - set(CLIENTS):
        sys.exit(f"no such client: {', '.join(sorted(unknown))}; there are {', '.join(CLIENTS)}")
    found = limits(only or list(CLIENTS))
    if not only:
        queueing = queue_times()
        print()
        print_figures(made := figures(found, queueing))
        keep("limits", made, LIBRARIES, limits=found, queue_times=queueing)
    print(f"\n{time.perf_counter() - start:.1f} s in all")


if __name__ == "__main__":
    main()
