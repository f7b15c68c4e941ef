"""A caller's slot for one request, from the queue to the end of the request."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from types import TracebackType
from typing import Protocol, TypeAlias

from .fairness import Flow
from .local_participant import LocalSlot
from .policy import Lane
from .quota import RateLimitInfo

Waiter: TypeAlias = "asyncio.Future[LocalSlot]"
RequestFlow: TypeAlias = Flow[Waiter]


class SlotSource(Protocol):
    """Grants slots and releases them."""

    def acquire(self, slot: Slot) -> Coroutine[object, None, Slot]:
        """Wait until the slot is granted."""
        ...

    def observe(self, slot: Slot, info: RateLimitInfo) -> None:
        """Take what a response says about the rate limit into account."""
        ...

    def release(self, slot: Slot) -> None:
        """Release the slot."""
        ...


class Slot:
    """A caller's slot for one request, as `async with`.

    Attributes:
        lane: The lane to wait in.
        flow: What the request is part of; None is a flow of its own.
        granted_at: When the slot was granted, on the loop's clock.
        queued: Seconds that the caller waited for it.
        grant: The granted slot; None before.
        is_free: Whether it is free at once, since the request was refused or never sent.
    """

    __slots__ = ("_source", "flow", "grant", "granted_at", "is_free", "lane", "queued")

    def __init__(self, source: SlotSource, lane: Lane, flow: RequestFlow | None) -> None:
        self._source = source
        self.lane: Lane = lane
        self.flow: RequestFlow | None = flow
        self.grant: LocalSlot | None = None
        self.is_free: bool = False
        self.granted_at: float = 0.0
        self.queued: float = 0.0

    def observe(self, info: RateLimitInfo) -> None:
        """Pass on what the response says about the rate limit, before the block ends."""
        self.is_free = info.refused
        self._source.observe(self, info)

    def cancel(self) -> None:
        """Release the slot at once at the end of the block, since the request was never sent."""
        self.is_free = True

    def __aenter__(self) -> Coroutine[object, None, Slot]:
        return self._source.acquire(self)

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._source.release(self)
