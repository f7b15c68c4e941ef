"""Refusals and makespan under every kind of server, in virtual time: `python -m benchmarks.limits`.

1,000 requests from 16 callers; one way takes 20 ms and an exponential of mean 40 ms. The real
scheduler runs on a clock that jumps; nothing sleeps.
"""

from __future__ import annotations

import asyncio
import json
import random
import statistics
import sys
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

from aiolimiter import AsyncLimiter
from attrs import frozen

from benchmarks.servers import (
    PER,
    REQUESTS,
    Bucket,
    FirstRequest,
    FixedWindow,
    Server,
    SlidingCounter,
    SlidingLog,
)
from devskin_async import RateLimit
from devskin_async.ratelimit import Scheduler, Told
from devskin_async.testing import VirtualTimeLoop

TOTAL, CALLERS, SEEDS = 1000, 16, 20
RESULTS = Path(__file__).parent / "results" / "limits.json"

Answered = Callable[[bool, float | None], None]
Turn = Callable[[], AbstractAsyncContextManager[Answered]]


def ours() -> Turn:
    scheduler = Scheduler(RateLimit())

    @asynccontextmanager
    async def turn() -> AsyncIterator[Answered]:
        async with scheduler.slot() as slot:
            yield lambda refused, wait: slot.answered(Told(refused=refused, retry_after=wait))

    return turn


def limiter(rate: float, per: float) -> Callable[[], Turn]:
    def make() -> Turn:
        bucket = AsyncLimiter(rate, per)

        @asynccontextmanager
        async def turn() -> AsyncIterator[Answered]:
            await bucket.acquire()
            yield lambda refused, wait: None

        return turn

    return make


def window_from_the_send() -> Turn:
    sent: deque[float] = deque()
    head = asyncio.Lock()

    @asynccontextmanager
    async def turn() -> AsyncIterator[Answered]:
        loop = asyncio.get_running_loop()
        async with head:
            while len(sent) == REQUESTS and sent[0] + PER > loop.time():
                await asyncio.sleep(sent[0] + PER - loop.time())
            sent.append(loop.time())
            if len(sent) > REQUESTS:
                sent.popleft()
        yield lambda refused, wait: None

    return turn


CLIENTS: dict[str, Callable[[], Turn]] = {
    "this scheduler": ours,
    "AsyncLimiter(100, 60)": limiter(100, 60),
    "AsyncLimiter(1, 0.6)": limiter(1, 0.6),
    "window from the send": window_from_the_send,
}


@frozen
class Case:
    """A server, and how to make one; `best` is the makespan that no client can beat."""

    name: str
    make: Callable[[random.Random], Server]
    refusals: float
    ratio: float
    best: float | None = None


CASES = (
    Case("fixed window", lambda r: FixedWindow(r.uniform(0, PER)), 0, 1.01, 540),
    Case("window from the first request", lambda r: FirstRequest(), 0, 1.01, 540),
    Case("sliding log", lambda r: SlidingLog(), 0, 1.01, 540),
    Case("token bucket of 100", lambda r: Bucket(100), 0, 1.01, 540),
    Case("weighted sliding counter", lambda r: SlidingCounter(r.uniform(0, PER)), 16, 1.05),
    Case("bucket of 20", lambda r: Bucket(20), 16, 1.05),
    Case("sliding log, another user at 50/min", lambda r: SlidingLog(others=50), 30, 1.10, 1140),
    Case("restart, Retry-After sent", lambda r: SlidingLog(100, says=True), 16, 1.05),
    Case("restart, Retry-After not sent", lambda r: SlidingLog(100), 30, 1.05),
)


def best_possible(server: Server) -> float:
    """Send whenever the server accepts, without a network in between."""
    now, accepted = 0.0, 0
    while accepted < TOTAL:
        if server.hit(now):
            accepted += 1
        else:
            now += 0.01
    return now


async def run(server: Server, turn: Turn, rng: random.Random) -> tuple[int, float]:
    """Send all requests and give the refusals and the makespan in seconds."""
    loop = asyncio.get_running_loop()
    left, refusals = TOTAL, 0

    def way() -> float:
        return 0.02 + rng.expovariate(1 / 0.04)

    async def caller() -> None:
        nonlocal left, refusals
        while left:
            left -= 1
            tries = 0
            while True:
                async with turn() as answered:
                    await asyncio.sleep(way())
                    accepted = server.hit(loop.time())
                    wait = None if accepted else server.retry_after(loop.time())
                    await asyncio.sleep(way())
                    answered(not accepted, wait)
                if accepted:
                    break
                refusals += 1
                await asyncio.sleep(wait or min(30, 0.5 * 2**tries) + rng.uniform(0, 1))
                tries += 1

    await asyncio.gather(*(caller() for _ in range(CALLERS)))
    return refusals, loop.time()


def measure(case: Case, make: Callable[[], Turn], seeds: int) -> tuple[float, float]:
    """Give the mean refusals and the mean ratio of the makespan to the best possible."""
    refusals, ratios = [], []
    for seed in range(seeds):

        async def one(seed: int = seed) -> tuple[int, float]:
            rng = random.Random(seed)
            return await run(case.make(rng), make(), rng)

        with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
            refused, makespan = runner.run(one())
        best = case.best or best_possible(case.make(random.Random(seed)))
        refusals.append(refused)
        ratios.append(makespan / best)
    return statistics.mean(refusals), statistics.mean(ratios)


def main() -> None:
    """Measure every client under every server, print the table and keep it."""
    start = time.perf_counter()
    only = sys.argv[1:]
    rows = []
    for case in CASES:
        for name, make in CLIENTS.items():
            if only and name not in only:
                continue
            refusals, ratio = measure(case, make, SEEDS if name == "this scheduler" else 3)
            rows.append({"server": case.name, "client": name, "refusals": refusals, "ratio": ratio})
            print(f"{case.name:36} {name:24} {refusals:8.1f} {ratio:8.3f}", flush=True)
    if not only:
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(rows, indent=1) + "\n")
    print(f"{time.perf_counter() - start:.1f} s")


if __name__ == "__main__":
    main()
