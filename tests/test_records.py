"""Records are frozen values; enums stay open to words that the reference does not list."""

from __future__ import annotations

import copy
import datetime as dt
import pickle
import re
from decimal import Decimal
from xml.etree import ElementTree as ET

import attrs
import pytest

from devskin_async import OrderStatus, Period, convert, records


def test_an_unlisted_status_equals_its_word_and_is_not_known() -> None:
    status = OrderStatus("refunded")
    assert status == "refunded"
    assert isinstance(status, OrderStatus)
    assert not status.known
    assert (str(status), status.value, hash(status)) == ("refunded", "refunded", hash("refunded"))


@pytest.mark.parametrize("word", ["pending", "paid", "shipped", "completed", "cancelled"])
def test_the_references_statuses_are_known(word: str) -> None:
    assert OrderStatus(word).known
    assert OrderStatus(word) is OrderStatus(word)


@pytest.mark.parametrize("word", ["7d", "30d", "90d", "1y"])
def test_the_references_periods_are_known(word: str) -> None:
    assert Period(word).known


def test_an_unlisted_status_survives_copying_and_pickling() -> None:
    status = OrderStatus("refunded")
    assert copy.deepcopy(status) == status
    assert pickle.loads(pickle.dumps(status)) == status


def test_unlisted_words_do_not_pile_up_in_the_enum() -> None:
    before = len(OrderStatus._value2member_map_)
    for number in range(100):
        OrderStatus(f"word {number}")
    assert len(OrderStatus._value2member_map_) == before
    assert len(list(OrderStatus)) == 5


def test_a_status_is_a_string() -> None:
    with pytest.raises(ValueError, match="not a valid OrderStatus"):
        OrderStatus(5)  # type: ignore[arg-type]  # the wrong type is the point


RECORDS = [cls for cls in vars(records).values() if isinstance(cls, type) and attrs.has(cls)]


@pytest.mark.parametrize("cls", RECORDS, ids=lambda cls: cls.__name__)
def test_a_record_is_frozen_and_has_slots(cls: type[attrs.AttrsInstance]) -> None:
    record = cls(**{field.name: Decimal(0) for field in attrs.fields(cls)})
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        setattr(record, attrs.fields(cls)[0].name, 1)
    assert not hasattr(record, "__dict__")


def test_a_page_shows_in_a_notebook_as_a_table_of_its_rows() -> None:
    page = convert.loads(
        b'{"items": [{"id": 7, "name": null, "price": 9.50, "created_at": "2026-02-10T14:30:00Z"}],'
        b' "total": 42, "page": 2, "limit": 1}',
        records.Page[records.Product],
    )
    table = ET.fromstring(page._repr_html_())
    assert table.findtext("caption") == "page 2: 1 of 42 rows"
    cells = {
        name.text: cell.text for name, cell in zip(table.iter("th"), table.iter("td"), strict=True)
    }
    assert (cells["id"], cells["name"], cells["price"]) == ("7", None, "9.50")


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", "</td>", "\"&'<", "a\x00b"])
def test_no_name_can_add_html_to_the_notebooks_table(name: str) -> None:
    at = dt.datetime(2026, 2, 10, tzinfo=dt.UTC)
    item = records.Product(id=1, name=name, price=Decimal(1), created_at=at)
    shown = records.Page(items=(item,), total=1, page=1, limit=1)._repr_html_()
    assert re.findall(r"<[^>]*>", shown.replace("<tr>", "").replace("</tr>", "")) == [
        "<table>",
        "<caption>",
        "</caption>",
        "<thead>",
        *["<th>", "</th>"] * 7,
        "</thead>",
        *["<td>", "</td>"] * 7,
        "</table>",
    ]


def test_a_page_without_rows_shows_that() -> None:
    page: records.Page[records.Product] = records.Page(items=(), total=42, page=9, limit=20)
    shown = page._repr_html_()
    assert shown == "<table><caption>page 9: 0 of 42 rows</caption>\n</table>"
