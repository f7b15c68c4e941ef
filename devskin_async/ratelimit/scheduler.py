"""The budget's asyncio shell: callers queue here, and one dispatcher lets them go.

The budget says how many requests of each lane may go and when to ask again, fairness says whose
turn it is, and every request takes a token of an `aiolimiter` bucket on its way. The dispatcher
runs while somebody waits, and sleeps until something can change.
"""

from __future__ import annotations

import asyncio
import math
import random
from contextlib import suppress

from aiolimiter import AsyncLimiter
from attrs import frozen

from ..errors import ConfigurationError
from .events import Adapted, Granted, Listeners, Paused, Queued, Refused, log
from .fairness import FairQueue, Flow
from .forecast import Forecast
from .outage import OutageStore
from .participation import MySlot, Participation
from .policy import Budget, Lane, RateLimit
from .quota import RateLimitInfo
from .reports import LANES
from .shaping import RefusalTracker, usual_shape
from .slot import RequestFlow, Slot, Waiter
from .store import MemoryStore, Store, StoreBusyError, StoreUnavailableError, report_within
from .uses import uses

_SMOOTHING = 0.2
_ROUGHLY = 0.1
_BUSY = (0.001, 0.005)  # seconds after which a store that is in use is tried again
_UNAVAILABLE = 1.0
_LEAVING = 2.0  # seconds for the last report
_TICK = 1e-3


@frozen
class _Known:
    """A forecast of a moment ago.

    Args:
        at: When it was made, on the loop's clock.
        offset: From the budget's clock to the loop's, in seconds.
        future: The forecast.
        granted: How many requests of the lane had been sent.
    """

    at: float
    offset: float
    future: Forecast
    granted: int


class Scheduler:
    """Hands out the slots of one key's budget, in one event loop.

    Args:
        limit: The limit to keep.
        store: Where the budget is kept; None keeps it in memory, for this loop alone.
        name: The participant's; no other of the budget has the same.

    Attributes:
        limit: The limit that is kept.
        listeners: Who sends requests by it, and is told what happens.
        refused: How many requests were answered with 429.
    """

    def __init__(self, limit: RateLimit, store: Store | None = None, name: str = "this.1") -> None:
        self.limit = limit
        self.listeners: Listeners = Listeners()
        self.refused: int = 0
        self._store: Store = store or MemoryStore(
            lambda: asyncio.get_running_loop().time(), report_within=report_within(limit.per)
        )
        if isinstance(self._store, OutageStore):
            self._store.tell = self.listeners.tell
        self._part = Participation(self._store, name, limit)
        self._limiter = AsyncLimiter(limit.burst, limit.burst * limit.per / limit.requests)
        self._queues: dict[Lane, FairQueue[Waiter]] = {lane: FairQueue() for lane in Lane}
        self._changed = asyncio.Event()
        self._dispatcher: asyncio.Task[None] | None = None
        self._report_timer: asyncio.TimerHandle | None = None
        self._round_trip = 0.0
        self._refusals = RefusalTracker(limit.per)
        self._paused_until = -math.inf
        self._futures: dict[Lane, _Known] = {}
        self._granted = dict.fromkeys(Lane, 0)

    def slot(self, lane: Lane = Lane.INTERACTIVE, flow: RequestFlow | None = None) -> Slot:
        """Wait for a turn, and hold its slot until the request is over: `async with`.

        The slot is free again `per` seconds after the block ends, however it ends: a request
        that was cancelled may have been counted all the same. A caller cancelled while it waits
        costs nothing.

        Args:
            lane: The lane to wait in.
            flow: What the request is part of; flows take turns. None is a flow of its own.
        """
        return Slot(self, lane, flow)

    def allow_attempts_of(self, seconds: float) -> None:
        """Let slots in flight be held for so long at the least, should this process be killed."""
        self._part.lease = max(self._part.lease, seconds)

    async def acquire(self, slot: Slot) -> Slot:
        """Let a slot's request go as soon as it is its turn; `slot` does it, and releases it."""
        loop = asyncio.get_running_loop()
        asked = loop.time()
        if self._store.immediate and not self._waiting():
            slot.held = self._take_at_once(slot.lane)
        if slot.held is None:
            slot.held = await self._queue(slot.lane, Flow() if slot.flow is None else slot.flow)
        slot.granted_at = loop.time()
        slot.queued = slot.granted_at - asked
        self._granted[slot.lane] += 1
        try:
            await self._limiter.acquire()
            if self.listeners.hear_everything:
                self.listeners.tell(Granted(lane=slot.lane, queued=slot.queued))
        except BaseException:  # nobody else would release it
            slot.cancel()
            self.release(slot)
            raise
        return slot

    def release(self, slot: Slot) -> None:
        """Take a slot back: it is free after `per` seconds, or at once if it was not counted."""
        now = asyncio.get_running_loop().time()
        self._round_trip += _SMOOTHING * (now - slot.granted_at - self._round_trip)
        assert slot.held is not None  # noqa: S101  # only what was acquired is released
        if slot.is_free:
            self._part.cancelled(slot.held)
        else:
            self._part.answered(slot.held)
        self._report_soon()

    def observe(self, slot: Slot, info: RateLimitInfo) -> None:
        """Take in what a response tells of the rate limit.

        Args:
            slot: The request's.
            info: Whether it was refused, and what the headers say.
        """
        before = self._part.shaping
        if info.remaining is not None and info.reset_after is not None:
            self._part.quota(info.remaining, info.reset_after, slot.granted_at)
        if info.refused:
            self.refused += 1
            self.listeners.tell(Refused(lane=slot.lane, retry_after=info.retry_after))
            self._part.refused(slot.granted_at, info.retry_after)
            self._tell_pause()
            self._refusals.refused(asyncio.get_running_loop().time(), self.paused_for())
        else:
            self._refusals.accepted()
            self._part.accepted(slot.granted_at)
        learned = self._part.shaping
        if learned is not before and learned.shape != before.shape:
            shape = learned.shape or usual_shape(self.limit)
            self.listeners.tell(Adapted(burst=shape.burst, rate=shape.rate))

    def forecast(self, requests: int, lane: Lane) -> float:
        """Predict how long the last of a new flow's requests would wait, in seconds."""
        ahead = self._queues[lane].ahead_of_new_flow(requests)
        now, future = self._play(ahead + requests, lane)
        return future.sent_at(ahead + requests) - now

    def rough_wait(self, lane: Lane) -> float:
        """Predict how long one more request would wait, by a forecast that is up to 0.1 s old.

        Many may ask at once: each call that has bounds does, and when they end.
        """
        now = asyncio.get_running_loop().time()
        ahead = self._queues[lane].ahead_of_new_flow(1)
        known = self._futures.get(lane)
        if known is None or now - known.at > _ROUGHLY:
            began, future = self._play(ahead + 1, lane)
            known = self._futures[lane] = _Known(now, now - began, future, self._granted[lane])
        since = self._granted[lane] - known.granted
        return max(0.0, known.future.sent_at(since + ahead + 1) + known.offset - now)

    def _play(self, requests: int, lane: Lane) -> tuple[float, Forecast]:
        """Begin to play on the present, with so many requests of a lane."""
        interactive, bulk = self._wants()
        wants = (requests, bulk) if lane is Lane.INTERACTIVE else (interactive, requests)
        state = self._part.view(self._wants())
        return state.now, Forecast(state, self._part.report(wants), lane, self._round_trip)

    def paused_for(self) -> float:
        """Return for how many seconds nothing at all may go."""
        state = self._part.view(self._wants())
        quota = state.quota_until - state.now if state.quota_left <= 0 else 0.0
        return max(0.0, state.paused_until - state.now, quota)

    def was_refused_for_a_window(self, granted_at: float) -> bool:
        """Return whether nothing was accepted for a whole window before a slot was granted.

        Args:
            granted_at: When it was, on the loop's clock.
        """
        return self._refusals.is_over(granted_at)

    def budget(self) -> Budget:
        """Take a snapshot; outside a running event loop there is no time to tell."""
        state = self._part.view(self._wants())
        held = len(state.in_flight) + len(state.answered)
        return Budget(
            limit=self.limit.requests,
            per=self.limit.per,
            available=max(0, self.limit.requests - held),
            in_flight=len(state.in_flight),
            waiting=self._waiting(),
            paused_for=max(0.0, state.paused_until - state.now),
            sent=sum(self._granted.values()),
            refused=self.refused,
            processes=state.processes(),
            held_here=sum(state.participants[self._part.name].held),
            where=self._store.where,
            next_free_in=state.answered[0].at - state.now if state.answered else None,
            uses=uses(state),
            forecast=self.forecast,
        )

    async def refresh(self) -> None:
        """Look at a budget that others may have changed, without taking part in it.

        Raises:
            StoreBusyError, StoreUnavailableError: It was not reached.
        """
        takes_part = self._waiting() or any(self._granted.values())
        await self._part.exchange(self._wants(), leaves=not takes_part)

    async def leave(self, user: object) -> None:
        """Forget a user; with the last one, this loop takes part in the budget no more."""
        self.listeners.remove(user)
        if self.listeners or self._waiting():
            return
        self._stop_timer()
        with suppress(StoreBusyError, StoreUnavailableError, ConfigurationError, TimeoutError):
            async with asyncio.timeout(_LEAVING):
                if self._dispatcher is not None:
                    await asyncio.wait([self._dispatcher])
                await self._part.exchange((0, 0), leaves=True)
        await self._store.aclose()

    @property
    def is_unused(self) -> bool:
        """Whether nobody uses it, and there is nothing that it has to report."""
        return not (self.listeners or self._waiting() or self._part.has_news)

    def _take_at_once(self, lane: Lane) -> MySlot | None:
        """Take a slot if one is free this moment."""
        wants = (1, 0) if lane is Lane.INTERACTIVE else (0, 1)
        try:
            granted = self._part.exchange_now(wants)
        except (StoreBusyError, StoreUnavailableError):
            return None
        return granted[0] if granted else None

    async def _queue(self, lane: Lane, flow: RequestFlow) -> MySlot:
        waiter: Waiter = asyncio.get_running_loop().create_future()
        queue = self._queues[lane]
        if not queue:
            self._changed.set()
        queue.push(flow, waiter)
        if self.listeners.hear_everything:
            self.listeners.tell(Queued(lane=lane, waiting=self._waiting()))
        self._run_dispatcher()
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.cancelled():
                queue.gave_up()
                if not queue:
                    self._changed.set()
            else:  # the turn had come, and the caller was cancelled before it could go
                self._part.cancelled(waiter.result())
                self._report_soon()
            raise

    def _run_dispatcher(self) -> None:
        if self._dispatcher is None or self._dispatcher.done():
            self._dispatcher = asyncio.get_running_loop().create_task(self._dispatch())

    async def _dispatch(self) -> None:
        try:
            await self._serve()
        except Exception as error:  # noqa: BLE001  # whoever waits raises it, and hangs otherwise
            for queue in self._queues.values():
                while (waiter := queue.pop()) is not None:
                    waiter.set_exception(error)

    async def _serve(self) -> None:
        while self._waiting() or self._part.has_news or self._part.is_waiting:
            self._changed.clear()  # what changes while a store is asked must not be missed
            try:
                granted = await self._part.exchange(self._wants())
            except StoreBusyError:
                await asyncio.sleep(random.uniform(*_BUSY))  # noqa: S311  # no secret
                continue
            except StoreUnavailableError as error:
                log.warning("the shared budget is out of reach: %s", error)
                await asyncio.sleep(_UNAVAILABLE)
                continue
            self._tell_pause()
            for slot in granted:
                waiter = self._queues[LANES[slot.lane]].pop()
                if waiter is None:  # it gave up meanwhile
                    self._part.cancelled(slot)
                else:
                    waiter.set_result(slot)
            if self._waiting() and not self._part.has_urgent_news:
                await self._until_changed(self._part.wait)

    def _report_soon(self) -> None:
        """Report what there is: at once where it lets somebody go, else with others in time."""
        if self._part.has_urgent_news or (self._waiting() and self._part.wait == math.inf):
            self._report()
        elif self._report_timer is None:
            loop = asyncio.get_running_loop()
            self._report_timer = loop.call_later(self._store.report_within, self._report)

    def _report(self) -> None:
        self._stop_timer()
        self._changed.set()
        self._run_dispatcher()

    def _stop_timer(self) -> None:
        if self._report_timer is not None:
            self._report_timer.cancel()
            self._report_timer = None

    async def _until_changed(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(None if seconds == math.inf else seconds):
                await self._changed.wait()

    def _tell_pause(self) -> None:
        """Tell of a pause that is new here, whichever process was refused."""
        until = self._part.paused_until
        if until > self._paused_until + _TICK:
            self._paused_until = until
            now = asyncio.get_running_loop().time()
            if until > now:
                self._futures.clear()
                self.listeners.tell(Paused(seconds=until - now))

    def _wants(self) -> tuple[int, int]:
        return len(self._queues[Lane.INTERACTIVE]), len(self._queues[Lane.BULK])

    def _waiting(self) -> int:
        interactive, bulk = self._queues.values()
        return len(interactive) + len(bulk)
