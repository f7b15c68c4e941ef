"""What a sandbox needs of its database before it serves: a store, and a key that opens it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from . import keys
from .catalogue import unique
from .database import list_stores, transaction
from .generate import create_store
from .records import SandboxError

if TYPE_CHECKING:
    import sqlite3
    from datetime import date

    from .generate import Sizes

STORE_NAME: Final = "Sandbox store"
KEY_NAME: Final = "sandbox"


def first_store(connection: sqlite3.Connection, sizes: Sizes, seed: int, today: date) -> int:
    """Find the first store, or make it if the database has none yet.

    Args:
        connection: A sandbox's database.
        sizes: How many rows a new store has.
        seed: What it is made from.
        today: The day before which its orders end.

    Returns:
        The store's id.

    Raises:
        SandboxError: No orders fit before that day, or the database can't be written.
    """
    if stores := list_stores(connection):
        return stores[0].id
    with transaction(connection):
        # Looked at again: another process may have made it while this one had no lock.
        if stores := list_stores(connection):
            return stores[0].id
        return create_store(
            connection,
            STORE_NAME,
            orders=sizes.orders,
            products=sizes.products,
            customers=sizes.customers,
            seed=seed,
            today=today,
        )


def accept_key(connection: sqlite3.Connection, store_id: int, text: str | None) -> str:
    """Find the key that was given among those of the database, or make it.

    Args:
        connection: A sandbox's database.
        store_id: The store that a new key opens.
        text: The key, or None to make one.

    Returns:
        The key's text.

    Raises:
        SandboxError: The key was revoked, no header could carry it, or the database can't be
            written.
    """
    if (known := _known_key(connection, text)) is not None:
        return known
    with transaction(connection):
        # Looked at again: another process may have made it while this one had no lock.
        if (known := _known_key(connection, text)) is not None:
            return known
        taken = {key.name for key in keys.list_keys(connection) if key.revoked_at is None}
        return keys.create(connection, store_id, unique(KEY_NAME, taken), text=text)


def _known_key(connection: sqlite3.Connection, text: str | None) -> str | None:
    """Give a key back if the database has it."""
    if text is None or (known := keys.find(connection, text)) is None:
        return None
    if known.revoked_at is not None:
        raise SandboxError("the key was revoked")
    return text
