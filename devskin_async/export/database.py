"""The SQLite file of a journal: its tables, and opening it for one process alone."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from ..errors import ConfigurationError
from .files import naming
from .work_folder import JOURNAL, open_private

_VERSION = 1
_SCHEMA = """
CREATE TABLE notes (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE units (
    id INTEGER PRIMARY KEY,
    scope TEXT NOT NULL,
    number INTEGER NOT NULL,
    file TEXT NOT NULL,
    offset INTEGER NOT NULL,
    length INTEGER NOT NULL,
    crc INTEGER NOT NULL,
    at REAL NOT NULL,
    adopts TEXT,
    about BLOB NOT NULL,
    UNIQUE (scope, number)
);
CREATE TABLE ids (scope TEXT, id, unit INTEGER NOT NULL, PRIMARY KEY (scope, id)) WITHOUT ROWID;
CREATE INDEX ids_by_unit ON ids (unit);
CREATE TABLE repeated (unit INTEGER NOT NULL, id, PRIMARY KEY (unit, id)) WITHOUT ROWID;
CREATE TABLE rejected (unit INTEGER NOT NULL, id, entry BLOB NOT NULL);
"""

START_OVER = "pass fresh=True to start over"
"""What helps where an unfinished export can't be used, as a note of the error."""


def open_database(folder: Path, *, fresh: bool) -> sqlite3.Connection:
    """Open a journal's database, or make it; the lock is held until it is closed.

    Args:
        folder: The journal's folder, which exists.
        fresh: Make it anew where it can't be used.

    Returns:
        A connection in autocommit, for one thread at a time.

    Raises:
        ConfigurationError: Another export holds it, or it is none that this version can read.
        OSError: It can't be made; `filename` is its path.
    """
    path = folder / JOURNAL
    with naming(path):
        # SQLite gives the files beside it the same permissions.
        os.close(open_private(path, os.O_RDWR))
    try:
        return _connect(path)
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError) and "locked" in str(error):
            raise ConfigurationError(
                f"another export is writing to {folder.parent}: let it end, or give this one"
                " another folder"
            ) from None
        if isinstance(error, sqlite3.OperationalError):
            with naming(path):
                raise
        if not fresh:
            unusable = ConfigurationError(f"{path} can't be used ({error})")
            unusable.add_note(START_OVER)
            raise unusable from None
    with naming(path):
        for end in ("", "-wal", "-shm", "-journal"):
            Path(f"{path}{end}").unlink(missing_ok=True)
        os.close(open_private(path, os.O_RDWR))
        return _connect(path)


def _connect(path: Path) -> sqlite3.Connection:
    # Absolute: SQLite may take a relative `file:x` for an address.
    whole = path.absolute()
    connection = sqlite3.connect(whole, timeout=0, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("PRAGMA journal_mode = WAL")
        # What is forgotten must stay so: its place in the file of rows is written anew.
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("BEGIN EXCLUSIVE")
        if not connection.execute("SELECT 1 FROM sqlite_schema").fetchone():
            for statement in _SCHEMA.split(";"):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {_VERSION}")
        connection.execute("COMMIT")
        _check(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def _check(connection: sqlite3.Connection, path: Path) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version != _VERSION:
        raise sqlite3.DatabaseError("another version of this library made it")
    # Whoever removed the file while this waited to open it has taken the name along.
    if not path.exists():
        raise sqlite3.OperationalError("database is locked")
