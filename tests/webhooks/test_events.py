"""Bodies are read as events, exactly, or refused with the place that is wrong."""

from __future__ import annotations

import datetime as dt
import json
import re
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devskin_async import OrderStatus
from devskin_async.errors import MalformedEventError
from devskin_async.webhooks import OrderEvent, WebhookEvent, parse
from devskin_async.webhooks.events import polled

from .support import (
    EXAMPLE,
    NOW,
    RECEIVED,
    Recorder,
    make_receiver,
    order_body,
    other_body,
    poll_of,
    send,
    told,
)


def test_the_references_example_is_read_whole() -> None:
    assert parse(EXAMPLE) == WebhookEvent(
        event="order.paid",
        store_id=15,
        timestamp=NOW,
        data=OrderEvent(
            id=1234,
            order_number="ORD-2026-001234",
            total=Decimal("199.90"),
            status=OrderStatus.PAID,
        ),
        raw=EXAMPLE,
    )


def test_money_keeps_the_digits_it_came_with() -> None:
    assert str(parse(EXAMPLE).order.total) == "199.90"


def test_the_raw_body_is_kept_byte_for_byte() -> None:
    assert parse(EXAMPLE).raw == EXAMPLE


def test_what_came_as_a_webhook_says_so() -> None:
    assert parse(EXAMPLE).source == "webhook"


@pytest.mark.parametrize("name", ["order.created", "order.", "order.note.added"])
def test_every_order_event_tells_of_an_order(name: str) -> None:
    assert isinstance(parse(order_body(event=name)).data, OrderEvent)


def test_an_unlisted_status_is_kept() -> None:
    status = parse(order_body("refunded")).order.status
    assert (status, status.known) == ("refunded", False)


@pytest.mark.parametrize("name", ["product.updated", "order", "orders.paid", "Order.paid", " "])
def test_another_events_data_is_plain(name: str) -> None:
    assert parse(other_body(7, event=name)).data == {"id": 7}


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("null", None),
        ("[]", []),
        ('"x"', "x"),
        ("true", True),
        ("1.10", Decimal("1.10")),
        ("123456789012345678901234567890", 123456789012345678901234567890),
        ('{"a": [{"b": 0.1}]}', {"a": [{"b": Decimal("0.1")}]}),
    ],
)
def test_unknown_data_may_be_any_json(text: str, data: object) -> None:
    body = other_body().replace(b'{"id": 0}', text.encode())
    assert parse(body).data == data


def test_an_event_of_something_else_has_no_order() -> None:
    with pytest.raises(TypeError, match=r"product\.updated carries no order"):
        _ = parse(other_body()).order


def test_unknown_fields_are_ignored() -> None:
    plain = json.loads(EXAMPLE)
    body = json.dumps({**plain, "id": "e1", "data": {**plain["data"], "items": []}}).encode()
    assert parse(body).data == parse(EXAMPLE).data


def test_the_timestamp_may_have_any_offset() -> None:
    body = EXAMPLE.replace(b"14:30:00.000Z", b"11:30:00-03:00")
    assert parse(body).timestamp == NOW


def changed(**fields: object) -> bytes:
    return json.dumps({**json.loads(EXAMPLE), **fields}).encode()


def order_changed(**fields: object) -> bytes:
    return changed(data={**json.loads(EXAMPLE)["data"], **fields})


def without(field: str) -> bytes:
    plain = json.loads(EXAMPLE)
    del plain[field]
    return json.dumps(plain).encode()


def order_without(field: str) -> bytes:
    data = json.loads(EXAMPLE)["data"]
    del data[field]
    return changed(data=data)


MALFORMED = (
    (b"null", "$", "an object", "null"),
    (b"[]", "$", "an object", "an array"),
    (b"3", "$", "an object", "3"),
    (b"{}", "$.event", "the event's name", "nothing"),
    (without("event"), "$.event", "the event's name", "nothing"),
    (changed(event=None), "$.event", "the event's name", "null"),
    (changed(event=""), "$.event", "the event's name", '""'),
    (changed(event=1), "$.event", "the event's name", "1"),
    (changed(event=["order.paid"]), "$.event", "the event's name", "an array"),
)


@pytest.mark.parametrize(("body", "path", "expected", "received"), MALFORMED)
def test_a_malformed_body_is_refused_with_its_place(
    body: bytes, path: str, expected: str, received: str
) -> None:
    with pytest.raises(MalformedEventError) as caught:
        parse(body)
    error = caught.value
    assert (error.path, error.expected, error.received) == (path, expected, received)


NOT_JSON = (
    b"",
    b" ",
    b"{",
    EXAMPLE + b"{}",
    EXAMPLE[:-4],
    EXAMPLE.decode().encode("utf-16"),
    EXAMPLE.replace(b"199.90", b"NaN"),
    EXAMPLE.replace(b"199.90", b"Infinity"),
    b"{'event': 1}",
    b"[" * 100_000,
    b"event=order.paid",
    EXAMPLE.replace(b"order.paid", b"order.\xff"),
)


@pytest.mark.parametrize("body", NOT_JSON, ids=lambda body: repr(body[:20]))
def test_what_is_no_json_is_refused_as_a_whole(body: bytes) -> None:
    with pytest.raises(MalformedEventError, match=r"^\$(\.\w+)*: expected JSON"):
        parse(body)


@pytest.mark.parametrize("name", ["order.paid", "product.updated"])
@pytest.mark.parametrize("data", [b'{"id": "\xff"}', b"[" * 100_000 + b"]" * 100_000])
def test_data_that_no_json_reader_takes_is_refused(name: str, data: bytes) -> None:
    body = other_body(event=name).replace(b'{"id": 0}', data)
    with pytest.raises(MalformedEventError, match=r"^\$"):
        parse(body)


@pytest.mark.parametrize(
    ("text", "data"),
    [
        (rb'"\ud83d"', "\N{REPLACEMENT CHARACTER}"),
        (rb'{"\ud83d": "\\ud83d"}', {"\N{REPLACEMENT CHARACTER}": r"\ud83d"}),
        (b"9" * 5000, Decimal("9" * 5000)),
        (b"1e999999999999999999999", "1e999999999999999999999"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_data_may_be_whatever_rfc_8259_allows(text: bytes, data: object) -> None:
    body = b"\xef\xbb\xbf" + other_body().replace(b'{"id": 0}', text)
    assert parse(body).data == data
    assert parse(body).raw == body


def test_an_order_may_be_cut_in_the_middle_of_a_character_and_spelled_otherwise() -> None:
    body = order_changed(id="1234", order_number="ORD-\ud83d", total="199.90")
    order = parse(body).order
    assert (order.id, order.order_number) == (1234, "ORD-\N{REPLACEMENT CHARACTER}")


PLAIN = json.loads(EXAMPLE)["data"]
INCOMPLETE: dict[str, tuple[bytes, str]] = {
    "no data": (without("data"), "$.data"),
    "data null": (changed(data=None), "$.data"),
    "data a list": (changed(data=[]), "$.data"),
    "the id alone": (changed(event="order.deleted", data={"id": 1234}), "$.data.order_number"),
    **{f"no {name}": (order_without(name), f"$.data.{name}") for name in PLAIN},
    **{f"{name} null": (order_changed(**{name: None}), f"$.data.{name}") for name in PLAIN},
    "total a text": (order_changed(total="much"), "$.data.total"),
    "a total beyond all prices": (EXAMPLE.replace(b"199.90", b"1e101"), "$.data.total"),
    "a total below all prices": (EXAMPLE.replace(b"199.90", b"1e-101"), "$.data.total"),
    "a huge exponent": (EXAMPLE.replace(b"199.90", b"1e999999999"), "$.data.total"),
}


@pytest.mark.parametrize(("body", "place"), INCOMPLETE.values(), ids=INCOMPLETE)
def test_what_tells_of_no_whole_order_has_plain_data_and_says_what_is_missing(
    body: bytes, place: str
) -> None:
    event = parse(body)
    assert event.data == json.loads(body, parse_float=Decimal).get("data")
    with pytest.raises(TypeError, match=rf"carries no complete order \({re.escape(place)}: "):
        _ = event.order


@pytest.mark.parametrize(
    ("name", "data", "order_id", "status"),
    [
        ("order.paid", PLAIN, 1234, "paid"),
        ("order.deleted", {"id": 7}, 7, None),
        ("order.deleted", {"id": "7"}, 7, None),
        ("order.paid", {"id": 7, "total": None, "status": "paid"}, 7, "paid"),
        ("order.deleted", {"id": None}, None, None),
        ("order.deleted", {"id": True}, None, None),
        ("order.deleted", {"id": 1.5}, None, None),
        ("order.deleted", {"id": "seven", "status": 5}, None, None),
        ("order.deleted", {}, None, None),
        ("order.deleted", [7], None, None),
        ("order.deleted", 7, None, None),
        ("product.deleted", {"id": 7, "status": "gone"}, None, None),
    ],
)
def test_an_order_is_known_by_its_id_also_where_nothing_else_is_told(
    name: str, data: object, order_id: int | None, status: str | None
) -> None:
    event = parse(changed(event=name, data=data))
    assert (event.order_id, event.order_status) == (order_id, status)


ODD_IDS: tuple[object, ...] = (None, True, 1.5, "", "x", "1 5", [], {})


@pytest.mark.parametrize(
    ("body", "store"),
    [
        (EXAMPLE, 15),
        (changed(store_id="15"), 15),
        (without("store_id"), None),
        *((changed(store_id=odd), None) for odd in ODD_IDS),
    ],
)
def test_a_store_that_is_not_told_is_none(body: bytes, store: int | None) -> None:
    assert parse(body).store_id == store
    assert parse(body).order.id == 1234


@pytest.mark.parametrize(
    "stamp", [None, "", "now", 1771000000, "2026-02-13", "2026-02-13T14:30:00", [], {}, True]
)
def test_a_timestamp_that_is_no_instant_is_none(stamp: object) -> None:
    event = parse(changed(timestamp=stamp))
    assert event.timestamp is None
    assert event.order.id == 1234


@pytest.mark.parametrize(
    ("body", "data"),
    [
        (b'{"event": "ping"}', None),
        (b'{"event": "webhook.test"}', None),
        (b'{"event": "webhook.test", "data": null}', None),
        (b'{"event": "webhook.test", "data": "hello"}', "hello"),
        (b'{"event": "order.paid"}', None),
    ],
)
def test_an_event_needs_no_more_than_its_name(body: bytes, data: object) -> None:
    event = parse(body)
    assert (event.data, event.store_id, event.timestamp) == (data, None, None)
    assert event.raw == body


@pytest.mark.parametrize(
    "stamp", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "1969-07-20T20:17:40Z"]
)
def test_a_timestamp_at_the_end_of_time_is_read(stamp: str) -> None:
    event = parse(EXAMPLE.replace(b"2026-02-13T14:30:00.000Z", stamp.encode()))
    assert event.timestamp is not None
    assert isinstance(event.timestamp.timestamp(), float)


scalars = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20)
)
jsons = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=10,
)


@given(
    st.binary()
    | jsons.map(lambda value: json.dumps(value).encode())
    | st.fixed_dictionaries(
        {},
        optional={
            "event": st.sampled_from(["order.paid", "x"]) | jsons,
            "store_id": st.integers() | jsons,
            "timestamp": st.just("2026-02-13T14:30:00Z") | jsons,
            "data": jsons
            | st.fixed_dictionaries(
                {},
                optional={
                    "id": st.integers() | jsons,
                    "order_number": st.text() | jsons,
                    "total": st.floats(allow_nan=False) | jsons,
                    "status": st.text() | jsons,
                },
            ),
        },
    ).map(lambda value: json.dumps(value).encode())
)
def test_any_body_is_an_event_or_malformed(body: bytes) -> None:
    try:
        event = parse(body)
    except MalformedEventError as error:
        assert error.path.startswith("$")
    else:
        assert event.raw == body
        assert event.event


instants = st.datetimes(timezones=st.just(dt.UTC))
orders = st.builds(
    OrderEvent,
    id=st.integers(-(2**63), 2**63),
    order_number=st.text(st.characters(exclude_categories=["Cs"])),
    total=st.decimals(-(10**9), 10**9, places=2),
    status=st.builds(OrderStatus, st.sampled_from([*OrderStatus, "refunded", ""])),
)


@given(orders, instants, st.integers(0, 2**63))
def test_a_polled_events_body_reads_as_the_event_that_would_have_told_it(
    order: OrderEvent, timestamp: dt.datetime, store: int
) -> None:
    event = polled(order, timestamp, store)
    read = parse(event.raw)
    assert (read.event, read.store_id, read.timestamp, read.data) == (
        event.event,
        store,
        timestamp,
        order,
    )
    assert event.event == f"order.{order.status}"
    assert event.source == "poll"


def test_a_polled_event_may_be_of_an_unknown_store() -> None:
    event = poll_of("paid", 0, store=None)
    assert event.store_id is None
    assert json.loads(event.raw)["store_id"] is None


@pytest.mark.parametrize("body", [EXAMPLE, order_body(number="ORD-hidden")])
def test_an_events_repr_does_not_show_the_raw_body(body: bytes) -> None:
    assert "raw" not in repr(parse(body))
    assert body.decode() not in repr(parse(body))


def test_an_event_cannot_be_changed() -> None:
    event = parse(EXAMPLE)
    with pytest.raises(AttributeError):
        event.event = "x"  # type: ignore[misc]


async def test_the_signature_is_of_the_bytes_that_came_and_the_event_is_read_after_it() -> None:
    body = b"\xef\xbb\xbf" + order_changed(order_number="ORD-\ud83d")
    receiver = make_receiver()
    recorder = Recorder()
    receiver.on("order.paid")(recorder)
    assert told(await send(receiver, body)) == RECEIVED
    (event,) = recorder.handled
    assert (event.raw, event.order.order_number) == (body, "ORD-\N{REPLACEMENT CHARACTER}")
