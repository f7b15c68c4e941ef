"""The budget's asyncio shell: callers queue here, and one dispatcher grants them slots.

The budget says how many requests of each lane may go and when to ask again, fairness says whose
turn it is, and every request takes a token of an `aiolimiter` bucket on its way. The dispatcher
runs while somebody waits, and sleeps until something can change.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
from contextlib import suppress
from contextvars import Context

from aiolimiter import AsyncLimiter

from ..errors import ConfigurationError
from .events import Adapted, Granted, Listeners, Paused, Queued, Refused
from .fairness import FairQueue, Flow
from .forecast import Forecast, RecentForecasts
from .local_participant import LocalParticipant, LocalSlot
from .policy import Budget, Lane, RateLimit
from .quota import RateLimitInfo
from .reports import LANES
from .shaping import RefusalTracker, usual_shape
from .slot import RequestFlow, Slot, Waiter
from .store import (
    MemoryStore,
    Store,
    StoreBusyError,
    StoreUnavailableError,
    pause_reason,
    report_within,
)
from .uses import uses

_SMOOTHING = 0.2
_BUSY = (0.001, 0.005)  # seconds after which a store that is in use is tried again
_LEAVING = 2.0  # seconds for the last report
_TICK = 1e-3


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
        if store is not None and hasattr(
            store, "emit"
        ):  # an `OutageStore`, which the package's import leaves out
            store.emit = self.listeners.emit
        self._participant = LocalParticipant(self._store, name, limit)
        self._limiter = AsyncLimiter(limit.burst, limit.burst * limit.per / limit.requests)
        self._queues: dict[Lane, FairQueue[Waiter]] = {lane: FairQueue() for lane in Lane}
        self._changed = asyncio.Event()
        self._dispatcher: asyncio.Task[None] | None = None
        self._report_timer: asyncio.TimerHandle | None = None
        self._round_trip = 0.0
        self._refusals = RefusalTracker(limit.per)
        self._paused_until = -math.inf
        self._forecasts = RecentForecasts(self._start_forecast)
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

    def extend_lease(self, seconds: float) -> None:
        """Make the lease of slots in flight at least so long; it ends if this process is killed."""
        self._participant.lease = max(self._participant.lease, seconds)

    async def acquire(self, slot: Slot) -> Slot:
        """Wait until the slot is granted; use `slot`, which also releases it."""
        loop = asyncio.get_running_loop()
        asked = loop.time()
        if self._store.immediate and not self._waiting():
            slot.grant = self._take_at_once(slot.lane)
        if slot.grant is None:
            slot.grant = await self._queue(slot.lane, Flow() if slot.flow is None else slot.flow)
        slot.granted_at = loop.time()
        slot.queued = slot.granted_at - asked
        self._granted[slot.lane] += 1
        try:
            await self._limiter.acquire()
            if self.listeners.wants_request_events:
                self.listeners.emit(Granted(lane=slot.lane, queued=slot.queued))
        except BaseException:  # nobody else would release it
            slot.cancel()
            self.release(slot)
            raise
        return slot

    def release(self, slot: Slot) -> None:
        """Release a slot: it is free after `per` seconds, or at once if it was not counted."""
        now = asyncio.get_running_loop().time()
        self._round_trip += _SMOOTHING * (now - slot.granted_at - self._round_trip)
        assert slot.grant is not None  # noqa: S101  # only what was acquired is released
        if slot.is_free:
            self._participant.cancelled(slot.grant)
        else:
            self._participant.answered(slot.grant)
        self._report_soon()

    def observe(self, slot: Slot, info: RateLimitInfo) -> None:
        """Take in what a response tells of the rate limit.

        Args:
            slot: The request's.
            info: Whether it was refused, and what the headers say.
        """
        before = self._participant.shaping
        if info.remaining is not None and info.reset_after is not None:
            self._participant.quota(info.remaining, info.reset_after, slot.granted_at)
        if info.refused:
            self.refused += 1
            self.listeners.emit(Refused(lane=slot.lane, retry_after=info.retry_after))
            self._participant.refused(slot.granted_at, info.retry_after)
            self._emit_pause()
            self._refusals.refused(asyncio.get_running_loop().time(), self.paused_for())
        else:
            self._refusals.accepted()
            self._participant.accepted(slot.granted_at)
        learned = self._participant.shaping
        if learned is not before and learned.shape != before.shape:
            shape = learned.shape or usual_shape(self.limit)
            self.listeners.emit(Adapted(burst=shape.burst, rate=shape.rate))

    def forecast(self, requests: int, lane: Lane) -> float:
        """Predict how long the last of a new flow's requests would wait, in seconds."""
        ahead = self._queues[lane].ahead_of_new_flow(requests)
        forecast = self._start_forecast(ahead + requests, lane)
        return forecast.sent_at(ahead + requests) - forecast.began

    def estimated_wait(self, lane: Lane) -> float:
        """Predict how long one more request would wait, by a forecast that is up to 0.1 s old.

        Many may ask at once: each call that has bounds does, and when they end.
        """
        now = asyncio.get_running_loop().time()
        ahead = self._queues[lane].ahead_of_new_flow(1)
        return self._forecasts.wait(now, ahead + 1, lane, self._granted[lane])

    def _start_forecast(self, requests: int, lane: Lane) -> Forecast:
        """Start a simulation from now, with so many requests of a lane."""
        interactive, bulk = self._wants()
        wants = (requests, bulk) if lane is Lane.INTERACTIVE else (interactive, requests)
        state = self._participant.view(self._wants())
        return Forecast(state, self._participant.report(wants), lane, self._round_trip)

    def paused_for(self) -> float:
        """Return for how many seconds no request may be sent."""
        return self._participant.view(self._wants()).paused_for()

    def was_refused_for_a_window(self, granted_at: float) -> bool:
        """Return whether nothing was accepted for a whole window before a slot was granted.

        Args:
            granted_at: When it was, on the loop's clock.
        """
        return self._refusals.is_over(granted_at)

    def budget(self) -> Budget:
        """Return a snapshot; needs a running event loop, whose clock it uses."""
        state = self._participant.view(self._wants())
        held = len(state.in_flight) + len(state.answered)
        return Budget(
            limit=self.limit.requests,
            per=self.limit.per,
            available=max(0, self.limit.requests - held),
            in_flight=len(state.in_flight),
            waiting=self._waiting(),
            paused_for=state.paused_for(),
            sent=sum(self._granted.values()),
            refused=self.refused,
            processes=state.processes(),
            held_here=sum(state.participants[self._participant.name].held),
            where=self._store.where,
            next_free_in=state.answered[0].at - state.now if state.answered else None,
            uses=uses(state),
            forecast=self.forecast,
        )

    def pause_reason(self) -> str:
        """Say why nothing may be sent, where it is not what the API asked for."""
        return pause_reason(self._store, self.paused_for())

    async def refresh(self) -> None:
        """Look at a budget that others may have changed, without taking part in it.

        Raises:
            StoreBusyError, StoreUnavailableError: It was not reached.
        """
        takes_part = self._waiting() or any(self._granted.values())
        await self._participant.exchange(self._wants(), leaves=not takes_part)

    async def leave(self, user: object) -> None:
        """Forget a user; with the last one, this loop takes part in the budget no more."""
        self.listeners.remove(user)
        if self._is_used():
            return
        self._stop_timer()
        with suppress(StoreUnavailableError, ConfigurationError, TimeoutError):
            async with asyncio.timeout(_LEAVING):
                if self._dispatcher is not None:
                    await asyncio.wait([self._dispatcher])
                await self._report_last()
        if not self._is_used():
            await self._store.aclose()

    async def _report_last(self) -> None:
        while not self._is_used():  # else somebody came meanwhile
            try:
                await self._participant.exchange((0, 0), leaves=True)
            except StoreBusyError:
                await _until_tried_again()
            else:
                return

    @property
    def is_unused(self) -> bool:
        """Whether nobody uses it, and there is nothing that it has to report."""
        return not (self._is_used() or self._participant.has_report)

    def _take_at_once(self, lane: Lane) -> LocalSlot | None:
        """Take a slot if one is free this moment."""
        wants = (1, 0) if lane is Lane.INTERACTIVE else (0, 1)
        try:
            granted = self._participant.exchange_now(wants)
        except (StoreBusyError, StoreUnavailableError):
            return None
        return granted[0] if granted else None

    async def _queue(self, lane: Lane, flow: RequestFlow) -> LocalSlot:
        waiter: Waiter = asyncio.get_running_loop().create_future()
        queue = self._queues[lane]
        if not queue:
            self._changed.set()
        queue.push(flow, waiter)
        if self.listeners.wants_request_events:
            self.listeners.emit(Queued(lane=lane, waiting=self._waiting()))
        self._run_dispatcher()
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.cancelled():
                queue.note_cancelled()
                if not queue:
                    self._changed.set()
            else:  # the turn had come, and the caller was cancelled before it could go
                self._participant.cancelled(waiter.result())
                self._report_soon()
            raise

    def _run_dispatcher(self) -> None:
        if self._dispatcher is None or self._dispatcher.done():
            # It serves many callers, and would keep alive what the first one's context holds.
            context = Context()
            loop = asyncio.get_running_loop()
            self._dispatcher = loop.create_task(self._dispatch(), context=context)
            self._dispatcher.add_done_callback(self._dispatcher_ended, context=context)

    def _dispatcher_ended(self, dispatcher: asyncio.Task[None]) -> None:
        """Start it anew if it was cancelled, as by who cancels all tasks of a loop."""
        if dispatcher.cancelled() and self._waiting():
            self._run_dispatcher()

    async def _dispatch(self) -> None:
        try:
            await self._serve()
        except Exception as error:  # noqa: BLE001  # whoever waits raises it, and hangs otherwise
            for queue in self._queues.values():
                while (waiter := queue.pop()) is not None:
                    waiter.set_exception(error)

    async def _serve(self) -> None:
        while self._waiting() or self._participant.has_report or self._participant.is_waiting:
            self._changed.clear()  # what changes while a store is asked must not be missed
            try:
                granted = await self._participant.exchange(self._wants())
            except StoreBusyError:
                await _until_tried_again()
                continue
            self._emit_pause()
            for slot in granted:
                waiter = self._queues[LANES[slot.lane]].pop()
                if waiter is None:  # it gave up meanwhile
                    self._participant.cancelled(slot)
                else:
                    waiter.set_result(slot)
            if self._waiting() and not self._participant.has_urgent_report:
                await self._until_changed(self._participant.wait)

    def _report_soon(self) -> None:
        """Report what there is: at once where it lets somebody go, else with others in time."""
        if self._participant.has_urgent_report or (
            self._waiting() and self._participant.wait == math.inf
        ):
            self._report()
        elif self._report_timer is None:
            loop = asyncio.get_running_loop()
            self._report_timer = loop.call_later(
                self._store.report_within, self._report, context=Context()
            )

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

    def _emit_pause(self) -> None:
        """Emit a pause that is new here, whichever process was refused."""
        until = self._participant.paused_until
        if until > self._paused_until + _TICK:
            self._paused_until = until
            now = asyncio.get_running_loop().time()
            if until > now:
                self._forecasts.clear()
                reason = pause_reason(self._store, until - now)
                level = logging.WARNING if reason else None
                self.listeners.emit(Paused(seconds=until - now, reason=reason), level)

    def _wants(self) -> tuple[int, int]:
        return len(self._queues[Lane.INTERACTIVE]), len(self._queues[Lane.BULK])

    def _is_used(self) -> bool:
        return bool(self.listeners or self._waiting())

    def _waiting(self) -> int:
        interactive, bulk = self._queues.values()
        return len(interactive) + len(bulk)


async def _until_tried_again() -> None:
    await asyncio.sleep(random.uniform(*_BUSY))  # noqa: S311  # no secret
