"""Servers that tell wrong totals, have pages of their own size, or filters that leave rows out."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from devskin_async.export import Resource, export, plan, rows, sync, verify

from .lying import Asked, Hides, Liar, Total, is_late, lying, wrong_totals
from .serving import in_table, read_table
from .stores import exported_ids

WRONG = dict(wrong_totals())
HIDES: dict[str, Hides] = {
    "the last minute": lambda row, last: is_late(row, last, "23:59"),
    "the last hour": lambda row, last: is_late(row, last, "23"),
    "one order in fifty": lambda row, _: row["id"] % 50 == 7,
}

each_wrong_total = pytest.mark.parametrize("total", WRONG.values(), ids=WRONG.keys())
each_filter = pytest.mark.parametrize("hides", HIDES.values(), ids=HIDES.keys())
each_cap = pytest.mark.parametrize(
    ("cap", "echoes"), [(50, False), (50, True), (20, False), (20, True)]
)


@each_wrong_total
@pytest.mark.parametrize("count", [150, 1500])
async def test_a_wrong_total_costs_no_requests_without_end_and_is_told(
    total: Total, count: int, tmp_path: Path
) -> None:
    liar = Liar(orders=count, total=total)
    async with lying(liar) as store:
        done = await export(store, ["orders"], tmp_path)
    certificate = done.certificates["orders"]
    assert exported_ids(tmp_path / "orders.jsonl") == sorted(liar.ids)
    assert certificate.remarks
    assert len(liar.requests) <= 4 * count / 100 + 60
    # Only a total of the whole list that is right can prove it.
    assert (certificate.proof == "unproven") == (total is not WRONG["without the filter"])
    assert verify(tmp_path).problems == ()


@each_wrong_total
async def test_a_list_with_a_wrong_total_is_read_to_its_end_and_no_further(
    total: Total, tmp_path: Path
) -> None:
    liar = Liar(orders=250, total=total)
    async with lying(liar) as store:
        done = await export(store, ["products"], tmp_path)
    assert exported_ids(tmp_path / "products.jsonl") == sorted(liar.ids)
    assert len(liar.requests) <= 4 * 3 + 30
    certificate = done.certificates["products"]
    if total is WRONG["without the filter"]:
        assert (certificate.proof, certificate.remarks) == ("two-pass", ())
    else:
        assert certificate.proof == "unproven"
        assert certificate.remarks


@each_wrong_total
async def test_a_plan_ends_whatever_the_total_is(total: Total) -> None:
    liar = Liar(total=total)
    async with lying(liar) as store:
        await plan(store, ["orders", "products"])
    assert len(liar.requests) <= 20


@each_wrong_total
async def test_rows_under_a_wrong_total_come_whole(total: Total) -> None:
    liar = Liar(total=total)
    async with lying(liar) as store:
        batches = [batch async for batch in rows(store, "orders")]
    assert sorted(row.id for batch in batches for row in batch.records) == sorted(liar.ids)  # type: ignore[attr-defined]  # an order has one
    assert len(liar.requests) <= 120
    if total is not WRONG["without the filter"]:
        assert {batch.proof for batch in batches} == {"unproven"}


@each_wrong_total
async def test_a_sync_under_a_wrong_total_is_whole(total: Total, tmp_path: Path) -> None:
    liar = Liar(orders=700)
    async with lying(liar) as store:
        await sync(store, tmp_path)
        liar.total = total
        liar.requests.clear()
        done = await sync(store, tmp_path, lookback=dt.timedelta(days=600))
    assert in_table(tmp_path, "parquet").keys() == set(liar.ids)
    assert len(liar.requests) <= 120
    assert done.certificates["orders"].remarks


async def test_one_day_with_a_wrong_total_is_named_and_the_others_are_proven(
    tmp_path: Path,
) -> None:
    def total(asked: Asked) -> int:
        return asked.matching + (asked.last >= "2025-06-01" >= asked.first)

    liar = Liar(orders=3040, total=total)
    async with lying(liar) as store:
        done = await export(store, ["orders"], tmp_path)
    assert done.unproven == ("orders of 2025-06-01",)
    assert exported_ids(tmp_path / "orders.jsonl") == sorted(liar.ids)
    assert len(liar.requests) <= 3000 / 100 * 2 + 25


@each_cap
@pytest.mark.parametrize("count", [20, 50, 60, 250, 700])
async def test_pages_of_the_servers_own_size_are_read_to_the_end_and_proven(
    cap: int, echoes: bool, count: int, tmp_path: Path
) -> None:
    liar = Liar(orders=count, cap=cap, echoes=echoes)
    resources: tuple[Resource, ...] = ("orders", "products")
    async with lying(liar) as store:
        done = await export(store, resources, tmp_path)
    assert done.unproven == ()
    for name in resources:
        assert exported_ids(tmp_path / f"{name}.jsonl") == sorted(liar.ids)
    assert len(liar.requests) <= 2 * count / cap * 2 + 12
    assert verify(tmp_path).problems == ()


@each_cap
async def test_a_plan_knows_of_pages_of_the_servers_own_size(
    cap: int, echoes: bool, tmp_path: Path
) -> None:
    liar = Liar(cap=cap, echoes=echoes)
    async with lying(liar) as store:
        planned = await plan(store, ["orders", "products"])
        liar.requests.clear()
        await export(store, ["orders", "products"], tmp_path)
    assert planned.requests["products"] == 2 * (-(-1500 // cap) + (1500 % cap == 0))
    made = len(liar.requests)
    assert abs(sum(planned.requests.values()) - made) <= 0.2 * made


@each_filter
@pytest.mark.parametrize("count", [900, 3000])
async def test_a_day_filter_that_leaves_orders_out_proves_nothing(
    hides: Hides, count: int, tmp_path: Path
) -> None:
    liar = Liar(orders=count, hides=hides)
    async with lying(liar) as store:
        done = await export(store, ["orders"], tmp_path)
    assert 0 < len(read_table(tmp_path, "jsonl")) < count
    assert done.unproven == ("orders",)
    certificate = done.certificates["orders"]
    assert f"a total of {count:,}" in certificate.remarks[0]
    assert certificate.total_before == certificate.total_after == count
    assert verify(tmp_path).manifest.unproven == ("orders",)


@each_filter
async def test_rows_say_that_a_day_filter_leaves_orders_out(hides: Hides) -> None:
    async with lying(Liar(hides=hides)) as store:
        proofs = {batch.proof async for batch in rows(store, "orders")}
    assert proofs == {"unproven"}


@each_filter
async def test_what_a_day_filter_left_out_stays_unproven_after_a_sync(
    hides: Hides, tmp_path: Path
) -> None:
    liar = Liar(hides=hides)
    async with lying(liar) as store:
        assert (await sync(store, tmp_path)).unproven == ("orders",)
        assert (await sync(store, tmp_path)).unproven == ("orders",)
        liar.hides = lambda _, __: False
        assert (await sync(store, tmp_path, fresh=True)).unproven == ()


async def test_a_quiet_store_takes_no_request_more_to_be_proven(tmp_path: Path) -> None:
    liar = Liar(orders=3000)
    async with lying(liar) as store:
        done = await export(store, ["orders"], tmp_path)
    assert done.unproven == ()
    assert liar.requests.count("/orders?page=1&limit=100") == 2  # before and after
    assert done.certificates["orders"].closed_until is None


@pytest.mark.parametrize("resource", ["orders", "products", "revenue"])
async def test_what_came_out_of_a_cache_proves_nothing(resource: Resource, tmp_path: Path) -> None:
    liar = Liar(orders=250, age="7")
    async with lying(liar) as store:
        done = await export(store, [resource], tmp_path)
        proofs = {batch.proof async for batch in rows(store, resource)}
    assert done.unproven == (resource,)
    assert any("came from a cache" in each for each in done.certificates[resource].remarks)
    assert proofs <= {"unproven"}
    assert verify(tmp_path).problems == ()


@pytest.mark.parametrize("age", ["0", None, "soon", "", "-1", "²"])
async def test_an_answer_of_no_age_proves_as_ever(age: str | None, tmp_path: Path) -> None:
    async with lying(Liar(orders=250, age=age)) as store:
        done = await export(store, ["orders", "products"], tmp_path)
    assert done.unproven == ()


async def test_rows_that_came_out_of_a_cache_do_not_take_the_place_of_others_in_a_sync(
    tmp_path: Path,
) -> None:
    liar = Liar(orders=250)
    async with lying(liar) as store:
        await sync(store, tmp_path)
        liar.orders, liar.age = 200, "60"
        done = await sync(store, tmp_path, lookback=dt.timedelta(days=900))
    assert done.unproven == ("orders",)
    assert len(in_table(tmp_path, "parquet")) == 250
