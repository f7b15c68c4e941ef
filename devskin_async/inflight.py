"""Calls under way: identical ones share an answer, and each caller may give up alone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable
from typing import Any, Generic, TypeAlias, TypeVar

from attrs import define, field

from .errors import DevSkinError, TransportError
from .options import Deadline
from .protocol import Answer, Call
from .ratelimit import Lane
from .timing import Timing

T = TypeVar("T")

Key: TypeAlias = tuple[str, str, str, Lane]


@define(eq=False)
class Received(Generic[T]):
    """An answer that has come and is not an error by its status.

    Whoever takes it first reads it: what waits for its turn in a listing waits as the bytes that
    came. 100 orders are 20 kB then, in place of 50, and no garbage collector walks through them.

    Args:
        call: What was asked.
        answer: What came.
        timing: How long it took.
        record: What it was read as; None where it has not been read.
        failure: Why it can't be read.
    """

    call: Call[T]
    answer: Answer
    timing: Timing
    record: T | None = None
    failure: DevSkinError | None = None


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
        seats: The callers who wait for it, the first one first.
        timeouts: The deadlines of those who wait for it.
    """

    call: Call[T]
    key: Key
    register: dict[Key, Flight[Any]]
    sent: int = 0
    queued: float = 0.0
    failure: DevSkinError | None = None
    task: asyncio.Task[None] = field(init=False)
    seats: dict[Seat[T], None] = field(factory=dict)
    timeouts: set[asyncio.Timeout] = field(factory=set)

    def leave(self, seat: Seat[T]) -> None:
        """Let a caller go who gave up; the last one cancels the call."""
        self.seats.pop(seat, None)
        if not self.seats and self._sign_off():
            self.task.cancel()

    def land(self, received: Received[T]) -> None:
        """Give all callers the answer."""
        for seat in self._vacated():
            if not seat.done():
                seat.set_result(received)

    def crash(self, error: BaseException | None) -> None:
        """Give all callers an error; None cancels them."""
        for seat in self._vacated():
            if error is None:
                seat.cancel()
            elif not seat.done():
                seat.set_exception(error)

    def _vacated(self) -> Iterable[Seat[T]]:
        self._sign_off()
        # A seat and its call know each other, and shall not wait for the garbage collector.
        seats, self.seats = self.seats, {}
        return seats

    def _sign_off(self) -> bool:
        """Leave the register; tells whether it was still there."""
        if self.register.get(self.key) is not self:
            return False
        del self.register[self.key]
        return True


class Seat(asyncio.Future[Received[T]]):
    """One caller's own future of a call's answer; who cancels it leaves the others theirs."""

    __slots__ = ("flight",)

    def __init__(self, flight: Flight[T], loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop=loop)
        self.flight: Flight[T] = flight
        flight.seats[self] = None

    def within(self, deadline: Deadline | None) -> Awaitable[Received[T]]:
        """Wait for the answer until a deadline, after which it is a `TransportError`."""
        return self if deadline is None else self._before(deadline)

    async def _before(self, deadline: Deadline) -> Received[T]:
        try:
            async with asyncio.timeout_at(deadline.at) as timeout:
                self.flight.timeouts.add(timeout)
                return await self
        except TimeoutError:
            pass
        finally:
            self.flight.timeouts.discard(timeout)
        raise missed(self.flight.call, deadline, self.flight)

    def cancel(self, msg: object = None) -> bool:
        """Give the call up, unless it is over."""
        cancelled = super().cancel(msg)
        if cancelled:
            self.flight.leave(self)
        return cancelled


def missed(call: Call[T], deadline: Deadline, flight: Flight[T] | None = None) -> TransportError:
    """Make the error of a call that missed its deadline; None where it was not made at all."""
    seconds = f"the deadline of {deadline.seconds:g} s"
    if flight is None or not flight.sent:
        return TransportError(f"{call}: {seconds} passed before its turn came; nothing was sent")
    if asyncio.get_running_loop().time() < deadline.at:
        return TransportError(f"{call}: can't be tried again within {seconds}: {flight.failure}")
    so_far = f" (attempt {flight.sent}; before: {flight.failure})" if flight.failure else ""
    return TransportError(f"{call}: no answer within {seconds}{so_far}")
