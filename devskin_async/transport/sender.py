"""Calls over the network: the retry loop, each attempt with a slot of the rate limit."""

from __future__ import annotations

import asyncio
import hashlib
import math
from functools import cached_property, partial
from typing import Any, TypeVar

from yarl import URL

from .._capture import CapturedResponse
from ..api import (
    MismatchedResponseError,
    Request,
    Response,
    age,
    may_retry,
    parse_rate_limit_headers,
)
from ..errors import APIError, ConfigurationError, DevSkinError, RateLimitedError, TransportError
from ..ratelimit import OnEvent, RateLimit, Retried, Scheduler, budget_name, shared_scheduler
from .attempts import Attempt
from .connections import connected
from .http import Transport
from .options import RequestOptions, Retry
from .proxies import Proxy, name_proxy
from .redaction import Redactor, decode_redacted, redact_headers
from .single_flight import Key, SharedCall, Waiter, wait_error

T = TypeVar("T")

_MISMATCHED_ATTEMPTS = 3


class Sender:
    """Sends calls for one API key, each attempt through the scheduler.

    Args:
        transport: Sends one request.
        base_url: The API's address, whose host has a budget for each key.
        api_key: The key, which no error shows.
        where: Where the key's budget is kept; see `shared_scheduler`.
        limit: The limit that every attempt keeps.
        on_event: Called with what happens to requests; None listens to nothing.
        proxy: Names the proxy in the error of a connection that is not made in time.

    Attributes:
        store_id: The API's host and a digest of the key, which is not to be shown.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        base_url: str,
        api_key: str,
        where: str,
        limit: RateLimit,
        on_event: OnEvent | None = None,
        proxy: Proxy | None = None,
    ) -> None:
        self.transport = transport
        self.base_url = base_url
        digest = hashlib.sha256(api_key.encode()).hexdigest()
        self.store_id: str = f"{URL(base_url).authority} {digest}"
        self._budget = (where, budget_name(URL(base_url).authority, api_key))
        self._redact = Redactor(api_key)
        self._limit = limit
        self._on_event = on_event
        self._proxy = proxy
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False
        self._calls: dict[Key, SharedCall[Any]] = {}

    @cached_property
    def scheduler(self) -> Scheduler:
        """The budget, which belongs to the event loop in which it is first used."""
        scheduler = shared_scheduler(*self._budget, self._limit)
        scheduler.listeners.add(self, self._on_event)
        return scheduler

    def send(self, request: Request[T], options: RequestOptions) -> asyncio.Future[T]:
        """Send a request, or join an identical one in flight.

        Args:
            request: What to read.
            options: How it is sent. Only calls with the same lane, timeout and retries share one.

        Returns:
            What the response holds. Cancelling the future gives up this caller only; callers that
            share the request are unaffected.

        Raises:
            APIError: The API responded with an error, also after the retries.
            BudgetExceededError: The rate limit makes it wait longer than it may.
            TransportError: No complete response came, or not before the deadline.
            DecodeError: The response is not what the reference describes.
            ConfigurationError: The client is closed, or belongs to another event loop.
        """
        loop = self._usable_loop()
        key = (request.target, request.reads, options.lane, options.timeout, options.retry)
        call: SharedCall[T] | None = self._calls.get(key)
        if options.bounded:
            self._check_bounds(request, options, call)
        if call is not None:
            return Waiter(call, options, loop)
        self.scheduler.extend_lease(options.timeout)
        call = SharedCall(
            request, key, self._calls, partial(self.scheduler.estimated_wait, options.lane)
        )
        waiter = Waiter(call, options, loop)
        call.start(self._run(call, options), loop)
        return waiter

    async def aclose(self) -> None:
        """Cancel what is in flight and close the transport.

        Raises:
            ConfigurationError: The client is in use in another event loop.
        """
        if self._loop not in (None, asyncio.get_running_loop()) and not self._loop.is_closed():
            raise ConfigurationError("close this client in the event loop in which it is used")
        self._closed = True
        calls = tuple(self._calls.values())
        for call in calls:
            call.task.cancel()
            text = f"{call.request}: the client was closed before the response arrived"
            call.set_exception(ConfigurationError(text))
        try:
            await asyncio.gather(*(call.task for call in calls), return_exceptions=True)
        finally:
            if "scheduler" in vars(self):
                await self.scheduler.leave(self)
            await self.transport.aclose()

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
        return loop

    def _check_bounds(
        self, request: Request[T], options: RequestOptions, call: SharedCall[T] | None
    ) -> None:
        """Raise at once if the call would wait too long; one on the wire waits no more."""
        now, deadline = asyncio.get_running_loop().time(), options.deadline
        if call is None or call.awaits_slot:
            # A call in the queue waits less than a new one would; but a pause is for all.
            scheduler, joins = self.scheduler, call is not None
            wait = scheduler.paused_for() if joins else scheduler.estimated_wait(options.lane)
            if (bound := options.bound_below(wait, now)) is not None:
                raise wait_error(request, wait, bound, call)
        if deadline is not None and deadline.at <= now:
            raise TransportError(f"{request}: the deadline of {deadline.seconds:g} s has passed")

    async def _run(self, call: SharedCall[T], options: RequestOptions) -> None:
        """Send a call until a response is decoded, or its error is final."""
        while True:
            try:
                record = await self._attempt(call, options)
            except DevSkinError as error:
                call.fail(error)
                wait = self._wait_before_retry(call, error, options.retry)
                if wait is None:
                    if isinstance(error, RateLimitedError) and self._refused_for_a_window(call):
                        self._fail_refused_calls()
                    raise
                call.fail_past_deadlines(_asked_wait(error))
                if not wait:
                    call.wait_again()
                self._emit_retried(call, error, wait)
            else:
                call.set_result(record)
                return
            await asyncio.sleep(wait)
            if not call.awaits_slot:
                call.wait_again()

    async def _attempt(self, call: SharedCall[T], options: RequestOptions) -> T:
        request, response = call.request, None
        async with self.scheduler.slot(options.lane, options.flow) as slot:
            call.begin_attempt(slot.granted_at, slot.queued)
            connected.set(True)
            attempt = Attempt(call, slot, self.scheduler.listeners, self._redact)
            try:
                # aiohttp's own timeout does not cover every wait inside aiohttp.
                with attempt:
                    async with asyncio.timeout(options.timeout):
                        response = await self.transport.send(request)
                    attempt.status = response.status
            except TimeoutError:
                pass  # raised below, where no context can hold the request's headers
            except TransportError as error:
                connected.set(error.sent)
                raise
            finally:
                if not connected.get():
                    slot.cancel()
            if response is not None:
                slot.observe(
                    parse_rate_limit_headers(response.status, response.headers, response.at)
                )
        if response is None:
            sent, missing = connected.get(), "no response"
            if self._proxy is not None and not sent:
                missing = f"no connection through {name_proxy(self._proxy.url)}"
            raise TransportError(f"{request}: {missing} within {options.timeout:g} s", sent=sent)
        result = decode_redacted(request, response, self._redact)
        if call.captures or isinstance(result, DevSkinError):
            call.receive(self._captured(call, response, attempt.elapsed))
        if isinstance(result, DevSkinError):
            del response  # it may repeat the key, and this frame is part of the error
            if isinstance(result, RateLimitedError) and self._refused_for_a_window(call):
                result = self._final_refusal(result)
            raise result
        return result

    def _captured(
        self, call: SharedCall[T], response: Response, elapsed: float
    ) -> CapturedResponse:
        return CapturedResponse(
            method=call.request.method,
            path=call.request.path,
            status=response.status,
            headers=redact_headers(response.headers, self._redact),
            attempts=call.attempts,
            queued=call.queued,
            elapsed=elapsed,
            at=response.at,
            age=age(response.headers),
        )

    def _wait_before_retry(
        self, call: SharedCall[T], error: DevSkinError, retry: Retry
    ) -> float | None:
        """Return the seconds until a call is sent again, the rate limit aside; None for never.

        Refusals are waited out in the queue, where one pause is for all calls.
        """
        if not may_retry(error) or retry.attempts == 1:
            return None
        if isinstance(error, RateLimitedError):
            return None if self._refused_for_a_window(call) else 0.0
        most = retry.attempts
        if isinstance(error, MismatchedResponseError):
            # One left over on a connection does not come again; that of a changed API does.
            most = min(most, _MISMATCHED_ATTEMPTS)
        if call.failures >= most:
            return None
        # If it asks for no wait (0, or a date that has passed), our own growing wait holds.
        return _asked_wait(error) or retry.wait(call.failures)

    def _refused_for_a_window(self, call: SharedCall[T]) -> bool:
        """Return whether no request was accepted for a whole window before a refusal."""
        return self.scheduler.was_refused_for_a_window(call.granted_at)

    def _fail_refused_calls(self) -> None:
        """Fail all waiting calls that were refused: nothing was accepted for a window."""
        for call in tuple(self._calls.values()):
            if call.awaits_slot and isinstance(call.failure, RateLimitedError):
                call.set_exception(self._final_refusal(call.failure))
                call.task.cancel()

    def _final_refusal(self, error: RateLimitedError) -> RateLimitedError:
        """Return the error of a refusal that is not retried: its cause and when to retry."""
        wait = error.retry_after or self.scheduler.budget().paused_for
        return RateLimitedError(
            error.status,
            f"{error.message}; rate-limited for more than {self._limit.per:g} s, probably because "
            f"another program uses this API key; retry in {math.ceil(wait)} s",
            error.method,
            error.path,
            wait,
        )

    def _emit_retried(self, call: SharedCall[T], error: DevSkinError, wait: float) -> None:
        event = Retried(
            request=str(call.request),
            attempt=call.attempts,
            reason=str(error).removeprefix(f"{call.request}: ") or type(error).__name__,
            wait=max(wait, self.scheduler.paused_for()),
        )
        now, refused = asyncio.get_running_loop().time(), isinstance(error, RateLimitedError)
        self.scheduler.listeners.emit_retried(event, now, refused=refused)


def _asked_wait(error: DevSkinError) -> float:
    """Return the seconds of `Retry-After`; 0 without one."""
    return (error.retry_after or 0.0) if isinstance(error, APIError) else 0.0
