"""The budget's asyncio shell: callers queue here, and one dispatcher lets them go.

The store's window decides whether a lane may go, fairness whose turn it is, the token bucket
beneath shapes how fast free slots are used, and the shaper makes it smaller where the server
refuses. The dispatcher runs while somebody waits, and sleeps until something can change.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable
from itertools import chain, repeat

from .bucket import Bucket
from .events import Adapted, Granted, Listeners, Paused, Queued, Refused
from .fairness import FairQueue, Job
from .forecast import Outlook, forecast
from .policy import Budget, Lane, RateLimit
from .quota import QuotaLeft, RateLimitInfo
from .shaping import Patience, Shaper
from .slot import Slot, SlotJob, Turn
from .store import MemoryStore, SlotStore

_SMOOTHING = 0.2
_ROUGHLY = 0.1


class Scheduler:
    """Hands out the slots of one key's budget, in one event loop.

    Args:
        limit: The budget to keep.
        store: Where the slots are kept; None keeps them in memory.

    Attributes:
        limit: The budget that is kept.
        listeners: Who sends requests by it, and is told what happens.
    """

    def __init__(self, limit: RateLimit, *, store: SlotStore | None = None) -> None:
        self.limit = limit
        self.listeners: Listeners = Listeners()
        self._store: SlotStore = MemoryStore(limit) if store is None else store
        # A store that must be awaited is asked by the dispatcher alone: a caller that is cancelled
        # meanwhile must not take a slot along, nor several go as one probe.
        self._answers_at_once = store is None
        self._shaper = Shaper(limit)
        self._quota = QuotaLeft()
        self._bucket = Bucket(self._shaper)
        self._queues: dict[Lane, FairQueue[Turn]] = {lane: FairQueue() for lane in Lane}
        self._waiting = dict.fromkeys(Lane, 0)
        self._changed = asyncio.Event()
        self._dispatcher: asyncio.Task[None] | None = None
        self._under_way: set[asyncio.Future[None]] = set()
        self._in_flight = 0
        self._probe_out = False
        self._round_trip = 0.0
        self._sent = 0
        self._patience = Patience(limit.per)
        self._rough_waits: dict[Lane, tuple[float, float]] = {}
        self.refused: int = 0  # requests answered with 429

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

    async def acquire(self, slot: Slot) -> Slot:
        """Let a slot's request go, as soon as it is its turn; `slot` does it and gives it back."""
        loop = asyncio.get_running_loop()
        asked = now = loop.time()
        lane = slot.lane
        if (
            self._answers_at_once
            and self._may_go(now)
            and not self._anybody_waits()
            and self._bucket.has_token()
            and self._store.take(lane, contested=False) == 0
        ):
            await self._bucket.draw()
            slot.probe = self._go()
        else:
            slot.probe = await self._queue(lane, Job() if slot.job is None else slot.job)
            now = loop.time()
        self._sent += 1
        slot.granted_at, slot.queued = now, now - asked
        if self.listeners.hear_everything:
            try:
                self.listeners.tell(Granted(lane=lane, queued=slot.queued))
            except BaseException:  # nobody else would give the slot back
                await self._settle(self.release(slot))
                raise
        return slot

    def release(self, slot: Slot) -> Awaitable[None] | None:
        """Give a slot back: its request is over, and it is free again after `per` seconds.

        Returns:
            What is to be awaited, where the store must be.
        """
        now = asyncio.get_running_loop().time()
        self._in_flight -= 1
        self._probe_out = self._probe_out and not slot.probe
        self._round_trip += _SMOOTHING * (now - slot.granted_at - self._round_trip)
        give_back = self._store.unused if slot.uncounted else self._store.answered
        if (work := give_back(slot.lane)) is not None:
            return self._settle(work)
        self._changed.set()
        return None

    def learn(self, slot: Slot, told: RateLimitInfo) -> None:
        """Take in what a request was answered with.

        Args:
            slot: The request's.
            told: Whether it was refused, and what the headers say.
        """
        now = asyncio.get_running_loop().time()
        before = self._shaper.shape
        if told.remaining is not None and told.reset_after is not None:
            self._quota.told(now, told.remaining, told.reset_after, self._in_flight - 1)
        if told.refused:
            self.refused += 1
            self.listeners.tell(Refused(lane=slot.lane, retry_after=told.retry_after))
            pause = self._shaper.refused(now, slot.granted_at)
            # "At once" is no answer to a refusal.
            if seconds := told.retry_after or pause:
                self._pause(seconds)
            self._patience.refused(now, self._store.paused_for())
        else:
            self._patience.accepted()
            self._shaper.accepted(now, slot.granted_at)
        if self._shaper.shape != before:
            self.listeners.tell(
                Adapted(burst=self._shaper.shape.burst, rate=self._shaper.shape.rate)
            )
        self._changed.set()

    def forecast(self, requests: int, lane: Lane) -> float:
        """Predict how long the last of a new job's requests would wait, in seconds."""
        now = asyncio.get_running_loop().time()
        contested = self._is_contested(lane)
        ahead = self._queues[lane].ahead_of_new_job(requests)
        before = self._waiting[Lane.INTERACTIVE] if lane is Lane.BULK else 0
        opens = now + self.pause()
        return forecast(
            Outlook(
                window=self._store.snapshot(),
                shape=self._shaper.shape,
                now=now,
                opens=opens,
                tokens=self._bucket.tokens(),
                fills_from=opens if self._bucket.is_anew else now,
                round_trip=self._round_trip,
            ),
            chain(
                repeat((Lane.INTERACTIVE, True), before),
                repeat((lane, contested), ahead + requests),
            ),
        )

    def rough_wait(self, lane: Lane) -> float:
        """Predict how long one more request would wait, by a forecast of the last 0.1 s.

        A forecast goes through all that wait, and many may ask at once: their bounds end, or they
        are refused together.
        """
        now = asyncio.get_running_loop().time()
        at, wait = self._rough_waits.get(lane, (-math.inf, 0.0))
        if now - at > _ROUGHLY:
            at, wait = now, self.forecast(1, lane)
            self._rough_waits[lane] = at, wait
        return max(0.0, wait - (now - at))

    def pause(self) -> float:
        """Say for how many seconds nothing at all may go."""
        now = asyncio.get_running_loop().time()
        return max(self._store.paused_for(), self._quota.wait(now))

    def was_refused_for_a_window(self, granted_at: float) -> bool:
        """Say whether nothing was accepted for a whole window before a slot was granted.

        Args:
            granted_at: When it was, on the loop's clock.
        """
        return self._patience.is_over(granted_at)

    def is_forgettable(self) -> bool:
        """Say whether nobody uses it, and a new one would be in the same state."""
        now = asyncio.get_running_loop().time()
        return (
            not self.listeners
            and not self._anybody_waits()
            and self._store.snapshot().available(now) == self.limit.requests
            and self.pause() == 0
            and self._shaper.is_usual
        )

    def budget(self) -> Budget:
        """Take a snapshot; outside a running event loop there is no time to tell."""
        window = self._store.snapshot()
        return Budget(
            limit=self.limit.requests,
            per=self.limit.per,
            available=window.available(asyncio.get_running_loop().time()),
            in_flight=window.in_flight,
            waiting=sum(self._waiting.values()),
            paused_for=self._store.paused_for(),
            sent=self._sent,
            refused=self.refused,
            forecast=self.forecast,
        )

    async def _queue(self, lane: Lane, job: SlotJob) -> bool:
        loop = asyncio.get_running_loop()
        turn: Turn = loop.create_future()
        self._queues[lane].push(job, turn)
        self._waiting[lane] += 1
        if self.listeners.hear_everything:
            self.listeners.tell(Queued(lane=lane, waiting=sum(self._waiting.values())))
        self._changed.set()
        if self._dispatcher is None or self._dispatcher.done():
            self._dispatcher = loop.create_task(self._dispatch(loop))
        try:
            return await turn
        except asyncio.CancelledError:
            self._changed.set()
            if turn.cancelled():
                self._waiting[lane] -= 1
            else:  # the turn had come, and the caller was cancelled before it could go
                self._in_flight -= 1
                self._bucket.put_back()
                self._probe_out = self._probe_out and not turn.result()
                await self._settle(self._store.unused(lane))
            raise

    async def _dispatch(self, loop: asyncio.AbstractEventLoop) -> None:
        while self._anybody_waits():
            self._changed.clear()  # what changes while a store is asked must not be missed
            if not self._may_go(loop.time()):
                await self._until_changed(self._quota.wait(loop.time()) or math.inf)
                continue
            lane, wait = await self._take_for_somebody()
            if lane is None:
                await self._until_changed(wait)
            elif self._bucket.has_token() and self._waits(lane):
                await self._bucket.draw()
                self._waiting[lane] -= 1
                self._queues[lane].pop().set_result(self._go())
            else:
                await self._settle(self._store.unused(lane))
                if not self._bucket.has_token():
                    await self._bucket.draw()
                    self._bucket.put_back()  # the world may have changed meanwhile: decide again

    async def _take_for_somebody(self) -> tuple[Lane | None, float]:
        """Take a slot for the lane that goes first; else say how long none is to be had."""
        soonest = math.inf
        for lane in (Lane.INTERACTIVE, Lane.BULK):
            if self._waits(lane):
                taken = self._store.take(lane, contested=self._is_contested(lane))
                wait = taken if isinstance(taken, float) else await taken
                if wait <= 0:
                    return lane, 0.0
                soonest = min(soonest, wait)
        return None, soonest

    def _go(self) -> bool:
        self._in_flight += 1
        self._quota.spend()
        self._probe_out = self._shaper.probing
        return self._probe_out

    def _may_go(self, now: float) -> bool:
        """Say whether anything may go, the window aside: one probe at a time, and quota left."""
        return not self._probe_out and self._quota.wait(now) <= 0

    def _is_contested(self, lane: Lane) -> bool:
        return self._waits(Lane.BULK if lane is Lane.INTERACTIVE else Lane.INTERACTIVE)

    def _waits(self, lane: Lane) -> bool:
        # The queue knows of a caller that was cancelled before the caller itself does.
        return self._queues[lane].first() is not None

    def _anybody_waits(self) -> bool:
        # Where none is counted, none waits; of those counted, some may have been cancelled.
        if not any(self._waiting.values()):
            return False
        return self._waits(Lane.INTERACTIVE) or self._waits(Lane.BULK)

    async def _until_changed(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(None if seconds == math.inf else seconds):
                await self._changed.wait()
        except TimeoutError:
            pass

    def _pause(self, seconds: float) -> None:
        before = self._store.paused_for()
        if (pause := self._store.refused(seconds)) is not None:
            self._later(pause)
        if seconds > before:
            self._rough_waits.clear()
            self.listeners.tell(Paused(seconds=seconds))

    async def _settle(self, work: Awaitable[None] | None) -> None:
        """Wait for what a store does, though the caller be cancelled, and look at it anew."""
        if work is not None:
            await asyncio.shield(self._later(work))
        self._changed.set()

    def _later(self, work: Awaitable[None]) -> asyncio.Future[None]:
        """Let a store do something, whoever waits for it."""
        task = asyncio.ensure_future(work)
        self._under_way.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Future[None]) -> None:
        self._under_way.discard(task)
        self._changed.set()
