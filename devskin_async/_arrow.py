"""Records as Arrow columns: the tables that `to_arrow` returns, and those an export writes.

The schema comes from the record, not from the rows that happen to be there. pyarrow is imported
only when it is used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Context, Decimal, Inexact, InvalidOperation
from types import NoneType
from typing import TYPE_CHECKING, cast

from attrs import AttrsInstance

from ._columns import PLACES, Column, Kind, columns, misfit, without_noise
from ._extras import require
from ._order_rows import DetailedOrder, detailed
from .records import Order

if TYPE_CHECKING:
    import pyarrow as pa

_DIGITS = 18
_AT_ONCE = 500  # records, which take about a millisecond
_EXACT = Context(prec=_DIGITS, traps=[Inexact, InvalidOperation])
_UNITS = {kind: Decimal(1).scaleb(-places) for kind, places in PLACES.items()}


def arrow_schema(record: type[AttrsInstance]) -> pa.Schema:
    """Return the Arrow schema of a record.

    Returns:
        Money is decimal128(18, 2), a quantity decimal128(18, 3), an instant a UTC timestamp in
        microseconds, a day date32, an integer int64; only what may be None may be null.
    """
    import pyarrow as pa

    types: Mapping[Kind, pa.DataType] = {
        "integer": pa.int64(),
        "text": pa.string(),
        "money": pa.decimal128(_DIGITS, PLACES["money"]),
        "quantity": pa.decimal128(_DIGITS, PLACES["quantity"]),
        "instant": pa.timestamp("us", tz="UTC"),
        "day": pa.date32(),
    }
    return pa.schema(
        [
            pa.field(column.name, types[column.kind], nullable=column.optional)
            for column in columns(record)
        ]
    )


class ArrowBatches:
    """Makes Arrow batches of a table's records, and counts their rows.

    Args:
        name: The table's name, for an error.
        record: What each row is.
        holds: What an error says that a column holds, with `{}` for its type.
    """

    def __init__(self, name: str, record: type[AttrsInstance], holds: str) -> None:
        self._name = name
        self._record = record
        self._holds = holds
        self.schema: pa.Schema = arrow_schema(record)
        self.rounded: int = 0
        self._rows = 0

    def take(self, records: Sequence[AttrsInstance]) -> pa.RecordBatch:
        """Make a batch of the next records; amounts that were rounded are added to `rounded`.

        Raises:
            MisfitError: A value does not fit its column; the row it names is counted through all
                batches.
        """
        import pyarrow as pa

        found = columns(self._record)
        made = [self._array(column, records) for column in found]
        self._rows += len(records)
        self.rounded += sum(rounded for _, rounded in made)
        return pa.RecordBatch.from_arrays([array for array, _ in made], schema=self.schema)

    def check(self, records: Sequence[AttrsInstance]) -> None:
        """Raise what `take` would, but for text and instants, which always fit."""
        for column in columns(self._record):
            if column.kind == "integer" or column.kind in PLACES:
                self._array(column, records)

    def _array(self, column: Column, records: Sequence[AttrsInstance]) -> tuple[pa.Array, int]:
        kind = self.schema.field(column.name).type
        values, rounded = column.values(records), 0
        array = _fitting(column, values, kind)
        if array is None and column.kind in PLACES:
            values, rounded = without_noise(values, column.kind)
            array = _fitting(column, values, kind)
        if array is not None and (column.optional or not array.null_count):
            return array, rounded
        for row, value in enumerate(values, self._rows):
            if (value is None and not column.optional) or _fitting(column, [value], kind) is None:
                raise misfit(self._name, row, column, self._holds.format(kind), value)
        raise AssertionError("each value fits alone")  # pragma: no cover


class ArrowTable:
    """Gathers records into one Arrow table, as an export has them in Parquet.

    Whole orders become the rows of an export with details; their lines are rows of another table.

    Args:
        record: What each record is; None takes the first one's class.

    Raises:
        ConfigurationError: pyarrow is not installed.
        TypeError: A field of `record` holds more than one value.
    """

    def __init__(self, record: type[AttrsInstance] | None = None) -> None:
        require("to_arrow", "parquet", "pyarrow")
        self._record = record
        self._batches = None if record is None else _batches_of(record)
        self._waiting: list[AttrsInstance] = []
        self._made: list[pa.RecordBatch] = []

    def add(self, record: AttrsInstance) -> None:
        """Add a record.

        Raises:
            MisfitError: This or an earlier record has a value that does not fit its column.
            TypeError: It is of another class than the others.
        """
        cls = type(record)
        if self._batches is None:
            self._record, self._batches = cls, _batches_of(cls)
        elif cls is not self._record:
            wanted = self._record and self._record.__name__
            raise TypeError(f"{cls.__name__} among records that are each {wanted}")
        self._waiting.append(record)
        if len(self._waiting) == _AT_ONCE:
            self._flush(self._batches)

    def finish(self) -> pa.Table:
        """Return the table, in one chunk.

        Raises:
            MisfitError: A record has a value that does not fit its column.
            ValueError: There are no records, nor a class.
        """
        import pyarrow as pa

        if self._batches is None:
            raise ValueError("without records, to_arrow needs their class")
        self._flush(self._batches)
        return pa.Table.from_batches(self._made, self._batches.schema).combine_chunks()

    def _flush(self, batches: ArrowBatches) -> None:
        rows, self._waiting = self._waiting, []
        if self._record is Order:
            rows = [detailed(cast(Order, order)) for order in rows]
        self._made.append(batches.take(rows))


def _batches_of(record: type[AttrsInstance]) -> ArrowBatches:
    flat = DetailedOrder if record is Order else record
    return ArrowBatches("records", flat, "what an Arrow {} holds")


def _fitting(column: Column, values: list[object], kind: pa.DataType) -> pa.Array | None:
    """Return an array without rounding any value; None if one does not fit."""
    import pyarrow as pa

    if column.kind == "integer" and not {int, NoneType}.issuperset(map(type, values)):
        return None  # else pyarrow would cut 1.5 to 1
    try:
        if unit := _UNITS.get(column.kind):
            # Else pyarrow would take an amount with more than 38 decimals for 0.
            amounts = cast(list[Decimal | None], values)
            values = [x if x is None else _EXACT.quantize(x, unit) for x in amounts]
        return pa.array(values, kind)
    except (pa.ArrowInvalid, ArithmeticError, UnicodeEncodeError):
        return None
