"""One function for each endpoint: it checks the arguments and makes the request."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, Generic, TypeVar

from attrs import field, frozen
from msgspec import Raw

from .. import convert
from ..convert import Loader
from ..errors import DecodeError
from ..records import (
    Customer,
    Order,
    OrderStatus,
    OrderSummary,
    Overview,
    Page,
    Period,
    Product,
    Revenue,
)
from .arguments import page_query, positive, span_query, word

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

DEFAULT_LIMIT = 20


@frozen
class Envelope(Generic[T_co]):
    """The frame of every response that succeeded."""

    success: bool
    data: T_co


@frozen
class OrderData:
    """The `data` of one order's response."""

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


class MismatchedResponseError(DecodeError):
    """A response came that belongs to another request; the same request may be sent again."""


@frozen
class Request(Generic[T_co]):
    """One read of the API.

    Args:
        path: Path below the base URL.
        query: The query as names and values, in the reference's order.
        decode: Reads the body of a response that succeeded.
        reads: What tells apart requests for one target: those that share a response agree in it.
        past_end: Makes what a 400 or 404 is read as, where the page may be past the end of its
            list; None where it is an error.
    """

    method: ClassVar[str] = "GET"
    path: str
    query: tuple[tuple[str, str], ...]
    decode: Callable[[bytes], Envelope[T_co]]
    reads: str = "record"
    past_end: Callable[[], T_co] | None = field(default=None, eq=False, repr=False)

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def query_string(self) -> str:
        """The query as a URL has it."""
        # Numbers, days and words of the reference: there is nothing to encode.
        return "&".join(map("=".join, self.query))

    @property
    def params(self) -> dict[str, str]:
        """The query by its names."""
        return dict(self.query)

    @property
    def target(self) -> str:
        """The path with its query; equal targets are equal reads."""
        return f"{self.path}?{self.query_string}" if self.query else self.path


def overview() -> Request[Overview]:
    """Make the request for the store's key figures."""
    return Request("/analytics/overview", (), _OVERVIEW.loads)


def revenue(period: Period | str = Period.MONTH) -> Request[Revenue]:
    """Make the request for a revenue series.

    Raises:
        ValueError: `period` is not one of the reference's.
    """
    asked = word("period", period, Period)
    return Request("/revenue", (("period", asked),), partial(_loads_series, asked))


def order(order_id: int) -> Request[Order]:
    """Make the request for one order.

    Raises:
        ValueError: `order_id` is not a positive integer.
    """
    asked = positive("order_id", order_id)
    return Request(f"/orders/{asked}", (), partial(_loads_order, asked))


def orders(
    page: int,
    limit: int,
    *,
    status: OrderStatus | str | None = None,
    date_from: dt.date | str | None = None,
    date_to: dt.date | str | None = None,
) -> Request[Page[OrderSummary]]:
    """Make the request for one page of orders.

    Raises:
        ValueError: An argument is out of its bounds, or the dates are in the wrong order.
    """
    query = page_query(page, limit)
    if status is not None:
        query += (("status", word("status", status, OrderStatus)),)
    if date_from is not None or date_to is not None:
        query += span_query(date_from, date_to)
    read = partial(_loads_page, _ORDERS, page)
    if status is not None:
        read = partial(_loads_orders, read, word("status", status, OrderStatus))
    return Request("/orders", query, read, past_end=_past_end(page, limit))


def products(page: int, limit: int) -> Request[Page[Product]]:
    """Make the request for one page of products.

    Raises:
        ValueError: `page` or `limit` is out of its bounds.
    """
    read = partial(_loads_page, _PRODUCTS, page)
    return Request("/products", page_query(page, limit), read, past_end=_past_end(page, limit))


def customers(page: int, limit: int) -> Request[Page[Customer]]:
    """Make the request for one page of customers.

    Raises:
        ValueError: `page` or `limit` is out of its bounds.
    """
    read = partial(_loads_page, _CUSTOMERS, page)
    return Request("/customers", page_query(page, limit), read, past_end=_past_end(page, limit))


def raw(request: Request[Page[T]]) -> Request[Page[Raw]]:
    """Make a request for a page give its rows as the server wrote them, unchecked."""
    query = dict(request.query)
    page, limit = int(query["page"]), int(query["limit"])
    read = partial(_loads_page, _RAW_ROWS, page)
    return Request(request.path, request.query, read, "raw", past_end=_past_end(page, limit))


def raw_order(order_id: int) -> Request[RawOrderData]:
    """Make the request for one order, as the server wrote it, unchecked.

    Raises:
        ValueError: `order_id` is not a positive integer.
    """
    asked = order(order_id)
    return Request(asked.path, asked.query, _RAW_ORDER.loads, "raw")


def raw_revenue(period: Period | str = Period.MONTH) -> Request[RawRevenue]:
    """Make the request for a revenue series, its days as the server wrote them, unchecked.

    Raises:
        ValueError: `period` is not one of the reference's.
    """
    asked = revenue(period)
    return Request(asked.path, asked.query, partial(_loads_raw_series, asked.query[0][1]), "raw")


def raw_overview() -> Request[RawFigures]:
    """Make the request for the store's key figures, as the server wrote them, unchecked."""
    return Request(overview().path, (), _loads_raw_figures, "raw")


def page_count(total: int, limit: int) -> int:
    """Count the pages of a list: `total` rows at `limit` a page, at least one page."""
    return max(1, -(-total // limit))


def _loads_page(pages: Loader[Envelope[Page[T]]], asked: int, body: bytes) -> Envelope[Page[T]]:
    envelope = pages.loads(body)
    page = envelope.data
    if page_count(page.total, page.limit) <= page.page < asked:
        # Some servers answer with the last page when they are asked for one past it.
        empty = Page[T](items=(), total=page.total, page=asked, limit=page.limit)
        return Envelope(envelope.success, empty)
    _check_match("$.data.page", asked, page.page)
    return envelope


def _loads_orders(
    pages: Callable[[bytes], Envelope[Page[OrderSummary]]], status: str, body: bytes
) -> Envelope[Page[OrderSummary]]:
    envelope = pages(body)
    for row, order in enumerate(envelope.data.items):
        if order.status != status:
            _check_match(f"$.data.items[{row}].status", status, order.status)
    return envelope


def _past_end(page: int, limit: int) -> Callable[[], Page[Any]] | None:
    """Give what makes the empty page that a 400 or 404 stands for; None for the first page."""
    return None if page == 1 else partial(Page, items=(), total=0, page=page, limit=limit)


def _loads_series(asked: str, body: bytes) -> Envelope[Revenue]:
    envelope = _REVENUE.loads(body)
    _check_match("$.data.period", asked, envelope.data.period)
    return envelope


def _loads_raw_series(asked: str, body: bytes) -> Envelope[RawRevenue]:
    envelope = _RAW_REVENUE.loads(body)
    _check_match("$.data.period", asked, envelope.data.period)
    return envelope


def _loads_order(asked: int, body: bytes) -> Envelope[Order]:
    envelope = _ORDER.loads(body)
    _check_match("$.data.order.id", asked, envelope.data.order.id)
    return Envelope(envelope.success, envelope.data.order)


def _loads_raw_figures(body: bytes) -> Envelope[RawFigures]:
    envelope = _RAW_DATA.loads(body)
    return Envelope(envelope.success, RawFigures(envelope.data))


def _check_match(path: str, asked: object, received: object) -> None:
    """Refuse a response to another request, such as one left over on a kept connection."""
    if asked != received:
        raise MismatchedResponseError(path, convert.describe(asked), convert.describe(received))
