"""Calls over the network: retries, deadlines, one shared answer for identical reads in flight."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable
from functools import partial
from typing import Any, TypeAlias, TypeVar

import stamina
from attrs import define, field

from .errors import (
    APIError,
    BudgetExceededError,
    ConfigurationError,
    DevSkinError,
    TransportError,
)
from .exchange import Exchange
from .options import Deadline, Queueing, Retry
from .protocol import Call, may_retry, told
from .ratelimit import (
    Lane,
    OnEvent,
    RateLimit,
    Retried,
    Scheduler,
    shared_scheduler,
)
from .timing import Timing, remember

T = TypeVar("T")

_Key: TypeAlias = tuple[str, str, Lane]


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
        self._shared: dict[_Key, _Shared] = {}

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
        if queueing.deadline is None:
            return await self.start(call, queueing)
        return await self._send_in_time(call, queueing, queueing.deadline)

    def start(self, call: Call[T], queueing: Queueing) -> asyncio.Future[T]:
        """Send a call without waiting for its answer; see `send`, which raises the same.

        Returns:
            The answer. To cancel it gives the call up; who shares it keeps theirs.
        """
        if queueing.deadline is not None:
            return asyncio.ensure_future(self._send_in_time(call, queueing, queueing.deadline))
        loop = self._usable_loop()
        self._check_wait(call, queueing, loop.time())
        return self._join(self._share(call, queueing), loop)

    async def _send_in_time(self, call: Call[T], queueing: Queueing, deadline: Deadline) -> T:
        loop = self._usable_loop()
        if deadline.at <= loop.time():
            raise _missed(call, deadline, None)
        self._check_wait(call, queueing, loop.time())
        shared = self._share(call, queueing)
        try:
            async with asyncio.timeout_at(deadline.at) as timeout:
                shared.timeouts.add(timeout)
                answer: T = await self._join(shared, loop)
                return answer
        except TimeoutError:
            pass
        finally:
            shared.timeouts.discard(timeout)
        raise _missed(call, deadline, shared)

    async def aclose(self) -> None:
        """Cancel what is in flight and close the session, unless it is the caller's.

        Raises:
            ConfigurationError: The client is in use in another event loop.
        """
        if self._loop not in (None, asyncio.get_running_loop()) and not self._loop.is_closed():
            raise ConfigurationError("close this client in the event loop in which it is used")
        self._closed = True
        tasks = [shared.task for shared in self._shared.values()]
        for task in tasks:
            task.cancel()
        try:
            await asyncio.gather(*tasks, return_exceptions=True)
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

    def _check_wait(self, call: Call[T], queueing: Queueing, now: float) -> None:
        """Refuse at once what would wait too long; what is under way waits no more."""
        deadline, max_wait = queueing.deadline, queueing.max_wait
        if deadline is None and max_wait is None:
            return
        shared = self._shared.get(_key(call, queueing))
        if shared is not None and shared.sent:
            return
        wait = self.scheduler.forecast(1, queueing.lane)
        if max_wait is not None and wait > max_wait:
            bound = f"max_wait of {max_wait:g} s"
        elif deadline is not None and now + wait > deadline.at:
            bound = f"deadline of {deadline.seconds:g} s"
        else:
            return
        told = f"{call}: would wait {wait:.1f} s for the rate limit, over the {bound}"
        raise BudgetExceededError(f"{told}; nothing was sent", wait)

    def _share(self, call: Call[T], queueing: Queueing) -> _Shared:
        key = _key(call, queueing)
        shared = self._shared.get(key)
        if shared is None:
            shared = self._shared[key] = _Shared(key)
            shared.task = asyncio.create_task(self._attempts(call, shared, queueing))
            shared.task.add_done_callback(partial(self._deliver, call, shared))
        return shared

    def _join(self, shared: _Shared, loop: asyncio.AbstractEventLoop) -> asyncio.Future[Any]:
        """Give one caller's own future of a shared answer, which it may cancel."""
        waiter: asyncio.Future[Any] = loop.create_future()
        shared.waiters[waiter] = None
        waiter.add_done_callback(partial(self._leave, shared))
        return waiter

    def _leave(self, shared: _Shared, waiter: asyncio.Future[Any]) -> None:
        shared.waiters.pop(waiter, None)
        if not shared.waiters:
            self._forget(shared)
            shared.task.cancel()

    def _deliver(self, call: Call[T], shared: _Shared, task: asyncio.Task[T]) -> None:
        self._forget(shared)
        error = None if task.cancelled() else task.exception()
        if task.cancelled() and self._closed:
            error = ConfigurationError(f"{call}: the client was closed meanwhile")
        for waiter in shared.waiters:
            if waiter.done():
                continue
            if error is not None:
                waiter.set_exception(error)
            elif task.cancelled():
                waiter.cancel()
            else:
                waiter.set_result(task.result())

    def _forget(self, shared: _Shared) -> None:
        if self._shared.get(shared.key) is shared:
            del self._shared[shared.key]

    async def _attempts(self, call: Call[T], shared: _Shared, queueing: Queueing) -> T:
        try:
            return await self._attempt(call, shared, queueing)
        except DevSkinError as error:
            if not may_retry(error):
                raise
            first = error
        # Most calls never come here: stamina's context costs more than the whole budget does.
        async for attempt in self._stamina():
            with attempt:
                if attempt.num == 1:
                    raise first
                return await self._attempt(call, shared, queueing)
        raise AssertionError("stamina ends by returning or raising")  # pragma: no cover

    def _stamina(self) -> AsyncIterable[stamina.Attempt]:
        retry = self._retry
        return stamina.retry_context(
            on=_wait_or_stop,
            attempts=retry.attempts,
            timeout=None,
            wait_initial=retry.wait_initial,
            wait_max=retry.wait_max,
            wait_jitter=retry.wait_jitter,
        )

    async def _attempt(self, call: Call[T], shared: _Shared, queueing: Queueing) -> T:
        try:
            async with self.scheduler.slot(queueing.lane, queueing.job) as slot:
                shared.sent += 1
                shared.queued += slot.queued
                answer = await self.exchange.send(call)
                slot.answered(told(answer))
            result = self.exchange.read(call, answer)
        except DevSkinError as error:
            shared.failure = error
            remember(error, Timing(shared.queued, shared.sent))
            if may_retry(error) and shared.sent < self._retry.attempts:
                self.scheduler.tell(
                    Retried(request=str(call), attempt=shared.sent, reason=str(error))
                )
                self._release_hopeless(shared, error)
            raise
        remember(result, Timing(shared.queued, shared.sent))
        return result

    def _release_hopeless(self, shared: _Shared, error: DevSkinError) -> None:
        """Let those go whose deadline comes before the next attempt can."""
        asked = error.retry_after if isinstance(error, APIError) else None
        wait = max(asked or 0.0, self.scheduler.budget().paused_for)
        now = asyncio.get_running_loop().time()
        for timeout in shared.timeouts:
            at = timeout.when()
            if at is not None and now < at < now + wait:
                timeout.reschedule(now)


@define(eq=False)
class _Shared:
    """A call under way.

    Args:
        key: What is read, how, and in which lane: an interactive call does not wait for bulk work.
        task: Its attempts.
        waiters: The callers who wait for it; the last to give up cancels it.
        sent: How often it was sent.
        queued: Seconds that it waited for the rate limit.
        failure: What the last attempt failed with.
        timeouts: The deadlines of those who wait for it.
    """

    key: _Key
    task: asyncio.Task[Any] = field(init=False)
    waiters: dict[asyncio.Future[Any], None] = field(factory=dict)  # in the order they came in
    sent: int = 0
    queued: float = 0.0
    failure: DevSkinError | None = None
    timeouts: set[asyncio.Timeout] = field(factory=set)


def _key(call: Call[T], queueing: Queueing) -> _Key:
    return (call.target, call.reads, queueing.lane)


def _missed(call: Call[T], deadline: Deadline, shared: _Shared | None) -> TransportError:
    seconds = f"the deadline of {deadline.seconds:g} s"
    if shared is None or not shared.sent:
        return TransportError(f"{call}: {seconds} passed before its turn came; nothing was sent")
    if asyncio.get_running_loop().time() < deadline.at:
        return TransportError(f"{call}: can't be tried again within {seconds}: {shared.failure}")
    so_far = f" (attempt {shared.sent}; before: {shared.failure})" if shared.failure else ""
    return TransportError(f"{call}: no answer within {seconds}{so_far}")


def _wait_or_stop(error: Exception) -> bool | float:
    if not may_retry(error):
        return False
    # "At once" (0, or a date that has passed) still leaves the growing wait of our own.
    return (isinstance(error, APIError) and error.retry_after) or True
