"""`to_arrow` returns the table that an export of the same store has in Parquet."""

from __future__ import annotations

import datetime as dt
import sys
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from attrs import fields
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet as pq

from devskin_async import (
    ConfigurationError,
    Customer,
    DailyRevenue,
    DecodeError,
    DevSkinClient,
    Order,
    OrderItem,
    OrderStatus,
    OrderSummary,
    Overview,
    Page,
    Product,
    Revenue,
    convert,
)
from devskin_async.export import OrderLine, Resource, export
from devskin_async.listings import Rows
from devskin_async.sandbox import Sandbox
from tests.export.serving import order, product, shelved, shop

LISTS: Sequence[Resource] = ("orders", "products", "customers")
MONEY = pa.decimal128(18, 2)
UTC = pa.timestamp("us", tz="UTC")
NOON = dt.datetime(2026, 2, 10, 12, tzinfo=dt.UTC)


def summary(number: int = 1, total: str = "9.50", **more: Any) -> OrderSummary:
    plain = {"order_number": f"ORD-{number}", "status": OrderStatus.PAID, "created_at": NOON}
    return OrderSummary(id=number, total=Decimal(total), **{**plain, **more})


async def exported(store: DevSkinClient, folder: Path, table: str, **options: Any) -> pa.Table:
    """A table of an export of all lists, in the order of the ids."""
    await export(store, LISTS, folder, format="parquet", verify="once", **options)
    found = pq.read_table(folder / f"{table}.parquet")
    return found.sort_by("id" if "id" in found.column_names else "order_id")


@pytest.mark.parametrize(
    "quirks",
    [
        set(),
        {"float-noise"},
        {"null"},
        {"absent", "cut-emoji"},
        {"numbers-as-text", "frame=text"},
        {"half-quantity", "odd-json"},
        {"times=leap-second", "page-cap=7"},
    ],
    ids=lambda quirks: " ".join(sorted(quirks)) or "as the reference says",
)
@pytest.mark.parametrize("noun", LISTS)
async def test_a_listings_table_is_that_of_an_export(
    noun: str, quirks: set[str], tmp_path: Path
) -> None:
    async with shop(orders=130, quirks=quirks) as (_, store):
        table = await getattr(store, noun).list().to_arrow()
        wanted = await exported(store, tmp_path, noun)
    assert table.schema.equals(wanted.schema)
    assert table.num_rows
    assert table.sort_by("id").equals(wanted)


@pytest.mark.parametrize("noun", LISTS)
async def test_an_empty_listing_has_the_same_columns_and_no_rows(noun: str, tmp_path: Path) -> None:
    async with shelved(orders=(), products=(), customers=()) as (_, store):
        table = await getattr(store, noun).list().to_arrow()
        wanted = await exported(store, tmp_path, noun)
    assert table.num_rows == 0
    assert table.equals(wanted)


async def test_unknown_statuses_and_rounded_amounts_are_as_in_an_export(
    tmp_path: Path,
) -> None:
    rows = [order(1, status="refunded", total=3.3000000000000003), order(2, total=1e2)]
    stock = [product(7, stock=2.5, name=None), product(8, stock=None)]
    async with shelved(orders=rows, products=stock, customers=()) as (_, store):
        orders, products = (
            await store.orders.list().to_arrow(),
            await store.products.list().to_arrow(),
        )
        assert orders.equals(await exported(store, tmp_path / "1", "orders"))
        assert products.equals(await exported(store, tmp_path / "2", "products"))
    assert orders["status"].to_pylist() == ["refunded", "paid"]
    assert orders["total"].to_pylist() == [Decimal("3.30"), Decimal("100.00")]
    assert products["stock"].to_pylist() == [Decimal("2.500"), None]


@pytest.mark.parametrize("total", [1.234, 1e17, 10**40])
async def test_an_amount_that_an_export_refuses_is_refused_with_its_place(
    total: float, tmp_path: Path
) -> None:
    rows = [order(1), order(2, total=total)]
    async with shelved(orders=rows, products=(), customers=()) as (_, store):
        with pytest.raises(DecodeError, match=r"records\[1\]\.total: expected what an Arrow "):
            await store.orders.list().to_arrow()
        with pytest.raises(DecodeError):
            await exported(store, tmp_path, "orders")


async def test_the_place_counts_all_rows_before_it() -> None:
    rows = [order(number, total=9.5 if number != 1203 else 1.234) for number in range(1300)]
    async with shelved(orders=rows) as (_, store):
        with pytest.raises(DecodeError, match=r"records\[1203\]\.total"):
            await store.orders.list().to_arrow()


async def test_many_rows_are_one_piece_and_in_the_lists_order() -> None:
    rows = [order(number) for number in range(1300)]
    async with shelved(orders=rows) as (_, store):
        table = await store.orders.list().to_arrow()
    assert table["id"].to_pylist() == [*range(1300)]
    assert table["id"].num_chunks == 1


async def test_whole_orders_are_the_two_tables_of_an_export_with_details(tmp_path: Path) -> None:
    async with shop(orders=40, quirks={"half-quantity", "empty-address=list"}) as (_, store):
        ids = sorted([row.id async for row in store.orders.list()])
        table = await store.orders.get_many(ids).to_arrow()
        orders = await store.orders.get_many(ids)
        lines = [line for each in orders for line in convert.order_lines(each)]
        assert table.equals(await exported(store, tmp_path, "orders", details=True))
    items = pq.read_table(tmp_path / "order_items.parquet")
    by_place = [("order_id", "ascending"), ("position", "ascending")]
    assert convert.to_arrow(lines).equals(items.sort_by(by_place))
    assert convert.to_arrow(orders).equals(table)


async def test_no_ids_give_the_columns_of_whole_orders(store: DevSkinClient) -> None:
    table = await store.orders.get_many([]).to_arrow()
    assert table.num_rows == 0
    assert "shipping_address_city" in table.column_names


async def test_a_limit_holds_for_the_table_too(store: DevSkinClient) -> None:
    assert (await store.orders.list(limit=7).to_arrow()).num_rows == 7


async def test_duckdb_reads_the_table_as_it_is(store: DevSkinClient) -> None:
    orders = await store.orders.list()
    table = await store.orders.list().to_arrow()
    with duckdb.connect() as connection:
        connection.register("orders", table)
        (found,) = connection.execute("SELECT sum(total), count(*) FROM orders").fetchall()
    assert found == (sum(order.total for order in orders), len(orders))


def test_the_columns_are_the_fields_with_their_types() -> None:
    schema = convert.to_arrow([], OrderSummary).schema
    assert schema.names == [field.name for field in fields(OrderSummary)]
    assert (schema.field("total").type, schema.field("created_at").type) == (MONEY, UTC)
    required = [field.name for field in schema if not field.nullable]
    assert required == ["id", "order_number", "status", "total", "created_at"]


@pytest.mark.parametrize(
    "cls", [OrderSummary, Order, OrderItem, OrderLine, Product, Customer, DailyRevenue, Overview]
)
def test_every_flat_record_has_a_table(cls: type[Any]) -> None:
    assert convert.to_arrow([], cls).num_rows == 0


@pytest.mark.parametrize(
    ("cls", "field"), [(Page, "Page.items"), (Revenue, "Revenue.daily")], ids=["Page", "Revenue"]
)
def test_a_record_of_lists_is_not_a_row(cls: type[Any], field: str) -> None:
    with pytest.raises(TypeError, match=f"^{field} holds more than a column does$"):
        convert.to_arrow([], cls)


async def test_an_export_of_revenue_and_figures_has_the_same_tables(
    store: DevSkinClient, tmp_path: Path
) -> None:
    await export(store, ["revenue", "overview"], tmp_path, format="parquet")
    overview = convert.to_arrow([await store.analytics.overview()])
    daily = convert.to_arrow((await store.revenue("1y")).daily)
    assert overview.equals(pq.read_table(tmp_path / "overview.parquet"))
    assert daily.schema.equals(pq.read_table(tmp_path / "revenue.parquet").schema)


def test_no_records_and_no_class_is_a_value_error() -> None:
    with pytest.raises(ValueError, match=r"^without records, to_arrow needs their class$"):
        convert.to_arrow([])


async def test_rows_of_an_unknown_class_take_the_class_of_the_first_row() -> None:
    class Reading:
        def __init__(self) -> None:
            self.rows = iter([summary(1), summary(2)])

        async def __anext__(self) -> OrderSummary:
            for row in self.rows:
                return row
            raise StopAsyncIteration

        def __aiter__(self) -> Reading:
            return self

        async def aclose(self) -> None:
            """Nothing is in flight."""

    assert (await Rows(Reading).to_arrow())["id"].to_pylist() == [1, 2]


def test_records_of_two_classes_are_a_type_error() -> None:
    item = OrderItem(quantity=1, price=Decimal(1))
    with pytest.raises(TypeError, match=r"^OrderItem among records that are each OrderSummary$"):
        convert.to_arrow([summary(), item])


@pytest.mark.parametrize("number", [1.5, 1.0, True])
def test_an_id_that_is_not_an_integer_is_refused(number: Any) -> None:
    with pytest.raises(DecodeError, match=r"records\[0\]\.id: expected what an Arrow int64 holds"):
        convert.to_arrow([summary(number)])


def test_half_of_a_character_is_refused_as_in_an_export() -> None:
    with pytest.raises(
        DecodeError, match=r"^records\[0\]\.customer_name: expected text of Unicode"
    ):
        convert.to_arrow([summary(customer_name="cut \ud83d")])


@given(st.lists(st.decimals(-(10**15), 10**15, places=2)))
def test_cents_stay_as_they_are(totals: list[Decimal]) -> None:
    table = convert.to_arrow([summary(total=str(total)) for total in totals], OrderSummary)
    assert table["total"].to_pylist() == totals


async def test_without_pyarrow_the_error_says_what_to_install_before_anything_is_sent(
    box: Sandbox, store: DevSkinClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    message = (
        r'^to_arrow needs pyarrow: python -m pip install "\.\[parquet\]" in a checkout, or '
        r'"devskin-async\[parquet\]" from an index$'
    )
    with pytest.raises(ConfigurationError, match=message):
        await store.orders.list().to_arrow()
    with pytest.raises(ConfigurationError, match=message):
        convert.to_arrow([summary()])
    assert box.counts.requests == 0
