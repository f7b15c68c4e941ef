"""What a store knows, read from SQLite and shaped as the reference shows it."""

# ruff: noqa: S608 - queries are put together from the words of this module; values are bound

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

import attrs

from .records import (
    COUNTED,
    PERIODS,
    Json,
    JsonObject,
    ListOrder,
    instant,
    money,
)
from .view import REFUNDED_EVERY

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from .parameters import OrdersQuery, PageQuery
    from .view import View

MONTH: Final = "30d"
"""What the overview calls monthly is the revenue of this period, as in the reference's examples."""

SHARES: Final = 10_000
SCATTERED_BY: Final = 7919
"""A prime: ids in a row are spread evenly over all shares."""

_COUNTED = ", ".join(f"'{status}'" for status in COUNTED)
_SORT: Final[dict[ListOrder, str]] = {
    "newest": "created_at DESC, id DESC",
    "oldest": "created_at, id",
    "id": "id",
}


@attrs.frozen
class StoreReader:
    """One store's answers; each method gives an envelope's `data`."""

    connection: sqlite3.Connection
    store_id: int
    view: View

    def orders(self, query: OrdersQuery) -> JsonObject:
        """List orders.

        Args:
            query: The page and the filters.

        Returns:
            items, total, page, limit.
        """
        where, arguments = self._filters(query)
        rows = self.connection.execute(
            "SELECT o.id, o.order_number, o.status, o.total, c.name, c.email, o.created_at"
            f" FROM ({self._page_of('orders', where)}) AS page"
            " JOIN orders AS o ON o.id = page.id JOIN customers AS c ON c.id = o.customer_id"
            f" ORDER BY page.position",
            (*arguments, query.limit, query.offset),
        )
        items: list[Json] = [
            {
                "id": order_id,
                "order_number": number,
                "status": status,
                "total": money(total),
                "customer_name": name,
                "customer_email": email,
                "created_at": instant(created_at),
            }
            for order_id, number, status, total, name, email, created_at in rows
        ]
        return self._envelope("orders", where, arguments, query, items)

    def order(self, order_id: int) -> JsonObject | None:
        """Read one order.

        Args:
            order_id: Its id.

        Returns:
            The order under `order`, or None if the store has no such order.
        """
        row = self.connection.execute(
            "SELECT o.order_number, o.status, o.total, o.subtotal, o.shipping_cost, o.discount,"
            " c.name, c.email, o.street, o.city, o.state, o.zip, o.created_at, o.updated_at"
            " FROM orders AS o JOIN customers AS c ON c.id = o.customer_id"
            " WHERE o.id = ? AND o.store_id = ?",
            (order_id, self.store_id),
        ).fetchone()
        if row is None:
            return None
        number, status, total, subtotal, shipping, discount, name, email, *rest = row
        street, city, state, zip_code, created_at, updated_at = rest
        return {
            "order": {
                "id": order_id,
                "order_number": number,
                "status": status,
                "total": money(total),
                "subtotal": money(subtotal),
                "shipping_cost": money(shipping),
                "discount": money(discount),
                "customer_name": name,
                "customer_email": email,
                "items": self._lines(order_id),
                "shipping_address": {
                    "street": street,
                    "city": city,
                    "state": state,
                    "zip": zip_code,
                },
                "created_at": instant(created_at),
                "updated_at": instant(updated_at),
            }
        }

    def revenue(self, period: str) -> JsonObject:
        """Add up what came in, day by day.

        Args:
            period: One of the four periods; it ends today, and today is part of it.

        Returns:
            period, total, and daily: newest first, without the days on which nothing came in.
        """
        rows = self.connection.execute(
            "WITH days AS MATERIALIZED (SELECT json_extract(value, '$[0]') AS day,"
            " json_extract(value, '$[1]') AS first, json_extract(value, '$[2]') AS after"
            " FROM json_each(?))"
            " SELECT day, sum(total), count(*) FROM days CROSS JOIN orders ON store_id = ?"
            f" AND created_at >= first AND created_at < after AND status IN ({_COUNTED})"
            " GROUP BY day ORDER BY day DESC",
            (json.dumps(self.view.days(PERIODS[period])), self.store_id),
        ).fetchall()
        daily: list[Json] = [
            {"date": day, "total": money(total), "count": count} for day, total, count in rows
        ]
        return {
            "period": period,
            "total": money(sum(total for _, total, _ in rows)),
            "daily": daily,
        }

    def products(self, query: PageQuery) -> JsonObject:
        """List products.

        Args:
            query: The page.

        Returns:
            items, total, page, limit.
        """
        where, arguments = "store_id = ?", (self.store_id,)
        rows = self.connection.execute(
            "SELECT p.id, p.name, p.slug, p.price, p.stock, p.status, p.created_at"
            f" FROM ({self._page_of('products', where)}) AS page"
            " JOIN products AS p ON p.id = page.id ORDER BY page.position",
            (*arguments, query.limit, query.offset),
        )
        items: list[Json] = [
            {
                "id": product_id,
                "name": name,
                "slug": slug,
                "price": money(price),
                "stock": stock,
                "status": status,
                "created_at": instant(created_at),
            }
            for product_id, name, slug, price, stock, status, created_at in rows
        ]
        return self._envelope("products", where, arguments, query, items)

    def customers(self, query: PageQuery) -> JsonObject:
        """List customers.

        Args:
            query: The page.

        Returns:
            items, total, page, limit; total_orders counts a customer's orders of every status,
            total_spent adds up those that make revenue.
        """
        where, arguments = "store_id = ?", (self.store_id,)
        rows = self.connection.execute(
            "SELECT c.id, c.name, c.email,"
            " (SELECT count(*) FROM orders WHERE customer_id = c.id),"
            " (SELECT coalesce(sum(total), 0) FROM orders"
            f" WHERE customer_id = c.id AND status IN ({_COUNTED})), c.created_at"
            f" FROM ({self._page_of('customers', where)}) AS page"
            " JOIN customers AS c ON c.id = page.id ORDER BY page.position",
            (*arguments, query.limit, query.offset),
        )
        items: list[Json] = [
            {
                "id": customer_id,
                "name": name,
                "email": email,
                "total_orders": orders,
                "total_spent": money(spent),
                "created_at": instant(created_at),
            }
            for customer_id, name, email, orders, spent, created_at in rows
        ]
        return self._envelope("customers", where, arguments, query, items)

    def overview(self) -> JsonObject:
        """Sum the store up.

        Returns:
            The five metrics; orders are counted in every status, revenue in the counted ones.
        """
        span = self.view.days(PERIODS[MONTH])
        mine = "store_id = :store"
        counted = f"FROM orders WHERE {mine} AND status IN ({_COUNTED})"
        monthly = "created_at >= :first AND created_at < :after"
        row = self.connection.execute(
            f"SELECT (SELECT count(*) FROM orders WHERE {mine}),"
            f" (SELECT count(*) FROM orders WHERE {mine} AND {monthly}),"
            f" (SELECT coalesce(sum(total), 0) {counted}),"
            f" (SELECT coalesce(sum(total), 0) {counted} AND {monthly}),"
            f" (SELECT count(*) FROM products WHERE {mine})",
            {"store": self.store_id, "first": span[-1][1], "after": span[0][2]},
        ).fetchone()
        orders, monthly_orders, revenue, monthly_revenue, products = row
        return {
            "total_orders": orders,
            "monthly_orders": monthly_orders,
            "total_revenue": money(revenue),
            "monthly_revenue": money(monthly_revenue),
            "total_products": products,
        }

    def _page_of(self, table: str, where: str) -> str:
        """Write the query for a page's ids, which an index answers even deep in the list."""
        sort = _SORT[self.view.order]
        return (
            f"SELECT id, row_number() OVER () AS position FROM (SELECT id FROM {table}"
            f" WHERE {where} ORDER BY {sort} LIMIT ? OFFSET ?)"
        )

    def _envelope(
        self,
        table: str,
        where: str,
        arguments: Sequence[int | str],
        query: PageQuery,
        items: list[Json],
    ) -> JsonObject:
        total = self.connection.execute(
            f"SELECT count(*) FROM {table} WHERE {where}",
            arguments,
        ).fetchone()[0]
        return {"items": items, "total": total, "page": query.page, "limit": query.limit}

    def _lines(self, order_id: int) -> list[Json]:
        rows = self.connection.execute(
            "SELECT product_id, name, quantity, price FROM order_items"
            " WHERE order_id = ? ORDER BY position",
            (order_id,),
        )
        return [
            {"product_id": product_id, "name": name, "quantity": quantity, "price": money(price)}
            for product_id, name, quantity, price in rows
        ]

    def _filters(self, query: OrdersQuery) -> tuple[str, tuple[int | str, ...]]:
        """Write the filters of a list of orders as a condition with its arguments."""
        where = ["store_id = ?"]
        arguments: list[int | str] = [self.store_id]
        if query.status is not None:
            where.append("status = ?")
            arguments.append(query.status)
            if self.view.refunds and query.status == "cancelled":
                where.append(f"id % {REFUNDED_EVERY} <> 0")
        if query.date_from is not None:
            where.append("created_at >= ?")
            arguments.append(self.view.day_start(query.date_from.toordinal()))
        if query.date_to is not None:
            where.append("created_at < ?")
            last = query.date_to.toordinal() + (self.view.date_to == "inclusive")
            arguments.append(self.view.day_start(last) - round(self.view.day_cut * 1000))
        if self.view.day_loss and (query.date_from or query.date_to) is not None:
            where.append(f"id * {SCATTERED_BY} % {SHARES} >= ?")
            arguments.append(round(self.view.day_loss * SHARES))
        return " AND ".join(where), tuple(arguments)
