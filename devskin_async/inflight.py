"""Calls under way: identical ones share an answer, and each caller may give up alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Generic, TypeAlias, TypeVar

from attrs import define, field

from .api import Request, Response
from .errors import BudgetExceededError, DevSkinError, RateLimitedError, TransportError
from .options import Deadline, Queueing
from .ratelimit import Lane
from .timing import Timing, remember

T = TypeVar("T")

Key: TypeAlias = tuple[str, str, str, Lane]

_TICK = 1e-3


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
        limit_wait: Predicts the seconds that a request would wait for the rate limit now.
        awaits_slot: Whether it waits for the rate limit, or is about to.
        sent: How often it was sent.
        granted_at: When its last attempt got its slot, on the loop's clock.
        queued: Seconds that it waited for the rate limit.
        failures: How many attempts failed; refusals are not among them.
        failure: What the last attempt failed with, or was refused with.
        answer: What came; None where nothing has, or what came was read.
        record: What it was read as.
        task: Its attempts.
        seats: The callers who wait for it, the first one first.
    """

    call: Request[T]
    key: Key
    register: dict[Key, Flight[Any]]
    limit_wait: Callable[[], float]
    awaits_slot: bool = True
    sent: int = 0
    granted_at: float = 0.0
    queued: float = 0.0
    failures: int = 0
    failure: DevSkinError | None = None
    answer: Response | None = None
    record: T | None = None
    task: asyncio.Task[None] = field(init=False)
    seats: dict[Seat[T], None] = field(factory=dict)

    @property
    def timing(self) -> Timing:
        """How long it has taken."""
        return Timing(self.queued, self.sent)

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

    def wait_again(self) -> None:
        """Wait for the rate limit once more; whoever may not wait that long is told at once.

        Raises:
            CancelledError: Nobody is left who waits.
        """
        self.awaits_slot = True
        if any(seat.queueing.bounded for seat in self.seats):
            wait, now = self.limit_wait(), asyncio.get_running_loop().time()
            for seat in tuple(self.seats):
                if (bound := seat.queueing.bound_below(wait, now)) is not None:
                    seat.fail(would_wait(self.call, wait, bound, self))
                else:
                    seat.bound_wait()
            if not self.seats:
                raise asyncio.CancelledError

    def go(self, granted_at: float, queued: float) -> None:
        """Note that it is sent."""
        self.awaits_slot = False
        self.granted_at = granted_at
        self.queued += queued
        self.sent += 1
        for seat in self.seats:
            seat.unbound_wait()

    def fail(self, error: DevSkinError) -> None:
        """Note what an attempt failed with, or was refused with."""
        self.failure = error
        if not isinstance(error, RateLimitedError):
            self.failures += 1
        remember(error, self.timing)

    def release_hopeless(self, wait: float) -> None:
        """Let those go whose deadline comes before the next attempt can.

        Args:
            wait: The seconds that the API asked to be left alone; the rate limit may ask for more.
        """
        if all(seat.queueing.deadline is None for seat in self.seats):
            return
        now = asyncio.get_running_loop().time()
        goes_at = now + max(wait, self.limit_wait())
        for seat in tuple(self.seats):
            deadline = seat.queueing.deadline
            if deadline is not None and now < deadline.at < goes_at:
                seat.fail(missed(self, deadline))

    def leave(self, seat: Seat[T]) -> None:
        """Let a caller go who gave up; the last one cancels the call."""
        self.seats.pop(seat, None)
        if not self.seats:
            self._sign_off()
            self.task.cancel()

    def land(self, answer: Response) -> None:
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
    """One caller's own future of a flight's end, within the caller's own bounds.

    Who cancels it, or may wait no longer, leaves the others theirs.
    """

    __slots__ = ("_deadline_timer", "_wait_timer", "flight", "queueing")

    def __init__(
        self, flight: Flight[T], queueing: Queueing, loop: asyncio.AbstractEventLoop
    ) -> None:
        super().__init__(loop=loop)
        self.flight: Flight[T] = flight
        self.queueing: Queueing = queueing
        self._deadline_timer: asyncio.TimerHandle | None = None
        self._wait_timer: asyncio.TimerHandle | None = None
        flight.seats[self] = None
        if not queueing.bounded:
            return
        self.add_done_callback(Seat._stop_timers)
        if (deadline := queueing.deadline) is not None:
            self._deadline_timer = loop.call_at(deadline.at, self._miss, deadline)
        if flight.awaits_slot:
            self.bound_wait()

    def bound_wait(self) -> None:
        """Let the caller wait for the rate limit for `max_wait` seconds from now."""
        self.unbound_wait()
        if (seconds := self.queueing.max_wait) is not None:
            # A slot that is free at that very moment is in time.
            self._wait_timer = self.get_loop().call_later(
                seconds + _TICK, self._stop_waiting, seconds
            )

    def unbound_wait(self) -> None:
        """Let the caller wait on: it is not the rate limit any more that it waits for."""
        if self._wait_timer is not None:
            self._wait_timer.cancel()
            self._wait_timer = None

    def fail(self, error: DevSkinError) -> None:
        """Give this caller an error, and let it go."""
        if not self.done():
            remember(error, self.flight.timing)
            self.set_exception(error)
            self.flight.leave(self)

    def cancel(self, msg: object = None) -> bool:
        """Give the call up, unless it is over."""
        cancelled = super().cancel(msg)
        if cancelled:
            self.flight.leave(self)
        return cancelled

    def _miss(self, deadline: Deadline) -> None:
        self.fail(missed(self.flight, deadline))

    def _stop_waiting(self, seconds: float) -> None:
        text = f"waited for the rate limit for its whole max_wait of {seconds:g} s"
        self.fail(_limited(self.flight.call, text, self.flight.limit_wait(), self.flight))

    def _stop_timers(self) -> None:
        self.unbound_wait()
        if self._deadline_timer is not None:
            self._deadline_timer.cancel()
            self._deadline_timer = None


def would_wait(
    call: Request[T], wait: float, bound: str, flight: Flight[T] | None = None
) -> BudgetExceededError:
    """Make the error of a call that would wait longer for the rate limit than it may.

    Args:
        call: The call.
        wait: The predicted wait, in seconds.
        bound: What it is too long for.
        flight: What has become of the call so far; None where nothing has.
    """
    text = f"would wait {wait:.1f} s for the rate limit, over the {bound}"
    return _limited(call, text, wait, flight)


def missed(flight: Flight[T], deadline: Deadline) -> DevSkinError:
    """Make the error of a call that has missed its deadline, or is bound to."""
    call, wait = flight.call, flight.limit_wait()
    seconds = f"deadline of {deadline.seconds:g} s"
    now = asyncio.get_running_loop().time()
    if now < deadline.at:
        if now + wait > deadline.at:
            return would_wait(call, wait, seconds, flight)
        return TransportError(f"{call}: can't be retried before the {seconds}: {flight.failure}")
    if flight.awaits_slot and wait > 0:
        text = f"the {seconds} passed while it waited for the rate limit"
        return _limited(call, text, wait, flight)
    so_far = f" (attempt {flight.sent}; last attempt: {flight.failure})" if flight.failure else ""
    return TransportError(f"{call}: no answer within the {seconds}{so_far}")


def _limited(
    call: Request[T], text: str, wait: float, flight: Flight[T] | None
) -> BudgetExceededError:
    failure = None if flight is None else flight.failure
    so_far = "nothing was sent" if failure is None else f"last attempt: {failure}"
    return BudgetExceededError(f"{call}: {text}; {so_far}", wait)
