"""One order drawn by chance, and the rows it becomes: the same for a new store and a live one."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias, TypeVar

import attrs

from .records import EPOCH

if TYPE_CHECKING:
    import random
    import sqlite3
    from collections.abc import Iterable

    from .people import Address

FREE_SHIPPING_FROM: Final = 30_000
SHIPPING_COSTS: Final = (1000, 1290, 1590, 2490)

Row: TypeAlias = "tuple[int | str, ...]"

T_co = TypeVar("T_co", covariant=True)


class Choices(Protocol[T_co]):
    """What can be drawn from, by position; a list, or a table that is not read whole."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> T_co: ...


@attrs.frozen
class Article:
    """A product as an order's line has it; the price is in cents."""

    product_id: int
    name: str
    price: int


@attrs.frozen
class Buyer:
    """A customer, and where they live."""

    customer_id: int
    address: Address


@attrs.frozen
class Basket:
    """What an order is about, before it has an id, a number and a status; money is in cents."""

    customer_id: int
    address: Address
    lines: tuple[tuple[Article, int], ...]
    subtotal: int
    shipping: int
    discount: int

    def order_row(
        self, order_id: int, store_id: int, number: int, status: str, times: tuple[int, int]
    ) -> Row:
        """Give the order's row.

        Args:
            order_id: Its id.
            store_id: The store it belongs to.
            number: Which of the store's orders it is.
            status: How far it is.
            times: When it was made and last changed, in milliseconds since 1970.

        Returns:
            The values of all columns of `orders`.
        """
        year = (EPOCH + timedelta(milliseconds=times[0])).year
        return (
            order_id,
            store_id,
            f"ORD-{year}-{number:06d}",
            status,
            self.customer_id,
            self.subtotal,
            self.shipping,
            self.discount,
            self.subtotal + self.shipping - self.discount,
            *self.address,
            *times,
        )

    def line_rows(self, order_id: int) -> list[Row]:
        """Give the rows of its lines.

        Args:
            order_id: The order's id.

        Returns:
            The values of all columns of `order_items`, for each line.
        """
        return [
            (order_id, position, article.product_id, article.name, quantity, article.price)
            for position, (article, quantity) in enumerate(self.lines)
        ]


def draw_basket(
    rng: random.Random,
    articles: Choices[Article],
    buyers: Choices[Buyer],
    *,
    on_sale: int,
    known: int,
) -> Basket:
    """Draw who buys what, and what that costs.

    Args:
        rng: Where the chance comes from.
        articles: The store's products, oldest first.
        buyers: Its customers, oldest first.
        on_sale: How many of the products exist already; at least one.
        known: How many of the customers do; at least one.

    Returns:
        One to five products for one customer, sent to them or now and then to another.
    """
    # Squaring makes some customers come back often, and most of them seldom.
    buyer = buyers[int(rng.random() ** 2 * known)]
    lines = _draw_lines(rng, articles, on_sale)
    subtotal = sum(quantity * article.price for article, quantity in lines)
    shipping = 0 if subtotal >= FREE_SHIPPING_FROM else rng.choice(SHIPPING_COSTS)
    discount = subtotal * rng.choice((5, 10, 15)) // 100 if rng.random() < 0.15 else 0  # noqa: PLR2004
    receiver = buyer if rng.random() < 0.9 else rng.choice(buyers)  # noqa: PLR2004
    return Basket(buyer.customer_id, receiver.address, lines, subtotal, shipping, discount)


def _draw_lines(
    rng: random.Random, articles: Choices[Article], on_sale: int
) -> tuple[tuple[Article, int], ...]:
    """Draw an order's articles and how many of each."""
    count = min(on_sale, rng.choices((1, 2, 3, 4, 5), (50, 27, 13, 7, 3))[0])
    # By id: where products are gone, two positions can give the same one.
    lines: dict[int, tuple[Article, int]] = {}
    for index in rng.sample(range(on_sale), count):
        article = articles[index]
        lines[article.product_id] = (article, rng.choices((1, 2, 3, 4), (72, 19, 6, 3))[0])
    return tuple(lines.values())


def write_orders(
    connection: sqlite3.Connection, orders: Iterable[Row], lines: Iterable[Row]
) -> None:
    """Write orders with their lines.

    Args:
        connection: A sandbox's database, within a transaction.
        orders: The orders' rows.
        lines: The lines' rows.
    """
    connection.executemany(f"INSERT INTO orders VALUES ({', '.join('?' * 15)})", orders)  # noqa: S608
    connection.executemany("INSERT INTO order_items VALUES (?, ?, ?, ?, ?, ?)", lines)


def last_id(connection: sqlite3.Connection, table: str) -> int:
    """Give a table's greatest id.

    Args:
        connection: A sandbox's database.
        table: One of its tables.

    Returns:
        The id, or 0 if the table is empty.
    """
    row: tuple[int] = connection.execute(f"SELECT coalesce(max(id), 0) FROM {table}").fetchone()  # noqa: S608
    return row[0]
