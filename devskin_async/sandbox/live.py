"""A store in use: orders placed, moved on and removed, one at a time."""

# ruff: noqa: S608 - queries are put together from the words of this module; values are bound

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final

import attrs

from .database import transaction
from .orders import Article, Buyer, draw_basket, last_id, write_orders
from .people import address_source
from .records import SandboxError
from .seeds import seeded

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

    from .people import Address

FIRST_STATUS: Final = "pending"
NEXT_STATUS: Final = {"pending": "paid", "paid": "shipped", "shipped": "completed"}
CANCELLABLE: Final = ("pending", "paid")
CANCELLED_SHARE: Final = 0.05
"""How many of the steps that could cancel an order do."""

RECENT: Final = 50
"""An order that moves on is one of this many newest of its status."""

_log = logging.getLogger(__name__)


@attrs.frozen
class OrderChange:
    """What happened to an order: placed if it had no status before, removed if it has none now."""

    order_id: int
    old: str | None
    new: str | None


class LiveStore:
    """Lets things happen in one store, each in a transaction of its own.

    What it chooses among is found by index, so a step costs the same in a store of a million
    orders as in a small one. Nothing here awaits: a step is done when its method returns.

    Attributes:
        listeners: Called with each change once it is written; what they raise is logged.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        store_id: int,
        *,
        seed: int = 1,
        now: Callable[[], int] | None = None,
        outbox: Callable[[OrderChange], object] | None = None,
    ) -> None:
        """Take a store in use.

        Args:
            connection: A sandbox's database.
            store_id: One of its stores.
            seed: The same seed, store and steps give the same changes.
            now: Gives the present in milliseconds since 1970; None is the machine's clock.
            outbox: Called within a change's transaction, to write what must not be lost; what
                it raises undoes the change. None writes nothing.
        """
        self.listeners: set[Callable[[OrderChange], object]] = set()
        self._outbox = outbox
        self._connection = connection
        self._store_id = store_id
        self._now = _clock if now is None else now
        self._rng = seeded(seed)
        self._draw_address = address_source(self._rng)

    def check(self) -> None:
        """See that an order can be placed.

        Raises:
            SandboxError: The store has no product or no customer at present.
        """
        self._choices(self._now())

    def insert(self) -> int:
        """Place an order, as those of a new store are but pending and of the present moment.

        Returns:
            Its id: greater than any before, like its number.

        Raises:
            SandboxError: The store has no product or no customer at present, or the database
                can't be written.
        """
        connection = self._connection
        with transaction(connection):
            now = self._now()
            articles, buyers = self._choices(now)
            basket = draw_basket(
                self._rng, articles, buyers, on_sale=len(articles), known=len(buyers)
            )
            order_id = last_id(connection, "orders") + 1
            row = basket.order_row(
                order_id, self._store_id, self._last_number() + 1, FIRST_STATUS, (now, now)
            )
            write_orders(connection, [row], basket.line_rows(order_id))
            change = self._noted(OrderChange(order_id, None, FIRST_STATUS))
        self._tell(change)
        return order_id

    def change(self) -> int | None:
        """Move an open order on: pending, paid, shipped, completed; some are cancelled unshipped.

        The three steps are equally likely, as far as there are orders to take them.

        Returns:
            The order's id, or None if the store has no open order.

        Raises:
            SandboxError: The database can't be written.
        """
        with transaction(self._connection):
            if (found := self._open_order()) is None:
                return None
            order_id, old = found
            new = NEXT_STATUS[old]
            if old in CANCELLABLE and self._rng.random() < CANCELLED_SHARE:
                new = "cancelled"
            self._connection.execute(
                # A clock that was set back must not make a change older than the order.
                "UPDATE orders SET status = ?, updated_at = max(?, created_at, updated_at)"
                " WHERE id = ?",
                (new, self._now(), order_id),
            )
            change = self._noted(OrderChange(order_id, old, new))
        self._tell(change)
        return order_id

    def remove(self) -> int | None:
        """Remove an order with its lines, whatever its age.

        Only the store's last one stays, so that no id or number is ever given twice.

        Returns:
            The id it had, or None if there is no order but the last.

        Raises:
            SandboxError: The database can't be written.
        """
        connection = self._connection
        with transaction(connection):
            if (found := self._any_order()) is None:
                return None
            order_id, old = found
            connection.execute("DELETE FROM order_items WHERE order_id = ?", (order_id,))
            connection.execute("DELETE FROM orders WHERE id = ?", (order_id,))
            change = self._noted(OrderChange(order_id, old, None))
        self._tell(change)
        return order_id

    def _choices(self, now: int) -> tuple[_Articles, _Buyers]:
        """Give what an order can be made of at an instant."""
        articles = _Articles(self._connection, self._store_id, now)
        buyers = _Buyers(self._connection, self._store_id, now, self._draw_address)
        if not (len(articles) and len(buyers)):
            raise SandboxError("a new order needs a product and a customer")
        return articles, buyers

    def _last_number(self) -> int:
        row = self._connection.execute(
            "SELECT order_number FROM orders WHERE store_id = ? ORDER BY id DESC LIMIT 1",
            (self._store_id,),
        ).fetchone()
        return 0 if row is None else int(row[0].rpartition("-")[2])

    def _open_order(self) -> tuple[int, str] | None:
        """Choose a status, and one of its recent orders."""
        for status in self._rng.sample(tuple(NEXT_STATUS), len(NEXT_STATUS)):
            rows = self._connection.execute(
                "SELECT id FROM orders WHERE store_id = ? AND status = ?"
                " ORDER BY created_at DESC LIMIT ?",
                (self._store_id, status, RECENT),
            ).fetchall()
            if rows:
                return self._rng.choice(rows)[0], status
        return None

    def _any_order(self) -> tuple[int, str] | None:
        """Choose any of the store's orders but the last."""
        ends = [
            self._connection.execute(
                f"SELECT id FROM orders WHERE store_id = ? ORDER BY id {direction} LIMIT 1",
                (self._store_id,),
            ).fetchone()
            for direction in ("ASC", "DESC")
        ]
        if ends[0] == ends[1]:
            return None
        (first,), (last,) = ends
        # Downwards: where orders are gone, the first one is met at the latest, and the last never.
        found: tuple[int, str] = self._connection.execute(
            "SELECT id, status FROM orders WHERE store_id = ? AND id <= ? ORDER BY id DESC LIMIT 1",
            (self._store_id, self._rng.randrange(first, last)),
        ).fetchone()
        return found

    def _noted(self, change: OrderChange) -> OrderChange:
        """Write along, in the same transaction, what must not be lost if the process ends here."""
        if self._outbox is not None:
            self._outbox(change)
        return change

    def _tell(self, change: OrderChange) -> None:
        for listener in tuple(self.listeners):
            try:
                listener(change)
            except Exception:  # noqa: BLE001 - whatever it is, the store goes on
                _log.exception("a listener failed on %s", change)


class _Existing:
    """The rows of a store's table that exist at an instant, oldest first, none of them read yet.

    A position is a distance of ids, since a store's ids rise with age. Where rows are gone, the
    next one stands in.
    """

    table: str

    def __init__(self, connection: sqlite3.Connection, store_id: int, at: int) -> None:
        self._connection = connection
        self._mine = (store_id, at)
        ends = [
            row[0]
            for direction in ("ASC", "DESC")
            for row in connection.execute(
                f"SELECT id FROM {self.table} WHERE store_id = ? AND created_at <= ?"
                f" ORDER BY created_at {direction}, id {direction} LIMIT 1",
                self._mine,
            )
        ]
        self._first = min(ends, default=0)
        self._count = max(ends) - self._first + 1 if ends else 0

    def __len__(self) -> int:
        return self._count

    def _id(self, index: int) -> int:
        # NOT INDEXED leaves the way by id, which alone gives the next one without sorting.
        row: tuple[int] = self._connection.execute(
            f"SELECT id FROM {self.table} NOT INDEXED"
            " WHERE store_id = ? AND created_at <= ? AND id >= ? ORDER BY id LIMIT 1",
            (*self._mine, self._first + index),
        ).fetchone()
        return row[0]


class _Articles(_Existing):
    """The products on sale."""

    table = "products"

    def __getitem__(self, index: int, /) -> Article:
        row = self._connection.execute(
            "SELECT id, name, price FROM products WHERE id = ?", (self._id(index),)
        ).fetchone()
        return Article(*row)


class _Buyers(_Existing):
    """The customers, living where an order of theirs went; those without one, anywhere."""

    table = "customers"

    def __init__(
        self,
        connection: sqlite3.Connection,
        store_id: int,
        at: int,
        draw_address: Callable[[], Address],
    ) -> None:
        super().__init__(connection, store_id, at)
        self._draw_address = draw_address

    def __getitem__(self, index: int, /) -> Buyer:
        customer_id = self._id(index)
        address: Address | None = self._connection.execute(
            "SELECT street, city, state, zip FROM orders WHERE customer_id = ? LIMIT 1",
            (customer_id,),
        ).fetchone()
        return Buyer(customer_id, self._draw_address() if address is None else address)


def _clock() -> int:
    return time.time_ns() // 1_000_000
