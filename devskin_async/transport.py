"""Calls over the network: retries, deadlines, one shared answer for identical reads in flight."""

from __future__ import annotations

import asyncio
import math
from functools import partial
from typing import Any, TypeVar

from .api import (
    MismatchedResponseError,
    Request,
    Response,
    age,
    may_retry,
    parse_rate_limit_headers,
    succeeded,
)
from .connections import connected
from .errors import APIError, ConfigurationError, DevSkinError, RateLimitedError, TransportError
from .exchange import Exchange
from .inflight import Flight, Key, Seat, missed, would_wait
from .options import Queueing, Retry
from .ratelimit import OnEvent, RateLimit, Retried, Scheduler, shared_scheduler
from .timing import remember

T = TypeVar("T")

_ECHO_ATTEMPTS = 3


class Transport:
    """Sends calls for one API key, each attempt through the scheduler.

    Args:
        exchange: Sends one request.
        limit: The budget that every attempt keeps, shared with other clients of the key.
        retry: How a failed attempt is repeated.
        on_event: Called with what happens to requests; None listens to nothing.
    """

    def __init__(
        self,
        exchange: Exchange,
        limit: RateLimit,
        retry: Retry,
        on_event: OnEvent | None = None,
    ) -> None:
        self.exchange = exchange
        self._limit = limit
        self._retry = retry
        self._on_event = on_event
        self._scheduler: Scheduler | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False
        self._flights: dict[Key, Flight[Any]] = {}

    @property
    def scheduler(self) -> Scheduler:
        """The budget, which belongs to the event loop in which it is first asked for."""
        if self._scheduler is None:
            self._scheduler = shared_scheduler(self.exchange.budget, self._limit)
            self._scheduler.listeners.add(self, self._on_event)
        return self._scheduler

    async def send(self, call: Request[T], queueing: Queueing) -> T:
        """Send a call and give what it was answered with.

        Args:
            call: What to read.
            queueing: How it waits for its turn, and for how long.

        Raises:
            APIError: The API answered with an error, also after the retries.
            BudgetExceededError: The rate limit makes it wait longer than it may.
            TransportError: No whole answer came, or not before the deadline.
            DecodeError: The answer is not what the reference describes.
            ConfigurationError: The client is closed, or belongs to another event loop.
        """
        flight = await self.start(call, queueing)
        while isinstance(read := self.read(flight, queueing), asyncio.Future):
            flight = await read
        return read

    def start(self, call: Request[T], queueing: Queueing) -> asyncio.Future[Flight[T]]:
        """Send a call without waiting for its answer; see `send`, which raises the same.

        Returns:
            The call with its answer, for `read`. Cancelling the future gives up this caller only;
            callers that share the request are unaffected.
        """
        loop = self._usable_loop()
        key = (call.path, call.query_string, call.reads, queueing.lane)
        flight: Flight[T] | None = self._flights.get(key)
        if queueing.bounded:
            self._check_bounds(call, queueing, flight)
        if flight is not None:
            return Seat(flight, queueing, loop)
        flight = Flight(call, key, self._flights, partial(self.scheduler.rough_wait, queueing.lane))
        return flight.take_off(self._fly(flight, queueing), Seat(flight, queueing, loop))

    def read(self, flight: Flight[T], queueing: Queueing) -> T | asyncio.Future[Flight[T]]:
        """Read what a call was answered with, once for all who share it.

        Args:
            flight: The call, with its answer.
            queueing: As for `start`.

        Returns:
            What the answer holds. Where it can't be read as JSON and the call may be sent again, a
            future as `start` gives it.

        Raises:
            APIError: The API answered with an error.
            DecodeError: The answer is not what the reference describes.
            TransportError: It can't be read as JSON, and the call was sent as often as it may be.
        """
        if flight.answer is not None:
            # The frames of an error must not hold the answer, which may repeat the key.
            answer, flight.answer = flight.answer, None
            result = self.exchange.read(flight.call, answer)
            taken = flight.timing._replace(at=answer.at, age=age(answer.headers))
            del answer
            if isinstance(result, DevSkinError):
                flight.fail(result)
            else:
                flight.record = result
                remember(result, taken)
        return self._start_again(flight, queueing) if flight.record is None else flight.record

    def _start_again(self, flight: Flight[T], queueing: Queueing) -> asyncio.Future[Flight[T]]:
        failure, loop = flight.failure, self._usable_loop()
        if failure is None or not flight.task.done():  # somebody else has started it again
            return Seat(flight, queueing, loop)
        wait = self._wait_before_retry(flight, failure)
        if wait is None:
            raise failure
        deadline = queueing.deadline
        if deadline is not None and deadline.at <= loop.time() + flight.limit_wait():
            raise missed(flight, deadline)
        self._tell_retried(flight, failure, wait)
        return flight.take_off(self._fly(flight, queueing, wait), Seat(flight, queueing, loop))

    async def aclose(self) -> None:
        """Cancel what is in flight and close the session, unless it is the caller's.

        Raises:
            ConfigurationError: The client is in use in another event loop.
        """
        if self._loop not in (None, asyncio.get_running_loop()) and not self._loop.is_closed():
            raise ConfigurationError("close this client in the event loop in which it is used")
        self._closed = True
        flights = tuple(self._flights.values())
        for flight in flights:
            flight.task.cancel()
            flight.crash(
                ConfigurationError(
                    f"{flight.call}: the client was closed before the response arrived"
                )
            )
        try:
            await asyncio.gather(*(flight.task for flight in flights), return_exceptions=True)
        finally:
            if self._scheduler is not None:
                self._scheduler.listeners.remove(self)
            await self.exchange.aclose()

    def _usable_loop(self) -> asyncio.AbstractEventLoop:
        if self._closed:
            raise ConfigurationError("this client is closed: make a new one")
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
        elif self._loop is not loop:
            raise ConfigurationError(
                "this client belongs to another event loop: make one client in each loop"
            )
        self.exchange.check_open()
        return loop

    def _check_bounds(self, call: Request[T], queueing: Queueing, flight: Flight[T] | None) -> None:
        """Refuse at once what would wait too long; what is on the wire waits no more."""
        now, deadline = asyncio.get_running_loop().time(), queueing.deadline
        if flight is None or flight.awaits_slot:
            # A call in the queue is nearer than a new one would be; but a pause is for all.
            scheduler, joins = self.scheduler, flight is not None
            wait = scheduler.pause() if joins else scheduler.forecast(1, queueing.lane)
            if (bound := queueing.bound_below(wait, now)) is not None:
                raise would_wait(call, wait, bound, flight)
        if deadline is not None and deadline.at <= now:
            raise TransportError(f"{call}: the deadline of {deadline.seconds:g} s has passed")

    async def _fly(self, flight: Flight[T], queueing: Queueing, wait: float | None = None) -> None:
        try:
            while True:
                if wait is not None:
                    await asyncio.sleep(wait)
                if flight.failure is not None and not flight.awaits_slot:
                    flight.wait_again()
                try:
                    answer = await self._attempt(flight, queueing)
                    break
                except DevSkinError as error:
                    flight.fail(error)
                    wait = self._wait_before_retry(flight, error)
                    if wait is None:
                        raise
                    flight.release_hopeless(_asked(error))
                    if not wait:
                        flight.wait_again()
                    self._tell_retried(flight, error, wait)
        except Exception as error:  # noqa: BLE001 - its callers raise it
            flight.crash(error)
            if isinstance(error, RateLimitedError) and self._is_hopeless(flight):
                self._give_up_the_refused()
        else:
            flight.land(answer)

    def _give_up_the_refused(self) -> None:
        """Tell all calls that were refused and wait that the key stayed refused for a window."""
        for flight in tuple(self._flights.values()):
            if flight.awaits_slot and isinstance(flight.failure, RateLimitedError):
                flight.crash(self._final(flight.failure))
                flight.task.cancel()

    async def _attempt(self, flight: Flight[T], queueing: Queueing) -> Response:
        call = flight.call
        async with self.scheduler.slot(queueing.lane, queueing.job) as slot:
            flight.go(slot.granted_at, slot.queued)
            try:
                answer = await self.exchange.send(call)
            except BaseException:
                if not connected.get():
                    slot.cancel()
                raise
            slot.answered(parse_rate_limit_headers(answer.status, answer.headers, answer.at))
        if not succeeded(answer.status):
            result = self.exchange.read(call, answer)
            if isinstance(result, DevSkinError):
                del answer  # it may repeat the key, and this frame is part of the error
                if isinstance(result, RateLimitedError) and self._is_hopeless(flight):
                    result = self._final(result)
                raise result
        return answer

    def _wait_before_retry(self, flight: Flight[T], error: DevSkinError) -> float | None:
        """Say how long to wait before a call is sent again, the rate limit aside; None for never.

        Refusals are waited out in the queue, where the pause that they bring is one for all.
        """
        if not may_retry(error) or self._retry.attempts == 1:
            return None
        if isinstance(error, RateLimitedError):
            return None if self._is_hopeless(flight) else 0.0
        most = self._retry.attempts
        if isinstance(error, MismatchedResponseError):
            # Left over on a connection, it does not come again; an API that has changed does.
            most = min(most, _ECHO_ATTEMPTS)
        if flight.failures >= most:
            return None
        # "At once" (0, or a date that has passed) still leaves the growing wait of our own.
        return _asked(error) or self._retry.wait(flight.failures)

    def _is_hopeless(self, flight: Flight[T]) -> bool:
        """Say whether nothing of the key was accepted for a whole window before a refusal."""
        return self.scheduler.was_refused_for_a_window(flight.granted_at)

    def _final(self, error: RateLimitedError) -> RateLimitedError:
        """Say of a refusal that outlasted the patience what it means and when to come back."""
        wait = error.retry_after or self.scheduler.budget().paused_for
        return RateLimitedError(
            error.status,
            f"{error.message}; rate-limited for more than {self._limit.per:g} s, probably because "
            f"another program uses this API key; retry in {math.ceil(wait)} s",
            error.method,
            error.path,
            wait,
        )

    def _tell_retried(self, flight: Flight[T], error: DevSkinError, wait: float) -> None:
        event = Retried(
            request=str(flight.call),
            attempt=flight.sent,
            reason=str(error).removeprefix(f"{flight.call}: "),
            wait=max(wait, self.scheduler.pause()),
        )
        now, refused = asyncio.get_running_loop().time(), isinstance(error, RateLimitedError)
        self.scheduler.listeners.tell_retried(event, now, refused=refused)


def _asked(error: DevSkinError) -> float:
    """Say how many seconds the API asked to be left alone."""
    return (error.retry_after or 0.0) if isinstance(error, APIError) else 0.0
