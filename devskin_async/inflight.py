"""Calls under way: identical ones share an answer, and each caller may give up alone."""

from __future__ import annotations

import asyncio
from typing import Any, Generic, TypeAlias, TypeVar

from attrs import define, field

from .errors import DevSkinError
from .protocol import Answer, Call
from .ratelimit import Lane
from .timing import Timing

T = TypeVar("T")

Key: TypeAlias = tuple[str, str, str, Lane]


@define(eq=False)
class Received(Generic[T]):
    """An answer that has come and is not an error by its status.

    Whoever takes it first reads it: what waits for its turn in a listing waits as the bytes that
    came, which are a third of the records' size, and which no garbage collector walks through.

    Args:
        call: What was asked.
        answer: What came.
        taken: How long it took.
        record: What it was read as; None where it has not been read.
    """

    call: Call[T]
    answer: Answer
    taken: Timing
    record: T | None = None


@define(eq=False)
class Flight(Generic[T]):
    """A call under way, in the register of all of them until it has landed.

    Args:
        call: What is read.
        key: What is read, how, and in which lane: an interactive call does not wait for bulk work.
        register: Where callers of the same find it.
        sent: How often it was sent.
        queued: Seconds that it waited for the rate limit.
        failure: What the last attempt failed with.
        task: Its attempts.
        waiters: The callers who wait for it; the last to give up cancels it.
        timeouts: The deadlines of those who wait for it.
    """

    call: Call[T]
    key: Key
    register: dict[Key, Flight[Any]]
    sent: int = 0
    queued: float = 0.0
    failure: DevSkinError | None = None
    task: asyncio.Task[None] = field(init=False)
    waiters: dict[asyncio.Future[Received[T]], None] = field(factory=dict)  # the first one first
    timeouts: set[asyncio.Timeout] = field(factory=set)

    def join(self) -> asyncio.Future[Received[T]]:
        """Give one caller's own future of the answer; whoever cancels it must `leave`."""
        waiter: asyncio.Future[Received[T]] = self.task.get_loop().create_future()
        self.waiters[waiter] = None
        return waiter

    async def landed(self) -> Received[T]:
        """Wait for the answer as one caller, and leave when cancelled."""
        waiter = self.join()
        try:
            return await waiter
        except asyncio.CancelledError:
            self.leave(waiter)
            raise

    def leave(self, waiter: asyncio.Future[Received[T]]) -> None:
        """Let a caller go; does nothing when the call is over."""
        self.waiters.pop(waiter, None)
        if not self.waiters and self._sign_off():
            self.task.cancel()

    def land(self, received: Received[T]) -> None:
        """Give all callers the answer."""
        self._sign_off()
        for waiter in self.waiters:
            if not waiter.done():
                waiter.set_result(received)

    def crash(self, error: BaseException | None) -> None:
        """Give all callers an error; None cancels them."""
        self._sign_off()
        for waiter in self.waiters:
            if error is None:
                waiter.cancel()
            elif not waiter.done():
                waiter.set_exception(error)

    def _sign_off(self) -> bool:
        """Leave the register; tells whether it was still there."""
        if self.register.get(self.key) is not self:
            return False
        del self.register[self.key]
        return True
