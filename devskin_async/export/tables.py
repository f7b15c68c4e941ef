"""What an export writes: tables of flat records, with the wire's own field names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Literal

from attrs import AttrsInstance, frozen

from .._order_rows import OrderLine
from ..records import (
    Customer,
    DailyRevenue,
    OrderSummary,
    Overview,
    Product,
)

Resource = Literal["orders", "products", "customers", "revenue", "overview"]
Format = Literal["jsonl", "csv", "parquet", "duckdb", "sqlite"]


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
