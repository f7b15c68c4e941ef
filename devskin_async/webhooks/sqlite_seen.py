"""What was handled already, in a SQLite file: it outlives a restart, and several may share it."""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
import os
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar

from .seen import WEEK, Begun, Told
from .sqlite_file import LockedError, SQLiteFile, Work, prepare

T = TypeVar("T")

LEASE: Final = dt.timedelta(seconds=30)
OPENING_SECONDS: Final = 10.0
BUSY_SECONDS: Final = 2.5
"""How long each of the three questions of a request waits for another process that is writing."""

_RENEWALS = 3
_ANY = ""

_log = logging.getLogger(__package__)

_inherited: list[_Opened] = []
"""What a parent process has opened: SQLite forbids its child even to close it."""

# The table `turns` of the first release, which knew holders by host and process, is left alone.
_SCHEMA = """
CREATE TABLE IF NOT EXISTS handled (key TEXT PRIMARY KEY, at REAL NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS handled_by_age ON handled (at);
CREATE TABLE IF NOT EXISTS leases (
    turn TEXT PRIMARY KEY, holder TEXT NOT NULL, seconds REAL NOT NULL, until REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS told (
    order_id TEXT, store_id TEXT, status TEXT, at REAL NOT NULL, source TEXT NOT NULL,
    PRIMARY KEY (order_id, store_id, status)
) WITHOUT ROWID;
"""


class SQLiteSeen:
    """Remembers in a file, which several receivers and processes of one machine may use at once.

    Whoever begins a turn holds it by a lease, under a random name, and renews it for as long as
    the event is being handled and its event loop runs. A process that was killed while it handled
    an event renews nothing: the event was perhaps handled, perhaps not, and is handled again when
    it is sent again after the lease is over. Leases go by the machine's monotonic clock, which
    all its processes and containers share, and which nobody can set.

    While another process has the file locked, `begin` says `busy` after 2.5 s, so that the sender
    is told 503; what was handled by then is remembered in this process, and written later.

    Use it as `async with SQLiteSeen(path) as seen:`, or call `close` at the end.

    Args:
        path: The file, made where it is missing, readable by its owner alone.
        age: How long it remembers a request; longer than a sender tries again. The status of an
            order is remembered for good.
        lease: How long a turn is held by who was last heard of so long ago. It is renewed three
            times as often; longer than a handler ever blocks the event loop.

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
        self._opened: _Opened | None = None
        self._opening = threading.Lock()
        self._renewals: dict[str, asyncio.TimerHandle] = {}
        prepare(self._path, _SCHEMA, OPENING_SECONDS)

    async def begin(self, turn: str, key: str | None) -> Begun:
        """Begin a turn, unless the key was handled or another receiver has the turn."""
        opened = self._open()
        until = time.monotonic() + BUSY_SECONDS
        try:
            begun = await _done(opened, lambda: opened.begin(turn, key, until))
        except LockedError:
            return "busy"
        if begun == "new":
            self._renew_later(turn, opened)
        return begun

    async def finish(self, turn: str, key: str | None, told: Told | None) -> None:
        """End a turn that was handled, and remember it."""
        await self._end(turn, lambda connection: _remember(connection, key, told, self._age))

    async def give_up(self, turn: str) -> None:
        """End a turn that was not handled."""
        await self._end(turn, lambda _: None)

    async def told(self, order_id: int, store_id: int | None) -> Sequence[Told]:
        """Give the statuses of an order that were handled."""
        opened = self._open()
        until = time.monotonic() + BUSY_SECONDS
        return await _done(
            opened, lambda: opened.read(lambda file: _told(file, order_id, store_id), until)
        )

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
        # It may wait for a lock.
        await asyncio.to_thread(self.close)

    async def _end(self, turn: str, note: Work[None]) -> None:
        renewal = self._renewals.pop(turn, None)
        if renewal is not None:
            renewal.cancel()
        opened = self._open()
        until = time.monotonic() + BUSY_SECONDS
        await _done(opened, lambda: opened.end(turn, note, until))

    def _open(self) -> _Opened:
        with self._opening:
            if self._opened is not None and self._opened.pid != os.getpid():
                _inherited.append(self._opened)
                self._opened = None
                self._renewals.clear()
            if self._opened is None:
                self._opened = _Opened(self._path, self._age, self._lease)
            return self._opened

    def _renew_later(self, turn: str, opened: _Opened) -> None:
        """Renew a turn again and again, until it ends or this event loop does."""

        def renew() -> None:
            if self._opened is opened:
                until = time.monotonic() + BUSY_SECONDS
                opened.submit(lambda: opened.renew(turn, until))
                self._renew_later(turn, opened)

        loop = asyncio.get_running_loop()
        self._renewals[turn] = loop.call_later(self._lease / _RENEWALS, renew)


class _Opened(SQLiteFile):
    """The file as one process has it open; what is done in its thread, and what it holds there."""

    def __init__(self, path: Path, age: float, lease: float) -> None:
        super().__init__(path, _SCHEMA)
        self._age = age
        self._lease = lease
        self._holder = secrets.token_hex(16)
        self._held: set[str] = set()
        self._unwritten: list[Work[None]] = []

    def begin(self, turn: str, key: str | None, until: float) -> Begun:
        """Begin a turn."""
        begun = self._write(lambda connection: self._begin(connection, turn, key), until)
        if begun == "new":
            self._held.add(turn)
        return begun

    def end(self, turn: str, note: Work[None], until: float) -> None:
        """End a turn and note something; if that can't be written now, it is later."""

        def work(connection: sqlite3.Connection) -> None:
            note(connection)
            # Whoever has held it beyond its lease must not end it for the next.
            connection.execute(
                "DELETE FROM leases WHERE turn = ? AND holder = ?", (turn, self._holder)
            )

        self._held.discard(turn)
        try:
            self._write(work, until)
        except LockedError:
            self._unwritten.append(work)

    def renew(self, turn: str, until: float) -> None:
        """Renew a turn that is still held."""
        if turn not in self._held:
            return
        values = (time.monotonic() + self._lease, turn, self._holder)
        sql = "UPDATE leases SET until = ? WHERE turn = ? AND holder = ?"
        if not self._write(lambda connection: connection.execute(sql, values).rowcount, until):
            self._held.discard(turn)
            _log.warning(
                "the lease on %s expired while its handler ran, and another process took it over",
                turn,
            )

    def read(self, work: Work[T], until: float) -> T:
        """Look something up; here nobody waits for who is writing."""
        return self.transaction(work, until, "BEGIN")

    def close(self) -> None:
        """Write what could not be written before, and close the file."""
        until = time.monotonic() + BUSY_SECONDS
        try:
            self.submit(lambda: self._catch_up(until)).result()
        except LockedError:
            count = len(self._unwritten)
            _log.error(
                "the file stayed locked; results that were not saved: %d;"
                " their events may be handled again",
                count,
            )
        finally:
            super().close()

    def _catch_up(self, until: float) -> None:
        if self._unwritten:
            self._write(lambda _: None, until)

    def _write(self, work: Work[T], until: float) -> T:
        def all_of_it(connection: sqlite3.Connection) -> T:
            for earlier in self._unwritten:
                earlier(connection)
            return work(connection)

        result = self.transaction(all_of_it, until)
        self._unwritten.clear()
        return result

    def _begin(self, connection: sqlite3.Connection, turn: str, key: str | None) -> Begun:
        handled = connection.execute(
            "SELECT 1 FROM handled WHERE key = ? AND at >= ?", (key, time.time() - self._age)
        )
        if handled.fetchone():
            return "done"
        now = time.monotonic()
        found = connection.execute(
            "SELECT holder, seconds, until FROM leases WHERE turn = ?", (turn,)
        ).fetchone()
        if found is not None:
            holder, seconds, until = found
            # Nobody holds it for longer than its lease from now: such a time was written before
            # the machine, and its monotonic clock with it, was started again.
            if turn in self._held if holder == self._holder else now < until <= now + seconds:
                return "busy"
        connection.execute(
            "INSERT OR REPLACE INTO leases VALUES (?, ?, ?, ?)",
            (turn, self._holder, self._lease, now + self._lease),
        )
        return "new"


async def _done(opened: _Opened, work: Callable[[], T]) -> T:
    # What was begun in the thread happens, whether or not its caller is there to hear of it.
    return await asyncio.shield(asyncio.wrap_future(opened.submit(work)))


def _remember(
    connection: sqlite3.Connection, key: str | None, told: Told | None, age: float
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
    connection.execute("DELETE FROM handled WHERE at < ?", (now - age,))


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
