"""Webhook deliveries in the database, as the sender works them off."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import attrs

from .database import transaction

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable

    from .delivery_log import DeliveryState
    from .endpoints import Endpoint
    from .events import Event

KEPT: Final = 10_000
"""How many ended deliveries the log keeps at least; the oldest go first."""

MOST_WAITING: Final = 100_000
"""How many may wait for one endpoint; the oldest are given up."""

CROWDED: Final = f"more than {MOST_WAITING:,} were waiting for the endpoint"


class Head(NamedTuple):
    """The first of an order's deliveries that wait, and when it is due by the sender's clock."""

    delivery_id: int
    order_id: int
    due: float


@attrs.frozen
class Parcel:
    """What an attempt needs of a delivery and its endpoint."""

    delivery_id: int
    url: str
    secret: str = attrs.field(repr=False)
    body: bytes = attrs.field(repr=False)
    attempts: int


@attrs.frozen
class Outcome:
    """How an attempt ended.

    Attributes:
        status: The HTTP status, if an answer came.
        error: Why it failed; None if it did not.
        final: Another attempt would fail as well.
    """

    status: int | None
    error: str | None
    final: bool = False


def record(
    connection: sqlite3.Connection, event: Event, endpoints: Iterable[Endpoint], due: float, at: int
) -> None:
    """Write down that an event is to be sent.

    Args:
        connection: A sandbox's database, best within the transaction of what fired it.
        event: What fired.
        endpoints: Whom to send it to.
        due: When to send it first, by the sender's clock; behind the order's earlier events.
        at: The present in milliseconds since 1970.
    """
    for endpoint in endpoints:
        connection.execute(
            "INSERT INTO webhook_deliveries (endpoint_id, order_id, event, body, created_at,"
            " state, attempts, due)"
            " SELECT :endpoint, :order, :event, :body, :at, 'waiting', 0,"
            " CASE WHEN EXISTS (SELECT 1 FROM webhook_deliveries WHERE"
            " endpoint_id = :endpoint AND order_id = :order AND state = 'waiting')"
            " THEN NULL ELSE :due END",
            {
                "endpoint": endpoint.id,
                "order": event.order_id,
                "event": event.name,
                "body": event.body,
                "at": at,
                "due": due,
            },
        )


def make_due(connection: sqlite3.Connection, now: float) -> None:
    """Let all that waits for another attempt be due: the clock it was set by may be gone.

    Args:
        connection: A sandbox's database.
        now: The sender's clock.
    """
    if busy_endpoints(connection):
        with transaction(connection):
            connection.execute(
                "UPDATE webhook_deliveries SET due = ? WHERE due IS NOT NULL", (now,)
            )


def busy_endpoints(connection: sqlite3.Connection) -> list[int]:
    """Find the endpoints that something waits for.

    Args:
        connection: A sandbox's database.

    Returns:
        Their ids.
    """
    rows = connection.execute(
        "SELECT id FROM webhook_endpoints WHERE EXISTS (SELECT 1 FROM webhook_deliveries"
        " WHERE endpoint_id = webhook_endpoints.id AND due IS NOT NULL)"
    )
    return [row[0] for row in rows]


def heads(connection: sqlite3.Connection, endpoint_id: int, most: int) -> list[Head]:
    """Find what may be sent to an endpoint: of each order, the first event that waits.

    Args:
        connection: A sandbox's database.
        endpoint_id: The endpoint.
        most: How many are enough.

    Returns:
        The first due first.
    """
    rows = connection.execute(
        "SELECT id, order_id, due FROM webhook_deliveries"
        " WHERE endpoint_id = ? AND due IS NOT NULL ORDER BY due, id LIMIT ?",
        (endpoint_id, most),
    )
    return [Head(*row) for row in rows]


def load(connection: sqlite3.Connection, delivery_id: int) -> Parcel | None:
    """Give what the next attempt of a delivery needs.

    Args:
        connection: A sandbox's database.
        delivery_id: The delivery.

    Returns:
        That, or None if it does not wait any more.
    """
    row = connection.execute(
        "SELECT d.id, url, secret, body, attempts FROM webhook_deliveries d"
        " JOIN webhook_endpoints e ON e.id = endpoint_id WHERE d.id = ? AND state = 'waiting'",
        (delivery_id,),
    ).fetchone()
    return None if row is None else Parcel(*row)


def note(
    connection: sqlite3.Connection,
    delivery_id: int,
    outcome: Outcome,
    at: int,
    *,
    due: float,
    again: bool,
) -> None:
    """Write down how an attempt ended; if it was the last, the order's next event is due.

    Args:
        connection: A sandbox's database.
        delivery_id: The delivery.
        outcome: How it ended.
        at: The present in milliseconds since 1970.
        due: When the next attempt, or else the next event, is due.
        again: Whether there is another attempt.
    """
    state: DeliveryState = "waiting"
    if not again:
        state = "delivered" if outcome.error is None else "given up"
    with transaction(connection):
        row = connection.execute(
            # One that was given up meanwhile stays so, unless it arrived after all.
            "UPDATE webhook_deliveries SET attempts = attempts + 1, tried_at = ?, status = ?,"
            " error = ?, state = ?, due = ? WHERE id = ? AND (state = 'waiting' OR ?)"
            " RETURNING endpoint_id, order_id",
            (
                at,
                outcome.status,
                outcome.error,
                state,
                due if again else None,
                delivery_id,
                state == "delivered",
            ),
        ).fetchone()
        if row is not None and not again:
            connection.execute(
                "UPDATE webhook_deliveries SET due = ? WHERE due IS NULL AND id = ("
                "SELECT min(id) FROM webhook_deliveries"
                " WHERE endpoint_id = ? AND order_id = ? AND state = 'waiting')",
                (due, *row),
            )


def trim(connection: sqlite3.Connection, now: float) -> None:
    """Keep the log and the waiting deliveries within their bounds.

    Args:
        connection: A sandbox's database.
        now: The sender's clock.
    """
    with transaction(connection):
        for endpoint_id in busy_endpoints(connection):
            _give_up_oldest(connection, endpoint_id, now)
        connection.execute(
            "DELETE FROM webhook_deliveries WHERE state <> 'waiting' AND id <= ("
            "SELECT id FROM webhook_deliveries WHERE state <> 'waiting'"
            " ORDER BY id DESC LIMIT 1 OFFSET ?)",
            (KEPT,),
        )


def _give_up_oldest(connection: sqlite3.Connection, endpoint_id: int, now: float) -> None:
    """Give up what is too much for one endpoint, and let what came behind it be due."""
    given_up = connection.execute(
        "UPDATE webhook_deliveries SET state = 'given up', due = NULL, error = ?"
        " WHERE endpoint_id = ? AND state = 'waiting' AND id <= ("
        "SELECT id FROM webhook_deliveries WHERE endpoint_id = ? AND state = 'waiting'"
        " ORDER BY id DESC LIMIT 1 OFFSET ?)",
        (CROWDED, endpoint_id, endpoint_id, MOST_WAITING),
    )
    if given_up.rowcount:
        connection.execute(
            "UPDATE webhook_deliveries SET due = ? WHERE due IS NULL AND id IN ("
            "SELECT min(id) FROM webhook_deliveries WHERE endpoint_id = ? AND state = 'waiting'"
            " GROUP BY order_id)",
            (now, endpoint_id),
        )
