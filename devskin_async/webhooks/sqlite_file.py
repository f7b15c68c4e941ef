"""A SQLite file used from one thread, with bounded waits for locks."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeAlias, TypeVar

from ..errors import ConfigurationError

T = TypeVar("T")
Work: TypeAlias = Callable[[sqlite3.Connection], T]

_POLLING_SECONDS = 0.01
_PRIVATE: Final = 0o600
_BEYOND_OWNER: Final = 0o077
_FOR_GROUP: Final = 0o060
_LOCKED: Final = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_PRIMARY: Final = 0xFF  # of an extended code


class LockedError(Exception):
    """Another process had the file locked for too long."""


class SQLiteFile:
    """A file as one process has it open, in a thread of its own.

    Args:
        path: The file, which `prepare` has made.
        schema: What is made in it where it is missing.
    """

    def __init__(self, path: Path, schema: str) -> None:
        self.pid: int = os.getpid()
        self._path = path
        self._schema = schema
        self._thread = ThreadPoolExecutor(1, "devskin-seen")
        self._connection: sqlite3.Connection | None = None

    def submit(self, work: Callable[[], T]) -> Future[T]:
        """Do something in the thread, after what was asked for before."""
        return self._thread.submit(work)

    def transaction(self, work: Work[T], until: float, begin: str = "BEGIN IMMEDIATE") -> T:
        """Do some work in a transaction; in the thread.

        Args:
            work: What to do.
            until: How long to wait for another process, by the monotonic clock.
            begin: Begins the transaction.

        Raises:
            LockedError: Another process had the file until then.
        """
        try:
            if self._connection is None:
                self._connection = _connect(self._path, self._schema, until)
            connection = self._connection
            connection.execute(f"PRAGMA busy_timeout = {int(_left(until) * 1000)}")
            connection.execute(begin)
            try:
                result = work(connection)
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
        except sqlite3.OperationalError as error:
            if _is_locked(error):
                raise LockedError(str(error)) from None
            raise
        return result

    def close(self) -> None:
        """Close the file, after what was asked for before."""
        self.submit(self._close).result()
        self._thread.shutdown()

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()


def prepare(path: Path, schema: str, seconds: float) -> None:
    """Make a file that only its owner may read, or take over one that is there.

    Args:
        path: The file.
        schema: What is made in it where it is missing.
        seconds: How long to wait for another process.

    Raises:
        ConfigurationError: The file can't be used.
    """
    try:
        _make_private(Path(os.path.realpath(path)))
        _connect(path, schema, time.monotonic() + seconds).close()
    except OSError as error:
        raise ConfigurationError(f"cannot open {path}: {error.strerror}") from None
    except (sqlite3.Error, ValueError) as error:
        raise ConfigurationError(f"cannot use {path}: {error}") from None


def _make_private(path: Path) -> None:
    """Give a file the mode 0600; SQLite gives that of the file to those it makes beside it."""
    try:
        # A file that is there is never opened here: to close it would end SQLite's locks on it.
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, _PRIVATE))
    except FileExistsError:
        for each in (path, Path(f"{path}-wal"), Path(f"{path}-shm")):
            with suppress(OSError):  # it is not there, or not ours
                mode = each.stat().st_mode
                # No usual umask makes 0660: whoever shares it so with a group does it on purpose.
                if each.is_file() and mode & _BEYOND_OWNER not in (0, _FOR_GROUP):
                    each.chmod(mode & _PRIVATE)


def _connect(path: Path, schema: str, until: float) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=_left(until), isolation_level=None)
    try:
        _wait_for_wal(connection, until)
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.executescript(schema)
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _wait_for_wal(connection: sqlite3.Connection, until: float) -> None:
    """Let the file have a write-ahead log; here SQLite itself does not wait for others."""
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if not _is_locked(error) or time.monotonic() > until:
                raise
            time.sleep(_POLLING_SECONDS)
        else:
            return


def _is_locked(error: sqlite3.OperationalError) -> bool:
    return error.sqlite_errorcode & _PRIMARY in _LOCKED


def _left(until: float) -> float:
    return max(0.0, until - time.monotonic())
