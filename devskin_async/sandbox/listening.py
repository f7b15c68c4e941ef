"""A server that listens on an address of this machine."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from aiohttp import web

from .connections import Connections, HttpServer
from .records import SandboxError
from .server import StoreServer

if TYPE_CHECKING:
    from collections import deque

    from .server import Counts, SeenRequest, Settings

CLOSING_SECONDS: Final = 0.2
"""How long answers under way may take to finish when the sandbox closes."""


async def listen(
    settings: Settings, counts: Counts, log: deque[SeenRequest], *, host: str, port: int
) -> web.ServerRunner:
    """Begin to serve.

    Args:
        settings: What the server works with.
        counts: Where it counts requests.
        log: Where it notes them.
        host: The address to listen on.
        port: The port; 0 takes a free one.

    Returns:
        What has the address, and ends it by its cleanup.

    Raises:
        SandboxError: The address can't be listened on.
    """
    answering = StoreServer(settings, counts, log)
    server = HttpServer(Connections(answering.handle, settings.writer.quirks).handle)
    runner = web.ServerRunner(server, shutdown_timeout=CLOSING_SECONDS)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            # asyncio's own text repeats the address.
            code = error.errno or 0
            reason = os.strerror(code) if code > 0 else error.strerror
            raise SandboxError(f"cannot listen on {host} port {port}: {reason}") from error
    except BaseException:
        await runner.cleanup()
        raise
    return runner
