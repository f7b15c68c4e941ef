"""Whatever RFC 8259 allows is read, in known fields and in unknown ones."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from devskin_async import (
    Customer,
    OrderSummary,
    Overview,
    Page,
    Product,
    TransportError,
    convert,
)
from devskin_async._json import mend
from devskin_async.api.endpoints import Envelope, OrderData
from devskin_async.export.rows import line_id, read_rows

from . import samples

Orders = Envelope[Page[OrderSummary]]
HALF = "\N{REPLACEMENT CHARACTER}"
BOM = b"\xef\xbb\xbf"

# What came as a customer's name, and how it is read.
NAMES = {
    r"Ana \ud83d": f"Ana {HALF}",
    r"\ud83dAna": f"{HALF}Ana",
    r"\ude00": HALF,
    r"\uD83D": HALF,
    r"\uDe0F": HALF,
    r"\ud83d\ud83d\ude00": f"{HALF}\N{GRINNING FACE}",
    r"\ud83d\ude00\ude00": f"\N{GRINNING FACE}{HALF}",
    r"\ude00\ud83d": HALF * 2,
    r"\ud83d\u0041": f"{HALF}A",
    r"\ud83d\n": f"{HALF}\n",
    r"\ud83d\\ude00": rf"{HALF}\ude00",
    r"\ud83d\"": f'{HALF}"',
    r"\\ud83d": r"\ud83d",
    r"\\\ud83d": f"\\{HALF}",
    r"\\\\ud83d": r"\\ud83d",
    r"\ud83d\ude00": "\N{GRINNING FACE}",
    r"\uD83D\uDE00": "\N{GRINNING FACE}",
    r"\ufffd": HALF,
    r"\u0000\u007f\/\b\f": "\0\x7f/\b\f",
    "\x7f\u2028\ufeff": "\x7f\u2028\ufeff",
}


def named(text: str) -> bytes:
    return samples.ORDERS.replace(b"John Doe", text.encode())


@pytest.mark.parametrize("text", NAMES)
def test_text_is_read_with_a_replacement_for_half_a_character(text: str) -> None:
    assert convert.loads(named(text), Orders).data.items[0].customer_name == NAMES[text]


@pytest.mark.parametrize("text", NAMES)
def test_plain_values_are_read_in_the_same_way(text: str) -> None:
    assert convert.parse(f'["{text}"]'.encode()) == [NAMES[text]]


def test_the_names_of_fields_may_be_cut_too() -> None:
    body = samples.ORDERS.replace(b'"id"', rb'"\uDBFF": 1, "id"')
    assert convert.loads(body, Orders) == convert.loads(samples.ORDERS, Orders)
    assert convert.parse(rb'{"\ud83d": 1}') == {HALF: 1}


def test_a_byte_order_mark_is_dropped() -> None:
    assert convert.loads(BOM + samples.ORDERS, Orders) == convert.loads(samples.ORDERS, Orders)
    assert convert.parse(BOM + b"[1]") == [1]


def test_only_one_byte_order_mark_and_only_at_the_beginning_is_dropped() -> None:
    for body in (BOM + BOM + samples.ORDERS, samples.ORDERS + BOM):
        with pytest.raises(TransportError, match="can't be read as JSON"):
            convert.loads(body, Orders)


def test_invalid_utf_8_is_invalid_json_where_it_is_read() -> None:
    with pytest.raises(TransportError, match="can't be read as JSON"):
        convert.loads(samples.ORDERS.replace(b"John", b"J\xf6hn"), Orders)


@pytest.mark.parametrize("text", ["NaN", "-Infinity", "[1e99999999999999999999, NaN]", "01", "+1"])
def test_numbers_that_json_does_not_have_are_refused(text: str) -> None:
    with pytest.raises(TransportError, match="can't be read as JSON"):
        convert.parse(text.encode())


@given(text=st.text(st.characters() | st.characters(categories=["Cs"]), max_size=20))
def test_any_text_that_a_json_writer_escapes_is_read_as_utf_16_reads_it(text: str) -> None:
    body = samples.ORDERS.replace(b'"John Doe"', json.dumps(text).encode())
    units = text.encode("utf-16-le", "surrogatepass")
    name = convert.loads(body, Orders).data.items[0].customer_name
    assert name == units.decode("utf-16-le", "replace")


@given(text=st.text())
def test_any_text_that_is_not_escaped_is_read_as_it_is(text: str) -> None:
    body = samples.ORDERS.replace(b'"John Doe"', json.dumps(text, ensure_ascii=False).encode())
    assert convert.loads(body, Orders).data.items[0].customer_name == text


# JSON as text, with all that the grammar leaves free

spaces = st.text(" \t\r\n", max_size=2)
hexadecimal = st.integers(0, 0xFFFF).flatmap(
    lambda unit: st.sampled_from([f"\\u{unit:04x}", f"\\u{unit:04X}"])
)
plain = st.characters(exclude_categories=["Cs"], exclude_characters='"\\').filter(
    lambda character: character >= " "
)
escapes = st.sampled_from([rf"\{letter}" for letter in '"\\/bfnrt'])
strings = st.lists(plain | escapes | hexadecimal, max_size=6).map(
    lambda parts: f'"{"".join(parts)}"'
)
digits = st.text("0123456789", min_size=1, max_size=5) | st.integers(300, 5000).map("7".__mul__)
numbers = st.builds(
    lambda sign, whole, fraction, exponent: f"{sign}{whole}{fraction}{exponent}",
    st.sampled_from(["", "-"]),
    digits.map(lambda text: text.lstrip("0") or "0"),
    st.just("") | digits.map(lambda text: f".{text}"),
    st.just("")
    | st.builds("{}{}{}".format, st.sampled_from("eE"), st.sampled_from(["", "+", "-"]), digits),
)
literals = st.sampled_from(["true", "false", "null"])


def spaced(parts: st.SearchStrategy[list[str]], left: str, right: str) -> st.SearchStrategy[str]:
    return st.builds(
        lambda inner, space: f"{space}{left}{space}{f'{space},{space}'.join(inner)}{space}{right}",
        parts,
        spaces,
    )


def containers(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    members = st.builds("{}{} :{}".format, strings, spaces, inner)
    return spaced(st.lists(inner, max_size=3), "[", "]") | spaced(
        st.lists(members, max_size=3), "{", "}"
    )


texts = st.recursive(numbers | strings | literals, containers, max_leaves=6)
documents = texts | st.integers(1, 200).map(lambda depth: "[" * depth + "]" * depth)

SHAPES: list[tuple[Any, bytes]] = [
    (Orders, samples.ORDERS),
    (Envelope[OrderData], samples.ORDER),
    (Envelope[Page[Product]], samples.PRODUCTS),
    (Envelope[Page[Customer]], samples.CUSTOMERS),
    (Envelope[Overview], samples.OVERVIEW),
]


@pytest.mark.parametrize(("cls", "body"), SHAPES, ids=lambda value: str(value)[-30:])
@given(document=documents, name=strings, data=st.data())
def test_any_content_of_an_unread_field_is_accepted(
    cls: Any, body: bytes, document: str, name: str, data: st.DataObject
) -> None:
    opened = [index for index, byte in enumerate(body) if byte == ord("{")]
    place = data.draw(st.sampled_from(opened)) + 1
    member = f'"x{name[1:]}: {document},'.encode()
    assert repr(convert.loads(body[:place] + member + body[place:], cls)) == repr(
        convert.loads(body, cls)
    )


@given(document=documents)
def test_a_row_with_such_a_field_is_exported(document: str) -> None:
    raw = convert.dumps(convert.loads(samples.ORDERS, Orders).data.items[0])
    body = b'{"items": [%b], "total": 1, "page": 1, "limit": 1}' % raw.replace(
        b"{", f'{{"x": {document},'.encode(), 1
    )
    (row,) = read_rows(convert.loads(body, Page[Raw]).items, OrderSummary)
    assert (row.error, row.unknown) == (None, ("x",))
    assert line_id(row.line) == row.id == 1234


@given(document=documents)
def test_every_document_is_read_as_plain_values(document: str) -> None:
    assert (
        repr(convert.parse(document.encode()))
        == repr(convert.parse(f"[{document}]".encode()))[1:-1]
    )


def test_a_body_with_nothing_to_mend_is_not_gone_through() -> None:
    body = rb'{"name": "\u00e9 \\ \" \n \/"}' * 10
    assert mend(body) is body
