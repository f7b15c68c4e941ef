"""Connections: a kept one is used again only if nothing came on it while it was idle."""

from __future__ import annotations

import asyncio
import gc
import select
import sys
import threading
import warnings
from contextlib import suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary, finalize

import aiohttp

if TYPE_CHECKING:
    from asyncio.trsock import TransportSocket

    from aiohttp import ClientRequest, ClientTimeout
    from aiohttp.client_proto import ResponseHandler
    from aiohttp.connector import Connection
    from aiohttp.tracing import Trace

connected: ContextVar[bool] = ContextVar("connected", default=True)
"""Whether the request that this task sends has a connection; see `QuietConnector.connect`."""


class QuietConnector(aiohttp.TCPConnector):
    """Opens and keeps connections, and drops a kept one on which something came while it was idle.

    A server may send on an idle connection: a 408 before it closes it, or a response twice.
    aiohttp would take such bytes for the response to the next request. Then that request and all
    after it get the wrong response, or aiohttp waits for the rest for ever.
    """

    def __init__(self) -> None:
        super().__init__(limit=0)
        self._trusted: WeakKeyDictionary[ResponseHandler, bool] = WeakKeyDictionary()

    async def connect(
        self,
        req: ClientRequest,
        traces: list[Trace],
        timeout: ClientTimeout,  # noqa: ASYNC109  # aiohttp's signature
    ) -> Connection:
        """Return a kept connection on which nothing came, or a new one."""
        while not self._may_use(connection := await super().connect(req, traces, timeout)):
            connection.close()
        connected.set(True)
        return connection

    def _may_use(self, connection: Connection) -> bool:
        protocol = connection.protocol
        if protocol is None:
            return True
        if (trusted := self._trusted.get(protocol)) is None:  # it is new
            self._trusted[protocol] = True
            return True
        return trusted and _is_quiet(protocol)

    def distrust(self) -> None:
        """Reuse no connection that is kept or in use now."""
        for protocol in self._trusted:
            self._trusted[protocol] = False


def _is_quiet(protocol: ResponseHandler) -> bool:
    """Return whether nothing came after the last response, neither in aiohttp nor in the socket."""
    if protocol.should_close or protocol.transport is None:
        return False
    sock: TransportSocket = protocol.transport.get_extra_info("socket")
    if sys.platform == "win32":
        return not select.select([sock], [], [], 0)[0]
    # Not select, which accepts only low descriptor numbers on POSIX.
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return not poll.poll(0)


def close_when_forgotten(owner: object, session: aiohttp.ClientSession) -> None:
    """Close a session when its owner is garbage-collected, and warn if it was still open."""
    # Unlike `__del__`, this runs before the session's own parts warn that they were not closed.
    loop, thread = asyncio.get_running_loop(), threading.get_ident()
    finalize(owner, _close_forgotten, [session], loop, thread)


def _close_forgotten(
    held: list[aiohttp.ClientSession], loop: asyncio.AbstractEventLoop, thread: int
) -> None:
    """Close a session whose client was garbage-collected, and warn if it was still open."""
    session = held.pop()
    if session.closed:
        return
    if loop.is_running() and threading.get_ident() != thread:
        loop.call_soon_threadsafe(_begin_closing, session)
    else:
        _begin_closing(session)
    if loop.is_closed() and sys.warnoptions:
        # Its connections can't be closed any more, and each would give a warning later.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            del session
            gc.collect()
    message = "a DevSkinClient was not closed: use `async with`, or await its aclose()"
    warnings.warn(message, ResourceWarning, source=held, stacklevel=2)


def _begin_closing(session: aiohttp.ClientSession) -> None:
    """Run the first step of `close`, which closes the connections; the rest waits for them."""
    closing = session.close()
    with suppress(StopIteration):
        closing.send(None)
    closing.close()
