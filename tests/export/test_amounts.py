"""Amounts that typed columns can't hold as they came: float noise is rounded, the rest told of."""

from __future__ import annotations

import csv
import datetime as dt
import json
import sqlite3
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet as pq

from devskin_async import DailyRevenue, DecodeError, OrderSummary, convert
from devskin_async.export import Certificate, Format, Resource, export, rows, sync, verify

from .serving import order, product, read_table, shelved
from .sinks.support import decoded, written
from .sinks.support import order as record
from .sinks.support import read as read_back
from .test_details import ITEM, detail

TYPED: tuple[Format, ...] = ("parquet", "duckdb", "sqlite")
TEXT: tuple[Format, ...] = ("jsonl", "csv")
LONG = dt.timedelta(days=36_500)
each_typed = pytest.mark.parametrize("file_format", TYPED)

# What came, and what typed columns hold.
NOISE = {
    "3.3000000000000003": "3.30",
    "0.30000000000000004": "0.30",
    "-0.30000000000000004": "-0.30",
    "1.1500000000000001": "1.15",
    "0.9999999999999999": "1.00",
    "99.9999999999986": "100.00",
    "2450.8000000000065": "2450.80",
    "1234567.8900000001": "1234567.89",
    "1234567890.1200001": "1234567890.12",
    "1234567890123.4501": "1234567890123.45",
    "5.551115123125783e-17": "0.00",
    "-1.4210854715202004e-14": "0.00",
    "1e2": "100.00",
    "1.5E+1": "15.00",
    "0e5": "0.00",
    "-0.0": "0.00",
}
EXACT = {"1e2", "1.5E+1", "0e5", "-0.0"}
REAL = ["1.234", "0.001", "0.005", "1e-3", "12345678.9012345", "1e16", "99999999999999999.99"]


def customer(number: int, spent: str) -> bytes:
    """Write a customer who has spent an amount."""
    plain = {"id": number, "total_orders": 1, "created_at": "2026-02-10T14:30:00.000Z"}
    return json.dumps(plain).encode().replace(b"{", b'{"total_spent": %b, ' % spent.encode(), 1)


def of(resource: Resource, done: Any) -> Certificate:
    certificate: Certificate = done.certificates[resource]
    return certificate


def amounts(found: Sequence[dict[str, Any]], column: str = "total_spent") -> dict[int, Decimal]:
    return {int(row["id"]): Decimal(str(row[column])) for row in found}


@each_typed
async def test_float_noise_is_rounded_in_typed_columns_and_counted(
    file_format: Format, tmp_path: Path
) -> None:
    sent = dict(enumerate(NOISE))
    customers = [customer(number, text) for number, text in sent.items()]
    async with shelved(customers=customers) as (_, store):
        done = await export(store, ["customers"], tmp_path, format=file_format)
    held = amounts(read_table(tmp_path, file_format, "customers"))
    assert held == {number: Decimal(NOISE[text]) for number, text in sent.items()}
    assert of("customers", done).rounded == len(NOISE) - len(EXACT)
    assert of("customers", done).rejected == 0
    assert verify(tmp_path).problems == ()
    assert verify(tmp_path).manifest.resources["customers"].rounded == len(NOISE) - len(EXACT)


async def test_text_formats_and_records_keep_the_digits_that_came(tmp_path: Path) -> None:
    sent = dict(enumerate([*NOISE, *REAL]))
    customers = [customer(number, text) for number, text in sent.items()]
    async with shelved(customers=customers) as (_, store):
        for file_format in TEXT:
            done = await export(store, ["customers"], tmp_path, format=file_format)
            assert of("customers", done).rounded == 0
        records = [each async for batch in rows(store, "customers") for each in batch.records]
    lines = (tmp_path / "customers.jsonl").read_bytes().splitlines()
    assert sorted(lines) == sorted(customers)
    with (tmp_path / "customers.csv").open(newline="") as file:
        cells = {int(row["id"]): row["total_spent"] for row in csv.DictReader(file)}
    assert cells == {number: f"{Decimal(text):f}" for number, text in sent.items()}
    assert {each.id: str(each.total_spent) for each in records} == {  # type: ignore[attr-defined]  # customers
        number: str(Decimal(text)) for number, text in sent.items()
    }


@each_typed
@pytest.mark.parametrize("amount", REAL)
async def test_a_real_further_decimal_ends_the_export_where_it_is_read(
    file_format: Format, amount: str, tmp_path: Path
) -> None:
    many = [product(number) for number in range(300)]
    customers = [customer(1, "1.00"), customer(2, amount)]
    async with shelved(customers=customers, products=many) as (_, store):
        told: list[object] = []
        with pytest.raises(DecodeError) as caught:
            await export(
                store, ["customers", "products"], tmp_path, format=file_format,
                on_progress=told.append,
            )  # fmt: skip
    assert caught.value.path == "$.data.items[1].total_spent"
    assert "jsonl and csv hold any value" in caught.value.expected
    assert {each.resource for each in told} <= {"customers"}  # type: ignore[attr-defined]  # it is progress


@each_typed
async def test_with_rejects_such_a_row_is_set_aside_and_counted(
    file_format: Format, tmp_path: Path
) -> None:
    customers = [
        customer(number, text) for number, text in enumerate([*REAL, "1.5", "3.3000000000000003"])
    ]
    async with shelved(customers=customers) as (_, store):
        done = await export(
            store, ["customers"], tmp_path / "out", format=file_format, rejects=tmp_path
        )
    held = amounts(read_table(tmp_path / "out", file_format, "customers"))
    assert held == {len(REAL): Decimal("1.5"), len(REAL) + 1: Decimal("3.3")}
    certificate = of("customers", done)
    assert (certificate.rows, certificate.rejected, certificate.rounded) == (2, len(REAL), 1)
    assert certificate.rows + certificate.rejected == certificate.distinct_ids
    entries = (tmp_path / "customers.rejected.jsonl").read_bytes().splitlines()
    for entry, sent in zip(entries, customers, strict=False):
        assert json.loads(entry)["path"] == "$.total_spent"
        assert entry.endswith(b'"row":%b}' % sent)
    assert len(entries) == len(REAL)
    assert verify(tmp_path / "out").problems == ()


@each_typed
@pytest.mark.parametrize("value", [2**63, -(2**63) - 1, 2**70])
async def test_an_integer_of_more_than_64_bits_is_no_different(
    file_format: Format, value: int, tmp_path: Path
) -> None:
    async with shelved(products=[product(1), product(2, stock=1), product(value)]) as (_, store):
        with pytest.raises(DecodeError, match=r"\$\.data\.items\[2\]\.id: expected .*64"):
            await export(store, ["products"], tmp_path / "out", format=file_format)
        done = await export(
            store, ["products"], tmp_path / "out", format=file_format, rejects=tmp_path
        )
    assert (of("products", done).rows, of("products", done).rejected) == (2, 1)


@each_typed
async def test_what_another_format_has_read_is_checked_when_it_is_written(
    file_format: Format, tmp_path: Path
) -> None:
    customers = [customer(1, "1.00"), customer(2, "1.234")]
    async with shelved(customers=customers, products=[b"1"]) as (_, store):
        with pytest.raises(DecodeError, match=r"\$\.data\.items\[0\]: expected an object"):
            await export(store, ["customers", "products"], tmp_path / "out")
        with pytest.raises(DecodeError, match=r"^customers\[1\]\.total_spent: "):
            await export(store, ["customers"], tmp_path / "out", format=file_format)
        done = await export(
            store, ["customers"], tmp_path / "out", format=file_format, rejects=tmp_path
        )
    assert done.resumed
    assert (of("customers", done).rows, of("customers", done).rejected) == (1, 1)


@each_typed
async def test_lines_of_orders_are_rounded_and_set_aside_too(
    file_format: Format, tmp_path: Path
) -> None:
    items = [
        {**ITEM, "price": 10.1 + 0.2, "quantity": 1.5},
        {**ITEM, "price": 1.234},
        {**ITEM, "quantity": 1 / 3},
        {**ITEM, "quantity": 0.1 + 0.2, "product_id": None},
    ]
    details = {"1": detail(1, items=items, total=0.1 + 0.2)}
    async with shelved(details, orders=[order(1)]) as (_, store):
        out = tmp_path / "out"
        with pytest.raises(DecodeError, match=r"^\$\.data\.order\.items\[[12]\]\."):
            await export(store, ["orders"], out, format=file_format, details=True)
        done = await export(
            store, ["orders"], out, format=file_format, details=True, rejects=tmp_path
        )
    found = read_table(out, file_format, "order_items")
    assert [(int(row["position"]), round(Decimal(str(row["quantity"])), 3)) for row in found] == [
        (1, Decimal("1.5")),
        (4, Decimal("0.3")),
    ]
    assert [row["product_id"] for row in found] == [7, None]
    assert Decimal(str(found[0]["price"])) == Decimal("10.3")
    (written_order,) = read_table(out, file_format)
    assert Decimal(str(written_order["total"])) == Decimal("0.3")
    assert (of("orders", done).rounded, of("orders", done).rejected) == (3, 2)
    entries = [
        json.loads(each) for each in (tmp_path / "orders.rejected.jsonl").read_text().splitlines()
    ]
    assert [(each["path"], each["row"]["position"]) for each in entries] == [
        ("$.price", 2),
        ("$.quantity", 3),
    ]


@each_typed
async def test_a_detail_that_does_not_fit_ends_the_export_where_it_is_read(
    file_format: Format, tmp_path: Path
) -> None:
    async with shelved({"1": detail(1, discount=0.125)}, orders=[order(1)]) as (_, store):
        with pytest.raises(DecodeError, match=r"\$\.data\.order\.discount: expected"):
            await export(store, ["orders"], tmp_path, format=file_format, details=True)


@each_typed
async def test_rows_that_are_filtered_out_may_hold_any_amount(
    file_format: Format, tmp_path: Path
) -> None:
    listed = [order(1), order(2, status="shipped", total=1.234)]
    async with shelved(orders=listed) as (_, store):
        done = await export(store, ["orders"], tmp_path, format=file_format, status="paid")
    assert of("orders", done).rows == 1


@each_typed
async def test_a_sync_rounds_and_counts_what_it_reads(file_format: Any, tmp_path: Path) -> None:
    listed = [order(1, total=0.1 + 0.2), order(2)]
    async with shelved(orders=listed) as (shelf, store):
        done = await sync(store, tmp_path, format=file_format, lookback=LONG)
        assert of("orders", done).rounded == 1
        shelf.lists = {"orders": [*listed, order(3, day="2026-02-11", total=1.1 + 2.2)]}
        await sync(store, tmp_path, lookback=LONG)
    assert amounts(read_table(tmp_path, file_format), "total") == {
        1: Decimal("0.3"),
        2: Decimal("9.5"),
        3: Decimal("3.3"),
    }


cents = st.integers(-(10**12), 10**12)


@each_typed
@given(first=cents, second=cents)
def test_any_sum_of_two_floats_is_the_sum_of_their_cents(
    file_format: Format, first: int, second: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    noisy = Decimal(repr(first / 100 + second / 100))
    path = written(file_format, tmp_path_factory.mktemp("sum"), decoded(record(total=str(noisy))))
    (found,) = read_back(file_format, path)
    assert round(Decimal(str(found["total"])), 2) == Decimal(first + second) / 100


@each_typed
@given(amount=st.decimals(-(10**12), 10**12, places=5).filter(lambda x: round(x, 2) != x))
def test_any_amount_with_further_decimals_is_refused(
    file_format: Format, amount: Decimal, tmp_path_factory: pytest.TempPathFactory
) -> None:
    if len(str(abs(amount)).replace(".", "").lstrip("0")) > 15:
        return  # what is cents at 15 digits is taken for noise
    with pytest.raises(DecodeError, match=r"orders\[0\]\.total"):
        written(file_format, tmp_path_factory.mktemp("more"), decoded(record(total=str(amount))))


def test_records_are_what_the_wire_had() -> None:
    day = convert.loads(b'{"date": "2026-02-13", "total": 3.3000000000000003}', DailyRevenue)
    assert str(day.total) == "3.3000000000000003"
    raw = order(1, total="199.90").replace(b'"199.90"', b"0.30000000000000004")
    assert b"0.30000000000000004" in convert.dumps(convert.loads(raw, OrderSummary))


# What earlier versions declared: `stock` was a whole number, and never missing.
OLD_STOCK = {
    "duckdb": "CREATE TABLE older AS SELECT * REPLACE (stock::BIGINT AS stock) FROM products",
    "sqlite": "CREATE TABLE older (id INTEGER NOT NULL, stock INTEGER NOT NULL)",
}


@each_typed
async def test_a_sync_takes_up_what_an_earlier_version_has_written(
    file_format: Any, tmp_path: Path
) -> None:
    resources: tuple[Resource, ...] = ("orders", "products")
    async with shelved(orders=[order(1)], products=[product(1)]) as (shelf, store):
        await sync(store, tmp_path, resources, format=file_format)
        make_older(file_format, tmp_path)
        shelf.lists = {"orders": [order(1), order(2)], "products": [product(1, stock=None)]}
        done = await sync(store, tmp_path, resources, lookback=LONG)
    assert len(read_table(tmp_path, file_format)) == 2
    assert [row["stock"] for row in read_table(tmp_path, file_format, "products")] == [None]
    assert done.unproven == ()
    assert verify(tmp_path).problems == ()


def make_older(file_format: Format, folder: Path) -> None:
    """Give the products of an export the columns that earlier versions gave them."""
    path = folder / (f"export.{file_format}" if file_format in OLD_STOCK else "products.parquet")
    if file_format == "parquet":
        table = pq.read_table(path)
        index = table.schema.get_field_index("stock")
        older = pa.field("stock", pa.int64(), nullable=False)
        pq.write_table(table.set_column(index, older, table["stock"].cast(pa.int64())), path)
        return
    connect = duckdb.connect if file_format == "duckdb" else sqlite3.connect
    connection: Any = connect(path)
    connection.execute(OLD_STOCK[file_format])
    if file_format == "sqlite":
        connection.execute("INSERT INTO older SELECT id, stock FROM products")
        connection.commit()
    connection.execute("DROP TABLE products")
    connection.execute("ALTER TABLE older RENAME TO products")
    connection.commit()
    connection.close()
