"""Orders with their details: one request an order, asked once."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from devskin_async import DecodeError, DevSkinClient
from devskin_async.export import Format, Progress, export, verify
from devskin_async.sandbox import Sandbox
from tests.conftest import UNLIMITED

from .serving import order, orders_of, read_table, remove, shelved, shop

FORMATS: tuple[Format, ...] = ("jsonl", "csv", "parquet", "duckdb", "sqlite")
ADDRESS = ("street", "city", "state", "zip")
ITEM = {"product_id": 7, "name": "Lamp", "quantity": 2, "price": 10.5}

each_format = pytest.mark.parametrize("file_format", FORMATS)


def asked(box: Sandbox) -> list[int]:
    """List the orders whose detail was asked for."""
    paths = (each.path_qs.rpartition("/orders/") for each in box.requests)
    return [int(number) for _, found, number in paths if found]


def detail(order_id: int, **more: Any) -> bytes:
    """Write the detail of an order."""
    plain: dict[str, Any] = {
        "subtotal": 21,
        "shipping_cost": 0,
        "discount": 0,
        "shipping_address": {"street": "Main 1", "city": "Rome", "state": "RM", "zip": "00100"},
        "items": [ITEM],
        "updated_at": "2026-02-11T14:30:00.000Z",
    }
    return order(order_id, **{**plain, **more})


def details(numbers: Iterable[int]) -> dict[str, bytes]:
    return {str(number): detail(number) for number in numbers}


@each_format
async def test_orders_get_the_columns_of_their_details_and_the_lines_a_table(
    file_format: Format, tmp_path: Path
) -> None:
    async with shop(orders=60) as (box, store):
        done = await export(store, ["orders"], tmp_path, format=file_format, details=True)
        database = box.connection
        addresses = database.execute("SELECT id, street, city, state, zip FROM orders").fetchall()
        lines = database.execute(
            "SELECT order_id, position + 1, product_id, name, quantity FROM order_items"
        ).fetchall()
    rows = read_table(tmp_path, file_format)
    if file_format == "jsonl":
        found = [(r["id"], *(r["shipping_address"][part] for part in ADDRESS)) for r in rows]
    else:
        found = [(int(r["id"]), *(r[f"shipping_address_{part}"] for part in ADDRESS)) for r in rows]
    assert sorted(found) == addresses
    items = read_table(tmp_path, file_format, "order_items")
    numbers = ("order_id", "position", "product_id")
    told = [(*(int(i[n]) for n in numbers), i["name"], int(i["quantity"])) for i in items]
    assert sorted(told) == lines
    certificate = orders_of(done.certificates)
    assert (certificate.rows, certificate.gone, certificate.rejected) == (60, 0, 0)
    assert verify(tmp_path).problems == ()


@each_format
async def test_the_money_of_lines_is_exact(file_format: Format, tmp_path: Path) -> None:
    async with shop(orders=40) as (box, store):
        await export(store, ["orders"], tmp_path, format=file_format, details=True)
        cents = dict(
            box.connection.execute(
                "SELECT order_id, sum(price * quantity) FROM order_items GROUP BY 1"
            )
        )
    found: Counter[int] = Counter()
    for item in read_table(tmp_path, file_format, "order_items"):
        found[int(item["order_id"])] += round(float(item["price"]) * 100) * int(item["quantity"])
    assert found == cents


async def test_jsonl_holds_the_detail_as_the_server_wrote_it(tmp_path: Path) -> None:
    odd = detail(1).replace(b'"total": 9.5', b'"total":  9.500, "new": [1e2,\t{"a":"\\u00e9"}]')
    async with shelved({"1": odd}, orders=[order(1)]) as (_, store):
        done = await export(store, ["orders"], tmp_path, details=True)
    assert (tmp_path / "orders.jsonl").read_bytes() == odd + b"\n"
    assert orders_of(done.certificates).rows == 1


async def test_what_details_have_beyond_the_reference_is_counted(tmp_path: Path) -> None:
    both = {"1": detail(1, weight=3), "2": detail(2, weight=4, status="lost")}
    async with shelved(both, orders=[order(1), order(2)]) as (_, store):
        done = await export(store, ["orders"], tmp_path, details=True)
    assert orders_of(done.certificates).unknown == {"weight": 2, "status=lost": 1}


@each_format
async def test_an_order_that_was_removed_after_it_was_listed_stays_without_details(
    file_format: Format, tmp_path: Path
) -> None:
    async with shop(orders=30) as (box, store):

        def remove_one(progress: Progress) -> None:
            # All 30 are listed by one request.
            if progress.rows == 30 and 9 in orders_there(box):
                remove(box, 9)

        done = await export(
            store,
            ["orders"],
            tmp_path,
            format=file_format,
            details=True,
            on_progress=remove_one,
        )
    (row,) = (row for row in read_table(tmp_path, file_format) if int(row["id"]) == 9)
    assert not row.get("subtotal")
    assert not row.get("shipping_address_city")
    assert row["customer_name"]
    certificate = orders_of(done.certificates)
    assert (certificate.rows, certificate.gone) == (30, 1)
    items = read_table(tmp_path, file_format, "order_items")
    assert 9 not in {int(item["order_id"]) for item in items}
    assert len({int(item["order_id"]) for item in items}) == 29


def orders_there(box: Sandbox) -> set[int]:
    return {number for (number,) in box.connection.execute("SELECT id FROM orders")}


async def interrupted(store: DevSkinClient, out: Path, at: int, **how: Any) -> None:
    """Begin an export with details, and cancel it after so many requests."""
    task = asyncio.current_task()
    assert task is not None

    def tell(progress: Progress) -> None:
        if progress.requests == at:
            task.cancel()

    await export(store, ["orders"], out, details=True, on_progress=tell, **how)


def one_at_a_time(box: Sandbox) -> DevSkinClient:
    return DevSkinClient(box.api_key, base_url=box.base_url, rate_limit=UNLIMITED, concurrency=1)


async def test_interrupted_details_go_on_where_they_ended(tmp_path: Path) -> None:
    async with Sandbox(orders=90, limiter="none") as box, one_at_a_time(box) as store:
        for at in (20, 30):
            with pytest.raises(asyncio.CancelledError):
                await asyncio.create_task(interrupted(store, tmp_path, at))
        so_far = len(asked(box))
        done = await export(store, ["orders"], tmp_path, details=True)
        there = orders_there(box)
    numbers = Counter(asked(box))
    assert so_far > 40
    assert done.resumed
    assert numbers.keys() == there
    # What each cancellation caught before it was kept may come twice.
    assert sum(numbers.values()) - len(numbers) <= 2
    assert {int(row["id"]) for row in read_table(tmp_path, "jsonl")} == there


async def test_an_export_without_details_is_of_use_to_one_with_them(tmp_path: Path) -> None:
    async with shop(orders=40) as (box, store):
        with pytest.raises(asyncio.CancelledError):
            await asyncio.create_task(interrupted(store, tmp_path, 20))
        before = len(asked(box))
        done = await export(store, ["orders"], tmp_path)
        assert len(asked(box)) == before
    assert orders_of(done.certificates).gone is None
    assert not (tmp_path / "order_items.jsonl").exists()


@pytest.mark.parametrize("on_server", [False, True])
async def test_only_the_details_of_orders_of_the_status_are_asked_for(
    on_server: bool, tmp_path: Path
) -> None:
    async with shop(orders=80) as (box, store):
        await export(
            store, ["orders"], tmp_path, details=True, status="paid", filter_on_server=on_server
        )
        paid = {
            number
            for (number,) in box.connection.execute("SELECT id FROM orders WHERE status = 'paid'")
        }
    assert sorted(asked(box)) == sorted(paid)


async def test_an_export_of_a_status_has_orders_of_that_status_alone(tmp_path: Path) -> None:
    async with shelved({"1": detail(1, status="shipped")}, orders=[order(1)]) as (_, store):
        await export(store, ["orders"], tmp_path, details=True, status="paid", format="csv")
    assert {row["status"] for row in read_table(tmp_path, "csv")} <= {"paid"}


@pytest.mark.parametrize(
    ("wrong", "path", "received"),
    [
        ({"items": [ITEM, {**ITEM, "quantity": "two"}]}, "$.data.order.items[1].quantity", '"two"'),
        ({"updated_at": "yesterday"}, "$.data.order.updated_at", '"yesterday"'),
        ({"items": {}}, "$.data.order.items", "an object"),
    ],
)
async def test_a_detail_that_can_not_be_decoded_ends_the_export_by_its_place(
    wrong: dict[str, object], path: str, received: str, tmp_path: Path
) -> None:
    both = {"1": detail(1), "2": detail(2, **wrong)}
    async with shelved(both, orders=[order(1), order(2)]) as (_, store):
        with pytest.raises(DecodeError) as info:
            await export(store, ["orders"], tmp_path, details=True)
    assert (info.value.path, info.value.received) == (path, received)
    assert "/orders/2" in str(info.value)


@each_format
async def test_with_rejects_an_order_keeps_its_row_without_the_bad_detail(
    file_format: Format, tmp_path: Path
) -> None:
    bad = detail(2, items=[{**ITEM, "price": "free"}])
    both = {"1": detail(1), "2": bad}
    async with shelved(both, orders=[order(1), order(2)]) as (_, store):
        done = await export(
            store,
            ["orders"],
            tmp_path / "out",
            format=file_format,
            details=True,
            rejects=tmp_path / "bad",
        )
    rows = {int(row["id"]): row for row in read_table(tmp_path / "out", file_format)}
    assert rows.keys() == {1, 2}
    assert not rows[2].get("subtotal")
    items = read_table(tmp_path / "out", file_format, "order_items")
    assert [int(item["order_id"]) for item in items] == [1]
    certificate = orders_of(done.certificates)
    assert (certificate.rows, certificate.rejected, certificate.gone) == (2, 1, 0)
    (entry,) = (tmp_path / "bad" / "orders.rejected.jsonl").read_bytes().splitlines()
    assert json.loads(entry) == {
        "path": "$.items[0].price",
        "expected": "a number",
        "received": '"free"',
        "row": json.loads(bad),
    }


async def test_the_detail_of_another_order_is_never_taken(tmp_path: Path) -> None:
    async with shelved({"1": detail(2)}, orders=[order(1)]) as (_, store):
        with pytest.raises(DecodeError, match=r"\$\.data\.order\.id"):
            await export(store, ["orders"], tmp_path / "out", details=True, rejects=tmp_path)


async def test_a_bad_detail_with_a_wrong_id_does_not_cost_another_order_its_own(
    tmp_path: Path,
) -> None:
    both = {"1": detail(2, items="none"), "2": detail(2)}
    async with shelved(both, orders=[order(1), order(2)]) as (_, store):
        await export(store, ["orders"], tmp_path / "out", details=True, rejects=tmp_path)
    assert [item["order_id"] for item in read_table(tmp_path / "out", "jsonl", "order_items")] == [
        2
    ]


async def test_an_order_with_an_id_of_more_than_64_bits_has_a_detail_too(tmp_path: Path) -> None:
    big = 2**70
    async with shelved({str(big): detail(big)}, orders=[order(big)]) as (_, store):
        await export(store, ["orders"], tmp_path, details=True)
    assert [row["id"] for row in read_table(tmp_path, "jsonl")] == [big]


async def test_progress_counts_details_when_they_are_read(tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    async with shop(orders=30) as (_, store):
        await export(
            store,
            ["orders"],
            tmp_path,
            details=True,
            on_progress=lambda at: told.append((at.counted, at.rows, at.total)),
        )
    assert told[0][0] == "rows"
    assert told[-1] == ("details", 30, 30)
