"""What an export writes: tables of flat records, with the wire's own field names."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from functools import cached_property
from typing import Literal

from attrs import AttrsInstance, frozen

from ..records import (
    Customer,
    DailyRevenue,
    Instant,
    Order,
    OrderStatus,
    OrderSummary,
    Overview,
    Product,
    Quantity,
    ShippingAddress,
)

Resource = Literal["orders", "products", "customers", "revenue", "overview"]
Format = Literal["jsonl", "csv", "parquet", "duckdb", "sqlite"]


@frozen(kw_only=True)
class DetailedOrder:
    """An order with what only its detail tells.

    All that an order's list row lacks is None where the order was gone when its detail was asked
    for.
    """

    id: int
    order_number: str
    status: OrderStatus
    total: Decimal
    subtotal: Decimal | None = None
    shipping_cost: Decimal | None = None
    discount: Decimal | None = None
    customer_name: str | None = None
    customer_email: str | None = None
    shipping_address_street: str | None = None
    shipping_address_city: str | None = None
    shipping_address_state: str | None = None
    shipping_address_zip: str | None = None
    created_at: Instant
    updated_at: dt.datetime | None = None


@frozen(kw_only=True)
class OrderLine:
    """One line of an order; `position` counts an order's lines from 1."""

    order_id: int
    position: int
    product_id: int | None = None
    name: str | None = None
    quantity: Quantity
    price: Decimal


@frozen
class Table:
    """A table of an export.

    Args:
        name: The name of the table, or of its file.
        record: What each row is: an attrs class of int, str, `OpenEnum`, `Decimal`, `Quantity`,
            aware `datetime` and `date` fields, some of them optional.
    """

    name: str
    record: type[AttrsInstance]

    @property
    def key(self) -> bool:
        """Whether `id` tells its rows apart."""
        return any(field.name == "id" for field in self.record.__attrs_attrs__)


class Batch:
    """Some rows of a table, as JSON and as records.

    Args:
        lines: Each row as JSON on one line, without a line end.
        decode: Makes the records of them, when they are asked for.
    """

    def __init__(
        self,
        lines: Sequence[bytes],
        decode: Callable[[Sequence[bytes]], Sequence[AttrsInstance]],
    ) -> None:
        self.lines = lines
        self._decode = decode

    def __len__(self) -> int:
        return len(self.lines)

    @cached_property
    def records(self) -> Sequence[AttrsInstance]:
        """The rows as the table's records."""
        return self._decode(self.lines)


RECORDS: Mapping[Resource, type[AttrsInstance]] = {
    "orders": OrderSummary,
    "products": Product,
    "customers": Customer,
    "revenue": DailyRevenue,
    "overview": Overview,
}
ORDER_ITEMS = Table("order_items", OrderLine)


def table_named(name: str) -> Table:
    """Give a table by its name, for whoever only counts its rows.

    Raises:
        ValueError: There is no such table.
    """
    if name == ORDER_ITEMS.name:
        return ORDER_ITEMS
    for resource, record in RECORDS.items():
        if resource == name:
            return Table(name, record)
    raise ValueError(f"there is no table {name!r}")


def detailed(order: Order) -> DetailedOrder:
    """Make the flat row of an order."""
    address = order.shipping_address or ShippingAddress()
    return DetailedOrder(
        id=order.id,
        order_number=order.order_number,
        status=order.status,
        total=order.total,
        subtotal=order.subtotal,
        shipping_cost=order.shipping_cost,
        discount=order.discount,
        customer_name=order.customer_name,
        customer_email=order.customer_email,
        shipping_address_street=address.street,
        shipping_address_city=address.city,
        shipping_address_state=address.state,
        shipping_address_zip=address.zip,
        created_at=order.created_at,
        updated_at=order.updated_at,
    )


def order_lines(order: Order) -> list[OrderLine]:
    """Make the rows of an order's lines."""
    return [
        OrderLine(
            order_id=order.id,
            position=position,
            product_id=item.product_id,
            name=item.name,
            quantity=item.quantity,
            price=item.price,
        )
        for position, item in enumerate(order.items, 1)
    ]
