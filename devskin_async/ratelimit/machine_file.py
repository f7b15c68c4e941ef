"""The SQLite files of budgets, each holding one row, and this process's connections to them.

A rollback journal, not a write-ahead log: it costs 9 µs more a step, but a connection holds no
lock and one file descriptor between steps, so that a fork, a closed connection or a file that was
removed can't harm anybody.
"""

from __future__ import annotations

import atexit
import errno
import math
import os
import sqlite3
import stat
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import TypeAlias

import msgspec

from .state import FORGOTTEN_AFTER, loads
from .store import StoreBusyError, StoreUnavailableError

MOST_OPEN = 64
"""Files that a process has open at most."""

_SUFFIX = ".v1.sqlite"  # another layout of the state gets another name

Change: TypeAlias = Callable[[bytes | None], bytes | None]
"""Given a file's content, None if empty, returns the new content; None keeps the old one."""

_SWEEP_EVERY = 600.0
_SWEPT_AT_ONCE = 8
_LOOKED_AT = 1000
_TRIES = 3
_SET_UP = (
    "PRAGMA page_size=8192",  # holds most states
    "PRAGMA journal_mode=PERSIST",
    "PRAGMA synchronous=OFF",  # what a power failure destroys is of no use afterwards
    "BEGIN EXCLUSIVE",
    "CREATE TABLE IF NOT EXISTS budget (id INTEGER PRIMARY KEY, state BLOB NOT NULL)",
    "COMMIT",
)
_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class DamagedFileError(StoreUnavailableError):
    """A file was damaged, and has been removed."""


class BudgetFile:
    """A connection to a budget's file.

    Args:
        path: The file, which is created if it does not exist.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._identity = _make(path)
        self._db = sqlite3.connect(
            f"{Path(path).as_uri()}?mode=rw",
            uri=True,
            timeout=0,  # a busy file must not block the event loop
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            for statement in _SET_UP:
                self._db.execute(statement)
        except BaseException:
            self._db.close()
            raise

    def update(self, change: Change) -> bool:
        """Change its content atomically; return whether it is still the file at its path."""
        execute = self._db.execute
        execute("BEGIN EXCLUSIVE")
        try:
            if not self._is_current():
                return False
            row = execute("SELECT state FROM budget").fetchone()
            state = change(row[0] if row else None)
            if state is not None:
                execute("REPLACE INTO budget VALUES (1, ?)", (state,))
                execute("COMMIT")
            return True
        finally:
            if self._db.in_transaction:
                execute("ROLLBACK")

    def close(self) -> None:
        """Close it."""
        self._db.close()

    def _is_current(self) -> bool:
        try:
            status = os.lstat(self._path)
        except FileNotFoundError:
            return False
        return (status.st_dev, status.st_ino) == self._identity


class BudgetFiles:
    """This process's files, of all its event loops and threads.

    One connection to a file is enough for all of them, since its lock admits one at a time. A
    thread that finds it in use tries again, as if another process used the file. A forked child
    leaves the parent's connections alone, and opens its own.
    """

    def __init__(self) -> None:
        self._open: dict[str, BudgetFile] = {}  # the last used last
        self._inherited: list[dict[str, BudgetFile]] = []
        self._swept_at: dict[str, float] = {}
        self._lock = threading.Lock()
        self._is_held = False
        atexit.register(self._close_all)
        if hasattr(os, "register_at_fork"):
            # SQLite's own locks must be free at that moment, or they never are in the child.
            os.register_at_fork(
                before=self._before_fork,
                after_in_parent=self._after_fork,
                after_in_child=self._after_fork_in_child,
            )

    def update(self, path: str, change: Change) -> None:
        """Change the content of a file.

        Args:
            path: The file.
            change: Returns the new content.

        Raises:
            StoreBusyError: Another process or thread is using it.
            DamagedFileError: It was damaged, and has been removed.
            StoreUnavailableError: It can't be used.
        """
        if not self._lock.acquire(blocking=False):
            raise StoreBusyError
        try:
            for _ in range(_TRIES):
                if self._used(path).update(change):
                    return
                self._drop(path)
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
            if code in _BUSY:
                raise StoreBusyError from None
            self._drop(path)
            if code in _DAMAGED:
                _remove(path)
                raise DamagedFileError(f"{path}: {error}") from error
            raise StoreUnavailableError(f"{path}: {error}") from error
        except OSError as error:
            self._drop(path)
            raise StoreUnavailableError(f"{path}: {error.strerror or error}") from error
        finally:
            self._lock.release()
        raise StoreUnavailableError(
            f"{path} was removed each time it was opened: check what deletes files there"
        )

    @staticmethod
    def path(directory: str, name: str) -> str:
        """Return the path of a budget's file."""
        return os.path.join(directory, name + _SUFFIX)  # noqa: PTH118

    def close(self, path: str) -> None:
        """Close a file; if it is still used, it is opened again."""
        with self._lock:
            self._drop(path)

    def sweep(self, directory: str, clock: Callable[[], float]) -> None:
        """Remove the files of budgets unused for an hour, unless that was done recently."""
        now = time.monotonic()
        is_due = now >= self._swept_at.get(directory, -math.inf) + _SWEEP_EVERY
        if not is_due or not self._lock.acquire(blocking=False):
            return
        try:
            with os.scandir(directory) as entries:
                unused = [each.path for each in islice(entries, _LOOKED_AT) if _is_old(each.path)]
            for path in unused[:_SWEPT_AT_ONCE]:
                with suppress(sqlite3.Error):
                    _remove_unused(path, clock)
            if len(unused) <= _SWEPT_AT_ONCE:  # else opening the next file continues
                self._swept_at[directory] = now
        except OSError:
            pass  # another process may sweep
        finally:
            self._lock.release()

    def _used(self, path: str) -> BudgetFile:
        file = self._open.pop(path, None)
        if file is None:
            while len(self._open) >= MOST_OPEN:
                self._drop(next(iter(self._open)))
            file = BudgetFile(path)
        self._open[path] = file
        return file

    def _drop(self, path: str) -> None:
        if (file := self._open.pop(path, None)) is not None:
            file.close()

    def _close_all(self) -> None:
        while self._open:
            self._drop(next(iter(self._open)))

    def _before_fork(self) -> None:
        self._is_held = self._lock.acquire(timeout=1)

    def _after_fork(self) -> None:
        if self._is_held:
            self._lock.release()

    def _after_fork_in_child(self) -> None:
        self._inherited.append(self._open)
        self._open = {}
        self._lock = threading.Lock()


def _make(path: str) -> tuple[int, int]:
    """Create a file for this user alone if it does not exist; return its device and inode."""
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
    descriptor = os.open(path, flags, 0o600)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
            raise OSError(errno.EEXIST, "is not a regular file")
        if sys.platform != "win32":
            if status.st_uid != os.geteuid():
                raise OSError(errno.EPERM, "belongs to another user")
            os.fchmod(descriptor, 0o600)
    finally:
        os.close(descriptor)
    return status.st_dev, status.st_ino


def _is_old(path: str) -> bool:
    if not path.endswith(_SUFFIX):
        return False
    try:
        changed_at = os.lstat(path).st_mtime
    except OSError:
        return False
    return changed_at < time.time() - FORGOTTEN_AFTER


def _remove_unused(path: str, clock: Callable[[], float]) -> None:
    """Remove a file, unless a process has used it since, or is using it."""
    db = sqlite3.connect(
        f"{Path(path).as_uri()}?mode=rw", uri=True, timeout=0, isolation_level=None
    )
    try:
        db.execute("BEGIN EXCLUSIVE")
        (data,) = db.execute("SELECT state FROM budget").fetchone() or (None,)
        # The wall clock may have been set, so it is not what decides.
        if _is_old(path) and not (data and _is_in_use(data, clock())):
            _remove(path)
    finally:
        db.close()


def _is_in_use(data: bytes, now: float) -> bool:
    try:
        return 0 <= now - loads(data).now < FORGOTTEN_AFTER
    except msgspec.MsgspecError:
        return False


def _remove(path: str) -> None:
    for each in (f"{path}-journal", path):  # in this order no other file can get the journal
        with suppress(OSError):
            os.unlink(each)  # noqa: PTH108


FILES = BudgetFiles()
"""This process's files."""
