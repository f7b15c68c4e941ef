"""Whole orders as flat rows, for tables: one for an order, and one for each of its lines."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

from attrs import frozen

from .records import Instant, Order, OrderStatus, Quantity, Record, ShippingAddress


@frozen(kw_only=True)
class DetailedOrder(Record):
    """An order with the fields that only its detail has.

    Fields that the row of a list lacks are None if the order no longer existed when its detail
    was requested.
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
class OrderLine(Record):
    """One line of an order; `position` counts an order's lines from 1."""

    order_id: int
    position: int
    product_id: int | None = None
    name: str | None = None
    quantity: Quantity
    price: Decimal


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
