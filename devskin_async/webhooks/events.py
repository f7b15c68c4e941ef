"""What a webhook request tells: its body as an event."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Literal, TypeAlias

import msgspec
from attrs import field, frozen

from .. import convert
from ..errors import DecodeError, MalformedEventError, TransportError
from ..records import Instant, OrderStatus, check_money

Source: TypeAlias = Literal["webhook", "poll"]

_ORDER = "order."


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
        store_id: Where; of a polled event what `reconcile` was told, which may be None.
        timestamp: When, by the API's clock; of a polled event, when the poll began.
        data: For `order.*` an `OrderEvent`, otherwise the plain values of the JSON, numbers with a
            fraction as `Decimal`.
        raw: The body as it came; of a polled event, the body that would have told of it.
        source: `poll` for what `reconcile` found out, otherwise `webhook`.
    """

    event: str
    store_id: int | None
    timestamp: dt.datetime
    data: object
    raw: bytes = field(repr=False)
    source: Source = "webhook"

    @property
    def order(self) -> OrderEvent:
        """The order that an `order.*` event tells of.

        Raises:
            TypeError: It is an event of something else.
        """
        if isinstance(self.data, OrderEvent):
            return self.data
        raise TypeError(f"{self.event} does not tell of an order")


@frozen(kw_only=True)
class _Envelope:
    event: str
    store_id: int
    timestamp: Instant
    data: msgspec.Raw


@frozen(kw_only=True)
class _Polled:
    """A polled event as it is written."""

    event: str
    store_id: int | None
    timestamp: dt.datetime
    data: OrderEvent


def parse(body: bytes) -> WebhookEvent:
    """Read a body as an event.

    Unknown fields are ignored, and an unknown event's data is given as it is.

    Args:
        body: The raw body. Its signature is not looked at: `verify` does that.

    Raises:
        MalformedEventError: It is no event; `path` says where, such as `$.data.total`.
    """
    try:
        body.decode()  # what is not looked at is not checked otherwise
        envelope = convert.loads(body, _Envelope)
    except UnicodeDecodeError:
        raise MalformedEventError("$", "JSON in UTF-8", "other bytes") from None
    except (DecodeError, TransportError) as error:
        raise _malformed(error) from None
    if not envelope.event:
        raise MalformedEventError("$.event", "the event's name", '""')
    try:
        data = (
            convert.loads(bytes(envelope.data), OrderEvent)
            if envelope.event.startswith(_ORDER)
            else convert.parse(bytes(envelope.data))
        )
    except (DecodeError, TransportError) as error:
        raise _malformed(error, ".data") from None
    return WebhookEvent(
        event=envelope.event,
        store_id=envelope.store_id,
        timestamp=envelope.timestamp,
        data=data,
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
    of_order = f" of order {event.data.id}" if isinstance(event.data, OrderEvent) else ""
    return f"{event.event!r:.80}{of_order} from {convert.instant(event.timestamp)}"


def _malformed(error: DecodeError | TransportError, place: str = "") -> MalformedEventError:
    if isinstance(error, DecodeError):
        return MalformedEventError(f"${place}{error.path[1:]}", error.expected, error.received)
    reason = str(error).removeprefix(f"{convert.NOT_JSON}: ")
    return MalformedEventError(f"${place}", "JSON", f"what can't be read as that: {reason}")
