"""An API that moved on, by switch."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from devskin_async.sandbox import Sandbox
from tests.sandbox.support import TODAY, Api, Body, calling

ORDER_FIELDS = {
    *("id", "order_number", "status", "total", "subtotal", "shipping_cost", "discount"),
    *("customer_name", "customer_email", "items", "shipping_address", "created_at", "updated_at"),
}


@pytest.fixture
async def drifting() -> AsyncIterator[Api]:
    async with Sandbox(limiter="none", today=TODAY, drift=True) as box, calling(box) as caller:
        yield caller


async def test_some_optional_fields_are_null(drifting: Api) -> None:
    for path, name in (
        ("/orders", "customer_email"),
        ("/products", "slug"),
        ("/customers", "email"),
    ):
        items = await drifting.everything(path)
        assert any(item.get(name, "") is None for item in items)
        assert any(item.get(name) for item in items)


async def test_some_optional_fields_are_missing(drifting: Api) -> None:
    for path, name in (
        ("/orders", "customer_name"),
        ("/products", "status"),
        ("/customers", "name"),
    ):
        items = await drifting.everything(path)
        assert any(name not in item for item in items)


async def test_fields_nobody_was_told_of_appear(drifting: Api) -> None:
    for path in ("/orders", "/products", "/customers"):
        data = await drifting.data(path)
        assert data["api_revision"] == 2
        assert any(item.get("tags") == ["new"] for item in data["items"])
    for path in ("/revenue", "/analytics/overview", "/orders/1"):
        assert (await drifting.data(path))["api_revision"] == 2


async def test_a_status_nobody_was_told_of_appears(drifting: Api) -> None:
    statuses = {order["status"] for order in await drifting.everything("/orders")}
    assert statuses == {"pending", "paid", "shipped", "completed", "cancelled", "refunded"}


async def test_only_cancelled_orders_become_refunded(drifting: Api, api: Api) -> None:
    plain, changed = await api.everything("/orders"), await drifting.everything("/orders")
    before = {order["id"]: order["status"] for order in plain}
    after = {order["id"]: order["status"] for order in changed}
    turned = {number for number in before if before[number] != after[number]}
    assert {(before[number], after[number]) for number in turned} == {("cancelled", "refunded")}
    assert {number for number in before if before[number] == "cancelled"} > turned


async def test_refunded_orders_are_not_found_as_cancelled(drifting: Api) -> None:
    cancelled = await drifting.everything("/orders?status=cancelled")
    everything = await drifting.everything("/orders")
    assert {order["status"] for order in cancelled} == {"cancelled"}
    assert cancelled == [order for order in everything if order["status"] == "cancelled"]


async def test_a_record_looks_the_same_each_time(drifting: Api) -> None:
    assert await drifting.data("/orders") == await drifting.data("/orders")
    summary = (await drifting.data("/orders?limit=1&page=3"))["items"][0]
    order = (await drifting.data(f"/orders/{summary['id']}"))["order"]
    assert order["status"] == summary["status"]


async def test_what_makes_a_record_stays(drifting: Api, api: Api) -> None:
    def core(item: Body) -> Body:
        kept = ("id", "order_number", "total", "created_at", "price", "stock", "total_spent")
        return {name: item[name] for name in kept if name in item}

    for path in ("/orders", "/products", "/customers"):
        plain, drifted = await api.everything(path), await drifting.everything(path)
        assert [core(item) for item in drifted] == [core(item) for item in plain]


async def test_whole_addresses_and_the_names_of_lines_go_missing_in_details(drifting: Api) -> None:
    orders = [(await drifting.data(f"/orders/{n}"))["order"] for n in range(1, 9)]
    for name, records in (
        ("shipping_address", orders),
        ("name", [line for order in orders for line in order["items"]]),
    ):
        assert any(record.get(name, "") is None for record in records)
        assert any(name not in record for record in records)
        assert any(record.get(name) is not None for record in records)


async def test_what_an_order_can_not_do_without_stays(drifting: Api) -> None:
    optional = {"customer_name", "customer_email", "shipping_address"}
    for number in range(1, 9):
        order = (await drifting.data(f"/orders/{number}"))["order"]
        assert all(order[name] is not None for name in ORDER_FIELDS - optional)


async def test_errors_do_not_drift(drifting: Api) -> None:
    assert (await drifting.get("/orders/99999")).error == "Order not found"
