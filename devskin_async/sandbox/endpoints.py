"""Webhook endpoints: where a store's events go, which of them, and what signs them."""

from __future__ import annotations

import hmac
import secrets
import sqlite3
import time
from typing import TYPE_CHECKING, Final

import attrs
from yarl import URL

from .database import list_stores, transaction
from .records import STATUSES, SandboxError, instant

if TYPE_CHECKING:
    from collections.abc import Iterable

EVENTS: Final = tuple(f"order.{status}" for status in STATUSES)
PATTERNS: Final = (*EVENTS, "order.*", "*")
ALL_ORDERS: Final = ("order.*",)

REMOVED: Final = "the endpoint was removed"

_COLUMNS: Final = "id, store_id, url, events, created_at"


@attrs.frozen
class Endpoint:
    """A URL that events of a store are sent to.

    Attributes:
        id: No other endpoint of the database ever has it.
        store_id: The store whose events it gets.
        url: Where they are posted.
        events: The patterns of those it gets: an event's name, `order.*` or `*`.
        created_at: When it was added.
        secret: What its events are signed by; told when it is made, and None ever after.
    """

    id: int
    store_id: int
    url: str
    events: tuple[str, ...]
    created_at: str
    secret: str | None = attrs.field(default=None, repr=False)

    def wants(self, event: str) -> bool:
        """Tell whether it gets an event.

        Args:
            event: Its name, such as order.paid.

        Returns:
            Whether one of its patterns has the name.
        """
        return any(pattern in (event, "*", "order.*") for pattern in self.events)


def add(
    connection: sqlite3.Connection,
    store_id: int,
    url: str,
    events: Iterable[str] = ALL_ORDERS,
    *,
    secret: str | None = None,
) -> Endpoint:
    """Add an endpoint; its secret is told here and nowhere again.

    Args:
        connection: A sandbox's database.
        store_id: The store whose events it gets.
        url: Where to; http or https.
        events: Which ones: names such as order.paid, or the patterns `order.*` and `*`.
        secret: What they are signed by, or None to draw one.

    Returns:
        The endpoint, with its secret.

    Raises:
        SandboxError: No such store or event, a URL that nothing can be posted to, a secret
            that can't be one; or the database can't be written.
    """
    check_url(url)
    patterns = _known(events)
    text = "whsec_" + secrets.token_hex(24) if secret is None else _checked(secret)
    if store_id not in [store.id for store in list_stores(connection)]:
        raise SandboxError(f"there is no store {store_id}")
    now = time.time_ns() // 1_000_000
    with transaction(connection):
        cursor = connection.execute(
            "INSERT INTO webhook_endpoints (store_id, url, events, secret, created_at)"
            " VALUES (?, ?, ?, ?, ?)",
            (store_id, url, ",".join(patterns), text, now),
        )
    return Endpoint(cursor.lastrowid or 0, store_id, url, patterns, instant(now), text)


def accept(
    connection: sqlite3.Connection, store_id: int, url: str, secret: str | None = None
) -> Endpoint:
    """Find a store's endpoint of that URL, or add one for all its orders' events.

    Args:
        connection: A sandbox's database.
        store_id: The store.
        url: Where the events go.
        secret: What they are signed by; None is the one it has, or a new one.

    Returns:
        The endpoint; with its secret if it was added now.

    Raises:
        SandboxError: It has another secret, or can't be added.
    """
    with transaction(connection):
        for known in list_endpoints(connection, store_id):
            if known.url == url:
                if secret is not None and not _has_secret(connection, known.id, secret):
                    raise SandboxError(f"endpoint {known.id} for {url} has another secret")
                return known
        return add(connection, store_id, url, secret=secret)


def list_endpoints(
    connection: sqlite3.Connection, store_id: int | None = None
) -> tuple[Endpoint, ...]:
    """List the endpoints in use, oldest first.

    Args:
        connection: A sandbox's database.
        store_id: Whose; None is all stores.

    Returns:
        Each without its secret.
    """
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM webhook_endpoints"  # noqa: S608 - no input
        " WHERE removed_at IS NULL AND (:store IS NULL OR store_id = :store) ORDER BY id",
        {"store": store_id},
    )
    return tuple(map(_endpoint, rows))


def remove(
    connection: sqlite3.Connection, endpoint_id: int, *, store_id: int | None = None
) -> Endpoint:
    """Remove an endpoint: nothing more is sent to it, and what waits for it is given up.

    Args:
        connection: A sandbox's database.
        endpoint_id: Its id.
        store_id: The store that it must be of; None is any.

    Returns:
        The endpoint as it was.

    Raises:
        SandboxError: There is no such endpoint, or the database can't be written.
    """
    with transaction(connection):
        found = [one for one in list_endpoints(connection, store_id) if one.id == endpoint_id]
        if not found:
            raise SandboxError(f"there is no webhook endpoint {endpoint_id}")
        connection.execute(
            "UPDATE webhook_endpoints SET removed_at = ?, secret = NULL WHERE id = ?",
            (time.time_ns() // 1_000_000, endpoint_id),
        )
        connection.execute(
            "UPDATE webhook_deliveries SET state = 'given up', due = NULL, error = ?"
            " WHERE endpoint_id = ? AND state = 'waiting'",
            (REMOVED, endpoint_id),
        )
    return found[0]


def check_url(url: str) -> URL:
    """See that events can be posted to a URL.

    Args:
        url: The URL.

    Returns:
        It, parsed.

    Raises:
        SandboxError: It is not http or https, has no host, or has a user or a fragment.
    """
    told = repr(url)
    try:
        parsed = URL(url)
        host, has_user = parsed.host, parsed.raw_user is not None or parsed.raw_password is not None
    except ValueError as error:
        # It may have a password, which is not repeated.
        told = "" if "@" in url else f" {told}"
        raise SandboxError(f"the webhook URL{told} is none: {error}") from None
    if has_user:
        raise SandboxError("the webhook URL must not have a user name or password")
    if parsed.scheme not in ("http", "https") or not host:
        raise SandboxError(f"the webhook URL {told} must begin with http:// or https:// and a host")
    if "#" in url:
        raise SandboxError(f"the webhook URL {told} must not have a fragment")
    if not url.isprintable() or " " in url:
        raise SandboxError(f"the webhook URL {told} must not have spaces")
    return parsed


def shown(url: str) -> str:
    """Give a URL as it may stand in a log: without its query, which can be a secret."""
    return str(check_url(url).with_query(None))


def _known(events: Iterable[str]) -> tuple[str, ...]:
    given = (events,) if isinstance(events, str) else events
    wanted = tuple(dict.fromkeys(given))
    if unknown := [event for event in wanted if event not in PATTERNS]:
        raise SandboxError(f"no webhook event {unknown[0]!r}; there are {', '.join(PATTERNS)}")
    if not wanted:
        raise SandboxError(f"a webhook needs an event; there are {', '.join(PATTERNS)}")
    return wanted


def _checked(secret: str) -> str:
    if not secret or secret != secret.strip() or not secret.isprintable():
        raise SandboxError("the webhook secret must be printable, without spaces around it")
    return secret


def _has_secret(connection: sqlite3.Connection, endpoint_id: int, secret: str) -> bool:
    row: tuple[str] = connection.execute(
        "SELECT secret FROM webhook_endpoints WHERE id = ?", (endpoint_id,)
    ).fetchone()
    return hmac.compare_digest(row[0].encode(), secret.encode("utf-8", "surrogatepass"))


def _endpoint(row: tuple[int, int, str, str, int]) -> Endpoint:
    endpoint_id, store_id, url, events, created_at = row
    return Endpoint(endpoint_id, store_id, url, tuple(events.split(",")), instant(created_at))
