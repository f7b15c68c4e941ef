"""Calls under way: identical ones share an answer, and each caller may give up alone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine, Iterable
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
class Flight(Generic[T]):
    """A call under way, in the register of all of them until it has landed.

    It lands with an answer that is no error by its status, and whoever takes that first reads it:
    what waits for its turn in a listing waits as the bytes that came. 100 orders are 20 kB then, in
    place of 50, and no garbage collector walks through them. If it turns out to be broken, the call
    takes off again, with all that it remembers.

    Args:
        call: What is read.
        key: What is read, how, and in which lane: an interactive call does not wait for bulk work.
        register: Where callers of the same find it.
        sent: How often it was sent.
        queued: Seconds that it waited for the rate limit.
        age: Seconds for which a cache had kept its answer.
        failure: What the last attempt failed with.
        answer: What came; None where nothing has, or what came was read.
        record: What it was read as.
        task: Its attempts.
        seats: The callers who wait for it, the first one first.
        timeouts: The deadlines of those who wait for it.
    """

    call: Call[T]
    key: Key
    register: dict[Key, Flight[Any]]
    sent: int = 0
    queued: float = 0.0
    age: float = 0.0
    failure: DevSkinError | None = None
    answer: Answer | None = None
    record: T | None = None
    task: asyncio.Task[None] = field(init=False)
    seats: dict[Seat[T], None] = field(factory=dict)
    timeouts: set[asyncio.Timeout] = field(factory=set)

    @property
    def timing(self) -> Timing:
        """How long it has taken."""
        return Timing(self.queued, self.sent, self.age)

    def take_off(self, attempts: Coroutine[object, None, None], seat: Seat[T]) -> Seat[T]:
        """Begin with the attempts, or begin again.

        Args:
            attempts: They end with `land` or `crash`.
            seat: Of the first caller: an eager task may be over when it is made.
        """
        if self.register.setdefault(self.key, self) is not self:
            # Somebody else has asked for the same meanwhile.
            path, query, reads, lane = self.key
            self.key = (path, query, f"{reads} {id(self)}", lane)
            self.register[self.key] = self
        self.task = seat.get_loop().create_task(attempts)
        self.task.add_done_callback(self._ended)
        return seat

    def leave(self, seat: Seat[T]) -> None:
        """Let a caller go who gave up; the last one cancels the call."""
        self.seats.pop(seat, None)
        if not self.seats:
            self._sign_off()
            self.task.cancel()

    def land(self, answer: Answer) -> None:
        """Give all callers this flight, with an answer to read."""
        self.answer = answer
        for seat in self._vacated():
            if not seat.done():
                seat.set_result(self)

    def crash(self, error: Exception) -> None:
        """Give all callers an error."""
        for seat in self._vacated():
            if not seat.done():
                seat.set_exception(error)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if task is self.task:  # it may have taken off again
            # Who is left was told nothing: it was cancelled from outside, perhaps before it began.
            for seat in self._vacated():
                seat.cancel()

    def _vacated(self) -> Iterable[Seat[T]]:
        self._sign_off()
        # A seat and its call know each other, and shall not wait for the garbage collector.
        seats, self.seats = self.seats, {}
        return seats

    def _sign_off(self) -> None:
        if self.register.get(self.key) is self:
            del self.register[self.key]


class Seat(asyncio.Future[Flight[T]]):
    """One caller's own future of a flight's end; who cancels it leaves the others theirs."""

    __slots__ = ("flight",)

    def __init__(self, flight: Flight[T], loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop=loop)
        self.flight: Flight[T] = flight
        flight.seats[self] = None

    def within(self, deadline: Deadline | None) -> Awaitable[Flight[T]]:
        """Wait for the end until a deadline, after which it is a `TransportError`."""
        return self if deadline is None else self._before(deadline)

    async def _before(self, deadline: Deadline) -> Flight[T]:
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
