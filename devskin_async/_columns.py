"""The columns of a table, read off its record, and the values in them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from decimal import Context, Decimal
from functools import cache
from operator import attrgetter
from types import NoneType
from typing import Literal, TypeAlias, get_args, get_type_hints

from attrs import AttrsInstance, fields, frozen

from ._tolerant import describe
from .errors import DecodeError

Kind: TypeAlias = Literal["integer", "text", "money", "quantity", "instant", "day"]

ONCE = "an id that no other row has"
PLACES: Mapping[Kind, int] = {"money": 2, "quantity": 3}
"""How many decimals typed columns have: cents; and thousandths, such as grams of a kilogram."""

_KINDS: Mapping[object, Kind] = {
    int: "integer",
    Decimal: "money",
    dt.datetime: "instant",
    dt.date: "day",
}
_QUANTITY = {int, Decimal}
_DOUBLE = Context(prec=15)  # digits that a 64-bit float keeps
_WIDE = Context(prec=150)  # more than money may have
# What sums of floats leave of cents: a float's step at one cent is 2**-59; no price is so small.
_LEAST_NOISE, _MOST_NOISE = Decimal("1e-18"), Decimal("1e-9")


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
        """Return the column's values in records."""
        return list(map(attrgetter(self.name), records))


@cache
def columns(record: type[AttrsInstance]) -> tuple[Column, ...]:
    """Return the columns of a record, in the order of its fields.

    Raises:
        TypeError: A field holds more than one value.
    """
    hints = get_type_hints(record)
    return tuple(_column(record, field.name, hints[field.name]) for field in fields(record))


def _column(record: type[AttrsInstance], name: str, hint: object) -> Column:
    kinds = set(get_args(hint) or (hint,))
    optional = NoneType in kinds
    kinds.discard(NoneType)
    if kinds == _QUANTITY:
        return Column(name, "quantity", optional)
    kind = kinds.pop()
    if kind in _KINDS:
        return Column(name, _KINDS[kind], optional)
    if not kinds and isinstance(kind, type) and issubclass(kind, str):
        return Column(name, "text", optional)
    raise TypeError(f"{record.__name__}.{name} holds more than a column does")


class MisfitError(DecodeError):
    """A value that its column can't hold."""


def without_noise(values: Iterable[object], kind: Kind) -> tuple[list[object], int]:
    """Remove the rounding errors of floats from amounts, and change nothing else.

    JavaScript sums 1.1 and 2.2 to 3.3000000000000003, and takes 0.3 from 0.1 and 0.2 so that
    0.00000000000000005551 is left. An amount is rounded if it has the column's decimals at the 15
    digits that a float keeps, or if such a residue is all that is further.

    Returns:
        The values, those with real further decimals as they are; and how many were rounded.
    """
    rounded = 0

    def clean(value: object) -> object:
        nonlocal rounded
        if isinstance(value, Decimal):
            near = value.quantize(Decimal(1).scaleb(-PLACES[kind]), context=_WIDE)
            rest = _WIDE.abs(_WIDE.subtract(value, near))
            if rest and (_DOUBLE.plus(value) == near or _LEAST_NOISE <= rest <= _MOST_NOISE):
                rounded += 1
                return near
        return value

    return [clean(value) for value in values], rounded


def misfit(table: str, row: int, column: Column, holds: str, value: object) -> MisfitError:
    """Make the error for a value that a format can't hold.

    Args:
        table: The name of the value's table.
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
    return MisfitError(f"{table}[{row}].{column.name}", holds, describe(value))


def is_text(value: str) -> bool:
    """Return whether a string can be encoded in UTF-8: one with a lone surrogate can't."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
