"""The budget's asyncio shell: it grants callers slots, and learns from the responses.

A free slot is taken at once; else callers queue. Every request also takes a token of an
`aiolimiter` bucket on its way.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from aiolimiter import AsyncLimiter

from ..errors import ConfigurationError
from .dispatcher import Dispatcher, until_tried_again
from .events import Adapted, Granted, Listeners, Refused
from .fairness import Flow
from .forecast import Forecast, RecentForecasts
from .local_participant import LocalParticipant
from .policy import Budget, Lane, RateLimit
from .quota import RateLimitInfo
from .shaping import RefusalTracker, Shaping, usual_shape
from .slot import RequestFlow, Slot
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
_LEAVING = 2.0  # seconds for the last report


class Scheduler:
    """Grants the slots of one key's budget, in one event loop.

    Args:
        limit: The limit to keep.
        store: Where the budget is kept; None keeps it in memory, for this loop only.
        name: The participant's name; no other of the budget has the same.

    Attributes:
        limit: The limit that is kept.
        listeners: Its users, and their functions that are called with its events.
        refused: How many requests were refused with 429.
    """

    def __init__(self, limit: RateLimit, store: Store | None = None, name: str = "this.1") -> None:
        self.limit = limit
        self.listeners: Listeners = Listeners()
        self.refused: int = 0
        self._store: Store = store or MemoryStore(
            lambda: asyncio.get_running_loop().time(), report_within=report_within(limit.per)
        )
        # An `OutageStore`, which the package's import leaves out.
        if store is not None and hasattr(store, "emit"):
            store.emit = self.listeners.emit
        self._participant = LocalParticipant(self._store, name, limit)
        self._dispatcher = Dispatcher(self._participant, self.listeners)
        self._limiter = AsyncLimiter(limit.burst, limit.burst * limit.per / limit.requests)
        self._round_trip = 0.0
        self._refusals = RefusalTracker(limit.per)
        self._shaping = Shaping()
        self._forecasts = RecentForecasts(self._start_forecast)
        self._granted = dict.fromkeys(Lane, 0)

    def slot(self, lane: Lane = Lane.INTERACTIVE, flow: RequestFlow | None = None) -> Slot:
        """Wait for a slot, and hold it until the request is over: `async with`.

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
        loop, dispatcher = asyncio.get_running_loop(), self._dispatcher
        asked = loop.time()
        if self._store.immediate and not dispatcher.waiting:
            slot.grant = await dispatcher.take_at_once(slot.lane)
        if slot.grant is None:
            slot.grant = await dispatcher.queue(slot.lane, slot.flow or Flow())
        slot.granted_at = loop.time()
        slot.queued = slot.granted_at - asked
        self._granted[slot.lane] += 1
        try:
            await self._limiter.acquire()
            if self.listeners.wants_request_events:
                self.listeners.emit(Granted(lane=slot.lane, queued=slot.queued))
        except BaseException:  # else the slot would never be released
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
            self._participant.answered(slot.grant, now)
        self._dispatcher.report_soon()

    def observe(self, slot: Slot, info: RateLimitInfo) -> None:
        """Take what a response says about the rate limit into account.

        Args:
            slot: The request's slot.
            info: Whether it was refused, and what the headers say.
        """
        if info.remaining is not None and info.reset_after is not None:
            self._participant.quota(info.remaining, info.reset_after, slot.granted_at)
        if info.refused:
            self.refused += 1
            self.listeners.emit(Refused(lane=slot.lane, retry_after=info.retry_after))
            self._participant.refused(slot.granted_at, info.retry_after)
            self._dispatcher.emit_pause()
            self._refusals.refused(asyncio.get_running_loop().time(), self.paused_for())
        else:
            self._refusals.accepted()
            self._participant.accepted(slot.granted_at)
        if (learned := self._participant.shaping) is not self._shaping:
            self._emit_adapted(learned)

    def _emit_adapted(self, learned: Shaping) -> None:
        """Emit a shape that is new here, whichever process learned it."""
        before, self._shaping = self._shaping, learned
        if learned.shape != before.shape:
            shape = learned.shape or usual_shape(self.limit)
            self.listeners.emit(Adapted(burst=shape.burst, rate=shape.rate))

    def forecast(self, requests: int, lane: Lane) -> float:
        """Predict how long the last of a new flow's requests would wait, in seconds."""
        ahead = self._dispatcher.queues[lane].ahead_of_new_flow(requests)
        forecast = self._start_forecast(ahead + requests, lane)
        return forecast.sent_at(ahead + requests) - forecast.began

    def estimated_wait(self, lane: Lane) -> float:
        """Predict how long one more request would wait, by a forecast that is up to 0.1 s old.

        Each call with bounds needs it, and again when they end, so many may need it at once.
        """
        now, paused_until = asyncio.get_running_loop().time(), self._participant.paused_until
        number = self._dispatcher.queues[lane].ahead_of_new_flow(1) + 1
        return self._forecasts.wait(now, number, lane, self._granted[lane], paused_until)

    def _start_forecast(self, requests: int, lane: Lane) -> Forecast:
        """Start a simulation from now, with so many requests of a lane."""
        interactive, bulk = wants = self._dispatcher.wants()
        state = self._participant.view(wants)
        wants = (requests, bulk) if lane is Lane.INTERACTIVE else (interactive, requests)
        return Forecast(state, self._participant.report(wants), lane, self._round_trip)

    def paused_for(self) -> float:
        """Return for how many seconds no request may be sent."""
        return self._participant.view(self._dispatcher.wants()).paused_for()

    def was_refused_for_a_window(self, granted_at: float) -> bool:
        """Return whether nothing was accepted for a whole window before a slot was granted.

        Args:
            granted_at: When it was granted, on the loop's clock.
        """
        return self._refusals.is_over(granted_at)

    def budget(self) -> Budget:
        """Return a snapshot; needs a running event loop, whose clock it uses."""
        state = self._participant.view(self._dispatcher.wants())
        held = len(state.in_flight) + len(state.answered)
        return Budget(
            limit=self.limit.requests,
            per=self.limit.per,
            available=max(0, self.limit.requests - held),
            in_flight=len(state.in_flight),
            waiting=self._dispatcher.waiting,
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
        """Return why nothing may be sent, if it is not what the API asked for."""
        return pause_reason(self._store, self.paused_for())

    async def refresh(self) -> None:
        """Update the view of a budget that others may have changed, without taking part in it.

        Raises:
            StoreBusyError, StoreUnavailableError: The budget was not reached.
        """
        takes_part = self._dispatcher.waiting or any(self._granted.values())
        await self._participant.exchange(self._dispatcher.wants(), leaves=not takes_part)

    async def leave(self, user: object) -> None:
        """Forget a user; after the last one, this loop no longer takes part in the budget."""
        self.listeners.remove(user)
        if self._is_used():
            return
        self._dispatcher.stop_reporting()
        with suppress(StoreUnavailableError, ConfigurationError, TimeoutError):
            async with asyncio.timeout(_LEAVING):
                if self._dispatcher.task is not None:
                    await asyncio.wait([self._dispatcher.task])
                await self._report_last()
        if not self._is_used():
            await self._store.aclose()

    async def _report_last(self) -> None:
        while not self._is_used():  # else another user came meanwhile
            try:
                await self._participant.exchange((0, 0), leaves=True)
            except StoreBusyError:
                await until_tried_again()
            else:
                return

    @property
    def is_unused(self) -> bool:
        """Whether it has no users and nothing to report."""
        return not (self._is_used() or self._participant.has_report)

    def _is_used(self) -> bool:
        return bool(self.listeners or self._dispatcher.waiting)
