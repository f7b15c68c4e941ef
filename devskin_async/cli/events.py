"""Webhook events on the command line: made from options, and shown on one line."""

from __future__ import annotations

import datetime as dt
import re
import sys
from pathlib import Path
from typing import Annotated, Final

import msgspec
from attrs import evolve, frozen
from cyclopts import Group, Parameter

from .. import convert
from ..errors import ConfigurationError, TransportError
from ..webhooks import OrderEvent, WebhookEvent
from .options import Whole
from .render import harmless_json, number, printable

STDIN = Path("-")

_ORDER = "order."
_NAME = re.compile(r"[^\s.*]+(\.[^\s.*]+)*")
_MONEY = re.compile(r"-?(0|[1-9][0-9]{0,99})(\.[0-9]{1,100})?")
_TEXT_SHOWN: Final = 80
_DATA_SHOWN: Final = 200

# The two encoders write numbers with the digits that they came with.
_encoder = msgspec.json.Encoder(decimal_format="number")

BodyFile = Annotated[Path | None, Parameter(allow_leading_hyphen=True)]


@Parameter(name="*", group=Group("The event", sort_key=1))
@frozen(kw_only=True)
class Draft:
    """What to send; what is not given is as in the API's reference.

    Args:
        event: What happened; order.paid, if not given.
        order_id: The order's id.
        order_number: Its number; one that has its id, if not given.
        total: Its total, sent with just these digits, such as 199.90.
        status: Its status; what follows on "order." in the event, if not given.
        store_id: The id of the store.
        data: The event's data as JSON, for events that are not order events; else {}.
        body: A file to send byte by byte instead; - is stdin.
    """

    event: str | None = None
    order_id: Whole | None = None
    order_number: str | None = None
    total: str | None = None
    status: str | None = None
    store_id: Whole | None = None
    data: str | None = None
    body: BodyFile = None


EXAMPLE = Draft()


def write(draft: Draft) -> bytes:
    """Make a request's body.

    Args:
        draft: What it is to hold.

    Raises:
        ValueError: An option can't be right, or two contradict each other.
    """
    if draft.body is not None:
        if evolve(draft, body=None) != EXAMPLE:
            raise ValueError("--body is the whole of what is sent: leave the event's options out")
        return read_body(draft.body)
    event = draft.event or "order.paid"
    if not _NAME.fullmatch(event) or not event.isprintable():
        raise ValueError(f'--event must be a name such as "order.paid", not {draft.event!r}')
    now = dt.datetime.now(dt.UTC)
    envelope = {
        "event": event,
        "store_id": _positive("--store-id", draft.store_id, 15),
        "timestamp": convert.instant(now.replace(microsecond=now.microsecond // 1000 * 1000)),
        "data": _data(draft, event, now.year),
    }
    return _encoder.encode(envelope)


def read_body(path: Path | None) -> bytes:
    """Read a request's body.

    Args:
        path: The file; None or - is stdin.
    """
    if path not in (None, STDIN):
        return Path(path).read_bytes()
    if sys.stdin is None:
        raise ConfigurationError("stdin is closed: give the body by --body FILE, or by < FILE")
    if sys.stdin.isatty():
        sys.stderr.write("Reading the body from the terminal; Ctrl-D ends it.\n")
    return sys.stdin.buffer.read()


def line(event: WebhookEvent) -> str:
    """Show an event on one harmless line."""
    when = "no timestamp"
    if event.timestamp is not None:
        when = convert.instant(event.timestamp)[:19].replace("T", " ")
    store = "no store" if event.store_id is None else f"store {event.store_id}"
    head = f"{when:<19}  {_short(event.event):<15}  {store}"
    if isinstance(event.data, OrderEvent):
        order = event.data
        total = number(order.total)
        parts = (f"order {order.id}", _short(order.order_number), str(total), _short(order.status))
        return "  ".join((head, *parts))
    if event.data is None:
        return head
    try:
        data = _encoder.encode(event.data).decode()
    except RecursionError:
        data = "(its data nests too deeply to be shown)"
    return f"{head}  {_short(data, _DATA_SHOWN)}"


def json_line(event: WebhookEvent) -> bytes:
    """Give an event's body as one harmless line of JSON: as it came, where it came on one line."""
    return harmless_json(event.raw.decode(errors="replace").strip().removeprefix("\ufeff"))


def _short(text: str, most: int = _TEXT_SHOWN) -> str:
    return printable(text) if len(text) <= most else f"{printable(text[:most])}…"


def _data(draft: Draft, event: str, year: int) -> object:
    of_order = (draft.order_id, draft.order_number, draft.total, draft.status)
    given = any(each is not None for each in of_order)
    if draft.data is not None:
        if given:
            raise ValueError("--data is the whole of the data: leave the order's options out")
        return _json(draft.data)
    if not event.startswith(_ORDER):
        if given:
            raise ValueError(f"{event} is not an order event; give its data with --data")
        return {}
    total = draft.total or "199.90"
    if not _MONEY.fullmatch(total):
        raise ValueError(f"--total must be a number such as 199.90, not {draft.total!r}")
    order_id = _positive("--order-id", draft.order_id, 1234)
    return {
        "id": order_id,
        "order_number": draft.order_number or f"ORD-{year}-{order_id:06}",
        "total": msgspec.Raw(total.encode()),
        "status": draft.status or event.removeprefix(_ORDER),
    }


def _json(text: str) -> msgspec.Raw:
    body = text.encode()
    try:
        convert.parse(body)
    except TransportError as error:
        reason = str(error).removeprefix(f"{convert.NOT_JSON}: ")
        raise ValueError(f"--data is not JSON: {reason}") from None
    return msgspec.Raw(body)


def _positive(option: str, value: int | None, default: int) -> int:
    if value is None:
        return default
    if value < 1:
        raise ValueError(f"{option} must be greater than 0, not {value}")
    return value
