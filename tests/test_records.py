"""Records are frozen values; enums stay open to words that the reference does not list."""

from __future__ import annotations

import copy
import pickle
from decimal import Decimal

import attrs
import pytest

from devskin_async import OrderStatus, Period, records


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


def test_a_status_is_a_word() -> None:
    with pytest.raises(ValueError, match="not a valid OrderStatus"):
        OrderStatus(5)  # type: ignore[arg-type]  # the wrong type is the point


RECORDS = [cls for cls in vars(records).values() if isinstance(cls, type) and attrs.has(cls)]


@pytest.mark.parametrize("cls", RECORDS, ids=lambda cls: cls.__name__)
def test_a_record_is_frozen_and_has_slots(cls: type[attrs.AttrsInstance]) -> None:
    record = cls(**{field.name: Decimal(0) for field in attrs.fields(cls)})
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        setattr(record, attrs.fields(cls)[0].name, 1)
    assert not hasattr(record, "__dict__")
