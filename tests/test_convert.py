"""Bytes to records by two decoders that agree; records to plain data without losing a digit."""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from devskin_async import (
    Customer,
    DailyRevenue,
    DecodeError,
    Order,
    OrderStatus,
    OrderSummary,
    Overview,
    Page,
    Product,
    Revenue,
    TransportError,
    convert,
)
from devskin_async.api.endpoints import Envelope, OrderData

from . import samples

SAMPLES: dict[Any, bytes] = {
    Envelope[Page[OrderSummary]]: samples.ORDERS,
    Envelope[OrderData]: samples.ORDER,
    Envelope[Revenue]: samples.REVENUE,
    Envelope[Page[Product]]: samples.PRODUCTS,
    Envelope[Page[Customer]]: samples.CUSTOMERS,
    Envelope[Overview]: samples.OVERVIEW,
}
SHAPES = pytest.mark.parametrize("cls", SAMPLES, ids=str)


def orders(body: bytes) -> Page[OrderSummary]:
    return convert.loads(body, Envelope[Page[OrderSummary]]).data


def one_order(**changes: object) -> bytes:
    fields = json.loads(samples.ORDERS)["data"]["items"][0] | changes
    page = {"items": [fields], "total": 1, "page": 1, "limit": 10}
    return json.dumps({"success": True, "data": page}).encode()


def test_the_references_order_is_read_with_exact_money_and_an_aware_instant() -> None:
    order = convert.loads(samples.ORDER, Envelope[OrderData]).data.order
    assert str(order.total) == "199.90"
    assert str(order.shipping_cost) == "10.00"
    assert order.discount == 0
    assert order.created_at == dt.datetime(2026, 2, 10, 14, 30, tzinfo=dt.UTC)
    assert order.items[0].price * order.items[0].quantity == order.subtotal
    assert order.shipping_address is not None
    assert order.shipping_address.zip == "01310-100"


def test_days_are_dates() -> None:
    revenue = convert.loads(samples.REVENUE, Envelope[Revenue]).data
    assert [day.date for day in revenue.daily] == [dt.date(2026, 2, 13), dt.date(2026, 2, 12)]


def detour(value: object) -> str:
    """Write a value so that the fast decoder refuses it, and it means the same.

    Each member of an object comes twice: first wrong, and then as it is, which is what counts.
    """
    if isinstance(value, dict):
        members = [
            f"{json.dumps(name)}: [[]], {json.dumps(name)}: {detour(inner)}"
            for name, inner in value.items()
        ]
        return f"{{{', '.join(members)}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(detour, value))}]"
    return json.dumps(value)


def outcome(body: bytes, cls: Any) -> str:
    try:
        return repr(convert.loads(body, cls))
    except (DecodeError, TransportError) as error:
        return str(error)


@SHAPES
def test_the_tolerant_decoder_reads_the_references_responses_too(cls: Any) -> None:
    exact = json.loads(SAMPLES[cls])
    body = detour(exact).encode()
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(body, type=cls)
    assert outcome(body, cls) == outcome(json.dumps(exact).encode(), cls)


def test_a_status_read_by_the_tolerant_decoder_is_a_status() -> None:
    body = samples.ORDERS.replace(b'"id": 1234', b'"id": "twice", "id": 1234')
    order = orders(body).items[0]
    assert order.status is OrderStatus.PAID
    assert b'"status":"paid"' in convert.dumps(order)


@given(units=st.integers(0, 10**15), cents=st.integers(0, 99))
def test_money_keeps_the_digits_of_the_wire(units: int, cents: int) -> None:
    text = f"{units}.{cents:02}"
    body = samples.ORDERS.replace(b"199.90", text.encode())
    assert str(orders(body).items[0].total) == text
    assert text.encode() in convert.dumps(orders(body))


@pytest.mark.parametrize(
    "text", ['"NaN"', '"sNaN"', '"Infinity"', '"-Infinity"', "1e101", "1e-102", "1E+999999999"]
)
def test_money_that_is_not_finite_or_far_out_of_range_is_refused(text: str) -> None:
    with pytest.raises(DecodeError, match=r"\$\.data\.items\[0\]\.total: expected a number"):
        orders(samples.ORDERS.replace(b"199.90", text.encode()))


def test_a_record_can_not_be_made_with_money_that_is_not_a_number() -> None:
    with pytest.raises(ValueError, match="money must be a number"):
        DailyRevenue(date=dt.date(2026, 2, 10), total=Decimal("NaN"), count=1)


def test_a_response_of_wrong_rows_is_refused_at_the_first() -> None:
    page = json.loads(samples.ORDERS)["data"] | {"items": [{"id": n} for n in range(100_000)]}
    with pytest.raises(DecodeError, match=r"^\$\.data\.items\[0\]\.order_number: expected a value"):
        orders(json.dumps({"success": True, "data": page}).encode())


def test_unknown_fields_are_ignored() -> None:
    assert orders(one_order(loyalty={"points": 5})) == orders(one_order())


@pytest.mark.parametrize("field", ["customer_name", "customer_email"])
def test_an_optional_field_is_none_when_null_or_absent(field: str) -> None:
    body = json.loads(one_order())
    del body["data"]["items"][0][field]
    absent = orders(json.dumps(body).encode()).items[0]
    assert getattr(absent, field) is None
    assert orders(one_order(**{field: None})).items[0] == absent


@pytest.mark.parametrize(
    ("cls", "body", "fields"),
    [
        (Envelope[Page[Product]], samples.PRODUCTS, ("name", "slug", "status")),
        (Envelope[Page[Customer]], samples.CUSTOMERS, ("name", "email")),
    ],
)
def test_the_optional_fields_of_a_list_are_none_when_null(
    cls: Any, body: bytes, fields: tuple[str, ...]
) -> None:
    answer = json.loads(body)
    answer["data"]["items"][0] |= dict.fromkeys(fields)
    item = convert.loads(json.dumps(answer).encode(), cls).data.items[0]
    assert all(getattr(item, field) is None for field in fields)


def test_an_order_without_an_address_has_none() -> None:
    body = json.loads(samples.ORDER)
    del body["data"]["order"]["shipping_address"]
    order = convert.loads(json.dumps(body).encode(), Envelope[OrderData]).data.order
    assert order.shipping_address is None
    body["data"]["order"]["shipping_address"] = {"city": None}
    order = convert.loads(json.dumps(body).encode(), Envelope[OrderData]).data.order
    assert order.shipping_address is not None
    assert order.shipping_address.city is order.shipping_address.street is None


def test_an_unknown_status_is_read() -> None:
    status = orders(one_order(status="refunded")).items[0].status
    assert status == "refunded"
    assert not status.known


WRONG: tuple[tuple[str, object, str, str], ...] = (
    ("total", None, "a number", "null"),
    ("total", "a lot", "a number", '"a lot"'),
    ("total", True, "a number", "true"),
    ("id", 12.5, "an integer", "12.5"),
    ("id", "01", "an integer", '"01"'),
    ("id", "one", "an integer", '"one"'),
    ("id", True, "an integer", "true"),
    ("order_number", None, "a string", "null"),
    ("order_number", ["x"], "a string", "an array"),
    ("customer_name", {"first": "J"}, "a string", "an object"),
    ("total", "\u202e1", "a number", '"\N{REPLACEMENT CHARACTER}1"'),
    ("status", None, "a string", "null"),
    ("status", 3, "a string", "3"),
    (
        "created_at",
        "2026-02-10T14:30:00",
        "an instant with a time zone (RFC 3339)",
        '"2026-02-10T14:30:00"',
    ),
    ("created_at", 1770733800, "an instant with a time zone (RFC 3339)", "1770733800"),
    ("created_at", "y" * 100, "an instant with a time zone (RFC 3339)", '"' + "y" * 59 + "…"),
)


@pytest.mark.parametrize(("field", "value", "expected", "received"), WRONG)
def test_a_wrong_value_is_named_by_its_path(
    field: str, value: object, expected: str, received: str
) -> None:
    with pytest.raises(DecodeError) as caught:
        orders(one_order(**{field: value}))
    error = caught.value
    assert (error.path, error.expected, error.received) == (
        f"$.data.items[0].{field}",
        expected,
        received,
    )


def test_the_path_counts_the_row() -> None:
    page = json.loads(samples.ORDERS)
    page["data"]["items"] = page["data"]["items"] * 17 + [{}]
    with pytest.raises(DecodeError, match=r"^\$\.data\.items\[17\]\.id: expected a value, got not"):
        orders(json.dumps(page).encode())


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"[]", "$: expected an object, got an array"),
        (b"null", "$: expected an object, got null"),
        (b'{"success": true}', "$.data: expected a value, got nothing"),
        (b'{"success": true, "data": []}', "$.data: expected an object, got an array"),
        (b'{"success": 1, "data": {}}', "$.success: expected true or false, got 1"),
        (samples.ORDERS.replace(b"156", b"-1"), "expected an integer of 0 or more, got -1"),
        (samples.ORDERS.replace(b'"page": 1', b'"page": 0'), "expected an integer of 1 or more"),
        (
            b'{"success": true, "data": {"items": {}, "total": 1, "page": 1, "limit": 1}}',
            "$.data.items: expected an array, got an object",
        ),
    ],
)
def test_a_response_of_another_shape_is_a_decode_error(body: bytes, message: str) -> None:
    with pytest.raises(DecodeError) as caught:
        orders(body)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        samples.ORDERS[:-20],
        samples.ORDERS.replace(b"John", b"\xff"),
        b"[" * 100_000,
        samples.ORDERS.replace(b"}", b', "more": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", 1),
    ],
    ids=["empty", "html", "cut short", "not UTF-8", "only brackets", "nested too deeply"],
)
def test_a_body_that_is_not_readable_json_is_a_transport_error(body: bytes) -> None:
    with pytest.raises(TransportError, match="can't be read as JSON"):
        orders(body)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            b"199.90",
            b"1e99999999999999999999",
            "total: expected a number, got 1e99999999999999999999",
        ),
        (b"1234,", b"1" * 5000 + b",", f"id: expected an integer, got {'1' * 60}…"),
    ],
)
def test_a_number_that_can_not_be_held_is_named(old: bytes, new: bytes, expected: str) -> None:
    with pytest.raises(DecodeError) as caught:
        orders(samples.ORDERS.replace(old, new))
    assert str(caught.value).endswith(expected)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@SHAPES
@given(value=JSON)
def test_any_json_gives_a_record_or_a_decode_error(cls: Any, value: object) -> None:
    body = json.dumps(value).encode()
    try:
        record = convert.loads(body, cls)
    except (DecodeError, TransportError) as error:
        assert isinstance(error, DecodeError) or "JSON" in str(error)
    else:
        assert isinstance(record, Envelope)


@SHAPES
@given(body=st.binary())
def test_any_bytes_give_a_record_or_an_error_of_the_tree(cls: Any, body: bytes) -> None:
    with pytest.raises((DecodeError, TransportError)):
        convert.loads(body, cls)


SPELLINGS: list[object] = [
    1.0,
    12.5,
    -1,
    0,
    True,
    "1",
    "1.0",
    "-7",
    "true",
    "",
    [],
    {},
    "null",
    "NaN",
    "1e5",
    "2026-02-10",
    "2026-02-10T00:00:00Z",
    "2026-02-10T14:30:00Z",
    "2026-02-10T14:30:60+00",
    "2026-02-10 14:30-03",
    "9999-12-31T23:59:60Z",
]


@st.composite
def mutated(draw: st.DrawFn, body: bytes) -> object:
    """A response in which some values are replaced by others and some fields are left out."""
    answer = json.loads(body)
    for _ in range(draw(st.integers(1, 3))):
        parent: Any = answer
        while True:
            keys = list(parent) if isinstance(parent, dict) else list(range(len(parent)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            child = parent[key]
            if isinstance(child, dict | list) and draw(st.booleans()):
                parent = child
                continue
            if isinstance(parent, dict) and draw(st.booleans()):
                del parent[key]
            else:
                parent[key] = draw(JSON | st.sampled_from(SPELLINGS))
            break
    return answer


@SHAPES
@given(data=st.data())
def test_the_two_decoders_agree_on_every_input(cls: Any, data: st.DataObject) -> None:
    answer = data.draw(mutated(SAMPLES[cls]))
    assert outcome(detour(answer).encode(), cls) == outcome(json.dumps(answer).encode(), cls)


def test_a_record_becomes_plain_data_in_the_wires_order() -> None:
    plain = convert.to_plain(orders(one_order(status="refunded")).items[0])
    assert list(plain) == list(json.loads(samples.ORDERS)["data"]["items"][0])
    assert plain["status"] == "refunded"
    assert type(plain["status"]) is str
    assert plain["total"] == Decimal("199.9")


@SHAPES
def test_what_is_written_is_what_the_wire_had(cls: Any) -> None:
    wire = msgspec.json.Decoder(float_hook=Decimal).decode(SAMPLES[cls])
    written = convert.dumps(convert.loads(SAMPLES[cls], cls))
    assert written == msgspec.json.Encoder(decimal_format="number").encode(wire)


@pytest.mark.parametrize(
    ("instant", "text"),
    [
        (dt.datetime(2026, 2, 10, 14, 30, tzinfo=dt.UTC), "2026-02-10T14:30:00.000Z"),
        (dt.datetime(2026, 2, 10, 14, 30, 0, 1, tzinfo=dt.UTC), "2026-02-10T14:30:00.000001Z"),
        (
            dt.datetime(2026, 2, 10, 1, tzinfo=dt.timezone(dt.timedelta(hours=3))),
            "2026-02-09T22:00:00.000Z",
        ),
        (
            dt.datetime(1, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=3))),
            "0001-01-01T00:00:00+03:00",
        ),
    ],
)
def test_an_instant_is_written_as_the_api_does(instant: dt.datetime, text: str) -> None:
    assert convert.instant(instant) == text


@SHAPES
def test_what_is_written_reads_back_as_the_same_record(cls: Any) -> None:
    record = convert.loads(SAMPLES[cls], cls)
    assert convert.loads(convert.dumps(record), cls) == record


def test_an_order_has_the_fields_of_the_reference_in_their_order() -> None:
    order: Order = convert.loads(samples.ORDER, Envelope[OrderData]).data.order
    assert list(convert.to_plain(order)) == list(json.loads(samples.ORDER)["data"]["order"])


def rows_of(*totals: str) -> list[bytes]:
    (row,) = convert.loads(samples.ORDERS, Envelope[Page[msgspec.Raw]]).data.items
    return [bytes(row).replace(b"199.90", total.encode()) for total in totals]


def test_rows_are_read_all_at_once_with_their_exact_digits() -> None:
    first, second = convert.loads_rows(rows_of("1.50", "2.00"), OrderSummary)
    assert (str(first.total), str(second.total)) == ("1.50", "2.00")
    assert convert.loads_rows([], OrderSummary) == ()


def test_a_row_that_is_wrong_is_named_by_its_index() -> None:
    with pytest.raises(DecodeError, match=r"\$\[1\]\.total: expected a number, got true"):
        convert.loads_rows(rows_of("1", "true"), OrderSummary)
    with pytest.raises(DecodeError, match=r"\$\[1\]: expected JSON"):
        convert.loads_rows([*rows_of("1"), b"{"], OrderSummary)


def test_rows_as_the_server_wrote_them_survive_the_tolerant_decoder_too() -> None:
    body = b'{"items": [{"a": 1.50}, 7], "total": 2, "page": 1, "limit": 100}'
    page = convert.loads(body, Page[msgspec.Raw])
    assert [bytes(row) for row in page.items] == [b'{"a": 1.50}', b"7"]
    page = convert.loads(body.replace(b'"total": 2', b'"total": "2"'), Page[msgspec.Raw])
    assert [bytes(row) for row in page.items] == [b'{"a": 1.50}', b"7"]
    assert page.total == 2
