"""What a waiter and a free slot cost in CPU time: `python -m benchmarks.waiters`.

10,000 waiters queue, then all may go. The candidates take turns in one process, on a loop whose
clock is set by hand, so that nothing but queueing and granting is timed.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from heapq import heappop, heappush
from itertools import count
from typing import TypeAlias

from aiolimiter import AsyncLimiter
from attrs import frozen

from benchmarks.measuring import in_turn, prepare
from benchmarks.report import Figure, figure, keep, print_costs, print_figures, quartiles, ratios
from devskin_async import Lane, RateLimit
from devskin_async.ratelimit import Flow, MemoryStore, RequestFlow, Scheduler
from devskin_async.ratelimit.reports import Limit, Report

WAITERS, ROUNDS = 10_000, 15
FREE, ROUNDS_OF_FREE = 5_000, 31
MOST_TIMES_THE_HEAP = 3.0
MOST_MICROSECONDS_MORE = 4.0
HEAP, AIOLIMITER = "plain heap of futures", "aiolimiter"
SLOT = "this scheduler: slot"


class SetClockLoop(asyncio.SelectorEventLoop):
    """A loop whose clock stands still until it is set."""

    now = 0.0

    def time(self) -> float:
        return self.now


class Heap:
    """What any queue of waiters does at the least: a heap of futures, woken in order."""

    def __init__(self) -> None:
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []
        self._order = count()

    async def acquire(self) -> None:
        turn = asyncio.get_running_loop().create_future()
        heappush(self._waiters, (next(self._order), turn))
        await turn

    def let_go(self) -> None:
        while self._waiters:
            _, turn = heappop(self._waiters)
            if not turn.done():
                turn.set_result(None)


@frozen
class Queue:
    """Somewhere to wait: `wait` takes one turn, `let_go` lets all go that wait."""

    wait: Callable[[], Awaitable[None]]
    let_go: Callable[[], None]


Make: TypeAlias = Callable[[SetClockLoop], Awaitable[Queue]]
Found: TypeAlias = Mapping[str, Sequence[float]]
Measure: TypeAlias = Callable[[SetClockLoop], Awaitable[float]]


def _minutes_later(loop: SetClockLoop) -> Callable[[], None]:
    def let_go() -> None:
        loop.now += 600

    return let_go


async def heap(_: SetClockLoop) -> Queue:
    queue = Heap()
    return Queue(queue.acquire, queue.let_go)


async def aiolimiter(loop: SetClockLoop) -> Queue:
    limiter = AsyncLimiter(WAITERS, 60)
    await limiter.acquire(WAITERS)
    return Queue(limiter.acquire, _minutes_later(loop))


def _paused(loop: SetClockLoop) -> Scheduler:
    """Make a scheduler with more slots than waiters, all of which must wait out a pause."""
    limit = RateLimit(2 * WAITERS, 60, burst=2 * WAITERS)
    store = MemoryStore(loop.time, report_within=0.5)
    store.exchange(Report(participant="other.1", limit=Limit.of(limit), lease=0, pause=60))
    return Scheduler(limit, store)


async def granted(loop: SetClockLoop) -> Queue:
    scheduler = _paused(loop)

    async def wait() -> None:
        await scheduler.acquire(scheduler.slot())

    return Queue(wait, _minutes_later(loop))


async def slot(loop: SetClockLoop) -> Queue:
    scheduler = _paused(loop)

    async def wait() -> None:
        async with scheduler.slot():
            pass

    return Queue(wait, _minutes_later(loop))


async def slot_of_one_flow(loop: SetClockLoop) -> Queue:
    scheduler = _paused(loop)
    flow: RequestFlow = Flow()

    async def wait() -> None:
        async with scheduler.slot(Lane.BULK, flow):
            pass

    return Queue(wait, _minutes_later(loop))


QUEUES: dict[str, Make] = {
    HEAP: heap,
    AIOLIMITER: aiolimiter,
    "this scheduler: acquire alone": granted,
    SLOT: slot,
    "this scheduler: slot, bulk, one flow": slot_of_one_flow,
}


async def queued(make: Make, loop: SetClockLoop) -> float:
    """Give the CPU seconds that one of many waiters costs, its task included."""
    queue = await make(loop)
    start = time.process_time()
    tasks = [asyncio.ensure_future(queue.wait()) for _ in range(WAITERS)]
    await asyncio.sleep(0)
    queue.let_go()
    await asyncio.gather(*tasks)
    return (time.process_time() - start) / WAITERS


async def free_aiolimiter(_: SetClockLoop) -> float:
    limiter = AsyncLimiter(2 * FREE, 60)
    start = time.process_time()
    for _turn in range(FREE):
        async with limiter:
            pass
    return (time.process_time() - start) / FREE


async def free_slot(_: SetClockLoop) -> float:
    scheduler = Scheduler(RateLimit(2 * FREE, 60, burst=2 * FREE))
    start = time.process_time()
    for _turn in range(FREE):
        async with scheduler.slot():
            pass
    return (time.process_time() - start) / FREE


FREE_SLOTS: dict[str, Measure] = {
    AIOLIMITER: free_aiolimiter,
    SLOT: free_slot,
}


def microseconds(measure: Measure, *, collect: bool) -> float:
    """Measure once, on a new loop, with the garbage collected meanwhile if asked."""

    async def main() -> float:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SetClockLoop)
        return await measure(loop)

    if not collect:
        gc.disable()
    try:
        with asyncio.Runner(loop_factory=SetClockLoop) as runner:
            return runner.run(main()) * 1e6
    finally:
        gc.enable()


def queues(*, collect: bool) -> dict[str, list[float]]:
    """Print what a waiter costs, and give the microseconds of each round."""
    state = "on" if collect else "off"
    print(f"CPU of a waiter, of {WAITERS:,} that queue; {ROUNDS} rounds; collector {state}")
    found = in_turn(
        {
            name: partial(microseconds, partial(queued, make), collect=collect)
            for name, make in QUEUES.items()
        },
        ROUNDS,
    )
    print_costs(found, HEAP)
    print()
    return found


def free_slots() -> dict[str, list[float]]:
    """Print what a free slot costs, and give the microseconds of each round."""
    print(f"CPU of a free slot, of {FREE:,} in a row; {ROUNDS_OF_FREE} rounds; collector off")
    found = in_turn(
        {
            name: partial(microseconds, measure, collect=False)
            for name, measure in FREE_SLOTS.items()
        },
        ROUNDS_OF_FREE,
    )
    print_costs(found, AIOLIMITER)
    print()
    return found


def figures(off: Found, on: Found, free: Found) -> list[Figure]:
    """Give the figures of the microseconds, with the collector off and on, and of a free slot."""
    what = f"CPU of a waiter, of {WAITERS:,} that queue and then go"
    more = [ours - plain for ours, plain in zip(free[SLOT], free[AIOLIMITER], strict=True)]
    return [
        figure(what, HEAP, ratios(off, SLOT, HEAP), at_most=MOST_TIMES_THE_HEAP),
        figure(
            f"{what}, garbage collected meanwhile",
            HEAP,
            ratios(on, SLOT, HEAP),
            at_most=MOST_TIMES_THE_HEAP,
        ),
        figure(what, AIOLIMITER, ratios(off, SLOT, AIOLIMITER)),
        figure("CPU of a free slot", AIOLIMITER, more, "µs more", at_most=MOST_MICROSECONDS_MORE),
    ]


def main() -> None:
    """Print the tables and whether their targets are met, and keep them."""
    prepare()
    off, on = queues(collect=False), queues(collect=True)
    free = free_slots()
    print_figures(made := figures(off, on, free))
    told = {
        name: {way: quartiles(values) for way, values in found.items()}
        for name, found in (("collector_off", off), ("collector_on", on), ("free_slot", free))
    }
    keep("waiters", made, microseconds=told)


if __name__ == "__main__":
    main()
