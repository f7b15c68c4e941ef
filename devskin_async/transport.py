"""The network: one aiohttp session, retries, one shared answer for identical reads in flight."""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import Any, TypeVar, cast

import aiohttp
import stamina
from attrs import define, field, frozen, validators
from yarl import URL

from ._version import __version__
from .errors import (
    APIError,
    ConfigurationError,
    DecodeError,
    DevSkinError,
    RateLimitedError,
    TransportError,
)
from .protocol import MAX_BODY, Answer, Call, may_retry, read
from .ratelimit import Scheduler

T = TypeVar("T")
E = TypeVar("E", bound=DevSkinError)


@frozen
class Retry:
    """How a request that failed in passing is sent again.

    That is: connection errors, timeouts, broken bodies, and the statuses 429, 500, 502, 503 and
    504. The wait before attempt n + 1 is `wait_initial` * 2**(n - 1) and a random part of up to
    `wait_jitter`, at most `wait_max`; a `Retry-After` goes before it.

    Args:
        attempts: How often one call is sent at the most; 1 switches retries off.
        wait_initial: Seconds before the second attempt.
        wait_max: Seconds before any attempt, at the most.
        wait_jitter: Seconds of the random part, at the most.

    Raises:
        ValueError: A number is negative, or `attempts` is below 1.
    """

    attempts: int = field(default=6, validator=[validators.instance_of(int), validators.ge(1)])
    wait_initial: float = field(default=0.5, validator=validators.ge(0))
    wait_max: float = field(default=30.0, validator=validators.ge(0))
    wait_jitter: float = field(default=1.0, validator=validators.ge(0))


@frozen
class Deadline:
    """A moment by which a call must be over.

    Args:
        seconds: How long after the call's start that is.
        at: The moment on the running loop's clock.
    """

    seconds: float
    at: float

    @classmethod
    def after(cls, seconds: float | None) -> Deadline | None:
        """Start a deadline now; None where there is none."""
        if seconds is None:
            return None
        return cls(seconds, asyncio.get_running_loop().time() + seconds)


class Transport:
    """Sends calls for one API key, each attempt through the scheduler.

    Args:
        base_url: The API's address, checked by the caller.
        api_key: Sent in the `X-API-Key` header and nowhere else.
        scheduler: The budget that every attempt goes through.
        timeout: Seconds for one attempt on the wire.
        retry: How a failed attempt is repeated.
        session: A session of the caller's, used and left open; None makes one when needed. Its
            middlewares are not run: one that sends again would do so outside the budget.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str,
        *,
        scheduler: Scheduler,
        timeout: float,
        retry: Retry,
        session: aiohttp.ClientSession | None,
    ) -> None:
        self.scheduler = scheduler
        self.base_url = base_url
        self._api_key = api_key
        self._headers = {
            "X-API-Key": api_key,
            "Accept": "application/json",
            "User-Agent": f"devskin-async/{__version__}",
        }
        self._timeout = aiohttp.ClientTimeout(total=timeout)
        self._retry = retry
        self._session = session
        self._owns_session = session is None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False
        self._shared: dict[str, _Shared] = {}

    async def send(self, call: Call[T], deadline: Deadline | None = None) -> T:
        """Send a call and give what it was answered with.

        Args:
            call: What to read.
            deadline: Until when, the queue, the attempts and the waits between them included.

        Raises:
            APIError: The API answered with an error, also after the retries.
            TransportError: No whole answer came, or not before the deadline.
            DecodeError: The answer is not what the reference describes.
            ConfigurationError: The client is closed, or belongs to another event loop.
        """
        self._check_usable()
        if deadline is None:
            return await self._join(call)
        try:
            async with asyncio.timeout_at(deadline.at):
                return await self._join(call)
        except TimeoutError:
            pass
        raise TransportError(f"{call}: no answer within the deadline of {deadline.seconds:g} s")

    async def aclose(self) -> None:
        """Cancel what is in flight and close the session, unless it is the caller's."""
        self._closed = True
        # The waiting callers forget their call as they wake, so a copy is taken.
        tasks = [shared.task for shared in self._shared.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._session is not None and self._owns_session:
            await self._session.close()

    def _check_usable(self) -> None:
        if self._closed:
            raise ConfigurationError("this client is closed: make a new one, or close it later")
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
        elif self._loop is not loop:
            raise ConfigurationError(
                "this client belongs to another event loop: make one client in each loop"
            )

    async def _join(self, call: Call[T]) -> T:
        shared = self._shared.get(call.target)
        if shared is None:
            shared = self._shared[call.target] = _Shared(asyncio.create_task(self._attempts(call)))
            shared.task.add_done_callback(lambda _: self._forget(call.target, shared))
        shared.waiting += 1
        try:
            return cast(T, await asyncio.shield(shared.task))
        except asyncio.CancelledError:
            if self._closed and shared.task.cancelled() and not _being_cancelled():
                raise ConfigurationError(f"{call}: the client was closed meanwhile") from None
            raise
        finally:
            shared.waiting -= 1
            if not shared.waiting:
                self._forget(call.target, shared)
                shared.task.cancel()

    def _forget(self, target: str, shared: _Shared) -> None:
        if self._shared.get(target) is shared:
            del self._shared[target]

    async def _attempts(self, call: Call[T]) -> T:
        retry = self._retry
        async for attempt in stamina.retry_context(
            on=_wait_or_stop,
            attempts=retry.attempts,
            timeout=None,
            wait_initial=retry.wait_initial,
            wait_max=retry.wait_max,
            wait_jitter=retry.wait_jitter,
        ):
            with attempt:
                return await self._attempt(call)
        raise AssertionError("stamina ends by returning or raising")  # pragma: no cover

    async def _attempt(self, call: Call[T]) -> T:
        async with self.scheduler.slot():
            answer = await self._exchange(call)
        try:
            return read(call, answer)
        except DevSkinError as caught:
            error = self._redacted(caught)
        if isinstance(error, RateLimitedError):
            self.scheduler.refuse(error.retry_after or 0.0)
        raise error

    async def _exchange(self, call: Call[T]) -> Answer:
        url = URL(f"{self.base_url}{call.target}", encoded=True)
        session = self._open_session()
        try:
            async with session.get(
                url,
                headers=self._headers,
                timeout=self._timeout,
                allow_redirects=False,
                raise_for_status=False,
                auto_decompress=True,
                middlewares=(_send_once,),
            ) as response:
                body = await _read_body(response, call)
                return Answer(response.status, response.headers, body, dt.datetime.now(dt.UTC))
        except TimeoutError:
            reason = f"no answer within {self._timeout.total:g} s"
        except (aiohttp.ClientError, OSError, ValueError) as error:
            # Not chained: aiohttp's errors can hold the request's headers, and so the key.
            reason = str(error) or type(error).__name__
        raise TransportError(f"{call}: {self._redact(reason)}")

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0), cookie_jar=aiohttp.DummyCookieJar()
            )
        if self._session.closed:
            raise ConfigurationError("the session given to this client is closed: give an open one")
        return self._session

    def _redact(self, text: str) -> str:
        return text.replace(self._api_key, "[the API key]")

    def _redacted(self, error: E) -> E:
        """Make the error anew, without the key that its answer may have echoed."""
        return type(error)(*(self._redact(a) if isinstance(a, str) else a for a in error.args))


class _ConnectionLostError(aiohttp.ClientError):
    """The connection broke before an answer came."""


async def _send_once(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Keep aiohttp from sending a request again by itself when a kept connection breaks.

    It would go out without a slot of the budget, and no option switches it off (aiohttp issue
    10790); but it happens for these two errors alone.
    """
    try:
        return await handler(request)
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise _ConnectionLostError(str(error) or type(error).__name__) from None


@define(eq=False)
class _Shared:
    """A call under way, and how many callers wait for it; the last to give up cancels it."""

    task: asyncio.Task[Any]
    waiting: int = 0


def _being_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _wait_or_stop(error: Exception) -> bool | float:
    if not may_retry(error):
        return False
    wait = error.retry_after if isinstance(error, APIError) else None
    return True if wait is None else wait


async def _read_body(response: aiohttp.ClientResponse, call: Call[T]) -> bytes:
    chunks: list[bytes] = []
    size = 0
    async for chunk in response.content.iter_any():
        size += len(chunk)
        if size > MAX_BODY:
            response.close()
            raise DecodeError("$", f"a body of at most {MAX_BODY} bytes", "a longer one", str(call))
        chunks.append(chunk)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)
