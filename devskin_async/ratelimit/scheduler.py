"""The budget's asyncio shell: callers queue here, and one dispatcher lets them go.

The window decides whether a lane may go (`window`), fairness whose turn it is (`fairness`), the
token bucket beneath shapes how fast free slots are used. The dispatcher alone draws from the
bucket, so aiolimiter's own order of waiters does not matter. It runs while somebody waits, and
sleeps until the next moment at which something can change.
"""

from __future__ import annotations

import asyncio
import math
from itertools import chain, repeat
from types import TracebackType
from typing import Self, TypeAlias

from aiolimiter import AsyncLimiter

from .fairness import FairQueue, Job
from .forecast import Outlook, forecast
from .policy import Budget, Lane, RateLimit
from .window import Window

Turn: TypeAlias = "asyncio.Future[None]"
SlotJob: TypeAlias = Job[Turn]

_NEVER = math.inf
_SMOOTHING = 0.2


class Slot:
    """A caller's turn to send one request, as `async with`.

    Attributes:
        queued: Seconds that the caller waited for it.
    """

    __slots__ = ("_job", "_lane", "_scheduler", "_sent_at", "queued")

    def __init__(self, scheduler: Scheduler, lane: Lane, job: SlotJob | None) -> None:
        self._scheduler = scheduler
        self._lane = lane
        self._job = job
        self._sent_at = 0.0
        self.queued: float = 0.0

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        asked = loop.time()
        await self._scheduler.acquire(self._lane, self._job)
        self._sent_at = loop.time()
        self.queued = self._sent_at - asked
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._scheduler.release(self._lane, self._sent_at)


class Scheduler:
    """Hands out the slots of one key's budget, in one event loop.

    Args:
        limit: The budget to keep.
    """

    def __init__(self, limit: RateLimit) -> None:
        self._limit = limit
        self._window = Window(limit)
        self._bucket = AsyncLimiter(limit.burst, limit.burst * limit.per / limit.requests)
        self._spare = 0
        self._queues: dict[Lane, FairQueue[Turn]] = {lane: FairQueue() for lane in Lane}
        self._waiting = dict.fromkeys(Lane, 0)
        self._changed = asyncio.Event()
        self._dispatcher: asyncio.Task[None] | None = None
        self._paused_until = -math.inf
        self._pause = 0.0
        self._round_trip = 0.0
        self._sent = 0
        self._refused = 0

    def slot(self, lane: Lane = Lane.INTERACTIVE, job: SlotJob | None = None) -> Slot:
        """Wait for a turn, and hold its slot until the request is over: `async with`.

        The slot is free again `per` seconds after the block ends, however it ends: a request
        that was cancelled may have been counted all the same. A caller cancelled while it waits
        costs nothing.

        Args:
            lane: The lane to wait in.
            job: What the request is part of; jobs take turns. None is a job of its own.
        """
        return Slot(self, lane, job)

    async def acquire(self, lane: Lane, job: SlotJob | None = None) -> None:
        """Take a slot, as soon as it is this caller's turn; `slot` does it and gives it back.

        Args:
            lane: The lane to wait in.
            job: What the request is part of; None is a job of its own.
        """
        loop = asyncio.get_running_loop()
        now = loop.time()
        if not any(self._waiting.values()) and self._lane_may_go(lane, now) and self._has_token():
            self._window.take(lane, now)
            await self._draw()
        else:
            await self._queue(loop, lane, Job() if job is None else job)
        self._sent += 1

    def release(self, lane: Lane, sent_at: float) -> None:
        """Give a slot back: its request is over, and it is free again after `per` seconds.

        Args:
            lane: The lane it was taken in.
            sent_at: When it was taken, on the loop's clock.
        """
        now = asyncio.get_running_loop().time()
        self._window.answered(lane, now)
        self._round_trip += _SMOOTHING * (now - sent_at - self._round_trip)
        self._changed.set()

    def refuse(self, retry_after: float | None) -> None:
        """Hold every caller back after a 429; an earlier, longer pause is not shortened.

        Args:
            retry_after: Seconds to wait. None is as long as `per` / 30 at first, and twice as
                long each time that it did not help, up to `per`.
        """
        self._refused += 1
        now = asyncio.get_running_loop().time()
        if retry_after is None:
            retry_after = self._grown_pause(now)
        self._paused_until = max(self._paused_until, now + retry_after)

    def forecast(self, requests: int, lane: Lane) -> float:
        """Predict how long the last of a new job's requests would wait, in seconds."""
        now = asyncio.get_running_loop().time()
        other = Lane.BULK if lane is Lane.INTERACTIVE else Lane.INTERACTIVE
        contested = self._waiting[other] > 0
        ahead = self._queues[lane].ahead_of_new_job(requests)
        before = self._waiting[Lane.INTERACTIVE] if lane is Lane.BULK else 0
        return forecast(
            Outlook(
                limit=self._limit,
                window=self._window.copy(),
                now=now,
                paused_until=self._paused_until,
                tokens=self._tokens(),
                round_trip=self._round_trip,
            ),
            chain(
                repeat((Lane.INTERACTIVE, True), before),
                repeat((lane, contested), ahead + requests),
            ),
        )

    def budget(self) -> Budget:
        """Take a snapshot; outside a running event loop there is no time to tell."""
        now = asyncio.get_running_loop().time()
        return Budget(
            limit=self._limit.requests,
            per=self._limit.per,
            available=self._window.available(now),
            in_flight=self._window.in_flight,
            waiting=sum(self._waiting.values()),
            paused_for=max(0.0, self._paused_until - now),
            sent=self._sent,
            refused=self._refused,
            forecast=self.forecast,
        )

    async def _queue(self, loop: asyncio.AbstractEventLoop, lane: Lane, job: SlotJob) -> None:
        turn: Turn = loop.create_future()
        self._queues[lane].push(job, turn)
        self._waiting[lane] += 1
        self._wake(loop)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self._waiting[lane] -= 1
            else:
                # The turn had come, and the caller was cancelled before it could go.
                self._window.unused(lane)
                self._spare += 1
            self._changed.set()
            raise

    def _wake(self, loop: asyncio.AbstractEventLoop) -> None:
        self._changed.set()
        if self._dispatcher is None or self._dispatcher.done():
            self._dispatcher = loop.create_task(self._dispatch(loop))

    async def _dispatch(self, loop: asyncio.AbstractEventLoop) -> None:
        while any(self._waiting.values()):
            lane = self._next_lane(loop.time())
            if lane is None:
                await self._until(self._next_chance(loop.time()))
                continue
            if not self._has_token():
                await self._draw()
                self._spare += 1  # the world may have changed meanwhile: decide again
                continue
            await self._draw()
            self._window.take(lane, loop.time())
            self._waiting[lane] -= 1
            self._queues[lane].pop().set_result(None)

    def _next_lane(self, now: float) -> Lane | None:
        for lane in (Lane.INTERACTIVE, Lane.BULK):
            if self._waiting[lane] and self._lane_may_go(lane, now):
                return lane
        return None

    def _lane_may_go(self, lane: Lane, now: float) -> bool:
        if now < self._paused_until:
            return False
        return self._window.room(lane, now, contested=self._is_contested(lane)) > 0

    def _next_chance(self, now: float) -> float:
        """Say when a lane that waits may go; infinity where an answer must come first."""
        chances = (
            self._window.next_room(lane, now, contested=self._is_contested(lane))
            for lane in Lane
            if self._waiting[lane]
        )
        soonest = min((at for at in chances if at is not None), default=_NEVER)
        return max(soonest, self._paused_until)

    def _is_contested(self, lane: Lane) -> bool:
        return any(count for other, count in self._waiting.items() if other is not lane)

    async def _until(self, when: float) -> None:
        self._changed.clear()
        try:
            async with asyncio.timeout_at(None if when == _NEVER else when):
                await self._changed.wait()
        except TimeoutError:
            pass

    def _has_token(self) -> bool:
        return self._spare > 0 or self._bucket.has_capacity()

    async def _draw(self) -> None:
        """Take a token; where `_has_token`, without giving way to anyone."""
        if self._spare:
            self._spare -= 1
        else:
            await self._bucket.acquire()

    def _tokens(self) -> int:
        low, high = 0, self._limit.burst
        while low < high:
            middle = (low + high + 1) // 2
            if self._bucket.has_capacity(middle):
                low = middle
            else:
                high = middle - 1
        return low + self._spare

    def _grown_pause(self, now: float) -> float:
        per = self._limit.per
        if now < self._paused_until:
            return 0.0  # one burst of refusals is one lesson
        if now > self._paused_until + per:
            self._pause = per / 60
        self._pause = min(2 * self._pause, per)
        return self._pause
