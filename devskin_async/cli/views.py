"""How each record is shown."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal

from attrs import define
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from ..records import (
    Customer,
    DailyRevenue,
    Order,
    OrderItem,
    OrderStatus,
    OrderSummary,
    Overview,
    Period,
    Product,
    Revenue,
    ShippingAddress,
)
from .render import Column, counted, day, facts, instant, number, table, words

_STYLES = {
    OrderStatus.PENDING: "yellow",
    OrderStatus.PAID: "cyan",
    OrderStatus.SHIPPED: "blue",
    OrderStatus.COMPLETED: "green",
    OrderStatus.CANCELLED: "red",
}
_EIGHTHS = " ▏▎▍▌▋▊▉"
_LONGEST_BAR = 40
_SHORTEST_BAR = 8
_LONGEST_PERIOD = 400
_LENGTHS: Mapping[str, int] = {
    Period.WEEK: 7,
    Period.MONTH: 30,
    Period.QUARTER: 90,
    Period.YEAR: 365,
}


def _id(number: int | None) -> Text:
    """Show an id, which is not grouped; None is left blank."""
    return Text("" if number is None else str(number))


def _status(status: OrderStatus) -> Text:
    text = words(status)
    text.stylize(_STYLES.get(status, ""))
    return text


ORDERS: Sequence[Column[OrderSummary]] = (
    Column("ID", lambda order: Text(str(order.id)), "right"),
    Column("Number", lambda order: words(order.order_number), spare=4),
    Column("Created (UTC)", lambda order: instant(order.created_at), spare=3),
    Column("Status", lambda order: _status(order.status), spare=1),
    Column("Total", lambda order: number(order.total), "right"),
    Column("Customer", lambda order: words(order.customer_name), shrinks=True, spare=2),
)
PRODUCTS: Sequence[Column[Product]] = (
    Column("ID", lambda product: Text(str(product.id)), "right"),
    Column("Name", lambda product: words(product.name), shrinks=True),
    Column("Price", lambda product: number(product.price), "right"),
    Column("Stock", lambda product: number(product.stock), "right", spare=1),
    Column("Status", lambda product: words(product.status), spare=2),
    Column("Created", lambda product: day(product.created_at), spare=3),
)
CUSTOMERS: Sequence[Column[Customer]] = (
    Column("ID", lambda customer: Text(str(customer.id)), "right"),
    Column("Name", lambda customer: words(customer.name), shrinks=True),
    Column("Orders", lambda customer: number(customer.total_orders), "right", spare=1),
    Column("Spent", lambda customer: number(customer.total_spent), "right"),
    Column("Since", lambda customer: day(customer.created_at), spare=2),
    Column("Email", lambda customer: words(customer.email), shrinks=True, spare=3),
)
_ITEMS: Sequence[Column[OrderItem]] = (
    Column("Product", lambda item: _id(item.product_id), "right"),
    Column("Name", lambda item: words(item.name), shrinks=True),
    Column("Quantity", lambda item: number(item.quantity), "right"),
    Column("Price", lambda item: number(item.price), "right", spare=1),
    Column("Sum", lambda item: number(item.quantity * item.price), "right"),
)


def overview(figures: Overview) -> Table:
    """Show the store's key figures."""
    pairs = (
        ("Orders", number(figures.total_orders)),
        ("  monthly", number(figures.monthly_orders)),
        ("Revenue", number(figures.total_revenue)),
        ("  monthly", number(figures.monthly_revenue)),
        ("Products", number(figures.total_products)),
    )
    return facts(pairs, justify="right")


def order(found: Order) -> Sequence[RenderableType]:
    """Show one order: whose it is, its lines, and what they come to."""
    head = (
        ("Order", words(f"{found.order_number} (id {found.id})")),
        ("Status", _status(found.status)),
        ("Created (UTC)", instant(found.created_at)),
        ("Updated (UTC)", instant(found.updated_at)),
        ("Customer", words(", ".join(filter(None, (found.customer_name, found.customer_email))))),
        ("Ships to", _address(found.shipping_address)),
    )
    sums = (
        ("Subtotal", number(found.subtotal)),
        ("Shipping", number(found.shipping_cost)),
        ("Discount", number(found.discount)),
        ("Total", number(found.total)),
    )
    return (
        facts(head, justify="left"),
        "",
        table(_ITEMS, found.items),
        "",
        facts(sums, justify="right"),
    )


def _address(address: ShippingAddress | None) -> Text:
    if address is None:
        return Text()
    parts = (address.street, address.city, address.state, address.zip)
    return words(", ".join(filter(None, parts)))


@define
class Span:
    """The revenue of a span of days.

    Args:
        label: What the span is called.
        count: Orders in it.
        total: Money in it.
    """

    label: str
    count: int = 0
    total: Decimal = Decimal(0)


def revenue(series: Revenue, console: Console, today: dt.date) -> Sequence[RenderableType]:
    """Show a revenue series, the newest last, with a bar for each span of days.

    Args:
        series: The series.
        console: Where it will be shown; its width makes the bars' length.
        today: The day in UTC, with which the period ends.
    """
    title, label_of = _SPANS.get(series.period, _DAYS)
    spans = _spans(series.daily, label_of, _period(series, today))
    most = max((span.total for span in spans), default=Decimal(0))
    columns = (
        Column[Span](title, lambda span: Text(span.label)),
        Column[Span]("Orders", lambda span: number(span.count), "right"),
        Column[Span]("Revenue", lambda span: number(span.total), "right"),
    )
    made = table(columns, spans)
    room = console.width - console.measure(made).maximum - 2
    length = max(_SHORTEST_BAR, min(_LONGEST_BAR, room))
    bars = Column[Span]("", lambda span: _bar(span.total, most, length, console.encoding))
    orders = sum(span.count for span in spans)
    sold = counted(orders, "order")
    total = "Total unknown for" if series.total is None else f"{number(series.total)} in"
    head = Text(f"{total} {series.period}, from {sold}", style="bold")
    return (head, "", table((*columns, bars), spans)) if spans else (head,)


def _period(series: Revenue, today: dt.date) -> tuple[dt.date, dt.date] | None:
    """Give the first and the last day of a series that ends today; None where it does not.

    The store's day may be another one than that of UTC.
    """
    length = _LENGTHS.get(series.period)
    if length is None or not series.daily:
        return None
    one = dt.timedelta(days=1)
    first = today - (length - 1) * one
    if all(first - one <= each.date <= today + one for each in series.daily):
        return first, today
    return None


def _spans(
    daily: Sequence[DailyRevenue],
    label_of: Callable[[dt.date], str],
    period: tuple[dt.date, dt.date] | None,
) -> list[Span]:
    """Add days up, oldest first; a span of which no day was sent is a zero."""
    if not daily:
        return []
    dates = [*(each.date for each in daily), *(period or ())]
    first, last = min(dates), max(dates)
    spans: dict[str, Span] = {}
    if (last - first).days > _LONGEST_PERIOD:  # a stray day is no reason for years of zeros
        spans = {label: Span(label) for label in map(label_of, sorted(dates))}
        last = first
    for offset in range((last - first).days + 1):
        label = label_of(first + dt.timedelta(offset))
        spans.setdefault(label, Span(label))
    for each in daily:
        span = spans[label_of(each.date)]
        span.count += each.count or 0
        span.total += Decimal(0) if each.total is None else each.total
    return list(spans.values())


def _bar(value: Decimal, most: Decimal, length: int, encoding: str) -> Text:
    eighths = round(length * 8 * value / most) if value > 0 else 0
    if encoding.lower().startswith("utf"):
        bar = "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()
    else:
        bar = "#" * (eighths // 8)
    return Text(bar, style="green")


_DAYS = ("Day", dt.date.isoformat)
_SPANS: Mapping[str, tuple[str, Callable[[dt.date], str]]] = {
    Period.QUARTER: ("Week of", lambda day: (day - dt.timedelta(day.weekday())).isoformat()),
    Period.YEAR: ("Month", lambda day: f"{day:%Y-%m}"),
}
