"""The store's data as frozen records, with the wire's own field names.

Money is `Decimal` with the digits the API sent, instants are timezone-aware, days are `date`. A
record checks its money also where msgspec builds it, which runs no attrs validators.
A field of the reference that a response leaves out, or sends as null, is None if the type
allows it; a field that the reference does not have is ignored. Required are the fields without
which a row is of no use: ids and days; an order's number, status and total; a product's price; an
item's quantity and price; creation times. Any other may be null.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Generic, TypeAlias, TypeVar, cast

import attrs
from attrs import frozen
from msgspec import Meta

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
    from pydantic_core import CoreSchema

T = TypeVar("T")

_DIGITS = 100

Instant = Annotated[dt.datetime, Meta(tz=True)]
Count = Annotated[int, Meta(ge=0)]
Ordinal = Annotated[int, Meta(ge=1)]
Quantity: TypeAlias = int | Decimal
"""An int of pieces, or a `Decimal` if the API sends a fraction, as for goods sold by weight."""


def check_money(*amounts: object) -> None:
    """Refuse amounts that JSON can't express, or that are absurdly large or small.

    Args:
        amounts: The amounts; any that is not a `Decimal`, such as None, is not checked.

    Raises:
        ValueError: One is not finite, or has more than 100 digits before or after its point.
    """
    for amount in amounts:
        if isinstance(amount, Decimal) and not (
            amount.is_finite() and -_DIGITS <= amount.adjusted() <= _DIGITS
        ):
            raise ValueError("money must be a number of at most 100 digits")


class Record:
    """The base of all records: `dict(record)` makes a dict, and pydantic accepts them as models.

    So FastAPI accepts them too, with and without a return annotation.
    """

    __slots__ = ()
    __iter__ = None  # else Python would iterate by `__getitem__`, from 0

    def keys(self) -> tuple[str, ...]:
        """Return the names of the fields."""
        return tuple(
            field.name for field in attrs.fields(cast("type[attrs.AttrsInstance]", type(self)))
        )

    def __getitem__(self, name: str) -> object:
        """Return the value of a field."""
        if name not in self.keys():
            raise KeyError(name)
        return cast("object", getattr(self, name))

    def __contains__(self, name: object) -> bool:
        """Return whether it has a field of that name."""
        return name in self.keys()

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: object, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        from ._pydantic import record_schema

        return record_schema(cast("type[attrs.AttrsInstance]", cls), source, handler)


class OpenEnum(StrEnum):
    """The words that the reference lists, and any other word.

    An unlisted word becomes a value of the same type that equals the word:
    `OrderStatus("refunded") == "refunded"`, with `known` False. Compare it with `==`, not `is`.
    """

    @classmethod
    def _missing_(cls, value: object) -> OpenEnum | None:
        if not isinstance(value, str):
            return None
        member = str.__new__(cls, value)
        member._name_ = member._value_ = value
        return member

    def __reduce_ex__(self, _: object) -> tuple[type[OpenEnum], tuple[str]]:
        # Python 3.11.2 copies and pickles an enum by name, which an unlisted word lacks.
        return type(self), (self._value_,)

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, object]:
        # pydantic would list the words as the only ones.
        return {"type": "string", "title": cls.__name__, "examples": [word.value for word in cls]}

    @property
    def known(self) -> bool:
        """Whether the reference lists this word."""
        return self._value_ in type(self)._value2member_map_


class OrderStatus(OpenEnum):
    """The status of an order."""

    PENDING = "pending"
    PAID = "paid"
    SHIPPED = "shipped"
    COMPLETED = "completed"
    CANCELLED = "cancelled"


class Period(OpenEnum):
    """How far back a revenue series reaches."""

    WEEK = "7d"
    MONTH = "30d"
    QUARTER = "90d"
    YEAR = "1y"


@frozen(kw_only=True)
class Page(Record, Generic[T]):
    """One page of a list: its items, its place in the list, and the list's length.

    `total` counts the rows of the whole list at the moment the page was read.
    """

    items: tuple[T, ...]
    total: Count
    page: Ordinal
    limit: Ordinal

    def _repr_html_(self) -> str:
        """Show the page in a notebook, as a table of its items' fields."""
        from html import escape

        def row(cell: str, texts: Iterable[object]) -> str:
            cells = "".join(f"<{cell}>{escape(str(text))}</{cell}>" for text in texts)
            return f"<tr>{cells}</tr>"

        caption = f"page {self.page}: {len(self.items)} of {self.total} rows"
        names = [field.name for field in getattr((*self.items, None)[0], "__attrs_attrs__", ())]
        lines = [f"<table><caption>{caption}</caption>"]
        if names:
            lines.append(f"<thead>{row('th', names)}</thead>")
            for item in self.items:
                values = (getattr(item, name) for name in names)
                lines.append(row("td", ("" if value is None else value for value in values)))
        return "\n".join([*lines, "</table>"])


@frozen(kw_only=True)
class OrderSummary(Record):
    """An order as lists show it."""

    id: int
    order_number: str
    status: OrderStatus
    total: Decimal
    customer_name: str | None = None
    customer_email: str | None = None
    created_at: Instant

    def __attrs_post_init__(self) -> None:
        check_money(self.total)


@frozen(kw_only=True)
class OrderItem(Record):
    """One line of an order; `price` is for one piece.

    `product_id` is None if the product does not exist any more.
    """

    product_id: int | None = None
    name: str | None = None
    quantity: Quantity
    price: Decimal

    def __attrs_post_init__(self) -> None:
        check_money(self.quantity, self.price)


@frozen(kw_only=True)
class ShippingAddress(Record):
    """The address that an order is sent to."""

    street: str | None = None
    city: str | None = None
    state: str | None = None
    zip: str | None = None


@frozen(kw_only=True)
class Order(Record):
    """One order, whole: `total` is `subtotal` + `shipping_cost` - `discount`."""

    id: int
    order_number: str
    status: OrderStatus
    total: Decimal
    subtotal: Decimal | None = None
    shipping_cost: Decimal | None = None
    discount: Decimal | None = None
    customer_name: str | None = None
    customer_email: str | None = None
    items: tuple[OrderItem, ...]
    shipping_address: ShippingAddress | None = None
    created_at: Instant
    updated_at: Instant | None = None

    def __attrs_post_init__(self) -> None:
        check_money(self.total, self.subtotal, self.shipping_cost, self.discount)


@frozen(kw_only=True)
class DailyRevenue(Record):
    """One day's revenue and its number of orders."""

    date: dt.date
    total: Decimal | None = None
    count: int | None = None

    def __attrs_post_init__(self) -> None:
        check_money(self.total)


@frozen(kw_only=True)
class Revenue(Record):
    """A revenue series, in the order in which the API sent its days."""

    period: Period
    total: Decimal | None = None
    daily: tuple[DailyRevenue, ...]

    def __attrs_post_init__(self) -> None:
        check_money(self.total)


@frozen(kw_only=True)
class Product(Record):
    """A product; `stock` is in pieces, or None if it is not counted."""

    id: int
    name: str | None = None
    slug: str | None = None
    price: Decimal
    stock: Quantity | None = None
    status: str | None = None
    created_at: Instant

    def __attrs_post_init__(self) -> None:
        check_money(self.price, self.stock)


@frozen(kw_only=True)
class Customer(Record):
    """A customer and what the customer has bought so far."""

    id: int
    name: str | None = None
    email: str | None = None
    total_orders: int | None = None
    total_spent: Decimal | None = None
    created_at: Instant

    def __attrs_post_init__(self) -> None:
        check_money(self.total_spent)


@frozen(kw_only=True)
class Overview(Record):
    """The store's key figures."""

    total_orders: int | None = None
    monthly_orders: int | None = None
    total_revenue: Decimal | None = None
    monthly_revenue: Decimal | None = None
    total_products: int | None = None

    def __attrs_post_init__(self) -> None:
        check_money(self.total_revenue, self.monthly_revenue)
        if attrs.astuple(self) == (None,) * len(attrs.fields(Overview)):
            raise ValueError("no figures")  # so it is a body of another shape
