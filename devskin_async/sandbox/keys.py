"""API keys as the reference has them: named, shown once, kept as SHA-256, revocable."""

from __future__ import annotations

import hashlib
import secrets
import sqlite3
import time
from typing import TYPE_CHECKING, Final

import attrs

from .database import transaction
from .records import RESOURCES, SandboxError, instant

if TYPE_CHECKING:
    from collections.abc import Iterable


_COLUMNS: Final = "id, store_id, name, resources, created_at, revoked_at"


@attrs.frozen
class KeyInfo:
    """What may be told of a key after it was made: all but its text."""

    id: int
    store_id: int
    name: str
    only: tuple[str, ...] | None
    created_at: str
    revoked_at: str | None


def create(
    connection: sqlite3.Connection,
    store_id: int,
    name: str,
    only: Iterable[str] | None = None,
    *,
    text: str | None = None,
) -> str:
    """Make a key; its text is told here and nowhere again.

    Args:
        connection: A sandbox's database.
        store_id: The one store the key opens.
        name: What to call it; no two live keys share a name.
        only: The resources the key may read, or None for all.
        text: The key's text, or None to draw one.

    Returns:
        The key's text.

    Raises:
        SandboxError: No such store or resource, a name or text already taken, or a text that
            can't travel in a header; or the database can't be written.
    """
    resources = None if only is None else ",".join(_known(only))
    key = "dsk_" + secrets.token_urlsafe(32) if text is None else text
    if not key or not (key.isascii() and key.isprintable()) or " " in key:
        raise SandboxError("the key must be printable ASCII without spaces")
    if not name.strip():
        raise SandboxError("the key needs a name")
    if connection.execute("SELECT 1 FROM stores WHERE id = ?", (store_id,)).fetchone() is None:
        raise SandboxError(f"there is no store {store_id}")
    try:
        with transaction(connection):
            connection.execute(
                "INSERT INTO api_keys (store_id, name, sha256, resources, created_at)"
                " VALUES (?, ?, ?, ?, ?)",
                (store_id, name, digest(key), resources, _now()),
            )
    except sqlite3.IntegrityError as error:
        what = "text" if "sha256" in str(error) else f"name {name!r}"
        raise SandboxError(f"a key with that {what} exists already") from error
    return key


def list_keys(connection: sqlite3.Connection) -> tuple[KeyInfo, ...]:
    """List every key ever made, the revoked ones included, oldest first.

    Args:
        connection: A sandbox's database.

    Returns:
        What may be told of each.
    """
    rows = connection.execute(f"SELECT {_COLUMNS} FROM api_keys ORDER BY id")  # noqa: S608 - no input
    return tuple(map(_info, rows))


def revoke(connection: sqlite3.Connection, id_or_name: int | str) -> KeyInfo:
    """Revoke a key: from the next request on, it is refused with 401.

    Args:
        connection: A sandbox's database.
        id_or_name: A live key's name, or its id (as a number or in digits).

    Returns:
        The key as it is now.

    Raises:
        SandboxError: No live key has that name or id, or the database can't be written.
    """
    live = [key for key in list_keys(connection) if key.revoked_at is None]
    named = [key for key in live if key.name == id_or_name]
    found = named or [key for key in live if str(key.id) == str(id_or_name)]
    if not found:
        raise SandboxError("there is no live key of that name or id")
    now = _now()
    with transaction(connection):
        connection.execute("UPDATE api_keys SET revoked_at = ? WHERE id = ?", (now, found[0].id))
    return attrs.evolve(found[0], revoked_at=instant(now))


def find(connection: sqlite3.Connection, text: str) -> KeyInfo | None:
    """Look a key up by its text.

    Args:
        connection: A sandbox's database.
        text: What came in the X-API-Key header.

    Returns:
        The key, a revoked one too, or None if there never was such a key.
    """
    row = connection.execute(
        f"SELECT {_COLUMNS} FROM api_keys WHERE sha256 = ?",  # noqa: S608 - no input
        (digest(text),),
    ).fetchone()
    return None if row is None else _info(row)


def digest(text: str) -> str:
    """Hash a key's text as it is kept.

    Args:
        text: The key; any text, even what no header could carry.

    Returns:
        Its SHA-256 in hexadecimal.
    """
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def _info(row: tuple[int, int, str, str | None, int, int | None]) -> KeyInfo:
    key_id, store_id, name, resources, created_at, revoked_at = row
    return KeyInfo(
        id=key_id,
        store_id=store_id,
        name=name,
        only=None if resources is None else tuple(filter(None, resources.split(","))),
        created_at=instant(created_at),
        revoked_at=None if revoked_at is None else instant(revoked_at),
    )


def _known(only: Iterable[str]) -> list[str]:
    wanted = set(only)
    if unknown := sorted(wanted - set(RESOURCES)):
        raise SandboxError(f"no resource {unknown[0]!r}; there are {', '.join(RESOURCES)}")
    return sorted(wanted)


def _now() -> int:
    return int(time.time() * 1000)
