"""What an export would cost is told before it is begun, and is what it costs then."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from devskin_async import DevSkinClient, RateLimit
from devskin_async.export import Planned, export, plan
from devskin_async.sandbox import Sandbox

from .serving import shop, stopped_clock
from .support import ALL


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    stopped_clock(monkeypatch)


@pytest.fixture
async def box() -> AsyncIterator[Sandbox]:
    """A store that has the same day as the clock."""
    async with shop(orders=450, products=120, customers=30) as (running, _):
        yield running


async def planned_and_sent(
    box: Sandbox, store: DevSkinClient, out: Path, *resources: Any, **how: Any
) -> tuple[Planned, int]:
    """Plan an export, make it, and count what it has sent."""
    before = box.counts.requests
    planned = await plan(store, resources, **how)
    assert planned.spent == box.counts.requests - before
    before = box.counts.requests
    await export(store, resources, out, **how)
    return planned, box.counts.requests - before


def is_near(planned: Planned, sent: int) -> bool:
    return abs(sum(planned.requests.values()) - sent) <= max(3, 0.15 * sent)


@pytest.mark.parametrize("orders", [0, 1, 100, 101, 450, 1563, 5000])
@pytest.mark.parametrize("seed", [1, 2])
async def test_the_requests_for_orders_are_foretold(orders: int, seed: int, tmp_path: Path) -> None:
    async with shop(orders=orders, seed=seed) as (box, store):
        planned, sent = await planned_and_sent(box, store, tmp_path, "orders")
    assert is_near(planned, sent)
    assert planned.rows == {"orders": orders}


@pytest.mark.parametrize("verify", ["twice", "once"])
@pytest.mark.parametrize("products", [0, 99, 100, 101, 200, 950])
async def test_the_requests_for_lists_are_foretold_exactly(
    products: int, verify: str, tmp_path: Path
) -> None:
    async with shop(orders=0, products=products) as (box, store):
        planned, sent = await planned_and_sent(box, store, tmp_path, "products", verify=verify)
    pages = max(1, -(-products // 100))
    assert planned.requests == {"products": sent}
    full = products > 0 and products % 100 == 0  # whether that page is the last shows the next
    assert sent == (pages + full) * (1 if verify == "once" or pages == 1 else 2)
    assert planned.rows == {"products": products}


async def test_everything_is_foretold_by_resource(
    box: Sandbox, store: DevSkinClient, tmp_path: Path
) -> None:
    planned, sent = await planned_and_sent(box, store, tmp_path, *ALL)
    assert is_near(planned, sent)
    assert tuple(planned.requests) == ALL
    assert planned.requests["revenue"] == planned.requests["overview"] == 1


async def test_planning_takes_few_requests(tmp_path: Path) -> None:
    async with shop(orders=5000, products=900, customers=900) as (_, store):
        planned = await plan(store, ALL)
    assert planned.spent <= 10
    assert sum(planned.requests.values()) > 80


async def test_planning_leaves_nothing_behind(
    box: Sandbox, store: DevSkinClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    planned = await plan(store, ALL)
    assert planned.spent == box.counts.requests
    assert not [*tmp_path.iterdir()]


async def test_each_orders_detail_is_one_request_more(tmp_path: Path) -> None:
    async with shop(orders=320) as (box, store):
        planned, sent = await planned_and_sent(box, store, tmp_path, "orders", details=True)
    assert planned.requests["order details"] == planned.rows["order details"] == 320
    assert is_near(planned, sent)


@pytest.mark.parametrize("how", [{"status": "paid"}, {"date_from": "2025-10-01"}])
async def test_filters_on_our_side_and_days_are_foretold(
    how: dict[str, str], tmp_path: Path
) -> None:
    async with shop(orders=1563) as (box, store):
        planned, sent = await planned_and_sent(box, store, tmp_path, "orders", **how)
    assert is_near(planned, sent)


async def test_a_filter_of_the_server_is_foretold(tmp_path: Path) -> None:
    async with shop(orders=900) as (box, store):
        planned, sent = await planned_and_sent(
            box, store, tmp_path, "orders", status="paid", filter_on_server=True
        )
    assert is_near(planned, sent)


@pytest.mark.parametrize(("orders", "status"), [(5000, "paid"), (8000, "paid")])
async def test_a_filter_of_the_server_is_foretold_in_a_large_store_too(
    orders: int, status: str, tmp_path: Path
) -> None:
    async with shop(orders=orders) as (box, store):
        planned, sent = await planned_and_sent(
            box, store, tmp_path, "orders", status=status, filter_on_server=True
        )
    assert is_near(planned, sent)


async def test_a_filter_of_the_server_does_not_cost_many_requests_for_each_page(
    tmp_path: Path,
) -> None:
    async with shop(orders=5000) as (_, store):
        done = await export(store, ["orders"], tmp_path, status="paid", filter_on_server=True)
    rows = done.certificates["orders"].rows
    assert 0 < rows < 500
    assert done.requests <= 4 * (rows // 100 + 1) + 10


async def test_only_the_details_of_orders_of_the_status_are_foretold(tmp_path: Path) -> None:
    async with shop(orders=400) as (box, store):
        planned, sent = await planned_and_sent(
            box, store, tmp_path, "orders", status="paid", details=True
        )
    assert is_near(planned, sent)


async def test_the_rows_of_revenue_are_not_told_where_they_are_not_known(
    store: DevSkinClient, tmp_path: Path
) -> None:
    planned = await plan(store, ["revenue"])
    done = await export(store, ["revenue"], tmp_path)
    assert planned.rows.get("revenue") in (None, done.certificates["revenue"].rows)


def limited(box: Sandbox) -> DevSkinClient:
    return DevSkinClient(box.api_key, base_url=box.base_url, rate_limit=RateLimit(100, 60))


async def test_seconds_and_share_are_those_of_the_keys_limit() -> None:
    async with shop(orders=5000) as (box, _), limited(box) as store:
        planned = await plan(store, ["orders"], details=True)
        total = sum(planned.requests.values())
        assert planned.seconds == pytest.approx(store.budget.forecast(total), abs=1)
    # 90 in a window are bulk work's, and the windows follow one another.
    assert 60 * (total // 100 - 1) <= planned.seconds <= 60 * (total / 90 + 1)
    assert planned.share == total / 144_000


async def test_what_fits_the_present_window_takes_no_time() -> None:
    async with shop(orders=99) as (box, _), limited(box) as store:
        planned = await plan(store, ["orders"])
    assert (planned.seconds, planned.share) == (0.0, 1 / 144_000)


@pytest.mark.parametrize(
    ("resources", "how", "problem"),
    [
        ([], {}, "resources must name"),
        (["invoices"], {}, "resource must be one of"),
        (["orders"], {"verify": "never"}, "verify must be"),
        (["products"], {"details": True}, "are for orders"),
        (["orders"], {"filter_on_server": True}, "needs a status"),
        (["orders"], {"status": "lost"}, "status"),
        (["orders"], {"date_from": "2026-02-30"}, "date_from"),
    ],
)
async def test_what_can_not_be_exported_is_refused_before_anything_is_sent(
    resources: Any, how: Any, problem: str, box: Sandbox, store: DevSkinClient
) -> None:
    with pytest.raises(ValueError, match=problem):
        await plan(store, resources, **how)
    assert box.counts.requests == 0
