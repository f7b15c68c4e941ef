"""What was handled already, in a SQLite file: it outlives a restart, and several may share it."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import socket
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar

from ..errors import ConfigurationError
from .seen import WEEK, Begun, Told

T = TypeVar("T")

LEASE: Final = dt.timedelta(minutes=5)
BUSY_SECONDS: Final = 10.0
"""How long a process waits for another that is writing."""

_POLLING_SECONDS = 0.01

_ANY = ""
_CLOCK_STEPS = 86_400.0
"""A clock may be set back so many seconds without ending the turns of others."""

_inherited: list[_Opened] = []
"""What a parent process has opened: SQLite forbids its child even to close it."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS handled (key TEXT PRIMARY KEY, at REAL NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS handled_by_age ON handled (at);
CREATE TABLE IF NOT EXISTS turns (
    turn TEXT PRIMARY KEY, host TEXT NOT NULL, pid INTEGER NOT NULL, until REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS told (
    order_id TEXT, store_id TEXT, status TEXT, at REAL NOT NULL, source TEXT NOT NULL,
    PRIMARY KEY (order_id, store_id, status)
) WITHOUT ROWID;
"""


class SQLiteSeen:
    """Remembers in a file, which several processes of one machine may use at once.

    A process that was killed while it handled an event leaves its turn open: the event was
    perhaps handled, perhaps not. It is handled again when it is sent again, at once where this
    machine knows that the process is gone, otherwise when `lease` is over.

    Use it as `async with SQLiteSeen(path) as seen:`, or call `close` at the end.

    Args:
        path: The file, made where it is missing.
        age: How long it remembers a request; longer than a sender tries again. The status of an
            order is remembered for good.
        lease: How long a turn is another process's at the most; longer than a handler takes.

    Raises:
        ConfigurationError: The file can't be used.
    """

    def __init__(
        self, path: Path | str, age: dt.timedelta = WEEK, lease: dt.timedelta = LEASE
    ) -> None:
        if age <= dt.timedelta(0) or lease <= dt.timedelta(0):
            raise ValueError("age and lease must be greater than 0")
        self._path = Path(path)
        self._age = age.total_seconds()
        self._lease = lease.total_seconds()
        self._host = socket.gethostname()
        self._opened: _Opened | None = None
        self._opening = threading.Lock()
        _connect(self._path).close()

    async def begin(self, turn: str, key: str | None) -> Begun:
        """Begin a turn, unless the key was handled or another process has the turn."""
        return await self._run(lambda connection: self._begin(connection, turn, key))

    async def finish(self, turn: str, key: str | None, told: Told | None) -> None:
        """End a turn that was handled, and remember it."""
        await self._run(lambda connection: self._finish(connection, turn, key, told))

    async def give_up(self, turn: str) -> None:
        """End a turn that was not handled."""
        await self._run(lambda connection: self._end(connection, turn))

    async def told(self, order_id: int, store_id: int | None) -> Sequence[Told]:
        """Give the statuses of an order that were handled."""
        return await self._run(lambda connection: _told(connection, order_id, store_id))

    def close(self) -> None:
        """Close the file; whatever is asked afterwards opens it again."""
        opened, self._opened = self._opened, None
        if opened is not None and opened.pid == os.getpid():
            opened.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    async def _run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        opened = self._open()
        loop = asyncio.get_running_loop()
        # What was begun in the thread happens, whether or not its caller is there to hear of it.
        return await asyncio.shield(loop.run_in_executor(opened.thread, opened.transaction, work))

    def _open(self) -> _Opened:
        with self._opening:
            if self._opened is not None and self._opened.pid != os.getpid():
                _inherited.append(self._opened)
                self._opened = None
            if self._opened is None:
                self._opened = _Opened(self._path)
            return self._opened

    def _begin(self, connection: sqlite3.Connection, turn: str, key: str | None) -> Begun:
        now = time.time()
        handled = connection.execute(
            "SELECT 1 FROM handled WHERE key = ? AND at >= ?", (key, now - self._age)
        )
        if handled.fetchone():
            return "done"
        found = connection.execute(
            "SELECT host, pid, until FROM turns WHERE turn = ?", (turn,)
        ).fetchone()
        if found is not None:
            host, pid, until = found
            if self._is_held(host, pid, until, now):
                return "busy"
        connection.execute(
            "INSERT OR REPLACE INTO turns VALUES (?, ?, ?, ?)",
            (turn, self._host, os.getpid(), now + self._lease),
        )
        return "new"

    def _finish(
        self, connection: sqlite3.Connection, turn: str, key: str | None, told: Told | None
    ) -> None:
        now = time.time()
        if key is not None:
            connection.execute("INSERT OR REPLACE INTO handled VALUES (?, ?)", (key, now))
        if told is not None:
            store = _ANY if told.store_id is None else str(told.store_id)
            connection.execute(
                "INSERT INTO told VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
                " at = max(at, excluded.at), source = excluded.source",
                (str(told.order_id), store, told.status, told.at, told.source),
            )
        connection.execute("DELETE FROM handled WHERE at < ?", (now - self._age,))
        self._end(connection, turn)

    def _end(self, connection: sqlite3.Connection, turn: str) -> None:
        # Whoever has held it beyond its lease must not end it for the next.
        connection.execute(
            "DELETE FROM turns WHERE turn = ? AND host = ? AND pid = ?",
            (turn, self._host, os.getpid()),
        )

    def _is_held(self, host: str, pid: int, until: float, now: float) -> bool:
        if not now < until <= now + self._lease + _CLOCK_STEPS:
            return False
        # This process does not begin a turn twice: it is what a process of the same id has left.
        return host != self._host or (pid != os.getpid() and _is_alive(pid))


class _Opened:
    """The file as one process has it open, in a thread of its own."""

    def __init__(self, path: Path) -> None:
        self.pid = os.getpid()
        self.thread = ThreadPoolExecutor(1, "devskin-seen")
        self._path = path
        self._connection: sqlite3.Connection | None = None

    def transaction(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do some work in a transaction; in the thread."""
        if self._connection is None:
            self._connection = _connect(self._path)
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            result = work(connection)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        return result

    def close(self) -> None:
        """Close the file, after what was asked for before."""
        self.thread.submit(self._close).result()
        self.thread.shutdown()

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()


def _connect(path: Path) -> sqlite3.Connection:
    try:
        connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
    except (sqlite3.Error, ValueError) as error:
        raise ConfigurationError(f"cannot open {path}: {error}") from None
    try:
        _wait_for_wal(connection)
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.executescript(_SCHEMA)
    except sqlite3.Error as error:
        connection.close()
        raise ConfigurationError(f"cannot use {path}: {error}") from None
    return connection


def _wait_for_wal(connection: sqlite3.Connection) -> None:
    """Let the file have a write-ahead log; here SQLite itself does not wait for others."""
    until = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(_POLLING_SECONDS)
        else:
            return


def _told(connection: sqlite3.Connection, order_id: int, store_id: int | None) -> list[Told]:
    rows = connection.execute(
        "SELECT store_id, status, at, source FROM told WHERE order_id = ?", (str(order_id),)
    )
    return [
        Told(
            order_id=order_id,
            store_id=None if store == _ANY else int(store),
            status=status,
            at=at,
            source=source,
        )
        for store, status, at, source in rows
        if store_id is None or store in (_ANY, str(store_id))
    ]


def _is_alive(pid: int) -> bool:
    if sys.platform == "win32":
        return True  # there, asking ends the process
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
