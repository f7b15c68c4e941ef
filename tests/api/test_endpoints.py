"""An endpoint makes a request, and wrong arguments are refused before anything is sent."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from enum import Enum, IntEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devskin_async import DecodeError, OrderStatus, Period
from devskin_async.api import Request, endpoints, page_count
from tests import samples

untyped: Any = endpoints


@pytest.mark.parametrize(
    ("call", "target"),
    [
        (endpoints.overview(), "/analytics/overview"),
        (endpoints.revenue(), "/revenue?period=30d"),
        (endpoints.revenue(Period.YEAR), "/revenue?period=1y"),
        (endpoints.order(1234), "/orders/1234"),
        (endpoints.orders(2, 50), "/orders?page=2&limit=50"),
        (
            endpoints.orders(1, 10, status="paid", date_from="2026-01-14", date_to="2026-02-13"),
            "/orders?page=1&limit=10&status=paid&date_from=2026-01-14&date_to=2026-02-13",
        ),
        (
            endpoints.orders(1, 100, status=OrderStatus.PAID, date_from=dt.date(2026, 1, 14)),
            "/orders?page=1&limit=100&status=paid&date_from=2026-01-14",
        ),
        (endpoints.products(1, 20), "/products?page=1&limit=20"),
        (endpoints.customers(3, 1), "/customers?page=3&limit=1"),
    ],
    ids=str,
)
def test_a_request_has_the_references_path_and_query(call: Request[Any], target: str) -> None:
    assert call.target == target


class Word(str, Enum):  # noqa: UP042  # it prints as Word.PAID, which StrEnum does not
    PAID = "paid"
    MONTH = "30d"


class Number(IntEnum):
    SEVEN = 7


class Integer:
    def __index__(self) -> int:
        return 7


class Day(dt.date):
    def isoformat(self) -> str:
        return "../../evil"


@pytest.mark.parametrize(
    ("call", "target"),
    [
        (endpoints.orders(1, 10, status=Word.PAID), "/orders?page=1&limit=10&status=paid"),
        (endpoints.revenue(Word.MONTH), "/revenue?period=30d"),
        (endpoints.order(Number.SEVEN), "/orders/7"),
        (untyped.order(Integer()), "/orders/7"),
        (endpoints.products(Number.SEVEN, Number.SEVEN), "/products?page=7&limit=7"),
        (
            endpoints.orders(1, 10, date_to=Day(2026, 2, 1)),
            "/orders?page=1&limit=10&date_to=2026-02-01",
        ),
    ],
)
def test_an_argument_of_a_related_type_is_sent_as_its_plain_value(
    call: Request[Any], target: str
) -> None:
    assert call.target == target


def test_a_request_prints_without_its_query() -> None:
    assert str(endpoints.orders(1, 10, status="paid")) == "GET /orders"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: endpoints.orders(0, 10), "page must be a positive integer, not 0"),
        (lambda: endpoints.orders(True, 10), "page must be a positive integer, not True"),
        (lambda: untyped.orders(1.0, 10), "page must be a positive integer, not 1.0"),
        (lambda: untyped.orders("1", 10), "page must be a positive integer, not '1'"),
        (lambda: endpoints.orders(1, 0), "limit must be a positive integer, not 0"),
        (lambda: endpoints.products(1, 101), "limit must be at most 100, not 101"),
        (lambda: endpoints.customers(-1, 20), "page must be a positive integer, not -1"),
        (lambda: endpoints.order(0), "order_id must be a positive integer, not 0"),
        (lambda: untyped.order(None), "order_id must be a positive integer, not None"),
        (lambda: endpoints.order(2**63), "order_id must be at most 9223372036854775807"),
        (lambda: endpoints.order(10**5000), "order_id must be at most 9223372036854775807"),
        (lambda: endpoints.revenue("2d"), "period must be one of 7d, 30d, 90d, 1y, not '2d'"),
        (lambda: untyped.revenue(None), "period must be one of 7d, 30d, 90d, 1y, not None"),
        (
            lambda: endpoints.orders(1, 10, status="refunded"),
            "status must be one of pending, paid, shipped, completed, cancelled, not 'refunded'",
        ),
        (lambda: endpoints.orders(1, 10, status=OrderStatus("x")), "status must be one of pending"),
        (
            lambda: endpoints.orders(1, 10, date_from="2026-02-30"),
            "date_from must be a day, a date without time or YYYY-MM-DD, not '2026-02-30'",
        ),
        (lambda: endpoints.orders(1, 10, date_to="20260201"), "date_to must be a day"),
        (lambda: endpoints.orders(1, 10, date_to="2026-W07-5"), "date_to must be a day"),
        (lambda: untyped.orders(1, 10, date_to=20260201), "date_to must be a day"),
        (
            lambda: endpoints.orders(1, 10, date_from=dt.datetime(2026, 2, 1, tzinfo=dt.UTC)),
            "date_from must be a day",
        ),
        (
            lambda: endpoints.orders(1, 10, date_from="2026-02-02", date_to="2026-02-01"),
            "date_from must not be after date_to, and 2026-02-02 is after 2026-02-01",
        ),
    ],
)
def test_a_wrong_argument_is_a_value_error_that_names_it(
    make: Callable[[], object], message: str
) -> None:
    with pytest.raises(ValueError) as caught:
        make()
    assert message in str(caught.value)


def test_an_empty_list_has_one_page() -> None:
    assert page_count(0, 100) == 1


@given(total=st.integers(0, 10**6), limit=st.integers(1, 100))
def test_the_pages_hold_all_rows_and_none_is_superfluous(total: int, limit: int) -> None:
    pages = page_count(total, limit)
    assert pages * limit >= total
    assert pages == 1 or (pages - 1) * limit < total


def test_a_raw_request_has_the_same_target_and_is_read_differently() -> None:
    call = endpoints.orders(2, 50, status="paid")
    raw = endpoints.raw(call)
    assert raw.target == call.target
    assert raw.reads != call.reads


@pytest.mark.parametrize(
    ("call", "body"),
    [
        (endpoints.raw(endpoints.orders(1, 10)), samples.ORDERS),
        (endpoints.raw(endpoints.products(1, 20)), samples.PRODUCTS),
        (endpoints.raw_order(1234), samples.ORDER),
        (endpoints.raw_revenue("30d"), samples.REVENUE),
        (endpoints.raw_overview(), samples.OVERVIEW),
    ],
)
def test_a_raw_request_gives_rows_as_the_server_wrote_them(call: Any, body: bytes) -> None:
    data = call.decode(body).data
    raw = next(
        value
        for value in (getattr(data, name, None) for name in ("items", "order", "daily", "figures"))
        if value is not None
    )
    for row in raw if isinstance(raw, tuple) else (raw,):
        assert bytes(row) in body


def test_a_raw_request_refuses_a_response_to_another_request() -> None:
    with pytest.raises(DecodeError, match=r"\$\.data\.page"):
        endpoints.raw(endpoints.orders(2, 10)).decode(samples.ORDERS)
    with pytest.raises(DecodeError, match=r"\$\.data\.period"):
        endpoints.raw_revenue("90d").decode(samples.REVENUE)
