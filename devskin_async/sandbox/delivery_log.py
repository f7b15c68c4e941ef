"""The log of webhook deliveries: what fired, what waits, and how each one went."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import attrs

from .records import MAX_INTEGER, SandboxError, instant

if TYPE_CHECKING:
    import sqlite3

DeliveryState: TypeAlias = Literal["waiting", "delivered", "given up"]


@attrs.frozen
class Delivery:
    """An event on its way to an endpoint, as the log has it.

    Attributes:
        id: Rises in the order in which the events fired.
        endpoint_id: Where it goes.
        order_id: The order that it tells of.
        event: Such as order.paid.
        state: Whether it waits, for its turn or for another attempt, or how it ended.
        attempts: How often it was sent.
        status: The HTTP status that the last attempt got, if it got one.
        error: Why the last attempt failed, or why there was none.
        created_at: When the event fired.
        tried_at: When the last attempt ended.
        body: The very bytes that each attempt sends.
    """

    id: int
    endpoint_id: int
    order_id: int
    event: str
    state: DeliveryState
    attempts: int
    status: int | None
    error: str | None
    created_at: str
    tried_at: str | None
    body: bytes = attrs.field(repr=False)


_COLUMNS: Final = tuple(field.name for field in attrs.fields(Delivery))


def list_deliveries(
    connection: sqlite3.Connection, limit: int = 100, *, store_id: int | None = None
) -> tuple[Delivery, ...]:
    """List the deliveries, newest first.

    Args:
        connection: A sandbox's database.
        limit: How many at most.
        store_id: Whose; None is all stores.

    Returns:
        Those that wait, and of those that ended the last ones.

    Raises:
        SandboxError: The limit is not positive.
    """
    if limit < 1:
        raise SandboxError("limit must be positive")
    rows = connection.execute(
        f"SELECT {', '.join(_COLUMNS)} FROM webhook_deliveries"  # noqa: S608 - no input
        " WHERE :store IS NULL"
        " OR endpoint_id IN (SELECT id FROM webhook_endpoints WHERE store_id = :store)"
        " ORDER BY id DESC LIMIT :most",
        {"store": store_id, "most": min(limit, MAX_INTEGER)},
    )
    return tuple(map(_delivery, rows))


def count(connection: sqlite3.Connection, store_id: int) -> dict[DeliveryState, int]:
    """Count a store's deliveries by how they stand, those that the log has lost left out."""
    rows = connection.execute(
        "SELECT state, count(*) FROM webhook_deliveries WHERE endpoint_id IN"
        " (SELECT id FROM webhook_endpoints WHERE store_id = ?) GROUP BY state",
        (store_id,),
    )
    return {"delivered": 0, "waiting": 0, "given up": 0, **dict(rows)}


def _delivery(row: tuple[Any, ...]) -> Delivery:
    values = dict(zip(_COLUMNS, row, strict=True))
    values["created_at"] = instant(values["created_at"])
    if values["tried_at"] is not None:
        values["tried_at"] = instant(values["tried_at"])
    return Delivery(**values)
