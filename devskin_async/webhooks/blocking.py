"""A receiver for frameworks without an event loop: Flask, Django, any WSGI server."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine, Iterable, Mapping
from http import HTTPStatus
from types import TracebackType
from typing import Protocol, Self, TypeAlias, TypeVar, cast

from .receiver import WebhookReceiver
from .replies import BROKEN, NOT_POST, TOO_LARGE, Reply
from .signature import HEADER, Headers

T = TypeVar("T")

StartResponse: TypeAlias = Callable[[str, list[tuple[str, str]]], object]

_VARIABLE = f"HTTP_{HEADER.upper().replace('-', '_')}"


class Body(Protocol):
    """A body that is still to be read, such as Flask's `request.stream`."""

    def read(self, size: int, /) -> bytes:
        """Read at most so many bytes; none at the end."""
        ...


class BlockingReceiver:
    """A receiver to call without `await`, from any thread.

    Its event loop runs in a thread of its own, which the first request starts, in whatever
    process that is. Sync handlers run in threads too, with the context of their request, so that
    they find Flask's `current_app`. Call `close` at the end where the receiver has a backlog, or
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
            body: The raw body, or what to read it from: no more is read than may be in it.
            headers: The request's headers.
        """
        if not isinstance(body, bytes):
            try:
                body = _read(body, self._receiver.max_body + 1)
            except OSError:
                return BROKEN
        return self._run(self._receiver.handle(body, headers))

    def wsgi(self, environ: Mapping[str, object], start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request as a WSGI application, whatever its path."""
        reply = self._answer(environ)
        headers = {**reply.headers, "Content-Length": str(len(reply.body))}
        start_response(f"{reply.status} {HTTPStatus(reply.status).phrase}", list(headers.items()))
        return [reply.body]

    def close(self) -> None:
        """Handle what was acknowledged, and end the thread."""
        with self._starting:
            running, self._running = self._running, None
        if running is not None and running.pid == os.getpid():
            running.submit(self._receiver.aclose())
            running.stop()

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
        length = str(environ.get("CONTENT_LENGTH") or "")
        stream = cast(Body, environ["wsgi.input"])
        signature = environ.get(_VARIABLE)
        headers = {} if signature is None else {HEADER: str(signature)}
        if not length:
            # Without a length, only some servers say where the body ends.
            return self.handle(stream if environ.get("wsgi.input_terminated") else b"", headers)
        if not length.isascii() or not length.isdigit():
            return BROKEN
        if int(length[:20]) > self._receiver.max_body:
            return TOO_LARGE
        try:
            body = _read(stream, int(length))
        except OSError:
            return BROKEN
        return self.handle(body, headers) if len(body) == int(length) else BROKEN

    def _run(self, work: Coroutine[object, object, T]) -> T:
        with self._starting:
            if self._running is None or self._running.pid != os.getpid():
                self._running = _Running()
        return self._running.submit(work)


class _Running:
    """An event loop that runs in a thread."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="devskin-webhooks", daemon=True
        )
        self._thread.start()

    def submit(self, work: Coroutine[object, object, T]) -> T:
        """Run a coroutine, and wait for it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def stop(self) -> None:
        """End the loop and its thread."""
        self.submit(self._loop.shutdown_default_executor())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


def _read(stream: Body, size: int) -> bytes:
    parts = bytearray()
    while len(parts) < size and (part := stream.read(size - len(parts))):
        parts += part
    return bytes(parts)
