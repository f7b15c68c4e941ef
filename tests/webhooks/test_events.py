"""Bodies are read as events, exactly, or refused with the place that is wrong."""

from __future__ import annotations

import datetime as dt
import json
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
    with pytest.raises(TypeError, match=r"product\.updated does not tell of an order"):
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
    (b"{}", "$.event", "a value", "nothing"),
    (without("store_id"), "$.store_id", "a value", "nothing"),
    (without("timestamp"), "$.timestamp", "a value", "nothing"),
    (without("data"), "$.data", "a value", "nothing"),
    (changed(event=None), "$.event", "a string", "null"),
    (changed(event=""), "$.event", "the event's name", '""'),
    (changed(store_id=None), "$.store_id", "an integer", "null"),
    (changed(store_id=True), "$.store_id", "an integer", "true"),
    (changed(store_id=1.5), "$.store_id", "an integer", "1.5"),
    (
        changed(timestamp="2026-02-13T14:30:00"),
        "$.timestamp",
        "an instant with a time zone (RFC 3339)",
        '"2026-02-13T14:30:00"',
    ),
    (
        changed(timestamp=1771000000),
        "$.timestamp",
        "an instant with a time zone (RFC 3339)",
        "1771000000",
    ),
    (changed(data=None), "$.data", "an object", "null"),
    (changed(data=[]), "$.data", "an object", "an array"),
    (order_without("id"), "$.data.id", "a value", "nothing"),
    (order_without("order_number"), "$.data.order_number", "a value", "nothing"),
    (order_without("total"), "$.data.total", "a value", "nothing"),
    (order_without("status"), "$.data.status", "a value", "nothing"),
    (order_changed(id=None), "$.data.id", "an integer", "null"),
    (order_changed(total=None), "$.data.total", "a number", "null"),
    (order_changed(total="much"), "$.data.total", "a number", '"much"'),
    (order_changed(status=None), "$.data.status", "a string", "null"),
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


@pytest.mark.parametrize("total", ["1e101", "1e-101", "1e999999999", "-1e101"])
def test_money_beyond_all_prices_is_refused(total: str) -> None:
    with pytest.raises(MalformedEventError) as caught:
        parse(EXAMPLE.replace(b"199.90", total.encode()))
    assert caught.value.path == "$.data.total"


@pytest.mark.parametrize(
    "stamp", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "1969-07-20T20:17:40Z"]
)
def test_a_timestamp_at_the_end_of_time_is_read(stamp: str) -> None:
    event = parse(EXAMPLE.replace(b"2026-02-13T14:30:00.000Z", stamp.encode()))
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
