"""One function for each endpoint, which checks the arguments and returns the request."""

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
    """The body of every response that succeeded."""

    success: bool
    data: T_co


@frozen
class OrderData:
    """The `data` of one order's response."""

    order: Order


@frozen
class RawOrderData:
    """The `data` of one order's response, with the order as the server wrote it."""

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
    """The response belongs to another request; the same request may be sent again."""


@frozen
class Request(Generic[T_co]):
    """One read of the API.

    Args:
        path: Path below the base URL.
        query: The query as names and values, in the reference's order.
        decode: Reads the body of a response that succeeded.
        reads: What the body is read as, "record" or "raw". Only requests with the same target and
            the same `reads` can share a response.
        past_end: Makes the empty page that a 400 or 404 stands for if the page may be past the end
            of its list; None if such a response is an error.
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
        """The query as it is written in a URL."""
        # Numbers, days and words of the reference: nothing needs to be escaped.
        return "&".join(map("=".join, self.query))

    @property
    def params(self) -> dict[str, str]:
        """The query as a dict."""
        return dict(self.query)

    @property
    def target(self) -> str:
        """The path with its query."""
        return f"{self.path}?{self.query_string}" if self.query else self.path


def overview() -> Request[Overview]:
    """Return the request for the store's key figures."""
    return Request("/analytics/overview", (), _OVERVIEW.loads)


def revenue(period: Period | str = Period.MONTH) -> Request[Revenue]:
    """Return the request for a revenue series.

    Raises:
        ValueError: `period` is not one of the reference's.
    """
    value = word("period", period, Period)
    return Request("/revenue", (("period", value),), partial(_loads_series, value))


def order(order_id: int) -> Request[Order]:
    """Return the request for one order.

    Raises:
        ValueError: `order_id` is not a positive integer.
    """
    number = positive("order_id", order_id)
    return Request(f"/orders/{number}", (), partial(_loads_order, number))


def orders(
    page: int,
    limit: int,
    *,
    status: OrderStatus | str | None = None,
    date_from: dt.date | str | None = None,
    date_to: dt.date | str | None = None,
) -> Request[Page[OrderSummary]]:
    """Return the request for one page of orders.

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
    """Return the request for one page of products.

    Raises:
        ValueError: `page` or `limit` is out of its bounds.
    """
    read = partial(_loads_page, _PRODUCTS, page)
    return Request("/products", page_query(page, limit), read, past_end=_past_end(page, limit))


def customers(page: int, limit: int) -> Request[Page[Customer]]:
    """Return the request for one page of customers.

    Raises:
        ValueError: `page` or `limit` is out of its bounds.
    """
    read = partial(_loads_page, _CUSTOMERS, page)
    return Request("/customers", page_query(page, limit), read, past_end=_past_end(page, limit))


def raw(request: Request[Page[T]]) -> Request[Page[Raw]]:
    """Return a request for the same page whose rows are as the server wrote them, unchecked."""
    query = dict(request.query)
    page, limit = int(query["page"]), int(query["limit"])
    read = partial(_loads_page, _RAW_ROWS, page)
    return Request(request.path, request.query, read, "raw", past_end=_past_end(page, limit))


def raw_order(order_id: int) -> Request[RawOrderData]:
    """Return the request for one order, as the server wrote it, unchecked.

    Raises:
        ValueError: `order_id` is not a positive integer.
    """
    request = order(order_id)
    return Request(request.path, request.query, _RAW_ORDER.loads, "raw")


def raw_revenue(period: Period | str = Period.MONTH) -> Request[RawRevenue]:
    """Return the request for a revenue series, its days as the server wrote them, unchecked.

    Raises:
        ValueError: `period` is not one of the reference's.
    """
    request = revenue(period)
    read = partial(_loads_raw_series, request.query[0][1])
    return Request(request.path, request.query, read, "raw")


def raw_overview() -> Request[RawFigures]:
    """Return the request for the store's key figures, as the server wrote them, unchecked."""
    return Request(overview().path, (), _loads_raw_figures, "raw")


def page_count(total: int, limit: int) -> int:
    """Return how many pages `total` rows have at `limit` rows a page: at least one."""
    return max(1, -(-total // limit))


def _loads_page(pages: Loader[Envelope[Page[T]]], number: int, body: bytes) -> Envelope[Page[T]]:
    envelope = pages.loads(body)
    page = envelope.data
    if page_count(page.total, page.limit) <= page.page < number:
        # Some servers respond with the last page to a request for one past it.
        empty = Page[T](items=(), total=page.total, page=number, limit=page.limit)
        return Envelope(envelope.success, empty)
    _check_match("$.data.page", number, page.page)
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
    """Return a function for the empty page that a 400 or 404 stands for; None for page 1."""
    return None if page == 1 else partial(Page, items=(), total=0, page=page, limit=limit)


def _loads_series(period: str, body: bytes) -> Envelope[Revenue]:
    envelope = _REVENUE.loads(body)
    _check_match("$.data.period", period, envelope.data.period)
    return envelope


def _loads_raw_series(period: str, body: bytes) -> Envelope[RawRevenue]:
    envelope = _RAW_REVENUE.loads(body)
    _check_match("$.data.period", period, envelope.data.period)
    return envelope


def _loads_order(order_id: int, body: bytes) -> Envelope[Order]:
    envelope = _ORDER.loads(body)
    _check_match("$.data.order.id", order_id, envelope.data.order.id)
    return Envelope(envelope.success, envelope.data.order)


def _loads_raw_figures(body: bytes) -> Envelope[RawFigures]:
    envelope = _RAW_DATA.loads(body)
    return Envelope(envelope.success, RawFigures(envelope.data))


def _check_match(path: str, expected: object, received: object) -> None:
    """Refuse a response to another request, such as one left over on a kept connection."""
    if expected != received:
        raise MismatchedResponseError(path, convert.describe(expected), convert.describe(received))
