"""How long an interactive call queues while a listing of 1,000 pages runs, in virtual time."""

from __future__ import annotations

import asyncio
import random
import statistics
from collections.abc import Callable
from functools import partial
from typing import TypeAlias

from attrs import frozen

from benchmarks.clients import Turn, aiolimiter, slots, window_from_the_send
from benchmarks.servers import SlidingLog
from benchmarks.simulation import deliver, simulate, work
from devskin_async import Lane, RateLimit
from devskin_async.ratelimit import Flow, Scheduler

PAGES, EVERY = 1000, 10.0
TARGET_P99 = 0.05

# How the listing gets its turns, and how the interactive calls get theirs.
Turns: TypeAlias = tuple[Turn, Turn]


@frozen
class Setting:
    """A way to share one budget between a listing and interactive calls.

    Args:
        name: What is compared.
        make: Makes the two kinds of turns.
        concurrency: How many pages are asked for at once.
        target: What the 99th percentile may be, in seconds; None where it is only compared.
    """

    name: str
    make: Callable[[], Turns]
    concurrency: int
    target: float | None = None


@frozen
class Queueing:
    """The queue times of the interactive calls of all seeds, in seconds, and what was refused."""

    calls: int
    median: float
    p99: float
    longest: float
    refusals: float


def with_lanes() -> Turns:
    scheduler = Scheduler(RateLimit())
    return slots(scheduler, Lane.BULK, Flow()), slots(scheduler, Lane.INTERACTIVE)


def without_lanes() -> Turns:
    """Put all requests into one flow of one lane: first come, first served."""
    turn = slots(Scheduler(RateLimit()), Lane.BULK, Flow())
    return turn, turn


def same(make: Callable[[], Turn]) -> Callable[[], Turns]:
    def both() -> Turns:
        turn = make()
        return turn, turn

    return both


SETTINGS = (
    Setting("lanes, 10 pages at once", with_lanes, 10, TARGET_P99),
    Setting("lanes, all 1,000 pages at once", with_lanes, PAGES, TARGET_P99),
    Setting("one queue, 10 pages at once", without_lanes, 10),
    Setting("one queue, all 1,000 pages at once", without_lanes, PAGES),
    Setting("window from the send, 10 pages at once", same(window_from_the_send), 10),
    Setting("AsyncLimiter(100, 60), 10 pages at once", same(aiolimiter(100, 60)), 10),
)


async def _listing_and_calls(setting: Setting, rng: random.Random) -> tuple[list[float], int]:
    server = SlidingLog()
    pages, calls = setting.make()
    listing = asyncio.create_task(
        work(server, pages, rng, total=PAGES, callers=setting.concurrency)
    )
    interactive = []
    await asyncio.sleep(rng.uniform(0, EVERY))
    while not listing.done():
        interactive.append(asyncio.create_task(deliver(server, calls, rng)))
        await asyncio.sleep(EVERY)
    tries = await asyncio.gather(*interactive)
    refusals = await listing + sum(len(each) - 1 for each in tries)
    return [each[0].queued for each in tries], refusals


def measure(setting: Setting, seeds: int) -> Queueing:
    """Run a setting once for each seed and pool the queue times."""
    queued: list[float] = []
    refusals = 0
    for seed in range(seeds):
        times, refused = simulate(partial(_listing_and_calls, setting, random.Random(seed)))
        queued += times
        refusals += refused
    return Queueing(
        calls=len(queued),
        median=statistics.median(queued),
        p99=statistics.quantiles(queued, n=100, method="inclusive")[98],
        longest=max(queued),
        refusals=refusals / seeds,
    )
