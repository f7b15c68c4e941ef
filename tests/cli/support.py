"""What the tests of the command line share."""

from __future__ import annotations

import asyncio
import os
import pty
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import NamedTuple, TypeVar

from aiohttp import web
from aiohttp.test_utils import TestServer

from devskin_async.sandbox import Sandbox

T = TypeVar("T")

PATIENCE = 20.0


class Ran(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


Devskin = Callable[..., Ran]


@contextmanager
def in_thread(make: Callable[[], AbstractAsyncContextManager[T]]) -> Iterator[T]:
    """Hold an async context in the event loop of another thread: `main` needs this one's."""
    started = threading.Event()
    state: list[tuple[asyncio.AbstractEventLoop, asyncio.Event, T]] = []

    async def hold() -> None:
        async with make() as value:
            stop = asyncio.Event()
            state.append((asyncio.get_running_loop(), stop, value))
            started.set()
            await stop.wait()

    thread = threading.Thread(target=asyncio.run, args=(hold(),))
    thread.start()
    assert started.wait(PATIENCE)
    loop, stop, value = state[0]
    try:
        yield value
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()


@asynccontextmanager
async def answering(body: bytes, status: int = 200) -> AsyncIterator[str]:
    """Serve one answer to everything, and give the address."""

    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=body, status=status, content_type="application/json")

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    async with TestServer(app) as server:
        yield str(server.make_url(""))


def store_options(box: Sandbox) -> tuple[str, ...]:
    """Point a command to a sandbox."""
    return ("--base-url", box.base_url, "--api-key", box.api_key)


def command(*argv: str) -> list[str]:
    """The command line of a process of its own."""
    return [sys.executable, "-m", "devskin_async.cli", *argv]


def until(condition: Callable[[], object]) -> None:
    """Wait for a condition outside this process."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)


def in_terminal(*argv: str, columns: int = 80) -> Ran:
    """Run a command in a terminal; what it draws comes as `out`."""
    main, other = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": str(columns)}
    with subprocess.Popen(
        command(*argv), stdin=other, stdout=other, stderr=other, env=environment
    ) as process:
        os.close(other)
        drawn = b"".join(iter(lambda: _read(main), b""))
        os.close(main)
    return Ran(process.returncode, drawn.decode(), "")


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65_536)
    except OSError:  # Linux says so when the other side has closed
        return b""
