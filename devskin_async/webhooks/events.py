"""What a webhook request tells: its body as an event."""

from __future__ import annotations

import datetime as dt
import re
from decimal import Decimal
from typing import Literal, TypeAlias, TypeVar

from attrs import AttrsInstance, field, frozen

from .. import convert
from ..errors import DecodeError, MalformedEventError, TransportError
from ..records import Instant, OrderStatus, check_money

R = TypeVar("R", bound=AttrsInstance)

Source: TypeAlias = Literal["webhook", "poll"]

_ORDER = "order."
_ID = re.compile(r"-?\d{1,18}", re.ASCII)


@frozen(kw_only=True)
class OrderEvent:
    """The order that an event tells of."""

    id: int
    order_number: str
    total: Decimal
    status: OrderStatus

    def __attrs_post_init__(self) -> None:
        check_money(self.total)


@frozen(kw_only=True)
class WebhookEvent:
    """Something that happened in a store.

    Args:
        event: What happened, such as `order.paid`.
        store_id: Where; None if the event does not say. Of a polled event what `reconcile` was
            told, which may be None.
        timestamp: When, by the API's clock; None if the event does not say. Of a polled event,
            when the poll began.
        data: An `OrderEvent` where an `order.*` event tells of a whole order. Otherwise the plain
            values of the JSON, numbers with a fraction as `Decimal`; None if there is no data.
        raw: The body as it came; of a polled event, the body that would have told of it.
        source: `poll` for what `reconcile` found out, otherwise `webhook`.
    """

    event: str
    store_id: int | None
    timestamp: dt.datetime | None
    data: object
    raw: bytes = field(repr=False)
    source: Source = "webhook"

    @property
    def order(self) -> OrderEvent:
        """The order that an `order.*` event tells of.

        Raises:
            TypeError: It does not tell of a whole order; see `data` and `order_id`.
        """
        if isinstance(self.data, OrderEvent):
            return self.data
        raise TypeError(f"{self.event} carries no {_missing_in(self)}")

    @property
    def order_id(self) -> int | None:
        """The id of the order that an `order.*` event names, also where it tells nothing else."""
        if isinstance(self.data, OrderEvent):
            return self.data.id
        return _id(self._order_fields.get("id"))

    @property
    def order_status(self) -> str | None:
        """The status that an `order.*` event tells; None if it tells none."""
        if isinstance(self.data, OrderEvent):
            return self.data.status
        status = self._order_fields.get("status")
        return status if isinstance(status, str) else None

    @property
    def _order_fields(self) -> dict[str, object]:
        named = self.event.startswith(_ORDER) and isinstance(self.data, dict)
        return self.data if named else {}  # type: ignore[return-value]  # an object of JSON


@frozen(kw_only=True)
class _OrderData:
    """A body whose data is a whole order."""

    data: OrderEvent


@frozen(kw_only=True)
class _Timed:
    """A body that says when its event happened."""

    timestamp: Instant


@frozen(kw_only=True)
class _Polled:
    """A polled event as it is written."""

    event: str
    store_id: int | None
    timestamp: dt.datetime
    data: OrderEvent


def parse(body: bytes) -> WebhookEvent:
    """Read a body as an event.

    An event is an object with a text `event`; whatever else it holds, or lacks, is handed on as
    it is.

    Args:
        body: The raw body. Its signature is not looked at: `verify` does that.

    Raises:
        MalformedEventError: It is no event; `path` says where, such as `$.event`.
    """
    try:
        plain = convert.parse(body)
    except TransportError as error:
        reason = str(error).removeprefix(f"{convert.NOT_JSON}: ")
        raise MalformedEventError("$", "JSON", f"an unreadable body ({reason})") from None
    if not isinstance(plain, dict):
        raise MalformedEventError("$", "an object", convert.describe(plain))
    name = plain.get("event")
    if not isinstance(name, str) or not name:
        received = convert.describe(name) if "event" in plain else "nothing"
        raise MalformedEventError("$.event", "the event's name", received)
    whole = _read(body, _OrderData) if name.startswith(_ORDER) else None
    timed = _read(body, _Timed)
    return WebhookEvent(
        event=name,
        store_id=_id(plain.get("store_id")),
        timestamp=None if timed is None else timed.timestamp,
        data=plain.get("data") if whole is None else whole.data,
        raw=body,
    )


def polled(order: OrderEvent, timestamp: dt.datetime, store_id: int | None) -> WebhookEvent:
    """Make the event that would have told of an order's status.

    Args:
        order: The order.
        timestamp: When the poll began.
        store_id: The store, where it is known.
    """
    body = _Polled(event=_ORDER + order.status, store_id=store_id, timestamp=timestamp, data=order)
    return WebhookEvent(
        event=body.event,
        store_id=store_id,
        timestamp=timestamp,
        data=order,
        raw=convert.dumps(body),
        source="poll",
    )


def label(event: WebhookEvent) -> str:
    """Say which event it is, on one line of a log: of its data, the order's id alone."""
    of_order = "" if event.order_id is None else f" of order {event.order_id}"
    at = "" if event.timestamp is None else f" from {convert.instant(event.timestamp)}"
    return f"{event.event!r:.80}{of_order}{at}"


def _read(body: bytes, cls: type[R]) -> R | None:
    try:
        return convert.loads(body, cls)
    except (DecodeError, TransportError):  # the latter where it nests just too deeply
        return None


def _id(value: object) -> int | None:
    """Read an id; None for what is neither a whole number nor the digits of one."""
    if isinstance(value, str) and _ID.fullmatch(value):
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _missing_in(event: WebhookEvent) -> str:
    """Name what an event does not carry that a whole order needs, without its values."""
    try:
        if event.event.startswith(_ORDER):
            convert.loads(event.raw, _OrderData)
    except TransportError:
        return "order"
    except DecodeError as error:
        return f"complete order ({error.path}: expected {error.expected}); see `data`"
    return "order"
