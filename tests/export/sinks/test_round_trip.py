"""Whatever records come, what is read back is equal, to the precision that the format promises."""

from __future__ import annotations

import datetime as dt
import tempfile
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devskin_async import DevSkinError, OrderStatus, OrderSummary, convert
from devskin_async.export import DetailedOrder, Format
from devskin_async.export.sinks import Merge, count_rows

from .support import BINARY, DETAILED, FORMATS, ORDERS, Row, batches, decoded, read, written

zones = st.integers(-23 * 60, 23 * 60).map(lambda m: dt.timezone(dt.timedelta(minutes=m)))
millis = st.integers(0, 999).map(lambda number: number * 1000)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
statuses = st.sampled_from(OrderStatus) | texts.map(OrderStatus)


def instants(fine: bool) -> st.SearchStrategy[dt.datetime]:
    """Instants that have a time in UTC, so that Python can read them back."""
    low, high = dt.datetime(1, 1, 3), dt.datetime(9999, 12, 29)  # noqa: DTZ001
    found = st.datetimes(low, high, timezones=zones | st.just(dt.UTC))
    if fine:
        return found
    return st.builds(lambda at, us: at.replace(microsecond=us), found, millis)


def money(digits: int | None) -> st.SearchStrategy[Decimal]:
    if digits is None:
        return st.decimals(-(10**90), 10**90, allow_nan=False, allow_infinity=False, places=7)
    most = Decimal(10) ** (digits - 2) - Decimal("0.01")
    return st.decimals(-most, most, places=2) | st.integers(-99, 99).map(Decimal)


def orders(file_format: Format) -> st.SearchStrategy[list[DetailedOrder]]:
    text = file_format in ("jsonl", "csv")
    amount = money({"sqlite": 15, "parquet": 18, "duckdb": 18}.get(file_format))
    most = 10**30 if text else 2**63 - 1
    maybe = st.none() | texts
    record = st.builds(
        DetailedOrder,
        id=st.integers(-most, most),
        order_number=texts,
        status=statuses,
        total=amount,
        subtotal=st.none() | amount,
        customer_name=maybe,
        customer_email=maybe,
        shipping_address_zip=maybe,
        created_at=instants(file_format != "sqlite"),
        updated_at=st.none() | instants(file_format != "sqlite"),
    )
    return st.lists(record, max_size=30, unique_by=lambda row: row.id)


def as_promised(file_format: Format, value: object) -> object:
    """What a value of a record is in a file of a format."""
    if isinstance(value, OrderStatus):
        value = value.value
    if file_format == "csv":
        if isinstance(value, Decimal):
            return f"{value:f}"
        return "" if value is None else as_promised("jsonl", str_of(value))
    if isinstance(value, dt.datetime) and file_format in ("jsonl", "sqlite"):
        return convert.instant(value)
    return value


def str_of(value: object) -> object:
    return value if isinstance(value, dt.datetime) else str(value)


def as_read(file_format: Format, row: Row, like: Mapping[str, object]) -> Row:
    """A row as a reader gives it, with SQLite's floats as the decimals that they stand for."""
    if file_format == "sqlite":
        return {
            name: Decimal(str(value)) if isinstance(like[name], Decimal) else value
            for name, value in row.items()
        }
    return row


@pytest.mark.parametrize("file_format", FORMATS)
@given(data=st.data(), size=st.integers(1, 40), compress=st.booleans())
def test_what_is_written_is_read_back(
    file_format: Format, data: st.DataObject, size: int, compress: bool
) -> None:
    records = data.draw(orders(file_format))
    if file_format == "jsonl":  # msgspec writes no longer integers
        records = [row for row in records if abs(row.id) < 2**63]
    with tempfile.TemporaryDirectory() as folder:
        path = written(
            file_format,
            Path(folder),
            *batches(records, size),
            table=DETAILED,
            compress=compress and file_format not in BINARY,
        )
        found = read(file_format, path)
        assert count_rows(file_format, path, DETAILED) == len(records)
    if file_format == "sqlite":  # a table with a key has no other order
        records.sort(key=lambda row: row.id)
    plain = [attrs.asdict(row) for row in records]
    assert [as_read(file_format, row, like) for row, like in zip(found, plain, strict=True)] == [
        {name: as_promised(file_format, value) for name, value in row.items()} for row in plain
    ]


@pytest.mark.parametrize("file_format", BINARY)
@given(
    record=st.builds(
        OrderSummary,
        id=st.integers(-(10**30), 10**30),
        order_number=st.text(max_size=5),
        status=statuses,
        total=money(18) | st.decimals(-(10**25), 10**25, allow_nan=False, allow_infinity=False),
        customer_name=st.none() | st.text(max_size=5),
        created_at=instants(True),
    )
)
def test_any_row_is_held_exactly_but_for_float_noise_or_refused(
    file_format: Format, record: OrderSummary
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        try:
            path = written(file_format, Path(folder), decoded(record))
        except DevSkinError as error:
            assert str(error).startswith("orders[0].")
            return
        (found,) = read(file_format, path)
    plain = attrs.asdict(record)
    held = as_read(file_format, found, plain)
    if held["total"] != record.total:
        assert float(str(held["total"])) == pytest.approx(float(record.total), rel=1e-14, abs=1e-9)
        plain["total"] = held["total"]
    assert held == {name: as_promised(file_format, value) for name, value in plain.items()}


@pytest.mark.parametrize("file_format", BINARY)
@settings(max_examples=settings().max_examples // 4)  # each writes several files
@given(data=st.data(), since=instants(True), turns=st.integers(1, 3))
def test_a_merge_is_what_its_definition_says(
    file_format: Format, data: st.DataObject, since: dt.datetime, turns: int
) -> None:
    near = st.integers(-3, 3).map(lambda step: since + dt.timedelta(milliseconds=step))
    at = near.map(lambda value: value.replace(microsecond=value.microsecond // 1000 * 1000))
    row = st.builds(
        OrderSummary,
        id=st.integers(0, 15),
        order_number=texts,
        status=statuses,
        total=money(15),
        created_at=at,
    )
    rows = st.lists(row, max_size=12, unique_by=lambda found: found.id)
    with tempfile.TemporaryDirectory() as folder:
        base = None
        path = Path(folder)
        expected: list[OrderSummary] = []
        for turn in range(turns + 1):
            new = data.draw(rows)
            merge = Merge(since=since, ids={found.id for found in new})
            expected = [
                old for old in expected if old.created_at < since and old.id not in merge.ids
            ] + new
            path = written(
                file_format,
                Path(folder) / f"{turn}",
                *batches(new, 5),
                base=base,
                merge=merge,
            )
            base = path.parent
        found = {found["id"]: found["order_number"] for found in read(file_format, path)}
        assert found == {row.id: row.order_number for row in expected}
        assert count_rows(file_format, path, ORDERS) == len(expected)
