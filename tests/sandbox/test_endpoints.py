"""The six endpoints: what the reference shows is what comes."""

from __future__ import annotations

import re
from decimal import Decimal

import pytest

from devskin_async.sandbox import ListOrder, Sandbox
from tests.sandbox.support import TODAY, Api, calling, place_order

ORDER_SUMMARY = [
    "id", "order_number", "status", "total", "customer_name", "customer_email", "created_at",
]  # fmt: skip
ORDER = [
    "id", "order_number", "status", "total", "subtotal", "shipping_cost", "discount",
    "customer_name", "customer_email", "items", "shipping_address", "created_at", "updated_at",
]  # fmt: skip
PRODUCT = ["id", "name", "slug", "price", "stock", "status", "created_at"]
CUSTOMER = ["id", "name", "email", "total_orders", "total_spent", "created_at"]
OVERVIEW = [
    "total_orders", "monthly_orders", "total_revenue", "monthly_revenue", "total_products",
]  # fmt: skip
PAGE = ["items", "total", "page", "limit"]


async def test_a_good_answer_is_a_json_envelope_of_success_and_data(api: Api) -> None:
    answer = await api.get("/orders")
    assert answer.headers["Content-Type"] == "application/json"
    assert list(answer.body) == ["success", "data"]
    assert answer.body["success"] is True


async def test_orders_are_listed_with_the_fields_of_the_reference(api: Api) -> None:
    data = await api.data("/orders?page=1&limit=10&status=paid")
    assert list(data) == PAGE
    assert (data["page"], data["limit"]) == (1, 10)
    assert len(data["items"]) == 10
    assert all(list(item) == ORDER_SUMMARY for item in data["items"])
    assert {item["status"] for item in data["items"]} == {"paid"}


async def test_an_order_has_the_fields_of_the_reference(api: Api) -> None:
    data = await api.data("/orders/1234")
    assert list(data) == ["order"]
    order = data["order"]
    assert list(order) == ORDER
    assert all(list(i) == ["product_id", "name", "quantity", "price"] for i in order["items"])
    assert list(order["shipping_address"]) == ["street", "city", "state", "zip"]
    assert re.fullmatch(r"[A-Z]{2}", order["shipping_address"]["state"])
    assert re.fullmatch(r"\d{5}-\d{3}", order["shipping_address"]["zip"])


async def test_an_order_agrees_with_its_summary(api: Api) -> None:
    for summary in (await api.data("/orders"))["items"]:
        order = (await api.data(f"/orders/{summary['id']}"))["order"]
        assert {name: order[name] for name in ORDER_SUMMARY} == summary


async def test_revenue_has_the_fields_of_the_reference(api: Api) -> None:
    data = await api.data("/revenue?period=7d")
    assert list(data) == ["period", "total", "daily"]
    assert data["period"] == "7d"
    assert all(list(day) == ["date", "total", "count"] for day in data["daily"])


async def test_revenue_is_of_30_days_unless_told_otherwise(api: Api) -> None:
    assert await api.data("/revenue") == await api.data("/revenue?period=30d")


async def test_products_are_listed_with_the_fields_of_the_reference(api: Api) -> None:
    data = await api.data("/products?page=1&limit=20")
    assert list(data) == PAGE
    assert all(list(item) == PRODUCT for item in data["items"])
    assert data["total"] == 87


async def test_customers_are_listed_with_the_fields_of_the_reference(api: Api) -> None:
    data = await api.data("/customers?page=1&limit=20")
    assert list(data) == PAGE
    assert all(list(item) == CUSTOMER for item in data["items"])
    assert data["total"] == 342


async def test_the_overview_has_the_fields_of_the_reference(api: Api) -> None:
    data = await api.data("/analytics/overview")
    assert list(data) == OVERVIEW
    assert (data["total_orders"], data["total_products"]) == (1563, 87)


@pytest.mark.parametrize("path", ["/orders", "/products", "/customers"])
async def test_a_list_begins_at_page_1_with_20_items(api: Api, path: str) -> None:
    assert await api.data(path) == await api.data(f"{path}?page=1&limit=20")


@pytest.mark.parametrize("path", ["/orders", "/products", "/customers"])
async def test_pages_cut_a_list_without_gap_or_overlap(api: Api, path: str) -> None:
    by_hundreds = await api.everything(path)
    by_seven = [
        i for page in (1, 2, 3) for i in (await api.data(f"{path}?limit=7&page={page}"))["items"]
    ]
    assert by_seven == by_hundreds[:21]
    assert len({item["id"] for item in by_hundreds}) == len(by_hundreds)


async def test_a_page_past_the_end_is_empty_and_still_tells_the_total(api: Api) -> None:
    last = 2**63 - 1
    for page in (17, last):
        data = await api.data(f"/orders?limit=100&page={page}")
        assert data == {"items": [], "total": 1563, "page": page, "limit": 100}


async def test_money_is_written_as_numbers_of_two_digits(api: Api) -> None:
    text = (await api.get("/orders/1234")).text
    written = re.findall(r'"(?:total|subtotal|shipping_cost|discount|price)":([^,}]+)', text)
    assert len(written) >= 5
    assert all(re.fullmatch(r"\d+\.\d\d", amount) for amount in written)


async def test_money_of_nothing_is_zero_with_two_digits() -> None:
    async with Sandbox(orders=0, products=0, customers=0) as box, calling(box) as api:
        assert '"total_revenue":0.00,' in (await api.get("/analytics/overview")).text
        assert (await api.get("/revenue")).text.endswith('"total":0.00,"daily":[]}}')
        assert (await api.data("/orders"))["total"] == 0


async def test_instants_are_written_in_utc_with_milliseconds(api: Api) -> None:
    for path in ("/orders", "/products", "/customers"):
        for item in (await api.data(path))["items"]:
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", item["created_at"])


async def test_order_numbers_carry_the_year_and_six_digits(api: Api) -> None:
    for item in await api.everything("/orders"):
        assert item["order_number"] == f"ORD-{item['created_at'][:4]}-{item['id']:06d}"


async def test_lists_are_newest_first(api: Api) -> None:
    for path in ("/orders", "/products", "/customers"):
        ages = [(item["created_at"], item["id"]) for item in await api.everything(path)]
        assert ages == sorted(ages, reverse=True)


@pytest.mark.parametrize("order", ["newest", "oldest"])
async def test_orders_of_one_instant_go_by_id_the_same_way(order: ListOrder) -> None:
    async with Sandbox(orders=1, order=order, today=TODAY) as box, calling(box) as api:
        ids = [await place_order(box, "2026-02-13T10:00:00Z") for _ in range(4)]
        found = await api.ids("/orders?date_from=2026-02-13")
    assert found == (ids if order == "oldest" else ids[::-1])


@pytest.mark.parametrize("order", ["newest", "oldest"])
async def test_orders_of_one_instant_and_status_go_by_id_whatever_their_totals(
    order: ListOrder,
) -> None:
    """The index behind this filter has the totals in it, falling here as the ids rise."""
    async with Sandbox(orders=1, order=order, today=TODAY) as box, calling(box) as api:
        at = "2026-02-13T10:00:00Z"
        totals = (400, 300, 200, 100)
        ids = [await place_order(box, at, status="paid", total=total) for total in totals]
        found = await api.ids("/orders?status=paid&date_from=2026-02-13")
    assert found == (ids if order == "oldest" else ids[::-1])


async def test_lists_can_be_oldest_first() -> None:
    async with Sandbox(order="oldest", limiter="none") as box, calling(box) as api:
        ages = [(item["created_at"], item["id"]) for item in await api.everything("/orders")]
    assert ages == sorted(ages)


async def test_lists_can_go_by_id_which_is_not_quite_by_age() -> None:
    async with Sandbox(order="id", limiter="none") as box, calling(box) as api:
        orders = await api.everything("/orders")
    assert [order["id"] for order in orders] == list(range(1, 1564))
    ages = [order["created_at"] for order in orders]
    assert ages != sorted(ages)


async def test_names_beyond_ascii_travel_as_utf_8(api: Api) -> None:
    customers = await api.everything("/customers")
    assert any(not customer["name"].isascii() for customer in customers)


async def test_unknown_parameters_are_ignored(api: Api) -> None:
    assert await api.data("/orders?colour=red") == await api.data("/orders")


async def test_revenue_of_each_period_adds_up_and_goes_newest_first(api: Api) -> None:
    seen = Decimal(0)
    for period, days in (("7d", 7), ("30d", 30), ("90d", 90), ("1y", 365)):
        data = await api.data(f"/revenue?period={period}")
        dates = [day["date"] for day in data["daily"]]
        assert data["total"] == sum(day["total"] for day in data["daily"])
        assert dates == sorted(set(dates), reverse=True)
        assert len(dates) <= days
        assert dates[0] <= TODAY.isoformat()
        assert data["total"] > seen
        seen = data["total"]
