"""The figures of `benchmarks.processes`, beside their targets."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from statistics import median
from typing import TypeAlias

from benchmarks.process_app import MAX_WAIT
from benchmarks.process_client import LIMIT, PER, TIMEOUT
from benchmarks.processes_cases import MOMENTS, REQUESTS, WINDOWS, Found
from benchmarks.processes_cost import PING, Costs
from benchmarks.processes_run import unevenness
from benchmarks.report import Figure, figure

MOST_TO_SEND = 0.1  # seconds from a free slot to a request at the server
Results: TypeAlias = dict[str, list[Found]]
SHARED = ("machine", "valkey")
"""Where slots are kept that several processes share."""
OUTAGES = ("killed, and back empty", "stopped, and back as it was")


def most_refused(results: Results, *, having: str = "") -> list[float]:
    """Give the most refusals of any case that has a word in its name."""
    return [max(f["refusals"] for n, found in results.items() if having in n for f in found)]


def best_possible(requests: int, round_trip: float) -> float:
    """Give the shortest time to the last of so many requests at a sliding log, in seconds.

    A slot is taken again `per` seconds after the response was seen.
    """
    windows = -(-requests // LIMIT)
    return (windows - 1) * PER + windows * round_trip


def figures_of_share(results: Results, round_trip: float) -> Iterable[Figure]:
    best = best_possible(REQUESTS, round_trip)
    for place in SHARED:
        what = f"a key used by 4 or 8 processes as fast as they can, {place}: refusals, the most"
        yield figure(what, "none", most_refused(results, having=place), "", at_most=0)
        eight = results[f"8 processes, {place}"]
        what = f"{REQUESTS:,} requests of a key by 8 processes, {place}: time to the last"
        times = [
            found["makespan"] / best_possible(found["requests"] - found["refusals"], round_trip)
            for found in eight
        ]
        yield figure(what, f"the best possible, {best:.2f} s", times, at_most=1.03)
        for count in (8, 4):
            what = f"share of {count} equal processes over {WINDOWS} windows, {place}: the largest"
            found = results[f"{count} without an end, {place}"]
            uneven = [unevenness(each["shares"]) for each in found]
            yield figure(what, "the smallest", uneven, at_most=1.15)
        if all(found["steps"] is not None for found in eight):
            steps = [found["steps"] / found["granted"] for found in eight]
            yield figure(f"store calls a request, {place}", "", steps, "", at_most=1.8)


def figures_of_repeat(results: Results, _: float) -> Iterable[Figure]:
    what = "a program again at once, 10 times, in 250 event loops, in 4 threads: refusals, the most"
    yield figure(what, "none", most_refused(results), "", at_most=0)


def figures_of_workers(results: Results, _: float) -> Iterable[Figure]:
    what = "uvicorn and gunicorn, demand at 90 % and 180 % of the limit: refusals, the most"
    yield figure(what, "none", most_refused(results), "", at_most=0)
    for name, at_most in (
        *((f"uvicorn, 4 workers, {place}", 1) for place in SHARED),
        ("uvicorn, 1 worker, machine", 0),
        ("gunicorn --preload, 2 workers, machine", None),
    ):
        found = results[name][0]["demands"]["90%"]["unavailable"] * 100
        what = f"{name}, demand at 90 %: answered 503"
        yield figure(what, "all requests", [found], "%", at_most=at_most)
    for place in SHARED:
        what = f"uvicorn, 4 workers, {place}, demand at 180 %: the answered, 99th percentile"
        found = results[f"uvicorn, 4 workers, {place}"][0]["demands"]["180%"]["p99"]
        yield figure(what, f"max_wait={MAX_WAIT}", [found], "s", at_most=0.7)


def figures_of_lanes(results: Results, _: float) -> Iterable[Figure]:
    what = f"calls beside {REQUESTS:,} pages of 1 or 2 other processes: refusals, the most"
    yield figure(what, "none", most_refused(results), "", at_most=0)
    for place in SHARED:
        what = f"the same, {place}: seconds in the queue, 99th percentile"
        p99 = max(found["p99"] for name, (found,) in results.items() if place in name)
        yield figure(what, "the reserve lasts", [p99], "s", at_most=0.05)


def figures_of_kills(results: Results, _: float) -> Iterable[Figure]:
    what = f"SIGKILL with requests in flight, {MOMENTS} moments: refusals"
    yield figure(what, "none", most_refused(results), "", at_most=0)
    for place in SHARED:
        back = [max(results[f"SIGKILL, {place}"][0]["back"])]
        what = f"SIGKILL, {place}: all slots taken again, the latest of {MOMENTS}"
        beside = f"the attempt's timeout and per, {TIMEOUT + PER:g} s"
        yield figure(what, beside, back, "s", at_most=TIMEOUT + PER + MOST_TO_SEND)


def figures_of_outages(results: Results, _: float) -> Iterable[Figure]:
    refused = most_refused(results, having="Valkey")
    yield figure("Valkey away for 1.5 windows: refusals, the most", "none", refused, "", at_most=0)
    for how in OUTAGES:
        what = f"pace of 4 processes while Valkey is away, {how}"
        pace = results[f"Valkey {how}"][0]["pace"]
        yield figure(what, "the limit's", [pace], at_least=0.6)
    refused = most_refused(results, having="clocks")
    yield figure(
        "wall clocks ±0.5 s, a step of 1 h: refusals, the most", "none", refused, "", at_most=0
    )


FIGURES: dict[str, Callable[[Results, float], Iterable[Figure]]] = {
    "share": figures_of_share,
    "repeat": figures_of_repeat,
    "workers": figures_of_workers,
    "lanes": figures_of_lanes,
    "kills": figures_of_kills,
    "outages": figures_of_outages,
}


def figure_of_failures(groups: Iterable[Results]) -> Figure:
    """Count the calls that raised an error, in all cases; an app's 503 is none."""
    failed = (each["failed"] for group in groups for found in group.values() for each in found)
    number = sum(sum(counts.values()) for counts in failed)
    return figure("calls that failed, in all cases", "none", [number], "", at_most=0)


def figures_of_cost(costs: Costs) -> Iterable[Figure]:
    """Give what a call costs more than where its slots are kept in the process."""
    what, base = "an uncontended call, slots kept in the machine file", 'budget="process"'
    for measured, name in ((costs.wall, "time"), (costs.cpu, "CPU")):
        pairs = zip(measured["machine"], measured["process"], strict=True)
        more = [ours - plain for ours, plain in pairs]
        yield figure(f"{what}: {name}", base, more, "µs more", at_most=60)
    what = "an uncontended call, slots kept in Valkey"
    yield figure(what, base, costs.trips, "round trips more", at_most=1)
    rounds = zip(*(costs.wall[name] for name in ("valkey", "process", PING)), strict=True)
    more = [(ours - plain) / ping for ours, plain, ping in rounds]
    beside = f"{base}; a PING takes {median(costs.wall[PING]):.0f} µs"
    yield figure(f"{what}: time", beside, more, "PINGs more")
