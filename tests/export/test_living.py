"""Stores that do not stand still while they are read, with filters that are right or wrong."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from devskin_async.export import Resource, export, sync, verify

from .lying import Hides, Liar, is_late, lying
from .stores import exported_ids

HIDES: dict[str, Hides] = {
    "the last minute": lambda row, last: is_late(row, last, "23:59"),
    "one order in fifty": lambda row, _: row["id"] % 50 == 7,
}


def arriving(liar: Liar) -> None:
    """Place an order now and then."""
    if len(liar.requests) % 3 == 0:
        liar.arrived.append(dt.datetime.now(dt.UTC))


async def test_a_store_in_which_orders_arrive_is_proven_by_the_days_that_are_over(
    tmp_path: Path,
) -> None:
    liar = Liar(orders=2000, meanwhile=arriving)
    async with lying(liar) as store:
        done = await export(store, ["orders"], tmp_path)
    certificate = done.certificates["orders"]
    assert done.unproven == ()
    assert certificate.total_before is not None
    assert certificate.total_after is not None
    assert certificate.total_before < certificate.total_after
    assert certificate.closed_until is not None
    closed = [
        each.total
        for each in certificate.slices
        if each.last is not None and each.last <= certificate.closed_until
    ]
    assert certificate.closed_total == sum(closed)
    assert exported_ids(tmp_path / "orders.jsonl")[:2000] == list(range(1, 2001))
    assert verify(tmp_path).problems == ()


@pytest.mark.parametrize("hides", HIDES.values(), ids=HIDES.keys())
async def test_what_a_filter_leaves_out_shows_in_a_store_in_which_orders_arrive(
    hides: Hides, tmp_path: Path
) -> None:
    async with lying(Liar(orders=2000, hides=hides, meanwhile=arriving)) as store:
        done = await export(store, ["orders"], tmp_path)
    assert done.unproven == ("orders",)
    assert done.certificates["orders"].remarks


async def test_a_sync_of_a_store_in_which_orders_arrive_is_proven(tmp_path: Path) -> None:
    liar = Liar(orders=2000)
    async with lying(liar) as store:
        await sync(store, tmp_path)
        liar.meanwhile = arriving
        done = await sync(store, tmp_path, lookback=dt.timedelta(days=900))
    assert done.unproven == ()


@pytest.mark.parametrize(("order", "unproven"), [(1999, ()), (700, ("orders",))])
async def test_an_order_that_leaves_a_day_that_is_over_and_was_read_leaves_a_doubt(
    order: int, unproven: tuple[str, ...], tmp_path: Path
) -> None:
    def leaving(liar: Liar) -> None:
        if liar.requests.count("/orders?page=1&limit=100") == 2:  # the total after all
            liar.removed.add(order)

    async with lying(Liar(orders=2000, meanwhile=leaving)) as store:
        done = await export(store, ["orders"], tmp_path)
    assert done.certificates["orders"].rows == 2000
    assert done.unproven == unproven


@pytest.mark.parametrize("past_end", [None, 0])
@pytest.mark.parametrize("resource", ["products", "orders"])
async def test_a_list_that_shrinks_past_a_page_is_read_again(
    resource: Resource, past_end: int | None, tmp_path: Path
) -> None:
    def shrinking(liar: Liar) -> None:
        if len(liar.requests) == 2:
            liar.removed.update(range(121, 351))

    liar = Liar(orders=350, meanwhile=shrinking, past_end=past_end)
    async with lying(liar) as store:
        done = await export(store, [resource], tmp_path)
    left = set(range(1, 121))
    assert left <= set(exported_ids(tmp_path / f"{resource}.jsonl"))
    assert len(liar.requests) < 40
    if resource == "products":
        assert (done.unproven, done.certificates["products"].distinct_ids) == ((), 120)
