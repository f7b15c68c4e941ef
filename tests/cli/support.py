"""What the tests of the command line share."""

from __future__ import annotations

import asyncio
import datetime as dt
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import NamedTuple, TypeVar

from aiohttp import web
from aiohttp.test_utils import TestServer

from devskin_async import convert
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


@asynccontextmanager
async def never_at_rest() -> AsyncIterator[str]:
    """Serve a store to which an order comes with each request, and give the address."""
    total = 150
    created_at = convert.instant(dt.datetime.now(dt.UTC))
    day = created_at[:10]

    async def orders(request: web.Request) -> web.Response:
        nonlocal total
        total += 1
        query = request.query
        here = query.get("date_from", day) <= day <= query.get("date_to", day)
        page, limit = int(query["page"]), int(query["limit"])
        ids = range(total, 0, -1)[(page - 1) * limit : page * limit] if here else ()
        items = [
            {"id": each, "order_number": "A", "status": "paid", "total": 1}
            | {"created_at": created_at}
            for each in ids
        ]
        counts = {"total": total if here else 0, "page": page, "limit": limit}
        return web.json_response({"success": True, "data": {"items": items, **counts}})

    app = web.Application()
    app.router.add_get("/orders", orders)
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


def in_terminal(
    *argv: str, columns: int = 80, term: str = "xterm-256color", ended_at: str | None = None
) -> Ran:
    """Run a command in a terminal; what it draws comes as `out`.

    Args:
        argv: The command's words.
        columns: The terminal's width.
        term: The terminal's kind.
        ended_at: A pattern: Ctrl-C comes as soon as something like it was drawn.
    """
    main, other = pty.openpty()
    environment = {**os.environ, "TERM": term, "COLUMNS": str(columns)}
    with subprocess.Popen(
        command(*argv), stdin=other, stdout=other, stderr=other, env=environment
    ) as process:
        os.close(other)
        drawn = b""
        end = time.monotonic() + PATIENCE
        while part := _read(main):
            drawn += part
            if ended_at is not None and time.monotonic() > end:
                process.kill()
                raise AssertionError(f"waited in vain for {ended_at}: {plain(drawn.decode())}")
            if ended_at is not None and re.search(ended_at, plain(drawn.decode(errors="replace"))):
                process.send_signal(signal.SIGINT)
                ended_at = None
        os.close(main)
    assert ended_at is None, plain(drawn.decode())
    return Ran(process.returncode, drawn.decode(), "")


def plain(drawn: str) -> str:
    """Leave out what steers a terminal."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", drawn)


def _read(terminal: int) -> bytes:
    assert select.select([terminal], [], [], PATIENCE)[0], "waited in vain"
    try:
        return os.read(terminal, 65_536)
    except OSError:  # Linux says so when the other side has closed
        return b""


class Screen:
    """What a terminal shows that folds its lines anew where its width changes."""

    def __init__(self, columns: int) -> None:
        self._columns = columns
        self._rows: list[tuple[str, bool]] = [("", False)]  # whether the next row continues it
        self._row = self._column = 0

    @property
    def lines(self) -> list[str]:
        return [text.rstrip() for text, _ in self._rows]

    def resize(self, columns: int) -> None:
        """Fold the lines anew; the cursor stays at the end, where it has to be."""
        assert self._row == len(self._rows) - 1
        self._columns = columns
        whole, self._rows = "".join(t if more else f"{t}\n" for t, more in self._rows), []
        for line in whole.removesuffix("\n").split("\n"):
            parts = [line[at : at + columns] for at in range(0, len(line), columns)] or [""]
            self._rows += [(part, number < len(parts)) for number, part in enumerate(parts, 1)]
        self._row, self._column = len(self._rows) - 1, len(self._rows[-1][0])

    def write(self, drawn: str) -> None:
        for part in re.findall(r"\x1b\[[0-9;?]*[A-Za-z]|[^\x1b]", drawn):
            if part == "\r":
                self._column = 0
            elif part == "\n":
                self._down(more=False)
            elif up := re.fullmatch(r"\x1b\[(\d+)A", part):
                self._row = max(0, self._row - int(up[1]))
            elif part == "\x1b[J":
                text, _ = self._rows[self._row]
                self._rows[self._row :] = [(text[: self._column], False)]
            elif part.endswith("K") or part == "\x1b[2K":
                self._rows[self._row] = ("", False)
            elif not part.startswith("\x1b"):
                self._put(part)

    def _put(self, char: str) -> None:
        if self._column == self._columns:
            self._down(more=True)
            self._column = 0
        text, more = self._rows[self._row]
        text = text.ljust(self._column)
        self._rows[self._row] = (text[: self._column] + char + text[self._column + 1 :], more)
        self._column += 1

    def _down(self, *, more: bool) -> None:
        self._rows[self._row] = (self._rows[self._row][0], more)
        self._row += 1
        if self._row == len(self._rows):
            self._rows.append(("", False))


@contextmanager
def resizable(*argv: str, columns: int) -> Iterator[Resizable]:
    """Run a command in a terminal that may change its width."""
    main, other = pty.openpty()
    _set_columns(main, columns)
    environment = {name: each for name, each in os.environ.items() if name != "COLUMNS"}
    environment["TERM"] = "xterm-256color"
    with subprocess.Popen(
        command(*argv), stdin=other, stdout=other, stderr=other, env=environment
    ) as process:
        os.close(other)
        try:
            yield Resizable(process, main, Screen(columns))
        finally:
            process.send_signal(signal.SIGINT)
            while _read(main):
                pass
            os.close(main)


class Resizable(NamedTuple):
    """A command in a terminal, and what that shows."""

    process: subprocess.Popen[bytes]
    terminal: int
    screen: Screen

    def resize(self, columns: int) -> None:
        """Change the width while the command draws nothing."""
        self.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WNOWAIT)
        while select.select([self.terminal], [], [], 0)[0]:
            self.screen.write(_read(self.terminal).decode())
        _set_columns(self.terminal, columns)
        self.screen.resize(columns)
        self.process.send_signal(signal.SIGCONT)

    def until(self, pattern: str) -> None:
        """Wait until a line like a pattern is shown, drawn from now on."""
        end = time.monotonic() + PATIENCE
        while True:
            self.screen.write(_read(self.terminal).decode())
            if any(re.search(pattern, line) for line in self.screen.lines):
                return
            assert time.monotonic() < end, self.screen.lines


def _set_columns(terminal: int, columns: int) -> None:
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 30, columns, 0, 0))
