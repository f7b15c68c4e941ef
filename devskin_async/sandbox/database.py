"""The SQLite file behind the sandbox: its tables, and opening it."""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs

from .records import SandboxError

if TYPE_CHECKING:
    from collections.abc import Iterator

APPLICATION_ID: Final = 0x4445_5653
"""«DEVS», in the file's header: tells a sandbox's file from any other SQLite file."""

_STORES: Final = """
CREATE TABLE stores (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL
);
CREATE TABLE api_keys (
    id INTEGER PRIMARY KEY,
    store_id INTEGER NOT NULL REFERENCES stores (id),
    name TEXT NOT NULL,
    sha256 TEXT NOT NULL UNIQUE,
    resources TEXT,
    created_at INTEGER NOT NULL,
    revoked_at INTEGER
);
CREATE UNIQUE INDEX api_keys_live_name ON api_keys (name) WHERE revoked_at IS NULL;
CREATE TABLE products (
    id INTEGER PRIMARY KEY,
    store_id INTEGER NOT NULL REFERENCES stores (id),
    name TEXT NOT NULL,
    slug TEXT NOT NULL,
    price INTEGER NOT NULL,
    stock INTEGER NOT NULL,
    status TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    UNIQUE (store_id, slug)
);
CREATE INDEX products_by_age ON products (store_id, created_at);
CREATE TABLE customers (
    id INTEGER PRIMARY KEY,
    store_id INTEGER NOT NULL REFERENCES stores (id),
    name TEXT NOT NULL,
    email TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    UNIQUE (store_id, email)
);
CREATE INDEX customers_by_age ON customers (store_id, created_at);
CREATE TABLE orders (
    id INTEGER PRIMARY KEY,
    store_id INTEGER NOT NULL REFERENCES stores (id),
    order_number TEXT NOT NULL,
    status TEXT NOT NULL,
    customer_id INTEGER NOT NULL REFERENCES customers (id),
    subtotal INTEGER NOT NULL,
    shipping_cost INTEGER NOT NULL,
    discount INTEGER NOT NULL,
    total INTEGER NOT NULL,
    street TEXT NOT NULL,
    city TEXT NOT NULL,
    state TEXT NOT NULL,
    zip TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    UNIQUE (store_id, order_number)
);
CREATE INDEX orders_by_id ON orders (store_id);
CREATE INDEX orders_by_age ON orders (store_id, created_at);
CREATE INDEX orders_by_status ON orders (store_id, status, created_at, total);
CREATE INDEX orders_by_customer ON orders (customer_id, status, total);
CREATE TABLE order_items (
    order_id INTEGER NOT NULL REFERENCES orders (id),
    position INTEGER NOT NULL,
    product_id INTEGER NOT NULL REFERENCES products (id),
    name TEXT NOT NULL,
    quantity INTEGER NOT NULL,
    price INTEGER NOT NULL,
    PRIMARY KEY (order_id, position)
) WITHOUT ROWID;
"""

_WEBHOOKS: Final = """
CREATE TABLE webhook_endpoints (
    id INTEGER PRIMARY KEY,
    store_id INTEGER NOT NULL REFERENCES stores (id),
    url TEXT NOT NULL,
    events TEXT NOT NULL,
    secret TEXT,
    created_at INTEGER NOT NULL,
    removed_at INTEGER
);
CREATE TABLE webhook_deliveries (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    endpoint_id INTEGER NOT NULL REFERENCES webhook_endpoints (id),
    order_id INTEGER NOT NULL,
    event TEXT NOT NULL,
    body BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    state TEXT NOT NULL,
    due REAL,
    attempts INTEGER NOT NULL,
    tried_at INTEGER,
    status INTEGER,
    error TEXT
);
CREATE INDEX webhook_deliveries_due ON webhook_deliveries (endpoint_id, due)
    WHERE due IS NOT NULL;
CREATE INDEX webhook_deliveries_waiting ON webhook_deliveries (endpoint_id, order_id)
    WHERE state = 'waiting';
CREATE INDEX webhook_deliveries_ended ON webhook_deliveries (id) WHERE state <> 'waiting';
"""

SCHEMAS: Final = (_STORES, _WEBHOOKS)
"""What each version of the schema added to the one before; version 1 is the first."""


def open_database(path: str | Path | None = None) -> sqlite3.Connection:
    """Open a sandbox's database, making the file and its tables when there is none.

    A file from an earlier version of the sandbox gets the tables that it lacks.

    Args:
        path: The file, or None for a database in memory.

    Returns:
        A connection in autocommit, which the caller closes.

    Raises:
        SandboxError: The file can't be opened or written, or is not a sandbox's database.
    """
    try:
        connection = sqlite3.connect(
            ":memory:" if path is None else Path(path), isolation_level=None
        )
    except sqlite3.Error as error:
        raise SandboxError(f"cannot open the database {path}: {error}") from error
    try:
        _prepare(connection, path)
    except sqlite3.Error as error:
        connection.close()
        raise SandboxError(f"cannot use the database {path}: {error}") from error
    except SandboxError:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection, path: str | Path | None) -> None:
    """Make the tables of an empty or older database, and refuse any other that is not ours."""
    if _is_empty(connection):
        with _immediate(connection):
            # Looked at again: another process may have made them while this one had no lock.
            if _is_empty(connection):
                connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                _upgrade(connection)
    if _pragma(connection, "application_id") != APPLICATION_ID:
        raise SandboxError(f"{path} is a SQLite database, but not a sandbox's")
    version = _pragma(connection, "user_version")
    if not 1 <= version <= len(SCHEMAS):
        raise SandboxError(f"{path} was made by another version of the sandbox (schema {version})")
    if version < len(SCHEMAS):
        with _immediate(connection):
            _upgrade(connection)
    connection.execute("PRAGMA foreign_keys = ON")


def _is_empty(connection: sqlite3.Connection) -> bool:
    return connection.execute("SELECT 1 FROM sqlite_schema").fetchone() is None


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    value: int = connection.execute(f"PRAGMA {name}").fetchone()[0]
    return value


def _upgrade(connection: sqlite3.Connection) -> None:
    """Make the tables that a database lacks; within a transaction, where none can be missed."""
    for schema in SCHEMAS[_pragma(connection, "user_version") :]:
        # One by one: executescript would end the transaction first.
        for statement in schema.split(";"):
            connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {len(SCHEMAS)}")


@attrs.frozen
class StoreInfo:
    """A store of a database."""

    id: int
    name: str


def list_stores(connection: sqlite3.Connection) -> tuple[StoreInfo, ...]:
    """List a database's stores, oldest first.

    Args:
        connection: A sandbox's database.

    Returns:
        The stores; the first is the one a sandbox's own key opens.
    """
    return tuple(
        StoreInfo(*row) for row in connection.execute("SELECT id, name FROM stores ORDER BY id")
    )


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Hold several writes together: all of them, or none when the block raises.

    Within another transaction it is a part of that one.

    Args:
        connection: A connection in autocommit.

    Yields:
        Nothing; the block writes through the same connection.

    Raises:
        SandboxError: The database can't be written: it is locked, read-only or full.
    """
    if connection.in_transaction:
        yield
        return
    try:
        with _immediate(connection):
            yield
    except sqlite3.OperationalError as error:
        raise SandboxError(f"cannot write the database: {error}") from error


@contextmanager
def _immediate(connection: sqlite3.Connection) -> Iterator[None]:
    """Keep other writers out from the beginning, so that what is read stays true till the end."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # SQLite itself ends some that fail, as on a full disk
            connection.execute("ROLLBACK")
        raise
