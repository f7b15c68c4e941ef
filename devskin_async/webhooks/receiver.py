"""Webhook requests received: verified, read, handled once, answered."""

from __future__ import annotations

import datetime as dt
import hashlib
import logging
import math
import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Final, Self

from ..errors import InvalidSignatureError, MalformedEventError, StaleEventError
from .backlog import Backlog
from .events import WebhookEvent, label, parse
from .handlers import H, Handlers
from .once import Once, Outcome
from .replies import BUSY, FAILED, INVALID_SIGNATURE, RECEIVED, TOO_LARGE, Reply, refusal
from .seen import MemorySeen, Seen
from .signature import Headers, Secret, as_keys, signature_in, verify_keys

MAX_BODY: Final = 1024 * 1024
FUTURE: Final = dt.timedelta(minutes=5)
HANDLER_TIMEOUT: Final = 60.0

_log = logging.getLogger(__package__)


class WebhookReceiver:
    """Takes a store's webhook requests and hands their events to functions, each once.

    It is pure of any framework: give it a request's raw body and headers. `asgi_app`,
    `aiohttp_handler` and `BlockingReceiver` do so for the frameworks. In an application, use it
    as `async with receiver:` around its life, so that a backlog is worked off at the end.

    A repeat is known by its bytes: the body holds the event's timestamp, and there is no other
    id. A request is remembered once all its handlers have returned. Where one raises, the sender
    is told 500 and sends it again, and all its handlers are called again.

    Args:
        secrets: The endpoint's secret, or several: while one is replaced, both are valid.
        tolerance: How old an event's timestamp may be. None, the default, is any age: a sender
            that tries again sends the same body with the old timestamp, so that a tolerance loses
            what was sent while the receiver was down. A repeat is known without it.
        future: How far an event's timestamp may be ahead of this machine's clock.
        seen: Where what was handled is remembered: `MemorySeen` by default, `SQLiteSeen` to
            outlive a restart, or any object of the protocol `Seen`.
        background: Acknowledge first, and handle afterwards. A handler that raises is logged then,
            and its event is not sent again; `reconcile` finds it.
        backlog: How many acknowledged events may wait or be under way; the sender of one more is
            told 503, to try again.
        workers: How many acknowledged events are handled at once.
        handler_timeout: Seconds that an event waits for its turn, and then for its handlers; the
            sender is told 503 or 500 after that. An async handler is cancelled; one in a thread
            goes on, and the order's other events wait for it. None means 60 s, or no limit
            with `background`; `math.inf` means no limit.
        max_body: The largest body that is read, in bytes.
        clock: Gives the seconds since 1970.

    Raises:
        ConfigurationError: There is no secret, one is empty, or white space surrounds it.
        ValueError: Another argument is out of its bounds.
    """

    def __init__(
        self,
        secrets: Secret | Iterable[Secret],
        *,
        tolerance: dt.timedelta | None = None,
        future: dt.timedelta = FUTURE,
        seen: Seen | None = None,
        background: bool = False,
        backlog: int = 1000,
        workers: int = 8,
        handler_timeout: float | None = None,
        max_body: int = MAX_BODY,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._keys = as_keys(secrets)
        if future < dt.timedelta(0) or (tolerance is not None and tolerance < dt.timedelta(0)):
            raise ValueError("tolerance and future can't be negative")
        if max_body < 1:
            raise ValueError("max_body must be greater than 0")
        if handler_timeout is None:
            handler_timeout = math.inf if background else HANDLER_TIMEOUT
        if not handler_timeout > 0:
            raise ValueError("handler_timeout must be greater than 0")
        self.seen: Seen = MemorySeen() if seen is None else seen
        self.max_body: int = max_body
        self._oldest = None if tolerance is None else tolerance.total_seconds()
        self._newest = future.total_seconds()
        self._clock = clock
        self._handlers = Handlers()
        timeout = None if handler_timeout == math.inf else handler_timeout
        self._once = Once(self._handlers, self.seen, timeout, clock)
        self._backlog = Backlog(self._once, backlog, workers) if background else None

    def on(self, pattern: str) -> Callable[[H], H]:
        """Have a function called with events: `@receiver.on("order.paid")`.

        It may be sync or async; a sync one is called in a thread, with the caller's context.

        Args:
            pattern: An event's name, or the beginning of several (`order.*`), or `*` for all.

        Raises:
            ValueError: The pattern is none of these.
        """
        return self._handlers.on(pattern)

    def read(self, body: bytes, headers: Headers) -> WebhookEvent:
        """Verify a request and read its event, without handling it.

        Args:
            body: The raw body, just as it came.
            headers: The headers: a mapping, or pairs of text or bytes; a value may be a list.

        Raises:
            InvalidSignatureError: It was not signed with a secret of this receiver.
            MalformedEventError: It is no event.
            StaleEventError: Its timestamp is older than `tolerance` or beyond `future`; or it has
                none, and there is a `tolerance`.
            TypeError: The body is not bytes.
        """
        verify_keys(body, signature_in(headers), self._keys)
        event = parse(body)
        if event.timestamp is None:
            if self._oldest is not None:
                raise StaleEventError("the event does not say when it happened")
            return event
        age = self._clock() - event.timestamp.timestamp()
        if age < -self._newest:
            raise StaleEventError(f"the event is {-age:.0f} s ahead of this machine's clock")
        if self._oldest is not None and age > self._oldest:
            raise StaleEventError(
                f"the event is {age:.0f} s old; the tolerance is {self._oldest:.0f} s"
            )
        return event

    async def handle(self, body: bytes | bytearray | memoryview, headers: Headers) -> Reply:
        """Take a request, and say what to answer.

        Args:
            body: The raw body, just as it came.
            headers: The headers: a mapping, or pairs of text or bytes; a value may be a list.

        Returns:
            200 if the event was handled, now or before; 401 for a wrong signature; 400 for what
            is no event, or out of time; 413 for a body over `max_body`; 500 if a handler raised or
            took too long; 503 if there is no room, if the order's earlier event is still being
            handled, here or elsewhere, or if `seen` can't be asked now.

        Raises:
            TypeError: The body is not bytes.
        """
        if not isinstance(body, bytes | bytearray | memoryview):
            raise TypeError(f"the body must be the request's raw bytes, not {type(body).__name__}")
        body = bytes(body)
        if len(body) > self.max_body:
            return TOO_LARGE
        event = self._accept(body, headers)
        if isinstance(event, Reply):
            return event
        key = hashlib.sha256(body).hexdigest()
        if self._backlog is not None:
            return RECEIVED if self._backlog.put(event, key) else BUSY
        try:
            outcome = await self._once.hand(event, key)
        except Exception:  # noqa: BLE001 - whatever it is, the sender is to try again
            _log.exception("a handler failed on %s", label(event))
            return FAILED
        return BUSY if outcome == "busy" else RECEIVED

    def _accept(self, body: bytes, headers: Headers) -> WebhookEvent | Reply:
        """Read a request; what is refused gives the reply."""
        try:
            return self.read(body, headers)
        except InvalidSignatureError as error:
            _log.info("refused: %s", error)
            return INVALID_SIGNATURE
        except MalformedEventError as error:
            # What came instead is the body's, and must not be logged.
            reason = f"{error.path}: expected {error.expected}"
        except StaleEventError as error:
            reason = str(error)
        _log.info("refused: %s", reason)
        return refusal(400, reason)

    async def poll(self, event: WebhookEvent, *, note_only: bool = False) -> Outcome:
        """Hand a polled event to the functions, unless an event told its status: for `reconcile`.

        Args:
            event: The event.
            note_only: Remember it as handled, and call no function.

        Returns:
            `handled`, or `known`, or `busy` where another event of this order is being handled.

        Raises:
            Exception: Whatever a handler raised.
        """
        return await self._once.hand(event, None, call=not note_only)

    async def aclose(self) -> None:
        """Handle the acknowledged events and wait for handlers that still run in threads.

        A receiver with a backlog answers 503 from then on.
        """
        if self._backlog is not None:
            await self._backlog.aclose()
        await self._once.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()
