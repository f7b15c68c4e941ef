"""An export's rows for a sink of one's own."""

from __future__ import annotations

import asyncio
import datetime as dt
import threading
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from attrs import AttrsInstance

from devskin_async import DecodeError, DevSkinClient, OrderSummary, ServerError
from devskin_async.export import DetailedOrder, RecordBatch, Resource, export, rows
from devskin_async.sandbox import Sandbox

from .serving import DAY, TODAY, order, read_table, shelved, shop, stopped_clock
from .support import ALL


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary folders are made."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


async def everything(batches: AsyncGenerator[RecordBatch, None]) -> list[AttrsInstance]:
    return [record async for batch in batches for record in batch.records]


def ids(records: list[AttrsInstance]) -> list[int]:
    return [record.id for record in records]  # type: ignore[attr-defined]  # they have one


@pytest.mark.parametrize("resource", ALL)
async def test_it_gives_the_rows_of_an_export_in_their_order(
    resource: Resource, store: DevSkinClient, tmp_path: Path
) -> None:
    records = await everything(rows(store, resource))
    await export(store, [resource], tmp_path, format="jsonl")
    exported = read_table(tmp_path, "jsonl", resource)
    assert len(records) == len(exported) > 0
    key = {"revenue": "date", "overview": "total_orders"}.get(resource, "id")
    found = [str(getattr(record, key)) for record in records]
    assert found == [str(row[key]) for row in exported]


async def test_orders_come_from_the_oldest_on(store: DevSkinClient) -> None:
    records = await everything(rows(store, "orders"))
    times = [record.created_at for record in records if isinstance(record, OrderSummary)]
    assert len(times) == 450
    assert times == sorted(times)


async def test_batches_are_of_about_a_thousand_and_each_has_the_proof() -> None:
    async with shop(orders=2500) as (_, store):
        batches = [batch async for batch in rows(store, "orders")]
    assert {batch.proof for batch in batches} == {"sliced"}
    *whole, _ = [len(batch.records) for batch in batches]
    assert all(1000 <= size < 2000 for size in whole)
    assert sum(len(batch.records) for batch in batches) == 2500


@pytest.mark.parametrize(
    ("resource", "how", "proof"),
    [
        ("products", {}, "two-pass"),
        ("products", {"verify": "once"}, "counted"),
        ("customers", {}, "atomic"),
        ("orders", {}, "sliced"),
    ],
)
async def test_the_proof_is_that_of_an_export(
    resource: Resource, how: Any, proof: str, store: DevSkinClient
) -> None:
    assert {batch.proof async for batch in rows(store, resource, **how)} == {proof}


async def test_what_is_not_proven_is_told_with_the_first_batch() -> None:
    async with shelved(orders=[order(1)]) as (shelf, store):
        shelf.hidden = [order(2)]
        batches = [batch async for batch in rows(store, "orders")]
    assert [batch.proof for batch in batches] == ["unproven"]


async def test_an_empty_list_gives_no_batch() -> None:
    async with shop(orders=0) as (_, store):
        assert [batch async for batch in rows(store, "orders")] == []


async def test_with_details_orders_have_their_addresses() -> None:
    async with shop(orders=40) as (box, store):
        records = await everything(rows(store, "orders", details=True))
        cities = dict(box.connection.execute("SELECT id, city FROM orders"))
    assert {
        record.id: record.shipping_address_city
        for record in records
        if isinstance(record, DetailedOrder)
    } == cities


async def test_a_status_and_days_choose_among_the_orders() -> None:
    async with shop(orders=900) as (box, store):
        first, last = TODAY - 400 * DAY, TODAY - 100 * DAY
        records = await everything(
            rows(store, "orders", status="paid", date_from=first, date_to=last)
        )
        found = box.connection.execute(
            "SELECT id FROM orders WHERE status = 'paid'"
            " AND date(created_at / 1000, 'unixepoch') BETWEEN ? AND ? ORDER BY created_at, id",
            (str(first), str(last)),
        ).fetchall()
    assert ids(records) == [number for (number,) in found]


@pytest.mark.parametrize("date_to", ["inclusive", "exclusive"])
async def test_each_single_day_has_its_own_orders(date_to: str) -> None:
    async with shop(orders=300, date_to=date_to) as (box, store):
        found = box.connection.execute(
            "SELECT date(created_at / 1000, 'unixepoch'), count(*) FROM orders GROUP BY 1"
            " ORDER BY 1 DESC LIMIT 5"
        ).fetchall()
        for day, count in found:
            records = await everything(rows(store, "orders", date_from=day, date_to=day))
            # The store may take date_to for the first day that is not wanted.
            assert len(records) == count


async def test_a_day_without_orders_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    async with shop(orders=20) as (box, store):
        days = {
            dt.datetime.fromtimestamp(at / 1000, dt.UTC).date()
            for (at,) in box.connection.execute("SELECT created_at FROM orders")
        }
        # Nothing has happened for some days, and so the clock is past all orders.
        stopped_clock(monkeypatch, dt.datetime(2026, 3, 20, tzinfo=dt.UTC))
        empty = next(day - DAY for day in sorted(days) if day - DAY not in days)
        assert await everything(rows(store, "orders", date_from=empty, date_to=empty)) == []


async def test_leaving_early_closes_everything(folders: Path) -> None:
    tasks, threads = asyncio.all_tasks(), threading.active_count()
    async with shop(orders=2500) as (_, store):
        async with aclosing(rows(store, "orders")) as batches:
            async for batch in batches:
                assert len(batch.records) >= 1000
                assert [*folders.iterdir()]
                break
        assert not [*folders.iterdir()]
        mine = [thread.name for thread in threading.enumerate()]
        assert not [name for name in mine if name.startswith("devskin-export")]
    assert len(asyncio.all_tasks() - tasks) == 0
    assert threading.active_count() <= threads + 1  # the loop's own


async def test_a_generator_that_nobody_closes_is_closed_by_the_loop(folders: Path) -> None:
    async with shop(orders=2500) as (_, store):
        async for batch in rows(store, "orders"):
            assert batch.records
            break
        await asyncio.sleep(0)  # the loop closes what nobody holds any more in a task
        closing = [t for t in asyncio.all_tasks() if "async_generator" in repr(t.get_coro())]
        assert closing
        await asyncio.wait(closing)
    assert not [*folders.iterdir()]


async def test_a_cancelled_reader_leaves_no_folder(folders: Path) -> None:
    async with shop(orders=1500) as (box, store):
        task = asyncio.create_task(everything(rows(store, "orders")))

        def stop(_: str) -> None:
            # The store's own statements tell that the reader has got so far.
            if box.counts.requests > 6:
                task.cancel()

        box.connection.set_trace_callback(stop)
        with pytest.raises(asyncio.CancelledError):
            await task
    assert not [*folders.iterdir()]


async def test_an_error_leaves_no_folder(box: Sandbox, store: DevSkinClient, folders: Path) -> None:
    box.fail_next(*("ok",) * 3, *("500",) * 100)
    with pytest.raises(ServerError):
        await everything(rows(store, "orders"))
    assert not [*folders.iterdir()]


async def test_a_bad_row_comes_before_any_batch() -> None:
    async with shelved(orders=[order(1), order(2, total="much")]) as (_, store):
        batches = rows(store, "orders")
        with pytest.raises(DecodeError, match=r"\$\.data\.items\[1\]\.total"):
            await anext(batches)


async def test_two_readers_at_once_do_not_disturb_each_other(store: DevSkinClient) -> None:
    one, other = await asyncio.gather(*(everything(rows(store, "orders")) for _ in range(2)))
    assert one == other
    assert len(one) == 450


@pytest.mark.parametrize(
    ("resource", "how", "problem"),
    [
        ("invoices", {}, "resource must be one of"),
        ("products", {"status": "paid"}, "are for orders"),
        ("orders", {"date_from": "2026-01-02", "date_to": "2026-01-01"}, "date_"),
    ],
)
async def test_wrong_arguments_are_refused_before_anything_is_sent(
    resource: Any, how: Any, problem: str, box: Sandbox, store: DevSkinClient
) -> None:
    with pytest.raises(ValueError, match=problem):
        await everything(rows(store, resource, **how))
    assert box.counts.requests == 0
