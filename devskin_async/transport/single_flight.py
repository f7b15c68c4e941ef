"""Single flight: identical calls share one request, and each caller can cancel its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Generic, TypeAlias, TypeVar

from .._capture import CapturedResponse, Captures, captures
from ..api import Request
from ..errors import BudgetExceededError, DevSkinError, RateLimitedError, TransportError
from ..ratelimit import Lane
from .options import Deadline, RequestOptions, Retry

T = TypeVar("T")

Key: TypeAlias = tuple[str, str, Lane, float, Retry]

_TICK = 1e-3


class SharedCall(Generic[T]):
    """A call in flight, in the register of all of them until it is over.

    Args:
        request: What is read.
        key: What is read and how, and the options that its attempts keep to: an interactive call
            does not wait for bulk work, nor a short timeout for another caller's long one.
        register: Where callers of an identical call find it.
        limit_wait: Predicts the seconds that a request would wait for the rate limit now.
        awaits_slot: Whether it waits for the rate limit, or is about to.
        attempts: How often it was sent.
        granted_at: When its last attempt got its slot, on the loop's clock.
        queued: Seconds that it waited for the rate limit.
        failures: How many attempts failed; refusals are not among them.
        failure: What the last attempt failed with, or was refused with.
        response: The response to the last attempt; None if there was none.
        captures: The `capture` blocks that collect its responses.
        task: Its attempts.
        waiters: The futures of its callers, the first one first.
    """

    def __init__(
        self,
        request: Request[T],
        key: Key,
        register: dict[Key, SharedCall[Any]],
        limit_wait: Callable[[], float],
    ) -> None:
        self.request: Request[T] = request
        self.key: Key = key
        self.register: dict[Key, SharedCall[Any]] = register
        self.limit_wait: Callable[[], float] = limit_wait
        self.awaits_slot: bool = True
        self.attempts: int = 0
        self.granted_at: float = 0.0
        self.queued: float = 0.0
        self.failures: int = 0
        self.failure: DevSkinError | None = None
        self.response: CapturedResponse | None = None
        self.captures: Captures = ()
        self.task: asyncio.Task[None]
        self.waiters: dict[Waiter[T], None] = {}

    def start(self, attempts: Coroutine[Any, Any, None], loop: asyncio.AbstractEventLoop) -> None:
        """Begin with the attempts, which end with `set_result` or an error for all callers."""
        self.register[self.key] = self
        self.task = loop.create_task(attempts)
        self.task.add_done_callback(self._on_task_done)

    def begin_attempt(self, granted_at: float, queued: float) -> None:
        """Note that an attempt is sent."""
        self.awaits_slot = False
        self.granted_at = granted_at
        self.queued += queued
        self.attempts += 1
        self.response = None
        for waiter in self.waiters:
            waiter.unbound_wait()

    def receive(self, response: CapturedResponse) -> None:
        """Note a response, for errors and for callers who capture it."""
        self.response = response
        for block in self.captures:
            if not block.ended:
                block.responses.append(response)

    def fail(self, error: DevSkinError) -> None:
        """Note what an attempt failed with, or was refused with."""
        self.failure = error
        if not isinstance(error, RateLimitedError):
            self.failures += 1

    def describe(self, error: DevSkinError) -> None:
        """Set what an error says of the call: response, attempts, time queued."""
        error.response, error.attempts, error.queued = self.response, self.attempts, self.queued

    def wait_again(self) -> None:
        """Wait for the rate limit again; fail the waiters that may not wait so long.

        Raises:
            CancelledError: No waiter is left.
        """
        self.awaits_slot = True
        if any(waiter.options.bounded for waiter in self.waiters):
            wait, now = self.limit_wait(), asyncio.get_running_loop().time()
            for waiter in tuple(self.waiters):
                if (bound := waiter.options.bound_below(wait, now)) is not None:
                    waiter.fail(wait_error(self.request, wait, bound, self))
                else:
                    waiter.bound_wait()
            if not self.waiters:
                raise asyncio.CancelledError

    def fail_past_deadlines(self, wait: float) -> None:
        """Fail the waiters whose deadline comes before the next attempt.

        Args:
            wait: The seconds of `Retry-After`; the rate limit may make it longer.
        """
        if all(waiter.options.deadline is None for waiter in self.waiters):
            return
        now = asyncio.get_running_loop().time()
        next_attempt_at = now + max(wait, self.limit_wait())
        for waiter in tuple(self.waiters):
            deadline = waiter.options.deadline
            if deadline is not None and now < deadline.at < next_attempt_at:
                waiter.fail(_deadline_error(self, deadline))

    def leave(self, waiter: Waiter[T]) -> None:
        """Remove a waiter that gave up; the last one cancels the call."""
        self.waiters.pop(waiter, None)
        if not self.waiters:
            self._released()
            self.task.cancel()

    def set_result(self, record: T) -> None:
        """Set the result of all waiters."""
        for waiter in self._released():
            if not waiter.done():
                waiter.set_result(record)

    def set_exception(self, error: BaseException) -> None:
        """Set the exception of all waiters."""
        if isinstance(error, DevSkinError):
            self.describe(error)
        for waiter in self._released():
            if not waiter.done():
                waiter.set_exception(error)

    def _on_task_done(self, task: asyncio.Task[None]) -> None:
        if task.cancelled():  # from outside, perhaps before it began
            for waiter in self._released():
                waiter.cancel()
        elif (error := task.exception()) is not None:
            self.set_exception(error)

    def _released(self) -> Iterable[Waiter[T]]:
        if self.register.get(self.key) is self:
            del self.register[self.key]
        # A waiter and its call refer to each other; this breaks the reference cycle.
        waiters, self.waiters = self.waiters, {}
        return waiters


class Waiter(asyncio.Future[T]):
    """One caller's own future of a call's result, within the caller's own bounds.

    Cancelling it, or its failing, leaves the other callers' futures unaffected.
    """

    __slots__ = ("_deadline_timer", "_wait_timer", "call", "options")

    def __init__(
        self, call: SharedCall[T], options: RequestOptions, loop: asyncio.AbstractEventLoop
    ) -> None:
        super().__init__(loop=loop)
        self.call: SharedCall[T] = call
        self.options: RequestOptions = options
        self._deadline_timer: asyncio.TimerHandle | None = None
        self._wait_timer: asyncio.TimerHandle | None = None
        call.waiters[self] = None
        if blocks := captures.get():
            call.captures += tuple(block for block in blocks if block not in call.captures)
        if options.max_wait is None and options.deadline is None:
            return
        self.add_done_callback(Waiter._stop_timers)
        if (deadline := options.deadline) is not None:
            self._deadline_timer = loop.call_at(deadline.at, self._on_deadline, deadline)
        if call.awaits_slot:
            self.bound_wait()

    def bound_wait(self) -> None:
        """Fail the caller if it still waits for the rate limit `max_wait` seconds from now."""
        self.unbound_wait()
        if (seconds := self.options.max_wait) is not None:
            # A slot that is free at that very moment is in time.
            self._wait_timer = self.get_loop().call_later(
                seconds + _TICK, self._stop_waiting, seconds
            )

    def unbound_wait(self) -> None:
        """Stop that timer: the caller no longer waits for the rate limit."""
        if self._wait_timer is not None:
            self._wait_timer.cancel()
            self._wait_timer = None

    def fail(self, error: DevSkinError) -> None:
        """Set this caller's error, and leave the call."""
        if not self.done():
            self.call.describe(error)
            self.set_exception(error)
            self.call.leave(self)

    def cancel(self, msg: object = None) -> bool:
        """Cancel this caller's future, and leave the call."""
        cancelled = super().cancel(msg)
        if cancelled:
            self.call.leave(self)
        return cancelled

    def _on_deadline(self, deadline: Deadline) -> None:
        self.fail(_deadline_error(self.call, deadline))

    def _stop_waiting(self, seconds: float) -> None:
        text = f"waited for the rate limit for its whole max_wait of {seconds:g} s"
        self.fail(_budget_error(self.call.request, text, self.call.limit_wait(), self.call))

    def _stop_timers(self) -> None:
        self.unbound_wait()
        if self._deadline_timer is not None:
            self._deadline_timer.cancel()
            self._deadline_timer = None


def wait_error(
    request: Request[T], wait: float, bound: str, call: SharedCall[T] | None = None
) -> BudgetExceededError:
    """Return the error of a call that would wait longer for the rate limit than it may.

    Args:
        request: The request.
        wait: The predicted wait, in seconds.
        bound: What it is too long for.
        call: The call, if it exists already; None if not.
    """
    text = f"would wait {wait:.1f} s for the rate limit, over the {bound}"
    return _budget_error(request, text, wait, call)


def _deadline_error(call: SharedCall[T], deadline: Deadline) -> DevSkinError:
    """Return the error of a call that has missed its deadline, or will miss it."""
    request, wait = call.request, call.limit_wait()
    seconds = f"deadline of {deadline.seconds:g} s"
    now = asyncio.get_running_loop().time()
    if now < deadline.at:
        if now + wait > deadline.at:
            return wait_error(request, wait, seconds, call)
        return TransportError(f"{request}: can't be retried before the {seconds}: {call.failure}")
    if call.awaits_slot and wait > 0:
        text = f"the {seconds} passed while it waited for the rate limit"
        return _budget_error(request, text, wait, call)
    so_far = f" (attempt {call.attempts}; last attempt: {call.failure})" if call.failure else ""
    return TransportError(f"{request}: no response within the {seconds}{so_far}")


def _budget_error(
    request: Request[T], text: str, wait: float, call: SharedCall[T] | None
) -> BudgetExceededError:
    failure = None if call is None else call.failure
    so_far = "nothing was sent" if failure is None else f"last attempt: {failure}"
    return BudgetExceededError(f"{request}: {text}; {so_far}", wait)
