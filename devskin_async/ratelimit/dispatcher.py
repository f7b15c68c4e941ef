"""Where callers queue for slots: one task asks the budget for them, and reports what was sent.

The budget decides how many requests of each lane may be sent and when to ask again, `fairness`
whose turn it is. The task runs while a caller waits, and sleeps until something can change.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
from contextlib import suppress
from contextvars import Context

from .events import Listeners, Paused, Queued
from .fairness import FairQueue
from .local_participant import LocalParticipant, LocalSlot
from .policy import Lane
from .reports import LANES
from .slot import RequestFlow, Waiter
from .store import StoreBusyError, StoreUnavailableError, pause_reason

_BUSY = (0.001, 0.005)  # seconds after which a store that is in use is tried again
_TICK = 1e-3


class Dispatcher:
    """The queues of one event loop's callers, and the task that serves them.

    Args:
        participant: Asks the budget for slots.
        listeners: Called with its events.

    Attributes:
        queues: The waiters of each lane.
        task: Serves them; None before the first waiter.
    """

    def __init__(self, participant: LocalParticipant, listeners: Listeners) -> None:
        self.queues: dict[Lane, FairQueue[Waiter]] = {lane: FairQueue() for lane in Lane}
        self.task: asyncio.Task[None] | None = None
        self._interactive, self._bulk = self.queues.values()
        self._participant = participant
        self._listeners = listeners
        self._changed = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._paused_until = -math.inf

    @property
    def waiting(self) -> int:
        """How many callers wait, in all lanes."""
        return self._interactive.waiting + self._bulk.waiting

    def wants(self) -> tuple[int, int]:
        """Return how many callers wait, in each lane."""
        return self._interactive.waiting, self._bulk.waiting

    async def take_at_once(self, lane: Lane) -> LocalSlot | None:
        """Take a slot of an immediate store if one is free at this moment."""
        try:
            granted = await self._participant.exchange(
                (1, 0) if lane is Lane.INTERACTIVE else (0, 1)
            )
        except (StoreBusyError, StoreUnavailableError):
            return None
        return granted[0] if granted else None

    async def queue(self, lane: Lane, flow: RequestFlow) -> LocalSlot:
        """Wait for a slot."""
        waiter: Waiter = asyncio.get_running_loop().create_future()
        queue = self.queues[lane]
        if not queue.waiting:
            self._changed.set()
        queue.push(flow, waiter)
        if self._listeners.wants_request_events:
            self._listeners.emit(Queued(lane=lane, waiting=self.waiting))
        self._run()
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.cancelled():
                queue.note_cancelled()
                if not queue.waiting:
                    self._changed.set()
            else:  # the slot was granted, and the caller cancelled before it could use it
                self._participant.cancelled(waiter.result())
                self.report_soon()
            raise

    def report_soon(self) -> None:
        """Report what there is: at once if a waiting request may be sent then, else soon."""
        participant = self._participant
        waiting = self._interactive.waiting or self._bulk.waiting
        if participant.has_urgent_report or (waiting and participant.wait == math.inf):
            self._report()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(
                participant.store.report_within, self._report, context=Context()
            )

    def stop_reporting(self) -> None:
        """Stop the timer; what is not reported yet is left to the next report."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def emit_pause(self) -> None:
        """Emit a pause that is new here, whichever process was refused."""
        until = self._participant.paused_until
        if until > self._paused_until + _TICK:
            self._paused_until = until
            now = asyncio.get_running_loop().time()
            if until > now:
                reason = pause_reason(self._participant.store, until - now)
                level = logging.WARNING if reason else None
                self._listeners.emit(Paused(seconds=until - now, reason=reason), level)

    def _report(self) -> None:
        self.stop_reporting()
        self._changed.set()
        self._run()

    def _run(self) -> None:
        if self.task is None or self.task.done():
            # It serves many callers, and would keep the first one's context alive.
            context = Context()
            self.task = asyncio.get_running_loop().create_task(self._dispatch(), context=context)
            self.task.add_done_callback(self._on_done, context=context)

    def _on_done(self, task: asyncio.Task[None]) -> None:
        """Start it again if it was cancelled, as when all tasks of a loop are cancelled."""
        if task.cancelled() and self.waiting:
            self._run()

    async def _dispatch(self) -> None:
        try:
            await self._serve()
        except Exception as error:  # noqa: BLE001  # the waiters raise it, and would hang otherwise
            for queue in self.queues.values():
                while (waiter := queue.pop()) is not None:
                    waiter.set_exception(error)

    async def _serve(self) -> None:
        while self.waiting or self._participant.has_report or self._participant.is_waiting:
            self._changed.clear()  # a change during the exchange must not be missed
            try:
                granted = await self._participant.exchange(self.wants())
            except StoreBusyError:
                await until_tried_again()
                continue
            self.emit_pause()
            for slot in granted:
                waiter = self.queues[LANES[slot.lane]].pop()
                if waiter is None:  # it was cancelled meanwhile
                    self._participant.cancelled(slot)
                else:
                    waiter.set_result(slot)
            if self.waiting and not self._participant.has_urgent_report:
                await self._until_changed(self._participant.wait)

    async def _until_changed(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(None if seconds == math.inf else seconds):
                await self._changed.wait()


async def until_tried_again() -> None:
    """Wait until a store that was in use is tried again."""
    await asyncio.sleep(random.uniform(*_BUSY))  # noqa: S311  # no secret
