"""A store made from a seed: the same seed, sizes and day give the same rows."""

from __future__ import annotations

import bisect
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Final

import attrs

from . import people
from .catalogue import Product, make_products
from .database import transaction
from .orders import Article, Buyer, Row, draw_basket, last_id, write_orders
from .records import DAY_MS, EPOCH, SandboxError
from .seeds import seeded

if TYPE_CHECKING:
    import random
    import sqlite3

SPAN_DAYS: Final = 730
"""Orders lie in the two years before today; today itself has none yet."""

HEAD_START_DAYS: Final = 180
"""Customers and products begin to exist this long before the first order can."""

BLACK_FRIDAY_MONTH: Final = 11
CHRISTMAS_MONTH: Final = 12
WEEKDAY_WEIGHTS: Final = (1.0, 0.95, 1.0, 1.05, 1.3, 1.6, 1.4)
HOUR_WEIGHTS: Final = (2, 1, 1, 1, 1, 1, 2, 3, 5, 6, 7, 9, 11, 9, 7, 7, 7, 8, 9, 11, 13, 12, 8, 4)

FRESH_DAYS: Final = 10
FRESH_STATUSES: Final = {"pending": 15, "paid": 45, "shipped": 30, "completed": 5, "cancelled": 5}
SETTLED_STATUSES: Final = {"pending": 1, "paid": 8, "shipped": 8, "completed": 74, "cancelled": 9}


@attrs.frozen
class Sizes:
    """How many rows a generated store has."""

    orders: int
    products: int
    customers: int

    def __attrs_post_init__(self) -> None:
        if min(self.orders, self.products, self.customers) < 0:
            raise SandboxError("orders, products and customers can't be negative")
        if self.orders and not (self.products and self.customers):
            raise SandboxError("a store with orders needs a product and a customer")


@attrs.frozen
class _Base:
    """The ids a new store's rows begin after: ids run through all stores of a database."""

    store: int
    order: int
    product: int
    customer: int


def create_store(
    connection: sqlite3.Connection,
    name: str,
    *,
    orders: int = 1563,
    products: int = 87,
    customers: int = 342,
    seed: int = 1,
    today: date | None = None,
) -> int:
    """Add a whole store to a database.

    Args:
        connection: A sandbox's database.
        name: What to call the store.
        orders: How many orders it has.
        products: How many products.
        customers: How many customers.
        seed: The same seed, sizes and today give the same store.
        today: The day the two years of orders end before; None is the present UTC day.

    Returns:
        The store's id.

    Raises:
        SandboxError: A size is negative, or orders have no product or customer.
    """
    sizes = Sizes(orders, products, customers)
    day = datetime.now(UTC).date() if today is None else today
    if day.toordinal() <= SPAN_DAYS + 2 * HEAD_START_DAYS:
        raise SandboxError(f"no two years of orders fit before {day}")
    rng = seeded(seed)
    with transaction(connection):
        base = _Base(
            *(last_id(connection, t) for t in ("stores", "orders", "products", "customers"))
        )
        connection.execute("INSERT INTO stores (id, name) VALUES (?, ?)", (base.store + 1, name))
        _fill(connection, base, sizes, rng, day)
    return base.store + 1


def _fill(
    connection: sqlite3.Connection, base: _Base, sizes: Sizes, rng: random.Random, today: date
) -> None:
    """Write a store's products, customers, orders and lines."""
    end = _day_ms(today)
    first_order = end - SPAN_DAYS * DAY_MS
    births = (first_order - HEAD_START_DAYS * DAY_MS, end)
    store = base.store + 1
    catalogue = make_products(rng, sizes.products, births)
    crowd = people.make_customers(rng, sizes.customers, births)
    connection.executemany(
        "INSERT INTO products VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (base.product + n, store, p.name, p.slug, p.price, p.stock, p.status, p.created_at)
            for n, p in enumerate(catalogue, 1)
        ],
    )
    connection.executemany(
        "INSERT INTO customers VALUES (?, ?, ?, ?, ?)",
        [(base.customer + n, store, c.name, c.email, c.created_at) for n, c in enumerate(crowd, 1)],
    )
    maker = _OrderMaker(rng, base, catalogue, crowd, end)
    for number, created_at in enumerate(_order_times(rng, sizes.orders, today), 1):
        maker.add(number, created_at)
    write_orders(connection, maker.orders, maker.lines)


class _OrderMaker:
    """Draws orders one by one, into rows for the two tables."""

    def __init__(
        self,
        rng: random.Random,
        base: _Base,
        catalogue: list[Product],
        crowd: list[people.Customer],
        end: int,
    ) -> None:
        self.orders: list[Row] = []
        self.lines: list[Row] = []
        self._rng = rng
        self._base = base
        self._end = end
        self._articles = [
            Article(base.product + n, product.name, product.price)
            for n, product in enumerate(catalogue, 1)
        ]
        self._buyers = [
            Buyer(base.customer + n, customer.address) for n, customer in enumerate(crowd, 1)
        ]
        self._product_births = [product.created_at for product in catalogue]
        self._customer_births = [customer.created_at for customer in crowd]

    def add(self, number: int, created_at: int) -> None:
        """Draw the store's order of this number, placed at this instant."""
        rng = self._rng
        basket = draw_basket(
            rng,
            self._articles,
            self._buyers,
            on_sale=bisect.bisect_right(self._product_births, created_at),
            known=bisect.bisect_right(self._customer_births, created_at),
        )
        order_id = self._base.order + number
        status = _draw_status(rng, (self._end - created_at) / DAY_MS)
        updated_at = min(created_at + rng.randrange(60_000, 6 * DAY_MS), self._end)
        self.orders.append(
            basket.order_row(
                order_id, self._base.store + 1, number, status, (created_at, updated_at)
            )
        )
        self.lines += basket.line_rows(order_id)


def _draw_status(rng: random.Random, age_days: float) -> str:
    weights = FRESH_STATUSES if age_days < FRESH_DAYS else SETTLED_STATUSES
    return rng.choices(list(weights), list(weights.values()))[0]


def _order_times(rng: random.Random, count: int, today: date) -> list[int]:
    """Draw the instants of a store's orders, in the order in which it numbers them.

    The store grows over the two years, sells more at weekends and before Christmas, and
    takes a few orders in late, so that the order of ids is not quite that of instants.
    """
    days = [today - timedelta(days=back) for back in range(SPAN_DAYS, 0, -1)]
    weights = [
        WEEKDAY_WEIGHTS[day.weekday()]
        * {BLACK_FRIDAY_MONTH: 1.5, CHRISTMAS_MONTH: 1.7}.get(day.month, 1.0)
        * (0.4 + 1.6 * position / SPAN_DAYS)
        for position, day in enumerate(days)
    ]
    hours = rng.choices(range(24), HOUR_WEIGHTS, k=count)
    times = sorted(
        _day_ms(day) + hour * 3_600_000 + rng.randrange(3_600) * 1000
        for day, hour in zip(rng.choices(days, weights, k=count), hours, strict=True)
    )
    for _ in range(count // 100):
        late = rng.randrange(count - 1)
        times[late], times[late + 1] = times[late + 1], times[late]
    return times


def _day_ms(day: date) -> int:
    """Give a day's beginning in UTC, in milliseconds since 1970."""
    return (day.toordinal() - EPOCH.toordinal()) * DAY_MS
