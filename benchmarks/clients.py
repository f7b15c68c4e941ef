"""The clients of the simulation: each says when a request may go, on the running loop's clock."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TypeAlias

import pyrate_limiter as pyrate
from aiolimiter import AsyncLimiter

from benchmarks.servers import PER, REQUESTS
from devskin_async import Lane, RateLimit
from devskin_async.ratelimit import RateLimitInfo, RequestFlow, Scheduler

Answered: TypeAlias = Callable[[bool, float | None], None]
Turn: TypeAlias = Callable[[], AbstractAsyncContextManager[Answered]]


def slots(
    scheduler: Scheduler, lane: Lane = Lane.INTERACTIVE, flow: RequestFlow | None = None
) -> Turn:
    """Take the scheduler's slots, and let it learn from the answers as the library does."""

    @asynccontextmanager
    async def turn() -> AsyncIterator[Answered]:
        async with scheduler.slot(lane, flow) as slot:
            yield lambda refused, wait: slot.observe(
                RateLimitInfo(refused=refused, retry_after=wait)
            )

    return turn


def this_scheduler() -> Turn:
    return slots(Scheduler(RateLimit()))


def aiolimiter(rate: float, per: float) -> Callable[[], Turn]:
    def make() -> Turn:
        bucket = AsyncLimiter(rate, per)

        @asynccontextmanager
        async def turn() -> AsyncIterator[Answered]:
            await bucket.acquire()
            yield lambda _refused, _wait: None

        return turn

    return make


class _LoopClock(pyrate.AbstractClock):
    """The running loop's time in milliseconds, as pyrate-limiter counts."""

    def now(self) -> int:
        return int(asyncio.get_running_loop().time() * 1000)


class _LoopBucket(pyrate.InMemoryBucket):
    """pyrate-limiter's bucket in memory; a clock is set by a subclass, as its own buckets do."""

    _clock = _LoopClock()


def pyrate_limiter() -> Turn:
    bucket = _LoopBucket([pyrate.Rate(REQUESTS, int(PER * 1000))])
    # Its leaker is a thread with a loop, and so a clock, of its own. It only frees memory: `put`
    # counts what lies in the window, so that without it the decisions are the same.
    limiter = pyrate.Limiter(pyrate.SingleBucketFactory(bucket, schedule_leak=False))

    @asynccontextmanager
    async def turn() -> AsyncIterator[Answered]:
        await limiter.try_acquire_async()
        yield lambda _refused, _wait: None

    return turn


def window_from_the_send() -> Turn:
    sent: deque[float] = deque()
    head = asyncio.Lock()

    @asynccontextmanager
    async def turn() -> AsyncIterator[Answered]:
        loop = asyncio.get_running_loop()
        async with head:
            if len(sent) == REQUESTS:
                await asyncio.sleep(sent.popleft() + PER - loop.time())
            sent.append(loop.time())
        yield lambda _refused, _wait: None

    return turn


OURS = "this scheduler"
CLIENTS: dict[str, Callable[[], Turn]] = {
    OURS: this_scheduler,
    "AsyncLimiter(100, 60)": aiolimiter(100, 60),
    "AsyncLimiter(1, 0.6)": aiolimiter(1, 0.6),
    "pyrate-limiter": pyrate_limiter,
    "window from the send": window_from_the_send,
}
