"""What fires: an order's event as the reference shows it, and events of other shapes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import attrs

from .data_quirks import EVERY, altered
from .quirks import Quirk
from .records import instant, money

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator

    from .answers import Writer
    from .live import OrderChange
    from .records import Json, JsonObject

NO_ORDER: Final = 0
"""The order of an event that is about none."""


class Event(NamedTuple):
    """An event that fired: its name, the order that it is about, and its bytes."""

    name: str
    order_id: int
    body: bytes


@attrs.frozen
class EventSource:
    """Makes one store's events, with the quirks that were switched on.

    Attributes:
        connection: A sandbox's database.
        store_id: The store.
        writer: Writes the events, and has the quirks.
    """

    connection: sqlite3.Connection
    store_id: int
    writer: Writer

    def of_change(self, change: OrderChange, at: int) -> Event | None:
        """Make the event of an order that changed.

        Args:
            change: What happened.
            at: The present in milliseconds since 1970.

        Returns:
            The event, or None where nothing fires: a removal does only by a quirk.
        """
        if change.new is not None:
            return self._event(f"order.{change.new}", change.order_id, self._changed(change))
        if Quirk.ODD_EVENTS in self.writer.quirks:
            return self._event("order.deleted", change.order_id, self._deleted(change, at))
        return None

    def of_endpoint(self, at: int) -> Iterator[Event]:
        """Make what an endpoint gets when it is added: nothing, unless a quirk says so.

        Args:
            at: The present in milliseconds since 1970.

        Yields:
            Each event.
        """
        if Quirk.ODD_EVENTS in self.writer.quirks:
            yield self._event("ping", NO_ORDER, {"timestamp": instant(at)})
            test: JsonObject = {"store_id": self.store_id, "timestamp": instant(at)}
            yield self._event("webhook.test", NO_ORDER, test)

    def _event(self, name: str, order_id: int, rest: JsonObject) -> Event:
        return Event(name, order_id, self.writer.encode({"event": name, **rest}))

    def _changed(self, change: OrderChange) -> JsonObject:
        number, total, moment, customer = self.connection.execute(
            "SELECT o.order_number, o.total, o.updated_at, c.name FROM orders AS o"
            " JOIN customers AS c ON c.id = o.customer_id WHERE o.id = ?",
            (change.order_id,),
        ).fetchone()
        data: JsonObject = {
            "id": change.order_id,
            "order_number": number,
            "total": money(total),
            "status": change.new,
        }
        if Quirk.CUT_EMOJI in self.writer.quirks:
            data["customer_name"] = customer
        store: Json = self.store_id
        if Quirk.ODD_EVENTS in self.writer.quirks:
            match change.order_id % EVERY:
                case 0:
                    data["total"] = None
                case 1:
                    store = None
        data = altered(data, self.writer.quirks)
        return {"store_id": store, "timestamp": instant(moment), "data": data}

    def _deleted(self, change: OrderChange, at: int) -> JsonObject:
        data: JsonObject = {"id": change.order_id}
        return {"store_id": self.store_id, "timestamp": instant(at), "data": data}
