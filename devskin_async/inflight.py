"""Calls under way: identical ones share an answer, and each caller may give up alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Generic, TypeAlias, TypeVar

from attrs import define, field

from .errors import DevSkinError
from .protocol import Call
from .ratelimit import Lane

T = TypeVar("T")

Key: TypeAlias = tuple[str, str, Lane]
Hold: TypeAlias = Callable[[], "asyncio.Future[None] | None"]


@define(eq=False)
class Flight(Generic[T]):
    """A call under way, in the register of all of them until it has landed.

    Args:
        call: What is read.
        key: What is read, how, and in which lane: an interactive call does not wait for bulk work.
        register: Where callers of the same find it.
        hold: Asked when an answer is there; what it gives is awaited before that is read.
        task: Its attempts.
        waiters: The callers who wait for it; the last to give up cancels it.
        sent: How often it was sent.
        queued: Seconds that it waited for the rate limit.
        failure: What the last attempt failed with.
        timeouts: The deadlines of those who wait for it.
    """

    call: Call[T]
    key: Key
    register: dict[Key, Flight[Any]]
    hold: Hold | None
    task: asyncio.Task[None] = field(init=False)
    waiters: dict[asyncio.Future[T], None] = field(factory=dict)  # in the order they came in
    sent: int = 0
    queued: float = 0.0
    failure: DevSkinError | None = None
    timeouts: set[asyncio.Timeout] = field(factory=set)
    _held: asyncio.Future[None] | None = None

    def join(self) -> asyncio.Future[T]:
        """Give one caller's own future of the answer; whoever cancels it must `leave`."""
        waiter: asyncio.Future[T] = self.task.get_loop().create_future()
        self.waiters[waiter] = None
        return waiter

    async def answer(self) -> T:
        """Wait for the answer as one caller, and leave when cancelled."""
        waiter = self.join()
        try:
            return await waiter
        except asyncio.CancelledError:
            self.leave(waiter)
            raise

    def leave(self, waiter: asyncio.Future[T]) -> None:
        """Let a caller go; does nothing when it has its answer."""
        self.waiters.pop(waiter, None)
        if not self.waiters and self._forget():
            self.task.cancel()

    async def held(self) -> None:
        """Wait for as long as the answer is not to be read."""
        self._held = None if self.hold is None else self.hold()
        if self._held is not None:
            await self._held

    def hurry(self) -> None:
        """Hold the answer no longer: somebody else wants it too."""
        self.hold = None
        if self._held is not None and not self._held.done():
            self._held.set_result(None)

    def land(self, result: T) -> None:
        """Give all callers the answer."""
        self._forget()
        for waiter in self.waiters:
            if not waiter.done():
                waiter.set_result(result)

    def crash(self, error: BaseException | None) -> None:
        """Give all callers an error; None cancels them."""
        self._forget()
        for waiter in self.waiters:
            if error is None:
                waiter.cancel()
            elif not waiter.done():
                waiter.set_exception(error)

    def _forget(self) -> bool:
        """Leave the register; tells whether it was still there."""
        if self.register.get(self.key) is not self:
            return False
        del self.register[self.key]
        return True
