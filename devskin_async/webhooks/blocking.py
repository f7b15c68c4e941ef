"""A receiver for frameworks without an event loop: Flask, Django, any WSGI server."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import threading
from collections.abc import Callable, Coroutine, Iterable, Mapping
from contextlib import suppress
from http import HTTPStatus
from types import TracebackType
from typing import Final, Protocol, Self, TypeAlias, cast

from .receiver import WebhookReceiver
from .replies import BROKEN, NOT_POST, TOO_LARGE, Reply
from .signature import HEADER, Headers, pairs_of

StartResponse: TypeAlias = Callable[[str, list[tuple[str, str]]], object]

_LENGTH: Final = "Content-Length"
_SIGNATURE_VARIABLE: Final = f"HTTP_{HEADER.upper().replace('-', '_')}"
_MOST_DIGITS: Final = 19


class Body(Protocol):
    """A body that is still to be read, such as Flask's `request.stream`."""

    def read(self, size: int, /) -> bytes:
        """Read at most so many bytes; none at the end."""
        ...


class BlockingReceiver:
    """A receiver to call without `await`, from any thread.

    Its event loop runs in a thread of its own, which the first request starts, in whatever
    process that is. Sync handlers run in threads too, with the context of their request, so that
    they find Flask's `current_app`. Where the receiver has a backlog, call `close` at the end, or
    use `with BlockingReceiver(receiver) as blocking:`.

    Args:
        receiver: What takes the requests; it is not to be used in another event loop beside.
    """

    def __init__(self, receiver: WebhookReceiver) -> None:
        self._receiver = receiver
        self._starting = threading.Lock()
        self._running: _Running | None = None

    def handle(self, body: bytes | Body, headers: Headers) -> Reply:
        """Take a request, and say what to answer: see `WebhookReceiver.handle`.

        Args:
            body: The raw body, or what to read it from: no more is read than may be in it, and
                nothing where the headers announce more than that.
            headers: The request's headers.
        """
        if not hasattr(body, "read"):
            return self._handle(body, headers)
        headers = tuple(pairs_of(headers))
        most = self._receiver.max_body
        try:
            length = _length_in(headers)
            if length is not None and length > most:
                return TOO_LARGE
            whole = _read(body, most + 1 if length is None else length)
        except (OSError, ValueError):
            return BROKEN
        if length is not None and len(whole) < length:
            return BROKEN
        return self._handle(whole, headers)

    def wsgi(self, environ: Mapping[str, object], start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request as a WSGI application, whatever its path.

        A view of Flask can return it: `return blocking.wsgi`.
        """
        reply = self._answer(environ)
        headers = {**reply.headers, _LENGTH: str(len(reply.body))}
        start_response(f"{reply.status} {HTTPStatus(reply.status).phrase}", list(headers.items()))
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [reply.body]

    def close(self) -> None:
        """Wait for the requests under way, handle what was acknowledged, and end the thread.

        In gunicorn, its hook `worker_exit` is the place for that. `atexit` is too late: Python has
        ended its thread pools by then, and sync handlers run in one.
        """
        with self._starting:
            running, self._running = self._running, None
        if running is not None and running.pid == os.getpid():
            running.end(self._receiver.aclose)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _answer(self, environ: Mapping[str, object]) -> Reply:
        if environ["REQUEST_METHOD"] != "POST":
            return NOT_POST
        variables = {HEADER: _SIGNATURE_VARIABLE, _LENGTH: "CONTENT_LENGTH"}
        headers = {
            name: str(environ[variable])
            for name, variable in variables.items()
            if environ.get(variable)
        }
        # Without a length, only some servers say where the body ends.
        readable = _LENGTH in headers or environ.get("wsgi.input_terminated")
        return self.handle(cast(Body, environ["wsgi.input"]) if readable else b"", headers)

    def _handle(self, body: bytes, headers: Headers) -> Reply:
        with self._starting:
            if self._running is None or self._running.pid != os.getpid():
                self._running = _Running()
            # Within the lock, so that `close` waits for it.
            reply = self._running.submit(self._receiver.handle(body, headers))
        return reply.result()


class _Running:
    """An event loop that runs in a thread."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self._loop = asyncio.new_event_loop()
        self._ended = False
        self._under_way: set[concurrent.futures.Future[Reply]] = set()
        self._thread = threading.Thread(target=self._run, name="devskin-webhooks", daemon=True)
        self._thread.start()

    def submit(self, work: Coroutine[object, object, Reply]) -> concurrent.futures.Future[Reply]:
        """Begin to run a coroutine."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        self._under_way.add(future)
        future.add_done_callback(self._under_way.discard)
        return future

    def end(self, last: Callable[[], Coroutine[object, object, None]]) -> None:
        """Wait for what was submitted, run the last coroutine, and end the thread."""
        try:
            concurrent.futures.wait(tuple(self._under_way))
            self._wait_for(last())
        finally:
            self._wait_for(self._loop.shutdown_default_executor())
            self._loop.call_soon_threadsafe(self._stop)
            self._thread.join()
            self._loop.close()

    def _run(self) -> None:
        while not self._ended:
            # A handler that calls `sys.exit` ends its own request, not the receiver.
            with suppress(SystemExit, KeyboardInterrupt):
                self._loop.run_forever()

    def _stop(self) -> None:
        self._ended = True
        self._loop.stop()

    def _wait_for(self, work: Coroutine[object, object, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result()


def _length_in(headers: Iterable[tuple[str | bytes, str | bytes]]) -> int | None:
    """Give the length that a request announces; None where it does not.

    Raises:
        ValueError: It is no length.
    """
    for name, value in headers:
        if _text(name).lower() == _LENGTH.lower():
            text = _text(value)
            digits = text.lstrip("0") or "0"
            if not text or not digits.isascii() or not digits.isdigit():
                raise ValueError(f"{_LENGTH} is {text!r}")
            # More digits than any length has are left out: there is a limit to what int() reads.
            return int(digits[:_MOST_DIGITS])
    return None


def _text(value: object) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def _read(stream: Body, size: int) -> bytes:
    parts = bytearray()
    while len(parts) < size and (part := stream.read(size - len(parts))):
        parts += part
    return bytes(parts)
