"""The one converter: bytes to records, records to plain data and Arrow.

There are two decoders. The fast one passes the whole body to a msgspec decoder built on the attrs
class. What fails there is read by `_tolerant`, field by field, with cattrs. Both use msgspec for
single values, so the second returns the same record wherever the first returns one.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Hashable, Iterable, Sequence
from functools import cache, cached_property
from typing import TYPE_CHECKING, Final, Generic, TypeVar, cast

import attrs
import msgspec

from . import _tolerant
from ._json import REPLACED
from ._tolerant import NOT_JSON, converter, describe, encoder, exact
from .errors import DecodeError, TransportError

if TYPE_CHECKING:
    import pyarrow as pa

    from ._order_rows import OrderLine
    from .records import Order

__all__ = [
    "NOT_JSON",
    "REPLACED",
    "Loader",
    "describe",
    "dumps",
    "instant",
    "loads",
    "loads_rows",
    "order_lines",
    "parse",
    "to_arrow",
    "to_plain",
]

T = TypeVar("T")


def loads(body: bytes, cls: type[T]) -> T:
    """Read a JSON body as a record.

    Args:
        body: The whole body, UTF-8.
        cls: An attrs class of `records`, or a generic one with its argument, such as
            `Page[OrderSummary]`.

    Returns:
        The record. Money has the body's exact digits; unknown fields are ignored. An unpaired
        surrogate, which is half of a character, is read as U+FFFD.

    Raises:
        DecodeError: The body is JSON of another shape.
        TransportError: The body can't be read as JSON.
    """
    return cast("Loader[T]", _loader(cast(Hashable, cls))).loads(body)


class Loader(Generic[T]):
    """Reads many bodies as one class, as `loads` does, without looking its decoder up each time.

    Args:
        cls: As `loads` takes it; what reads it is made when the first body comes.
    """

    def __init__(self, cls: type[T]) -> None:
        self._cls = cls

    def loads(self, body: bytes) -> T:
        """Read a body; see `loads`, which raises the same."""
        try:
            return self._decode(body)
        except _tolerant.REFUSALS:
            return _tolerant.read(body, self._cls)

    @cached_property
    def _decode(self) -> Callable[[bytes], T]:
        return msgspec.json.Decoder(self._cls).decode


def loads_rows(rows: Sequence[bytes | msgspec.Raw], cls: type[T]) -> tuple[T, ...]:
    """Read rows that are JSON each, all at once.

    Args:
        rows: The rows.
        cls: What each of them is, an attrs class.

    Raises:
        DecodeError: One of them is of another shape; the path begins with its index.
    """
    decoder = _rows_decoder(cast(Hashable, cls))
    try:
        return cast("tuple[T, ...]", decoder.decode(b"[" + b",".join(rows) + b"]"))
    except _tolerant.REFUSALS:
        pass
    return tuple(_read_row(index, bytes(row), cls) for index, row in enumerate(rows))


def parse(body: bytes) -> object:
    """Read a JSON body as plain values, numbers with a fraction as `Decimal`.

    Returns:
        Plain values. An integer of more than 4,000 digits becomes a `Decimal`; a number too large
        for `Decimal` becomes its text.

    Raises:
        TransportError: The body can't be read as JSON.
    """
    try:
        return exact.decode(body)
    except _tolerant.REFUSALS:
        return _tolerant.plain(body)


def to_plain(record: attrs.AttrsInstance) -> dict[str, object]:
    """Return a record as a dict in the wire's field order.

    Returns:
        Nested dicts and tuples of str, int, bool, None, `Decimal`, `datetime` and `date`.
    """
    return cast(dict[str, object], converter.unstructure(record))


def to_arrow(
    records: Iterable[attrs.AttrsInstance], cls: type[attrs.AttrsInstance] | None = None
) -> pa.Table:
    """Make an Arrow table of records, as an export writes them in Parquet.

    Args:
        records: Records of one flat class, such as `OrderSummary`, or `Order`: whole orders become
            the rows of an export with details. For the table of their lines, pass the rows that
            `order_lines` gives.
        cls: The records' class, which is needed where there may be none; None takes the first
            one's.

    Returns:
        A `pyarrow.Table` with a column for each field: money is decimal128(18, 2), a quantity
        decimal128(18, 3), an instant timestamp[us, tz=UTC], a day date32, an integer int64. What
        floats have left in money beyond its cents is rounded.

    Raises:
        ConfigurationError: pyarrow is not installed.
        DecodeError: A value does not fit its column, such as money with real digits beyond cents.
        TypeError: A record is of another class than the others, its class has a field that holds
            more than one value, or a value is of another type than its field.
        ValueError: There are no records and no `cls`, or a value is not a record.
    """
    from ._arrow import ArrowTable

    table = ArrowTable(cls)
    for record in records:
        table.add(record)
    return table.finish()


def order_lines(order: Order) -> list[OrderLine]:
    """Make flat rows of an order's items, as an export with details has them.

    Args:
        order: A whole order.

    Returns:
        The rows, each with the order's id and its position, from 1.
    """
    from ._order_rows import order_lines as lines_of

    return lines_of(order)


def dumps(record: attrs.AttrsInstance) -> bytes:
    """Write a record as JSON on one line, without a line end.

    Returns:
        UTF-8; the fields in the wire's order, money as numbers with their exact digits, instants
        as `instant` writes them.
    """
    return encoder.encode(_to_json.unstructure(record))


def instant(value: dt.datetime) -> str:
    """Write an instant as the API does: in UTC, such as 2026-02-10T14:30:00.000Z.

    Args:
        value: An aware instant. Microseconds are written where it has any; within hours of the
            years 1 and 9999, where it may have no time in UTC, it keeps its own zone.
    """
    try:
        utc = value.astimezone(dt.UTC)
    except OverflowError:
        return value.isoformat()
    digits = "microseconds" if utc.microsecond % 1000 else "milliseconds"
    return utc.isoformat(timespec=digits).replace("+00:00", "Z")


@cache
def _loader(cls: Hashable) -> Loader[object]:
    return Loader(cast(type, cls))


@cache
def _rows_decoder(cls: Hashable) -> msgspec.json.Decoder[tuple[object, ...]]:
    return msgspec.json.Decoder(tuple[cls, ...])  # type: ignore[valid-type]  # made at run time


def _read_row(index: int, row: bytes, cls: type[T]) -> T:
    try:
        return loads(row, cls)
    except TransportError as error:
        place, expected, received = "", "JSON", str(error)
    except DecodeError as error:
        place, expected, received = error.path[1:], error.expected, error.received
    raise DecodeError(f"$[{index}]{place}", expected, received)


_to_json: Final = converter.copy()
_to_json.register_unstructure_hook(dt.datetime, instant)
