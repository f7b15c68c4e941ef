"""Calls over the network: retries, deadlines, one shared answer for identical reads in flight."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable
from typing import Any, TypeVar

import stamina

from .errors import (
    APIError,
    BudgetExceededError,
    ConfigurationError,
    DevSkinError,
)
from .exchange import Exchange
from .inflight import Flight, Key, Seat, missed
from .options import Queueing, Retry
from .protocol import Answer, Call, may_retry, succeeded, told
from .ratelimit import (
    OnEvent,
    RateLimit,
    Retried,
    Scheduler,
    shared_scheduler,
)
from .timing import remember

T = TypeVar("T")

_DOUBLINGS = 64  # of a wait; more are not needed to reach any `wait_max`


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
            if self._on_event is not None:
                self._scheduler.listeners.add(self._on_event)
        return self._scheduler

    async def send(self, call: Call[T], queueing: Queueing) -> T:
        """Send a call and give what it was answered with.

        Args:
            call: What to read.
            queueing: How it waits for its turn, and for how long.

        Raises:
            APIError: The API answered with an error, also after the retries.
            BudgetExceededError: The rate limit would make it wait longer than it may.
            TransportError: No whole answer came, or not before the deadline.
            DecodeError: The answer is not what the reference describes.
            ConfigurationError: The client is closed, or belongs to another event loop.
        """
        flight = await self._flown(call, queueing)
        while isinstance(read := self.read(flight, queueing), asyncio.Future):
            flight = await read
        return read

    def start(self, call: Call[T], queueing: Queueing) -> asyncio.Future[Flight[T]]:
        """Send a call without waiting for its answer; see `send`, which raises the same.

        Returns:
            The call with its answer, for `read`. To cancel it gives the call up; who shares it
            keeps theirs.
        """
        if queueing.deadline is not None:
            return asyncio.ensure_future(self._flown(call, queueing))
        loop = self._usable_loop()
        self._check_wait(call, queueing, loop)
        return self._join(call, queueing, loop)

    def read(self, flight: Flight[T], queueing: Queueing) -> T | asyncio.Future[Flight[T]]:
        """Read what a call was answered with, once for all who share it.

        Args:
            flight: The call, with its answer.
            queueing: As for `start`.

        Returns:
            What the answer holds. Where it can't be read as JSON and the call may be sent again, a
            future as `start` gives it.

        Raises:
            APIError: The answer says that it is none.
            DecodeError: The answer is not what the reference describes.
            TransportError: It can't be read as JSON, and the call was sent as often as it may be.
        """
        if flight.answer is not None:
            self._read_once(flight, flight.answer)
        return self._start_again(flight, queueing) if flight.record is None else flight.record

    def _read_once(self, flight: Flight[T], answer: Answer) -> None:
        flight.answer = None
        try:
            flight.record = self.exchange.read(flight.call, answer)
        except DevSkinError as error:
            flight.failure = error
            remember(error, flight.timing)
        else:
            remember(flight.record, flight.timing)

    def _start_again(self, flight: Flight[T], queueing: Queueing) -> asyncio.Future[Flight[T]]:
        failure, deadline = flight.failure, queueing.deadline
        if failure is None or not flight.task.done():  # somebody else has started it again
            seat = Seat(flight, self._usable_loop())
        elif self._is_retried(flight, failure):
            loop = self._usable_loop()
            if deadline is not None and deadline.at <= loop.time() + self._least_wait(failure):
                raise missed(flight.call, deadline, flight)
            self._tell_retried(flight, failure)
            seat = flight.take_off(self._fly(flight, queueing), Seat(flight, loop))
        else:
            raise failure
        return asyncio.ensure_future(seat.within(deadline))

    async def _flown(self, call: Call[T], queueing: Queueing) -> Flight[T]:
        loop, deadline = self._usable_loop(), queueing.deadline
        if deadline is not None and deadline.at <= loop.time():
            raise missed(call, deadline)
        self._check_wait(call, queueing, loop)
        return await self._join(call, queueing, loop).within(deadline)

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
            flight.crash(ConfigurationError(f"{flight.call}: the client was closed meanwhile"))
        try:
            await asyncio.gather(*(flight.task for flight in flights), return_exceptions=True)
        finally:
            if self._scheduler is not None and self._on_event is not None:
                self._scheduler.listeners.discard(self._on_event)
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

    def _check_wait(
        self, call: Call[T], queueing: Queueing, loop: asyncio.AbstractEventLoop
    ) -> None:
        """Refuse at once what would wait too long; what is under way waits no more."""
        deadline, max_wait = queueing.deadline, queueing.max_wait
        if deadline is None and max_wait is None:
            return
        flight = self._flights.get(_key(call, queueing))
        if flight is not None and flight.sent:
            return
        wait = self.scheduler.forecast(1, queueing.lane)
        if max_wait is not None and wait > max_wait:
            bound = f"max_wait of {max_wait:g} s"
        elif deadline is not None and loop.time() + wait > deadline.at:
            bound = f"deadline of {deadline.seconds:g} s"
        else:
            return
        told = f"{call}: would wait {wait:.1f} s for the rate limit, over the {bound}"
        raise BudgetExceededError(f"{told}; nothing was sent", wait)

    def _join(self, call: Call[T], queueing: Queueing, loop: asyncio.AbstractEventLoop) -> Seat[T]:
        key = _key(call, queueing)
        flight: Flight[T] | None = self._flights.get(key)
        if flight is not None:
            return Seat(flight, loop)
        flight = Flight(call, key, self._flights)
        return flight.take_off(self._fly(flight, queueing), Seat(flight, loop))

    async def _fly(self, flight: Flight[T], queueing: Queueing) -> None:
        try:
            answer = await self._attempts(flight, queueing)
        except Exception as error:  # noqa: BLE001 - its callers raise it
            flight.crash(error)
        else:
            flight.land(answer)

    async def _attempts(self, flight: Flight[T], queueing: Queueing) -> Answer:
        if flight.failure is None:
            try:
                return await self._attempt(flight, queueing)
            except DevSkinError as error:
                if not may_retry(error):
                    raise
        # Most calls never come here: stamina's context costs more than the whole budget does.
        async for attempt in self._stamina(flight.sent):
            with attempt:
                if attempt.num == 1 and flight.failure is not None:
                    raise flight.failure
                return await self._attempt(flight, queueing)
        raise AssertionError("stamina ends by returning or raising")  # pragma: no cover

    def _stamina(self, sent: int) -> AsyncIterable[stamina.Attempt]:
        """Begin with the last attempt of those that were sent: stamina is to wait after it."""
        retry = self._retry
        return stamina.retry_context(
            on=_wait_or_stop,
            attempts=retry.attempts - sent + 1,
            timeout=None,
            wait_initial=min(retry.wait_initial * 2.0 ** min(sent - 1, _DOUBLINGS), retry.wait_max),
            wait_max=retry.wait_max,
            wait_jitter=retry.wait_jitter,
        )

    async def _attempt(self, flight: Flight[T], queueing: Queueing) -> Answer:
        call = flight.call
        try:
            async with self.scheduler.slot(queueing.lane, queueing.job) as slot:
                flight.sent += 1
                flight.queued += slot.queued
                answer = await self.exchange.send(call)
                slot.answered(told(answer))
            if not succeeded(answer.status):
                self.exchange.read(call, answer)
        except DevSkinError as error:
            flight.failure = error
            remember(error, flight.timing)
            if self._is_retried(flight, error):
                self._tell_retried(flight, error)
                self._release_hopeless(flight, error)
            raise
        return answer

    def _is_retried(self, flight: Flight[T], error: DevSkinError) -> bool:
        return may_retry(error) and flight.sent < self._retry.attempts

    def _tell_retried(self, flight: Flight[T], error: DevSkinError) -> None:
        wait = self._least_wait(error)
        event = Retried(request=str(flight.call), attempt=flight.sent, reason=str(error), wait=wait)
        self.scheduler.tell(event)

    def _least_wait(self, error: DevSkinError) -> float:
        """Say how many seconds pass at the least until the next attempt."""
        asked = error.retry_after if isinstance(error, APIError) else None
        return max(asked or 0.0, self.scheduler.budget().paused_for)

    def _release_hopeless(self, flight: Flight[T], error: DevSkinError) -> None:
        """Let those go whose deadline comes before the next attempt can."""
        wait, now = self._least_wait(error), asyncio.get_running_loop().time()
        for timeout in flight.timeouts:
            at = timeout.when()
            if at is not None and now < at < now + wait:
                timeout.reschedule(now)


def _key(call: Call[T], queueing: Queueing) -> Key:
    return (call.path, call.query_string, call.reads, queueing.lane)


def _wait_or_stop(error: Exception) -> bool | float:
    if not may_retry(error):
        return False
    # "At once" (0, or a date that has passed) still leaves the growing wait of our own.
    return (isinstance(error, APIError) and error.retry_after) or True
