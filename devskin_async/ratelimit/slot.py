"""A caller's turn to send one request, from the queue to the end of the request."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from types import TracebackType
from typing import Protocol, TypeAlias

from .fairness import Flow
from .participation import MySlot
from .policy import Lane
from .quota import RateLimitInfo

Waiter: TypeAlias = "asyncio.Future[MySlot]"
RequestFlow: TypeAlias = Flow[Waiter]


class Turns(Protocol):
    """What gives turns, and takes them back."""

    def acquire(self, slot: Slot) -> Coroutine[object, None, Slot]:
        """Wait for a slot's turn."""
        ...

    def observe(self, slot: Slot, info: RateLimitInfo) -> None:
        """Take in a response."""
        ...

    def release(self, slot: Slot) -> None:
        """Take a slot back."""
        ...


class Slot:
    """A caller's turn to send one request, as `async with`.

    Attributes:
        lane: The lane it waited in.
        flow: What the request is part of; None is a flow of its own.
        granted_at: When the turn came, on the loop's clock.
        queued: Seconds that the caller waited for it.
        held: The slot; None before the turn comes.
        is_free: Whether the server did not count the request: it was refused, or never sent.
    """

    __slots__ = ("_turns", "flow", "granted_at", "held", "is_free", "lane", "queued")

    def __init__(self, turns: Turns, lane: Lane, flow: RequestFlow | None) -> None:
        self._turns = turns
        self.lane: Lane = lane
        self.flow: RequestFlow | None = flow
        self.held: MySlot | None = None
        self.is_free: bool = False
        self.granted_at: float = 0.0
        self.queued: float = 0.0

    def observe(self, info: RateLimitInfo) -> None:
        """Say what the response tells of the rate limit, before the block ends."""
        self.is_free = info.refused
        self._turns.observe(self, info)

    def cancel(self) -> None:
        """Say that the request was never sent, before the block ends: its slot is free at once."""
        self.is_free = True

    def __aenter__(self) -> Coroutine[object, None, Slot]:
        return self._turns.acquire(self)

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._turns.release(self)
