"""A call becomes a request: the arguments are checked, the path and the query are made."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable
from functools import partial
from operator import index
from typing import Any, Generic, SupportsIndex, TypeVar

from attrs import field, frozen
from msgspec import Raw

from .. import convert
from ..convert import Loader
from ..errors import DecodeError
from ..records import (
    Customer,
    OpenEnum,
    Order,
    OrderStatus,
    OrderSummary,
    Overview,
    Page,
    Period,
    Product,
    Revenue,
)

T = TypeVar("T")

DEFAULT_LIMIT = 20
MAX_LIMIT = 100
MAX_INTEGER = 2**63 - 1

_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


@frozen
class Envelope(Generic[T]):
    """The frame of every answer that succeeded."""

    success: bool
    data: T


@frozen
class OrderData:
    """The `data` of one order's answer."""

    order: Order


@frozen
class RawOrderData:
    """The same, the order as the server wrote it."""

    order: Raw


@frozen
class RawRevenue:
    """A revenue series, its days as the server wrote them."""

    period: Period
    daily: tuple[Raw, ...]


@frozen
class RawFigures:
    """The store's key figures as the server wrote them."""

    figures: Raw


_OVERVIEW = Loader(Envelope[Overview])
_REVENUE = Loader(Envelope[Revenue])
_ORDER = Loader(Envelope[OrderData])
_ORDERS = Loader(Envelope[Page[OrderSummary]])
_PRODUCTS = Loader(Envelope[Page[Product]])
_CUSTOMERS = Loader(Envelope[Page[Customer]])
_RAW_ORDER = Loader(Envelope[RawOrderData])
_RAW_REVENUE = Loader(Envelope[RawRevenue])
_RAW_DATA = Loader(Envelope[Raw])
_RAW_ROWS = Loader(Envelope[Page[Raw]])


class EchoError(DecodeError):
    """An answer came that belongs to another request; the same request may be sent again."""


@frozen
class Call(Generic[T]):
    """One read of the API.

    Args:
        path: Path below the base URL.
        query: The query as names and values, in the reference's order.
        envelope: Reads the body of an answer that succeeded.
        reads: What tells readings of one target apart: calls that share an answer agree in it.
        past_end: What an answer of 400 or 404 is read as, where the page may be past the end of
            its list; None where it is an error.
        query_string: The query as a URL has it.
    """

    path: str
    query: tuple[tuple[str, str], ...]
    envelope: Callable[[bytes], Envelope[T]]
    reads: str = "record"
    past_end: T | None = field(default=None, eq=False, repr=False)
    query_string: str = field(init=False, eq=False, repr=False)

    def __str__(self) -> str:
        return f"GET {self.path}"

    @query_string.default
    def _query_string(self) -> str:
        # Numbers, days and words of the reference: there is nothing to encode.
        return "&".join([f"{name}={value}" for name, value in self.query])

    @property
    def target(self) -> str:
        """The path with its query; equal targets are equal reads."""
        return f"{self.path}?{self.query_string}" if self.query else self.path


def overview() -> Call[Overview]:
    """Make the call for the store's key figures."""
    return Call("/analytics/overview", (), _OVERVIEW.loads)


def revenue(period: Period | str = Period.MONTH) -> Call[Revenue]:
    """Make the call for a revenue series.

    Raises:
        ValueError: `period` is not one of the reference's.
    """
    asked = _word("period", period, Period)
    return Call("/revenue", (("period", asked),), partial(_loads_series, asked))


def order(order_id: int) -> Call[Order]:
    """Make the call for one order.

    Raises:
        ValueError: `order_id` is not a positive integer.
    """
    asked = positive("order_id", order_id)
    return Call(f"/orders/{asked}", (), partial(_loads_order, asked))


def orders(
    page: int,
    limit: int,
    *,
    status: OrderStatus | str | None = None,
    date_from: dt.date | str | None = None,
    date_to: dt.date | str | None = None,
) -> Call[Page[OrderSummary]]:
    """Make the call for one page of orders.

    Raises:
        ValueError: An argument is out of its bounds, or the dates are in the wrong order.
    """
    query = _page_query(page, limit)
    if status is not None:
        query += (("status", _word("status", status, OrderStatus)),)
    if date_from is not None or date_to is not None:
        query += _span_query(date_from, date_to)
    read = partial(_loads_page, _ORDERS, page)
    if status is not None:
        read = partial(_loads_orders, read, _word("status", status, OrderStatus))
    return Call("/orders", query, read, past_end=_past_end(page, limit))


def products(page: int, limit: int) -> Call[Page[Product]]:
    """Make the call for one page of products.

    Raises:
        ValueError: `page` or `limit` is out of its bounds.
    """
    read = partial(_loads_page, _PRODUCTS, page)
    return Call("/products", _page_query(page, limit), read, past_end=_past_end(page, limit))


def customers(page: int, limit: int) -> Call[Page[Customer]]:
    """Make the call for one page of customers.

    Raises:
        ValueError: `page` or `limit` is out of its bounds.
    """
    read = partial(_loads_page, _CUSTOMERS, page)
    return Call("/customers", _page_query(page, limit), read, past_end=_past_end(page, limit))


def raw(call: Call[Page[T]]) -> Call[Page[Raw]]:
    """Make a call for a page give its rows as the server wrote them, unchecked."""
    query = dict(call.query)
    page, limit = int(query["page"]), int(query["limit"])
    read = partial(_loads_page, _RAW_ROWS, page)
    return Call(call.path, call.query, read, "raw", past_end=_past_end(page, limit))


def raw_order(order_id: int) -> Call[RawOrderData]:
    """Make the call for one order, as the server wrote it, unchecked.

    Raises:
        ValueError: `order_id` is not a positive integer.
    """
    asked = order(order_id)
    return Call(asked.path, asked.query, _RAW_ORDER.loads, "raw")


def raw_revenue(period: Period | str = Period.MONTH) -> Call[RawRevenue]:
    """Make the call for a revenue series, its days as the server wrote them, unchecked.

    Raises:
        ValueError: `period` is not one of the reference's.
    """
    asked = revenue(period)
    return Call(asked.path, asked.query, partial(_loads_raw_series, asked.query[0][1]), "raw")


def raw_overview() -> Call[RawFigures]:
    """Make the call for the store's key figures, as the server wrote them, unchecked."""
    return Call(overview().path, (), _loads_raw_figures, "raw")


def page_count(total: int, limit: int) -> int:
    """Count the pages of a list: `total` rows at `limit` a page, at least one page."""
    return max(1, -(-total // limit))


def positive(name: str, value: object) -> int:
    """Check an argument that must be a positive integer of at most 64 bits.

    Returns:
        It as an `int`, whatever kind of integer it was.

    Raises:
        ValueError: It is not; the message names it.
    """
    # A protocol alone takes 3 µs to ask, and nearly all values are plain integers.
    if isinstance(value, int | SupportsIndex) and not isinstance(value, bool):
        number = index(value)
        if number > MAX_INTEGER:
            raise ValueError(f"{name} must be at most {MAX_INTEGER}")
        if number > 0:
            return number
    raise ValueError(f"{name} must be a positive integer, not {value!r}")


def _loads_page(pages: Loader[Envelope[Page[T]]], asked: int, body: bytes) -> Envelope[Page[T]]:
    envelope = pages.loads(body)
    page = envelope.data
    if page_count(page.total, page.limit) <= page.page < asked:
        # Some servers answer with the last page when they are asked for one past it.
        empty = Page[T](items=(), total=page.total, page=asked, limit=page.limit)
        return Envelope(envelope.success, empty)
    _check_echo("$.data.page", asked, page.page)
    return envelope


def _loads_orders(
    pages: Callable[[bytes], Envelope[Page[OrderSummary]]], status: str, body: bytes
) -> Envelope[Page[OrderSummary]]:
    envelope = pages(body)
    for row, order in enumerate(envelope.data.items):
        if order.status != status:
            _check_echo(f"$.data.items[{row}].status", status, order.status)
    return envelope


def _past_end(page: int, limit: int) -> Page[Any] | None:
    """Make the empty page that an answer of 400 or 404 stands for, of every page but the first."""
    return None if page == 1 else Page(items=(), total=0, page=page, limit=limit)


def _loads_series(asked: str, body: bytes) -> Envelope[Revenue]:
    envelope = _REVENUE.loads(body)
    _check_echo("$.data.period", asked, envelope.data.period)
    return envelope


def _loads_raw_series(asked: str, body: bytes) -> Envelope[RawRevenue]:
    envelope = _RAW_REVENUE.loads(body)
    _check_echo("$.data.period", asked, envelope.data.period)
    return envelope


def _loads_order(asked: int, body: bytes) -> Envelope[Order]:
    envelope = _ORDER.loads(body)
    _check_echo("$.data.order.id", asked, envelope.data.order.id)
    return Envelope(envelope.success, envelope.data.order)


def _loads_raw_figures(body: bytes) -> Envelope[RawFigures]:
    envelope = _RAW_DATA.loads(body)
    return Envelope(envelope.success, RawFigures(envelope.data))


def _check_echo(path: str, asked: object, told: object) -> None:
    """Refuse an answer to another question, such as one left over on a kept connection."""
    if asked != told:
        raise EchoError(path, convert.describe(asked), convert.describe(told))


def _page_query(page: int, limit: int) -> tuple[tuple[str, str], ...]:
    rows = positive("limit", limit)
    if rows > MAX_LIMIT:
        raise ValueError(f"limit must be at most {MAX_LIMIT}, not {rows}")
    return (("page", str(positive("page", page))), ("limit", str(rows)))


def _span_query(
    date_from: dt.date | str | None, date_to: dt.date | str | None
) -> tuple[tuple[str, str], ...]:
    first, last = _day("date_from", date_from), _day("date_to", date_to)
    if first and last and first > last:
        raise ValueError(f"date_from must not be after date_to, and {first} is after {last}")
    return tuple((n, d.isoformat()) for n, d in (("date_from", first), ("date_to", last)) if d)


def _word(name: str, value: object, words: type[OpenEnum]) -> str:
    if not isinstance(value, str) or not words(value).known:
        raise ValueError(f"{name} must be one of {', '.join(words)}, not {value!r}")
    return str(words(value))


def _day(name: str, value: dt.date | str | None) -> dt.date | None:
    if value is None:
        return None
    if isinstance(value, dt.date) and not isinstance(value, dt.datetime):
        return dt.date(value.year, value.month, value.day)
    # strptime alone would take 2026-1-4, and fromisoformat 20260104.
    if isinstance(value, str) and _DAY.fullmatch(value):
        try:
            return dt.date.fromisoformat(value)
        except ValueError:
            pass
    raise ValueError(f"{name} must be a day, a date without time or YYYY-MM-DD, not {value!r}")
