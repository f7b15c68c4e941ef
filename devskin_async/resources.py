"""The store's resources: what can be read, with its arguments."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable

from .api import DEFAULT_LIMIT, endpoints
from .listings import Listing, Rows
from .reader import Reader
from .records import Customer, Order, OrderStatus, OrderSummary, Overview, Page, Product


class Orders:
    """The store's orders, newest first."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def get(self, order_id: int) -> Order:
        """Read one order, whole.

        Args:
            order_id: The order's `id`.

        Raises:
            NotFoundError: The store has no such order.
            ValueError: `order_id` is not a positive integer.
        """
        return await self._reader.one(endpoints.order(order_id))

    def get_many(self, order_ids: Iterable[int]) -> Rows[Order]:
        """Read many orders, whole, concurrently; one request each.

        Args:
            order_ids: The orders' ids.

        Returns:
            The orders in the order of the ids, by `async for` or `await`. An id that the store
            does not have ends the reading with `NotFoundError`.

        Raises:
            ValueError: An id is not a positive integer.
        """
        wanted = (endpoints.order(order_id) for order_id in order_ids)
        return self._reader.many(Order, wanted, "orders by their ids")

    async def page(
        self,
        page: int = 1,
        *,
        limit: int = DEFAULT_LIMIT,
        status: OrderStatus | str | None = None,
        date_from: dt.date | str | None = None,
        date_to: dt.date | str | None = None,
    ) -> Page[OrderSummary]:
        """Read one page of orders.

        Args:
            page: The page's number, from 1.
            limit: Rows a page, 1 to 100.
            status: Only orders of this status.
            date_from: Only orders from this day on, a date or YYYY-MM-DD.
            date_to: Only orders up to this day.

        Raises:
            ValueError: An argument is out of its bounds.
        """
        return await self._reader.one(
            endpoints.orders(page, limit, status=status, date_from=date_from, date_to=date_to)
        )

    def list(
        self,
        *,
        status: OrderStatus | str | None = None,
        date_from: dt.date | str | None = None,
        date_to: dt.date | str | None = None,
        limit: int | None = None,
    ) -> Listing[OrderSummary]:
        """Read all orders, 100 a request, several requests at a time.

        Args:
            status: Only orders of this status.
            date_from: Only orders from this day on, a date or YYYY-MM-DD.
            date_to: Only orders up to this day.
            limit: How many orders to read at the most; None reads all.

        Returns:
            The orders, by `async for`, `await`, or page by page. Orders that come, go or change
            while they are read can shift the pages: rows may be missing or come twice. If the
            pages of an unchanged list contradict each other or their total, the last row is
            followed by `InconsistentListError`.

        Raises:
            ValueError: An argument is out of its bounds.
        """
        return self._reader.listing(
            OrderSummary,
            lambda page, rows: endpoints.orders(
                page, rows, status=status, date_from=date_from, date_to=date_to
            ),
            limit,
        )


class Products:
    """The store's products."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def page(self, page: int = 1, *, limit: int = DEFAULT_LIMIT) -> Page[Product]:
        """Read one page of products.

        Args:
            page: The page's number, from 1.
            limit: Rows a page, 1 to 100.

        Raises:
            ValueError: An argument is out of its bounds.
        """
        return await self._reader.one(endpoints.products(page, limit))

    def list(self, *, limit: int | None = None) -> Listing[Product]:
        """Read all products, 100 a request, several requests at a time.

        Args:
            limit: How many products to read at the most; None reads all.

        Returns:
            The products, as `Orders.list` returns the orders.

        Raises:
            ValueError: `limit` is not a positive integer.
        """
        return self._reader.listing(Product, endpoints.products, limit)


class Customers:
    """The store's customers."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def page(self, page: int = 1, *, limit: int = DEFAULT_LIMIT) -> Page[Customer]:
        """Read one page of customers.

        Args:
            page: The page's number, from 1.
            limit: Rows a page, 1 to 100.

        Raises:
            ValueError: An argument is out of its bounds.
        """
        return await self._reader.one(endpoints.customers(page, limit))

    def list(self, *, limit: int | None = None) -> Listing[Customer]:
        """Read all customers, 100 a request, several requests at a time.

        Args:
            limit: How many customers to read at the most; None reads all.

        Returns:
            The customers, as `Orders.list` returns the orders.

        Raises:
            ValueError: `limit` is not a positive integer.
        """
        return self._reader.listing(Customer, endpoints.customers, limit)


class Analytics:
    """The store's key figures."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def overview(self) -> Overview:
        """Read the store's key figures."""
        return await self._reader.one(endpoints.overview())
