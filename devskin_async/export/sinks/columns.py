"""The columns of a table, read off its record, and the values in them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from decimal import Decimal
from functools import cache
from operator import attrgetter
from types import NoneType
from typing import Literal, TypeAlias, get_args, get_type_hints

from attrs import AttrsInstance, fields, frozen

from ... import convert
from ...errors import DecodeError
from ..tables import Table

Kind: TypeAlias = Literal["integer", "text", "money", "instant", "day"]

ONCE = "an id that no other row has"

_KINDS: Mapping[object, Kind] = {
    int: "integer",
    Decimal: "money",
    dt.datetime: "instant",
    dt.date: "day",
}


@frozen
class Column:
    """A column of a table.

    Args:
        name: Its name, the record's field.
        kind: What its values are; text is str, or an `OpenEnum`, which is a str too.
        optional: Whether a value may be None.
    """

    name: str
    kind: Kind
    optional: bool

    def values(self, records: Sequence[AttrsInstance]) -> list[object]:
        """Take the column out of records."""
        return list(map(attrgetter(self.name), records))


@cache
def columns(record: type[AttrsInstance]) -> tuple[Column, ...]:
    """Tell the columns of a record, in the order of its fields."""
    hints = get_type_hints(record)
    return tuple(_column(field.name, hints[field.name]) for field in fields(record))


def _column(name: str, hint: object) -> Column:
    kinds = set(get_args(hint) or (hint,))
    (kind,) = kinds - {NoneType}
    # What is left is text: a string, or an enum of strings.
    return Column(name, _KINDS.get(kind, "text"), NoneType in kinds)


def misfit(table: Table, row: int, column: Column, holds: str, value: object) -> DecodeError:
    """Make the error for a value that a format can't hold.

    Args:
        table: The value's table.
        row: Its row, counted from 0 through all batches.
        column: Its column.
        holds: What the column holds instead.
        value: The value, which may be any.
    """
    if value is None:
        holds = "a value"
    elif isinstance(value, str):
        holds = "text of Unicode characters, which no lone surrogate is"
        value = value.encode(errors="replace").decode()
    elif isinstance(value, int):
        value = Decimal(value)  # a number of any length can be shown so
    return DecodeError(f"{table.name}[{row}].{column.name}", holds, convert.describe(value))


def is_text(value: str) -> bool:
    """Tell whether UTF-8 can write a string: a lone surrogate it can't."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
