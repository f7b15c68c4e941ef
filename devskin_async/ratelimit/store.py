"""Where the slots are kept: here in memory; the protocol allows for a place that many share."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable
from typing import Protocol

from .policy import Lane, RateLimit
from .window import Window


class SlotStore(Protocol):
    """The slots of one key. What a method gives may have to be awaited."""

    def take(self, lane: Lane, *, contested: bool) -> float | Awaitable[float]:
        """Take a slot.

        Args:
            lane: For which lane.
            contested: Whether the other lane has requests waiting.

        Returns:
            0 if it is taken; otherwise seconds until it is worth asking again, infinity where a
            request of ours must be answered first.
        """
        ...

    def answered(self, lane: Lane) -> Awaitable[None] | None:
        """Give a slot back whose request is over: it is free again after `per` seconds."""
        ...

    def unused(self, lane: Lane) -> Awaitable[None] | None:
        """Give a slot back whose request was never sent."""
        ...

    def refused(self, seconds: float) -> Awaitable[None] | None:
        """Let no slot be taken for so many seconds; a longer pause is not shortened."""
        ...

    def paused_for(self) -> float:
        """Say for how many seconds no slot can be taken, as it is known here."""
        ...

    def snapshot(self) -> Window:
        """Give the window as it is known here, to read and to try things on."""
        ...


class MemoryStore:
    """The slots of one key, kept in this process.

    Args:
        limit: How many there are, and how long one stays taken.
    """

    def __init__(self, limit: RateLimit) -> None:
        self._window = Window(limit)
        self._paused_until = -math.inf

    def take(self, lane: Lane, *, contested: bool) -> float:
        """Take a slot; see `SlotStore.take`."""
        now = asyncio.get_running_loop().time()
        if now < self._paused_until:
            return self._paused_until - now
        if self._window.take_if_room(lane, now, contested=contested):
            return 0.0
        opens = self._window.next_room(lane, now, contested=contested)
        return math.inf if opens is None else opens - now

    def answered(self, lane: Lane) -> None:
        """Give a slot back whose request is over; see `SlotStore.answered`."""
        self._window.answered(lane, asyncio.get_running_loop().time())

    def unused(self, lane: Lane) -> None:
        """Give a slot back whose request was never sent; see `SlotStore.unused`."""
        self._window.unused(lane)

    def refused(self, seconds: float) -> None:
        """Let no slot be taken for a while; see `SlotStore.refused`."""
        until = asyncio.get_running_loop().time() + seconds
        self._paused_until = max(self._paused_until, until)

    def paused_for(self) -> float:
        """Say how long that is still so; see `SlotStore.paused_for`."""
        return max(0.0, self._paused_until - asyncio.get_running_loop().time())

    def snapshot(self) -> Window:
        """Give a copy of the window; see `SlotStore.snapshot`."""
        return self._window.copy()
