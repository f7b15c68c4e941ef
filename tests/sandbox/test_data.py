"""A store's numbers agree with each other, whichever way they are asked for."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from datetime import date, timedelta
from decimal import Decimal

from devskin_async.sandbox import Sandbox
from tests.sandbox.support import TODAY, Api, Body, calling

COUNTED = {"paid", "shipped", "completed"}


def counted(orders: list[Body]) -> list[Body]:
    return [order for order in orders if order["status"] in COUNTED]


def revenue_of(orders: list[Body]) -> Decimal:
    return sum((order["total"] for order in counted(orders)), Decimal(0))


async def test_an_orders_total_is_its_subtotal_with_shipping_less_discount(api: Api) -> None:
    wrong = api.box.connection.execute(
        "SELECT id FROM orders WHERE total <> subtotal + shipping_cost - discount OR total <= 0"
    )
    assert wrong.fetchall() == []
    for order_id in range(1, 60):
        order = (await api.data(f"/orders/{order_id}"))["order"]
        assert order["total"] == order["subtotal"] + order["shipping_cost"] - order["discount"]


async def test_an_orders_subtotal_is_the_sum_of_its_lines(api: Api) -> None:
    wrong = api.box.connection.execute(
        "SELECT o.id FROM orders AS o LEFT JOIN order_items AS i ON i.order_id = o.id"
        " GROUP BY o.id HAVING o.subtotal IS NOT sum(i.quantity * i.price)"
    )
    assert wrong.fetchall() == []
    for order_id in range(1, 60):
        order = (await api.data(f"/orders/{order_id}"))["order"]
        assert order["subtotal"] == sum(i["quantity"] * i["price"] for i in order["items"])


async def test_an_orders_lines_are_products_of_the_catalogue(api: Api) -> None:
    products = {product["id"]: product for product in await api.everything("/products")}
    for order_id in range(1, 60):
        order = (await api.data(f"/orders/{order_id}"))["order"]
        for line in order["items"]:
            product = products[line["product_id"]]
            assert (line["name"], line["price"]) == (product["name"], product["price"])
            assert product["created_at"] <= order["created_at"]


async def test_a_customers_figures_are_those_of_their_orders(api: Api) -> None:
    of_customer: dict[str, list[Body]] = defaultdict(list)
    for order in await api.everything("/orders"):
        of_customer[order["customer_email"]].append(order)
    customers = await api.everything("/customers")
    assert {customer["email"] for customer in customers} >= set(of_customer)
    for customer in customers:
        orders = of_customer[customer["email"]]
        assert customer["total_orders"] == len(orders)
        assert customer["total_spent"] == revenue_of(orders)
        assert all(order["customer_name"] == customer["name"] for order in orders)
        assert all(order["created_at"] >= customer["created_at"] for order in orders)


async def test_the_revenue_of_a_day_is_what_its_counted_orders_came_to(api: Api) -> None:
    by_day: dict[str, list[Body]] = defaultdict(list)
    for order in counted(await api.everything("/orders")):
        by_day[order["created_at"][:10]].append(order)
    first = (TODAY - timedelta(days=364)).isoformat()
    expected = [
        {"date": day, "total": revenue_of(by_day[day]), "count": len(by_day[day])}
        for day in sorted(by_day, reverse=True)
        if day >= first
    ]
    assert (await api.data("/revenue?period=1y"))["daily"] == expected


async def test_days_on_which_nothing_came_in_are_left_out(api: Api) -> None:
    dates = {day["date"] for day in (await api.data("/revenue?period=1y"))["daily"]}
    assert all(day["count"] > 0 for day in (await api.data("/revenue?period=1y"))["daily"])
    assert TODAY.isoformat() not in dates  # a new store's orders end the day before


async def test_the_overview_says_what_the_orders_say(api: Api) -> None:
    orders = await api.everything("/orders")
    first = (TODAY - timedelta(days=29)).isoformat()
    monthly = [order for order in orders if order["created_at"] >= first]
    assert await api.data("/analytics/overview") == {
        "total_orders": len(orders),
        "monthly_orders": len(monthly),
        "total_revenue": revenue_of(orders),
        "monthly_revenue": (await api.data("/revenue?period=30d"))["total"],
        "total_products": len(await api.everything("/products")),
    }


async def test_a_month_of_the_overview_is_the_30_days_of_revenue(api: Api) -> None:
    orders = await api.everything(f"/orders?date_from={TODAY - timedelta(days=29)}")
    overview = await api.data("/analytics/overview")
    assert overview["monthly_orders"] == len(orders)
    assert overview["monthly_revenue"] == revenue_of(orders)


async def test_filters_split_the_orders_without_remainder(api: Api) -> None:
    everything = set(await api.ids("/orders"))
    parts = [
        await api.ids(f"/orders?status={status}")
        for status in ("pending", "paid", "shipped", "completed", "cancelled")
    ]
    assert all(parts)
    assert sorted(itertools.chain(*parts)) == sorted(everything)


async def test_status_and_dates_filter_together(api: Api) -> None:
    expected = [
        order["id"]
        for order in await api.everything("/orders")
        if order["status"] == "paid" and "2026-01-14" <= order["created_at"][:10] <= "2026-02-01"
    ]
    path = "/orders?status=paid&date_from=2026-01-14&date_to=2026-02-01"
    assert await api.ids(path) == expected != []


async def test_orders_lie_in_the_two_years_before_today(api: Api) -> None:
    days = {order["created_at"][:10] for order in await api.everything("/orders")}
    assert min(days) >= (TODAY - timedelta(days=730)).isoformat()
    assert max(days) < TODAY.isoformat()


async def test_weekends_and_the_end_of_the_year_are_busier() -> None:
    async with Sandbox(orders=20_000, limiter="none", today=TODAY) as box:
        rows = box.connection.execute("SELECT date(created_at / 1000, 'unixepoch') FROM orders")
        per_day = Counter(date.fromisoformat(row[0]) for row in rows)
    weekdays = Counter[int]()
    for day, count in per_day.items():
        weekdays[day.weekday()] += count
    assert weekdays[5] > 1.3 * weekdays[1]
    december = sum(n for day, n in per_day.items() if (day.year, day.month) == (2025, 12))
    october = sum(n for day, n in per_day.items() if (day.year, day.month) == (2025, 10))
    assert december > 1.3 * october


async def test_an_order_changes_after_it_is_made_and_not_in_the_future(api: Api) -> None:
    wrong = api.box.connection.execute(
        "SELECT id FROM orders WHERE updated_at < created_at OR updated_at > unixepoch(?) * 1000",
        (TODAY.isoformat(),),
    )
    assert wrong.fetchall() == []


async def test_slugs_and_addresses_of_customers_are_unique(api: Api) -> None:
    slugs = [product["slug"] for product in await api.everything("/products")]
    emails = [customer["email"] for customer in await api.everything("/customers")]
    assert len(set(slugs)) == len(slugs)
    assert len(set(emails)) == len(emails)
    assert all(email.rpartition("@")[2].startswith("example.") for email in emails)


async def test_a_catalogue_too_big_for_its_words_numbers_its_products() -> None:
    async with Sandbox(orders=0, products=9_000, limiter="none") as box, calling(box) as api:
        products = await api.everything("/products")
    slugs = {product["slug"] for product in products}
    assert len(slugs) == 9_000
    assert any(product["name"].endswith(" No. 2") for product in products)
