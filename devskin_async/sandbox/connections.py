"""Connections: how the server speaks HTTP on them, and what it sends that nobody asked for."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

import attrs
from aiohttp import web

from .answers import Writer
from .quirks import Quirk, Quirks

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

IDLE_SECONDS: Final = 0.02
"""How long a connection may be idle before it is answered unasked."""

REQUEST_TIMEOUT: Final = (
    b"HTTP/1.0 408 Request Time-out\r\n"
    b"Cache-Control: no-cache\r\n"
    b"Connection: close\r\n"
    b"Content-Type: text/html\r\n\r\n"
    b"<html><body><h1>408 Request Time-out</h1>\n"
    b"Your browser didn't send a complete request in time.\n</body></html>\n"
)
"""What HAProxy sends; it ends where the connection does."""

_log = logging.getLogger(__name__)


@attrs.define(eq=False)
class _Connection:
    """What was done on a connection.

    Attributes:
        answered: It had an answer.
        timer: Will send it the 408.
        over: Set when it is closed after the 408; None while it has got none.
    """

    answered: bool = False
    timer: asyncio.TimerHandle | None = None
    over: asyncio.Event | None = None


class Connections:
    """Lets a handler answer, and sends what else the quirks send on its connections."""

    def __init__(
        self, handle: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]], quirks: Quirks
    ) -> None:
        self._handle = handle
        self._idle = quirks.number(Quirk.IDLE_408)
        self._double = quirks.number(Quirk.DOUBLE_ANSWER)
        self._known: WeakKeyDictionary[asyncio.Transport, _Connection] = WeakKeyDictionary()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer a request; on a connection that got a 408 it never is.

        Args:
            request: Any request.

        Returns:
            What was sent, or was not and never will be.
        """
        transport = request.transport
        if transport is None or (self._idle is None and self._double is None):
            return await self._handle(request)
        connection = self._known.setdefault(transport, _Connection())
        if connection.timer is not None:
            connection.timer.cancel()
        if connection.over is not None:
            await connection.over.wait()
            return web.Response()
        answer = await self._handle(request)
        # Sent here and not by the caller, so that what follows it follows it.
        await answer.prepare(request)
        await answer.write_eof()
        self._follow(connection, transport, request, answer)
        return answer

    def _follow(
        self,
        connection: _Connection,
        transport: asyncio.Transport,
        request: web.BaseRequest,
        answer: web.StreamResponse,
    ) -> None:
        loop = asyncio.get_running_loop()
        if self._double is not None and not connection.answered and request.method == "GET":
            loop.call_later(self._double, _send, transport, _raw(answer))
        connection.answered = True
        if self._idle is not None:
            connection.timer = loop.call_later(IDLE_SECONDS, self._time_out, connection, transport)

    def _time_out(self, connection: _Connection, transport: asyncio.Transport) -> None:
        """Send a 408 to a connection that waits for nothing, and close it after a while."""
        connection.over = over = asyncio.Event()
        _send(transport, REQUEST_TIMEOUT)

        def close() -> None:
            transport.close()
            over.set()

        if self._idle:
            asyncio.get_running_loop().call_later(self._idle, close)
        else:
            close()


def _send(transport: asyncio.Transport, data: bytes) -> None:
    if not transport.is_closing():
        transport.write(data)


def _raw(answer: web.StreamResponse) -> bytes:
    """Write an answer that was sent once more."""
    lines = [f"HTTP/1.1 {answer.status} {answer.reason}"]
    lines += [f"{name}: {value}" for name, value in answer.headers.items()]
    body = answer.body if isinstance(answer, web.Response) else b""
    return "\r\n".join([*lines, "", ""]).encode() + (body if isinstance(body, bytes) else b"")


class _Protocol(web.RequestHandler):
    """Keeps to the envelope even for what is not HTTP at all."""

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,  # noqa: ARG002 - a stand-in, there was no request
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - it quotes what came
    ) -> web.StreamResponse:
        _log.debug("not a request: %s", exc)
        told = "Malformed request" if status < 500 else "Internal server error"  # noqa: PLR2004
        answer = Writer(Quirks()).error(status, told)
        answer.force_close()
        return answer


class HttpServer(web.Server):
    """Speaks HTTP in the protocol above, and keeps no access log."""

    def __call__(self) -> web.RequestHandler:
        """Make the protocol of a new connection."""
        return _Protocol(
            self,
            loop=asyncio.get_running_loop(),
            access_log=None,  # type: ignore[arg-type]  # None turns it off
        )
