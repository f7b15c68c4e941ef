"""Rows stay as the server wrote them, and what is wrong with one is told by its place in it."""

from __future__ import annotations

import hashlib
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from devskin_async import DailyRevenue, OrderStatus, OrderSummary, Overview, convert
from devskin_async.export.rows import Row, first_error, line_id, read_rows, rejected_entry

from .support import decoded

ORDER = (
    b'{"id": 7, "order_number":"ORD-7" , "status": "paid","total":199.90,'
    b'"created_at": "2026-02-10T14:30:00.000Z"}'
)


def changed(**fields: bytes | None) -> bytes:
    """Write the order with other fields; None leaves one out."""
    values: dict[str, msgspec.Raw] = msgspec.json.decode(ORDER, type=dict[str, msgspec.Raw])
    for name, value in fields.items():
        values.pop(name, None)
        if value is not None:
            values[name] = msgspec.Raw(value)
    return msgspec.json.encode(values)


def read(*rows: bytes) -> list[Row]:
    return read_rows(rows, OrderSummary)


def test_a_row_stays_as_the_server_wrote_it() -> None:
    (row,) = read(ORDER)
    assert row.line == ORDER
    assert isinstance(row.record, OrderSummary)
    assert str(row.record.total) == "199.90"
    assert (row.id, row.error, row.unknown) == (7, None, ())


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r", b"\n  \n"])
def test_line_ends_between_tokens_go_and_nothing_else_does(end: bytes) -> None:
    raw = ORDER.replace(b", ", b"," + end).replace(b'"status": ', b'"status":' + end)
    (row,) = read(raw)
    assert b"\n" not in row.line
    assert b"\r" not in row.line
    assert decoded(row.line) == decoded(ORDER)
    fields = msgspec.json.decode(row.line, type=dict[str, msgspec.Raw])
    assert list(fields) == ["id", "order_number", "status", "total", "created_at"]
    assert bytes(fields["total"]) == b"199.90"


@pytest.mark.parametrize(
    "number", [b"1E2", b"100.00", b"1e+2", b"0.10", b"12345678901234567890.10"]
)
def test_no_digit_of_a_number_changes_where_line_ends_go(number: bytes) -> None:
    (row,) = read(changed(total=number).replace(b",", b",\n"))
    assert b'"total":' + number in row.line.replace(b" ", b"")


def test_an_escaped_line_end_in_a_text_stays() -> None:
    raw = changed(customer_name=rb'"a\nb\u2028"')
    assert read(raw)[0].line == raw


def test_unknown_fields_and_an_unknown_status_are_told() -> None:
    raw = changed(status=b'"refunded"', channel=b'"web"', tags=b"[1, 2]")
    (row,) = read(raw)
    assert row.unknown == ("channel", "tags", "status=refunded")
    assert row.line == raw
    assert row.error is None


WRONG = {
    "a text for a number": (changed(total=b'"a"'), "$.total", "a number", '"a"'),
    "null for a number": (changed(total=b"null"), "$.total", "a number", "null"),
    "no total": (changed(total=None), "$.total", "a value", "nothing"),
    "a naive instant": (
        changed(created_at=b'"2026-02-10T14:30:00"'),
        "$.created_at",
        "an instant with a time zone (RFC 3339)",
        '"2026-02-10T14:30:00"',
    ),
    "a number": (b"5", "$", "an object", "5"),
    "null": (b"null", "$", "an object", "null"),
    "a list": (b"[1]", "$", "an object", "an array"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_row_tells_where_in_it_what_was_expected_and_what_came(name: str) -> None:
    raw, path, expected, received = WRONG[name]
    (row,) = read(raw)
    assert row.record is None
    assert row.line == raw
    assert row.error is not None
    assert (row.error.path, row.error.expected, row.error.received) == (path, expected, received)


def test_a_row_that_is_no_utf_8_is_told_to_be_no_json() -> None:
    (row,) = read(changed(customer_name=b'"x"').replace(b'"x"', b'"\xff"'))
    assert row.error is not None
    assert (row.error.path, row.error.expected) == ("$", "JSON")


def test_a_row_that_is_no_utf_8_where_nobody_reads_it_is_no_json_either() -> None:
    rows = read(ORDER, changed(more=b'"x"').replace(b'"x"', b'"\xff"'), changed(id=b"8"))
    assert [row.error is None for row in rows] == [True, False, True]
    assert rows[1].error is not None
    assert (rows[1].error.path, rows[1].error.expected) == ("$", "JSON")


def test_a_wrong_row_leaves_those_beside_it_alone() -> None:
    rows = read(ORDER, b"null", changed(id=b"8"), changed(total=b'"x"'))
    assert [row.error is None for row in rows] == [True, False, True, False]
    assert [row.id for row in (rows[0], rows[2], rows[3])] == [7, 8, 7]


def test_the_first_error_has_the_path_to_where_the_rows_stand() -> None:
    rows = read(ORDER, changed(total=b'"x"'), b"null")
    error = first_error(rows, "$.data.items")
    assert error is not None
    assert (error.path, error.received) == ("$.data.items[1].total", '"x"')
    assert first_error(rows[:1], "$.data.items") is None


@pytest.mark.parametrize(
    ("raw", "row_id"),
    [
        (changed(id=b"9223372036854775807"), 2**63 - 1),
        (changed(id=b"9223372036854775808"), "9223372036854775808"),
        (changed(id=b"-9223372036854775809"), "-9223372036854775809"),
        (changed(id=b'"A-1"'), "A-1"),
        (changed(id=b"12", total=b"null"), 12),
    ],
)
def test_a_row_is_told_from_others_by_its_id_wrong_or_not(raw: bytes, row_id: object) -> None:
    assert read(raw)[0].id == row_id


@pytest.mark.parametrize(
    "raw",
    [
        changed(id=None),
        changed(id=b"true"),
        changed(id=b"null"),
        changed(id=b"1.5"),
        changed(id=b"[1]"),
        b"null",
        b"[]",
        b'"text"',
    ],
)
def test_a_row_without_an_id_is_told_from_others_by_its_bytes(raw: bytes) -> None:
    (row,) = read(raw)
    assert row.error is not None
    assert row.id == hashlib.sha256(raw).hexdigest()


def test_a_day_of_revenue_is_told_from_others_by_its_date() -> None:
    raw = b'{"date": "2026-02-13", "total": 1250.00, "count": 8}'
    (row,) = read_rows([raw], DailyRevenue)
    assert row.id == line_id(raw) == "2026-02-13"


@pytest.mark.parametrize(
    ("date", "more", "row_id"),
    [
        ("2026-02-13T00:00:00.000Z", b"", "2026-02-13"),
        ("2026-02-13 00:00:00", b', "more": 1', "2026-02-13"),
        ("2026-02-13", b', "id": "5"', 5),
    ],
)
def test_a_day_is_known_again_however_it_is_written(date: str, more: bytes, row_id: object) -> None:
    raw = b'{"date": "%b", "total": 1250.00, "count": 8%b}' % (date.encode(), more)
    (row,) = read_rows([raw], DailyRevenue)
    assert row.error is None
    assert row.id == line_id(row.line) == row_id


@pytest.mark.parametrize("written", [b"7", b'"7"', b"7.0", b'"7.0"', b"70e-1"])
@pytest.mark.parametrize("more", [None, b"1"])
def test_an_id_is_the_integer_that_it_means(written: bytes, more: bytes | None) -> None:
    (row,) = read(changed(id=written, more=more))
    assert row.error is None
    assert row.id == line_id(row.line) == 7


def test_what_has_neither_id_nor_date_is_told_by_its_bytes() -> None:
    raw = (
        b'{"total_orders": 1, "monthly_orders": 1, "total_revenue": 1, "monthly_revenue": 1,'
        b' "total_products": 87}'
    )
    (row,) = read_rows([raw], Overview)
    assert row.id == line_id(raw) == hashlib.sha256(raw).hexdigest()


texts = st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
amounts = st.decimals(
    min_value=-(10**9), max_value=10**9, places=2, allow_nan=False, allow_infinity=False
)
orders = st.builds(
    OrderSummary,
    id=st.integers(),
    order_number=st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    status=st.sampled_from(["paid", "pending", "refunded"]).map(OrderStatus),
    total=amounts,
    customer_name=texts,
    customer_email=texts,
    created_at=st.datetimes(timezones=st.timezones()).filter(lambda at: at.utcoffset() is not None),
)


@given(rows=st.lists(orders, max_size=6), end=st.sampled_from([b"", b"\n", b"\r\n"]))
def test_the_lines_of_good_rows_are_the_same_records(rows: list[OrderSummary], end: bytes) -> None:
    raw = [end + convert.dumps(row) + end for row in rows]
    read = read_rows(raw, OrderSummary)
    assert [row.error for row in read] == [None] * len(rows)
    assert convert.loads_rows([row.line for row in read], OrderSummary) == tuple(
        row.record for row in read
    )
    assert [row.record for row in read] == [
        convert.loads(convert.dumps(row), OrderSummary) for row in rows
    ]
    assert [line_id(row.line) for row in read] == [row.id for row in read]
    assert not any(b"\n" in row.line or b"\r" in row.line for row in read)


no_utf8 = st.binary(min_size=1, max_size=6).map(
    lambda text: b'{"id": 1, "x": "\xff%b"}' % text.hex().encode()
)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["id", "total", "x"]), inner)
    ),
    max_leaves=6,
)


@given(rows=st.lists(json_values.map(msgspec.json.encode) | no_utf8 | st.just(ORDER), max_size=6))
def test_each_row_is_a_record_or_an_error_with_a_path_that_begins_at_the_row(
    rows: list[bytes],
) -> None:
    read = read_rows(rows, OrderSummary)
    assert len(read) == len(rows)
    for raw, row in zip(rows, read, strict=True):
        assert (row.record is None) == (row.error is not None)
        assert (row.record is not None) == (raw == ORDER)
        assert b"\n" not in row.line
        if row.error is not None:
            assert row.error.path.startswith("$")
            assert not row.error.path.startswith("$[0]")
            entry = rejected_entry(row.line, row.error)
            assert b"\n" not in entry
            assert isinstance(decoded(entry), dict)


def test_a_rejected_row_is_written_with_what_is_wrong_and_as_it_came() -> None:
    raw = changed(total=b'"x"', weight=b"1.50")
    (row,) = read(raw)
    assert row.error is not None
    entry = rejected_entry(row.line, row.error)
    assert decoded(entry) == {
        "path": "$.total",
        "expected": "a number",
        "received": '"x"',
        "row": decoded(raw),
    }
    assert b'"weight":1.50' in entry


def test_a_rejected_row_that_is_no_json_is_written_as_text() -> None:
    (row,) = read(b'{"id": 1, "x": "\xff\n"}')
    assert row.error is not None
    told = decoded(rejected_entry(row.line, row.error))
    assert isinstance(told, dict)
    assert told["row"] == '{"id": 1, "x": "\N{REPLACEMENT CHARACTER} "}'


def test_money_of_a_line_has_the_digits_that_came() -> None:
    (row,) = read(changed(total=b"0.30000000000000000001"))
    assert convert.loads(row.line, OrderSummary).total == Decimal("0.30000000000000000001")
