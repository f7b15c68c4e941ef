"""A caller's turn to send one request, from the queue to the end of the request."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from types import TracebackType
from typing import TYPE_CHECKING, TypeAlias

from .fairness import Job
from .policy import Lane
from .quota import RateLimitInfo

if TYPE_CHECKING:
    from .scheduler import Scheduler

Turn: TypeAlias = "asyncio.Future[bool]"  # whether it is a probe
SlotJob: TypeAlias = Job[Turn]


class Slot:
    """A caller's turn to send one request, as `async with`.

    Attributes:
        lane: The lane it waited in.
        job: What the request is part of; None is a job of its own.
        probe: Whether it goes alone after a pause, to see whether the server accepts again.
        granted_at: When the turn came, on the loop's clock.
        queued: Seconds that the caller waited for it.
        uncounted: Whether the server did not count it: it was refused, or never sent.
    """

    __slots__ = ("_scheduler", "granted_at", "job", "lane", "probe", "queued", "uncounted")

    def __init__(self, scheduler: Scheduler, lane: Lane, job: SlotJob | None) -> None:
        self._scheduler = scheduler
        self.lane: Lane = lane
        self.job: SlotJob | None = job
        self.probe: bool = False
        self.uncounted: bool = False
        self.granted_at: float = 0.0
        self.queued: float = 0.0

    def answered(self, told: RateLimitInfo) -> None:
        """Say what the request was answered with, before the block ends."""
        self.uncounted = told.refused
        self._scheduler.learn(self, told)

    def cancel(self) -> None:
        """Say that the request was never sent, before the block ends: its slot is free at once."""
        self.uncounted = True

    def __aenter__(self) -> Coroutine[object, None, Slot]:
        return self._scheduler.acquire(self)

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if (work := self._scheduler.release(self)) is not None:
            await work
