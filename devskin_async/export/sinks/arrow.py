"""Records as Arrow columns, for the formats that are written from them.

The schema comes from the record, not from the rows that happen to be there. pyarrow is imported
only when a file is written or read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Context, Decimal, Inexact, InvalidOperation
from typing import TYPE_CHECKING, cast

from attrs import AttrsInstance

from ..tables import Table
from .columns import PLACES, Column, Kind, columns, misfit, without_noise

if TYPE_CHECKING:
    import pyarrow as pa

_DIGITS = 18
_EXACT = Context(prec=_DIGITS, traps=[Inexact, InvalidOperation])
_UNITS = {kind: Decimal(1).scaleb(-places) for kind, places in PLACES.items()}


def arrow_schema(table: Table) -> pa.Schema:
    """Tell the columns of a table as Arrow does.

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
            for column in columns(table.record)
        ]
    )


class ArrowBatches:
    """Makes Arrow batches of a table's records, and counts their rows.

    Args:
        table: Whose records they are.
        holder: What an error says holds the columns, such as `Parquet`.
    """

    def __init__(self, table: Table, holder: str) -> None:
        self._table = table
        self._holder = holder
        self.schema: pa.Schema = arrow_schema(table)
        self.rounded: int = 0
        self._rows = 0

    def take(self, records: Sequence[AttrsInstance]) -> pa.RecordBatch:
        """Make a batch of the next records; amounts that were rounded are added to `rounded`.

        Raises:
            MisfitError: A value does not fit its column; the row it names is counted through all
                batches.
        """
        import pyarrow as pa

        found = columns(self._table.record)
        made = [self._array(column, records) for column in found]
        self._rows += len(records)
        self.rounded += sum(rounded for _, rounded in made)
        return pa.RecordBatch.from_arrays([array for array, _ in made], schema=self.schema)

    def check(self, records: Sequence[AttrsInstance]) -> None:
        """Raise what `take` would, but for text and instants, which always fit."""
        for column in columns(self._table.record):
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
                holds = f"what a {self._holder} {kind} holds (jsonl and csv hold any value)"
                raise misfit(self._table, row, column, holds, value)
        raise AssertionError("each value fits alone")  # pragma: no cover


def _fitting(column: Column, values: list[object], kind: pa.DataType) -> pa.Array | None:
    """Make an array, which rounds no value; None where one does not fit."""
    import pyarrow as pa

    try:
        if unit := _UNITS.get(column.kind):
            # pyarrow alone takes an amount with more than 38 digits after its point for 0.
            amounts = cast(list[Decimal | None], values)
            values = [x if x is None else _EXACT.quantize(x, unit) for x in amounts]
        return pa.array(values, kind)
    except (pa.ArrowInvalid, ArithmeticError, UnicodeEncodeError):
        return None
