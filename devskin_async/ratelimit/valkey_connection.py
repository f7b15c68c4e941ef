"""One connection to a Valkey server, on which commands do not wait for each other's responses."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

from .valkey_url import ValkeyURL

if TYPE_CHECKING:
    from valkey.asyncio.connection import AbstractConnection

_OPEN_TIMEOUT = 2.0  # seconds; a caller may give up before
_SILENT = 0.25  # seconds without a response that is due: a caller that gives up then closes it


class ValkeyConnection:
    """A connection that sends commands at once and reads their responses in order.

    Args:
        url: The server's address.

    Attributes:
        is_over: Whether it is closed, so that no command can be sent any more.
    """

    def __init__(self, url: ValkeyURL) -> None:
        from valkey.asyncio.connection import Connection, SSLConnection

        options: dict[str, Any] = {
            **url.options,
            "socket_timeout": None,  # each call has its own timeout
            "socket_keepalive": True,
            "lib_name": None,
            "lib_version": None,
        }
        self.is_over: bool = False
        self._connection: AbstractConnection = (SSLConnection if url.tls else Connection)(**options)
        self._loop = asyncio.get_running_loop()
        self._opening = self._loop.create_task(self._open())
        self._due: deque[asyncio.Future[Any]] = deque()
        self._reading: asyncio.Task[None] | None = None
        self._silent_since = 0.0

    async def execute(self, *command: str | bytes | int) -> Any:  # noqa: ANN401  # any response
        """Send a command, and return the response."""
        await asyncio.shield(self._opening)  # a caller that gives up leaves it to the others
        if self.is_over:
            raise _closed()
        response: asyncio.Future[Any] = self._loop.create_future()
        if not self._due:
            self._silent_since = self._loop.time()
        self._due.append(response)
        try:
            # The command is written without yielding, so responses come in the order of `_due`.
            await self._connection.send_command(*command)
            if self._reading is None or self._reading.done():
                self._reading = self._loop.create_task(self._read())
            return await response
        except BaseException:
            response.cancel()
            is_silent = self._loop.time() - self._silent_since >= _SILENT
            if self._due and (is_silent or not self._connection.is_connected):
                await self._end(_closed())
            raise

    async def close(self, *, nowait: bool) -> None:
        """Close it; `nowait` if its loop is not the running one."""
        self.is_over = True
        if not nowait and not self._opening.done():
            self._opening.cancel()
            await asyncio.wait([self._opening])
        await self._connection.disconnect(nowait=nowait)

    async def _open(self) -> None:
        try:
            async with asyncio.timeout(_OPEN_TIMEOUT):
                await self._connection.connect()  # type: ignore[no-untyped-call]  # valkey-py has no type
        except BaseException:
            self.is_over = True
            await self._connection.disconnect(nowait=True)
            raise

    async def _read(self) -> None:
        """Read responses while any is due."""
        from valkey.exceptions import ReadOnlyError, ResponseError, ValkeyError

        while self._due:
            try:
                found, error = await self._connection.read_response(), None
            except ResponseError as refusal:
                found, error = None, refusal
            except ValkeyError as failure:
                await self._end(failure)
                return
            self._silent_since = self._loop.time()
            response = self._due.popleft()
            if response.done():  # its caller gave up
                pass
            elif error is None:
                response.set_result(found)
            else:
                response.set_exception(error)
            if isinstance(error, ReadOnlyError):  # the server has become a replica
                await self._end(_closed())

    async def _end(self, error: Exception) -> None:
        self.is_over = True
        due, self._due = self._due, deque()
        for response in due:
            if not response.done():
                response.set_exception(error)
        if self._reading is not None and self._reading is not asyncio.current_task():
            self._reading.cancel()
        await self._connection.disconnect(nowait=True)


def _closed() -> Exception:
    from valkey.exceptions import ConnectionError as NotConnectedError

    return NotConnectedError("the connection was closed")
