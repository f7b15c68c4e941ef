"""Text that was cut in the middle of a character, and text of every character, in each format."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pytest

from devskin_async import OrderSummary
from devskin_async.export import Format, export, rows, sync, verify

from .serving import order, orders_of, product, read_table, shelved
from .test_details import detail

FORMATS: tuple[Format, ...] = ("jsonl", "csv", "parquet", "duckdb", "sqlite")
each_format = pytest.mark.parametrize("file_format", FORMATS)

ALL = dt.timedelta(days=36_500)
HALF = "\N{REPLACEMENT CHARACTER}"
# What a server writes between the quotes, what is read, and how many halves are in it.
NAMES: Mapping[str, tuple[str, int]] = {
    r"Ana \ud83d": (f"Ana {HALF}", 1),
    r"\uDE00\uD83D": (HALF * 2, 2),
    r"\\ud83d": (r"\ud83d", 0),
    r"\ud83d\ude00": ("\N{GRINNING FACE}", 0),
    r"\ufffd \uFFFD": (f"{HALF} {HALF}", 0),
    "\N{REPLACEMENT CHARACTER}": (HALF, 0),
    r"a\u0000b\u007f": ("a\0b\x7f", 0),
}
HALVES = sum(halves for _, halves in NAMES.values())


def named(template: bytes, text: str) -> bytes:
    return template.replace(b'"Ana"', f'"{text}"'.encode())


ORDERS = [named(order(number), text) for number, text in enumerate(NAMES, 1)]


@each_format
async def test_each_format_holds_it_and_counts_what_was_replaced(
    file_format: Format, tmp_path: Path
) -> None:
    async with shelved(orders=ORDERS) as (_, store):
        done = await export(store, ["orders"], tmp_path, format=file_format)
    found = {int(row["id"]): row["customer_name"] for row in read_table(tmp_path, file_format)}
    assert [found[number] for number in sorted(found)] == [text for text, _ in NAMES.values()]
    assert orders_of(done.certificates).replaced == HALVES
    assert (orders_of(done.certificates).rejected, done.unproven) == (0, ())
    assert verify(tmp_path).problems == ()
    assert verify(tmp_path).manifest.resources["orders"].replaced == HALVES


async def test_a_row_of_jsonl_stays_as_it_came_but_for_the_halves(tmp_path: Path) -> None:
    sent = named(order(1, more={"a": [1, 2]}), r"\/\u0041 \ud83d").replace(b": 9.5", b":  9.50")
    async with shelved(orders=[sent]) as (_, store):
        await export(store, ["orders"], tmp_path)
    (line,) = (tmp_path / "orders.jsonl").read_bytes().splitlines()
    before, half, after = sent.partition(rb"\ud83d")
    assert (line[: len(before)], line[len(before) + len(half) :]) == (before, after)


@each_format
async def test_details_are_counted_in_place_of_the_lists_rows(
    file_format: Format, tmp_path: Path
) -> None:
    cut = rb'"name": "L\ud83d"'
    whole = named(detail(1), r"\ud83d").replace(b'"name": "Lamp"', cut)
    listed = [named(order(1), r"\ud83d"), named(order(2), r"\ud83d")]
    async with shelved({"1": whole}, orders=listed) as (_, store):
        done = await export(store, ["orders"], tmp_path, format=file_format, details=True)
    assert orders_of(done.certificates).replaced == 3
    (item,) = read_table(tmp_path, file_format, "order_items")
    assert item["name"] == f"L{HALF}"


async def test_a_rejected_row_keeps_the_rest_of_its_text(tmp_path: Path) -> None:
    bad = named(order(1, total="much"), r"\ud83d")
    async with shelved(orders=[bad, *ORDERS[1:]]) as (_, store):
        done = await export(store, ["orders"], tmp_path / "out", rejects=tmp_path)
    assert orders_of(done.certificates).rejected == 1
    assert b'"$.total"' in (tmp_path / "orders.rejected.jsonl").read_bytes()


async def test_a_list_of_several_pages_counts_each_row_once(tmp_path: Path) -> None:
    many = [product(n, name="N").replace(b'"N"', rb'"\ud83d"') for n in range(250)]
    async with shelved(products=many) as (_, store):
        done = await export(store, ["products"], tmp_path)
    assert done.certificates["products"].replaced == 250
    assert done.certificates["products"].proof == "two-pass"


async def test_rows_pages_listings_and_details_read_it(tmp_path: Path) -> None:
    details = {"1": named(detail(1), r"Ana \ud83d")}
    expected = [text for text, _ in NAMES.values()]
    async with shelved(details, orders=ORDERS) as (_, store):
        page = await store.orders.page(1, limit=100)
        listed = await store.orders.list()
        batches = [batch async for batch in rows(store, "orders")]
        read = [cast(OrderSummary, each) for batch in batches for each in batch.records]
        one = await store.orders.get(1)
    read.sort(key=lambda each: each.id)
    for found in (page.items, listed, read):
        assert [each.customer_name for each in found] == expected
    assert one.customer_name == f"Ana {HALF}"


@pytest.mark.parametrize("file_format", ["parquet", "duckdb", "sqlite"])
async def test_a_sync_reads_it_again_and_again(file_format: Any, tmp_path: Path) -> None:
    async with shelved(orders=ORDERS) as (_, store):
        for _ in range(2):
            done = await sync(store, tmp_path, format=file_format, lookback=ALL)
            assert orders_of(done.certificates).replaced == HALVES
    assert len(read_table(tmp_path, file_format)) == len(NAMES)


@each_format
async def test_numbers_that_nobody_reads_may_have_any_size(
    file_format: Format, tmp_path: Path
) -> None:
    huge = b'{"x": [1e99999999999999999999, %b, -0, {"\\ud83d": null}], ' % (b"9" * 5000)
    sent = order(1).replace(b"{", huge, 1)
    async with shelved(orders=[sent]) as (_, store):
        done = await export(store, ["orders"], tmp_path, format=file_format)
    assert orders_of(done.certificates).unknown == {"x": 1}
    if file_format == "jsonl":
        assert (b"9" * 5000) in (tmp_path / "orders.jsonl").read_bytes()


@each_format
async def test_rows_in_other_spellings_are_the_rows_that_they_mean(
    file_format: Format, tmp_path: Path
) -> None:
    sent = [order("1"), order(2.0), order("3.0", created_at="2026-02-10 14:30:00+00")]
    details = {str(number): detail(1, id=str(number)) for number in (1, 2, 3)}
    async with shelved(details, orders=sent) as (_, store):
        done = await export(store, ["orders"], tmp_path, format=file_format, details=True)
    assert sorted(int(row["id"]) for row in read_table(tmp_path, file_format)) == [1, 2, 3]
    assert len(read_table(tmp_path, file_format, "order_items")) == 3
    assert (orders_of(done.certificates).distinct_ids, done.unproven) == (3, ())


@pytest.mark.parametrize("file_format", ["parquet", "duckdb", "sqlite"])
async def test_a_sync_replaces_a_row_whose_id_changes_its_spelling(
    file_format: Any, tmp_path: Path
) -> None:
    async with shelved(orders=[order(1), order(2)]) as (shelf, store):
        await sync(store, tmp_path, format=file_format, lookback=ALL)
        shelf.lists = {"orders": [order("1", status="shipped"), order(2.0)]}
        await sync(store, tmp_path, lookback=ALL)
    found = {int(row["id"]): row["status"] for row in read_table(tmp_path, file_format)}
    assert found == {1: "shipped", 2: "paid"}
