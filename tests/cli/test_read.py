"""The commands that show one thing: overview, revenue, order."""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal

import pytest

from devskin_async.sandbox import Sandbox

from .support import Devskin, answering, in_thread, store_options

REVENUE = b"""{"success": true, "data": {"period": "%b", "total": 30.00, "daily": [%b]}}"""


def revenue_of(period: bytes, days: dict[str, str]) -> bytes:
    daily = (
        f'{{"date": "{day}", "total": {total}, "count": 2}}'.encode() for day, total in days.items()
    )
    return REVENUE % (period, b",".join(daily))


def rows_of(table: str) -> list[list[str]]:
    """Split what is below the head line of a revenue chart."""
    return [line.split() for line in table.splitlines()[3:]]


def test_overview_shows_the_key_figures(devskin: Devskin, box: Sandbox) -> None:
    ran = devskin("overview", *store_options(box))
    assert ran.code == 0
    assert [line.split()[0] for line in ran.out.splitlines()] == [
        "Orders", "monthly", "Revenue", "monthly", "Products",
    ]  # fmt: skip
    assert ran.out.splitlines()[0].split() == ["Orders", "1,563"]
    assert ran.err == ""


def test_overview_as_json_is_one_document(devskin: Devskin, box: Sandbox) -> None:
    ran = devskin("overview", "--json", *store_options(box))
    assert list(json.loads(ran.out)) == [
        "total_orders", "monthly_orders", "total_revenue", "monthly_revenue", "total_products",
    ]  # fmt: skip


def test_order_shows_its_lines_and_what_they_come_to(devskin: Devskin, box: Sandbox) -> None:
    shown = devskin("order", "1234", *store_options(box))
    sent = json.loads(
        devskin("order", "1234", "--json", *store_options(box)).out, parse_float=Decimal
    )
    assert shown.code == 0
    assert f"{sent['order_number']} (id 1234)" in shown.out
    assert sent["shipping_address"]["street"] in shown.out
    for item in sent["items"]:
        assert f"{item['quantity'] * item['price']:,}" in shown.out
    assert shown.out.splitlines()[-1].split() == ["Total", f"{sent['total']:,}"]


def test_order_shows_what_is_missing_as_blank(devskin: Devskin) -> None:
    body = b"""{"success": true, "data": {"order": {"id": 1, "order_number": "A-1",
    "status": "refunded", "total": 1.00, "subtotal": 1.00, "shipping_cost": 0, "discount": 0,
    "items": [{"product_id": 1, "name": null, "quantity": 1, "price": 1.00}],
    "created_at": "2026-02-10T14:30:00.000Z", "updated_at": "2026-02-10T14:30:00.000Z"}}}"""
    with in_thread(lambda: answering(body)) as url:
        ran = devskin("order", "1", "--base-url", url, "--api-key", "key")
    assert ran.code == 0
    assert "Ships to\n" in ran.out
    assert "refunded" in ran.out
    assert "None" not in ran.out


def test_revenue_draws_a_bar_for_each_day_oldest_first(devskin: Devskin) -> None:
    body = revenue_of(b"7d", {"2026-02-13": "20.00", "2026-02-12": "10.00"})
    with in_thread(lambda: answering(body)) as url:
        ran = devskin("revenue", "--period", "7d", "--base-url", url, "--api-key", "key")
    assert ran.out.startswith("30.00 in 7d, from 4 orders\n")
    assert rows_of(ran.out) == [
        ["2026-02-12", "2", "10.00", "█" * 20],
        ["2026-02-13", "2", "20.00", "█" * 40],
    ]


def test_a_day_that_the_api_leaves_out_is_drawn_as_none_sold(devskin: Devskin) -> None:
    body = revenue_of(b"7d", {"2026-02-13": "20.00", "2026-02-11": "0.00"})
    with in_thread(lambda: answering(body)) as url:
        ran = devskin("revenue", "--period", "7d", "--base-url", url, "--api-key", "key")
    assert rows_of(ran.out) == [
        ["2026-02-11", "2", "0.00"],
        ["2026-02-12", "0", "0"],
        ["2026-02-13", "2", "20.00", "█" * 40],
    ]


@pytest.mark.parametrize(
    ("period", "first", "second"),
    [(b"90d", "2015-01-26", "2015-02-02"), (b"1y", "2015-01", "2015-02")],
)
def test_revenue_adds_long_periods_up_by_week_or_month(
    period: bytes, first: str, second: str, devskin: Devskin
) -> None:
    days = {"2015-02-03": "20.00", "2015-02-02": "20.00", "2015-01-31": "1.00", "2015-01-30": "4"}
    with in_thread(lambda: answering(revenue_of(period, days))) as url:
        ran = devskin("revenue", "--period", period.decode(), "--base-url", url, "--api-key", "key")
    assert rows_of(ran.out) == [
        [first, "4", "5.00", "█" * 5],
        [second, "4", "40.00", "█" * 40],
    ]


def test_a_store_that_sold_nothing_has_no_bars(devskin: Devskin) -> None:
    with in_thread(lambda: answering(revenue_of(b"30d", {}))) as url:
        ran = devskin("revenue", "--base-url", url, "--api-key", "key")
    assert (ran.code, ran.out) == (0, "30.00 in 30d, from 0 orders\n")


@pytest.mark.parametrize(
    ("period", "days", "sold", "spans"),
    [
        ("7d", 7, (3, 2), 7),  # days ago
        ("30d", 30, (12,), 30),
        ("90d", 90, (40, 20), 14),
        ("1y", 365, (200,), 13),
    ],
)
def test_a_period_has_its_days_without_orders_at_both_ends_too(
    period: str, days: int, sold: tuple[int, ...], spans: int, devskin: Devskin
) -> None:
    today = dt.datetime.now(dt.UTC).date()
    daily = {str(today - dt.timedelta(days=ago)): "20.00" for ago in sold}
    with in_thread(lambda: answering(revenue_of(period.encode(), daily))) as url:
        ran = devskin("revenue", "--period", period, "--base-url", url, "--api-key", "key")
    rows = rows_of(ran.out)
    assert len(rows) in (
        spans - 1,
        spans,
    )  # 90 days are in 13 or 14 weeks, a year in 12 or 13 months
    if period in ("7d", "30d"):
        first = today - dt.timedelta(days=days - 1)
        assert [row[0] for row in rows] == [str(first + dt.timedelta(n)) for n in range(days)]
    assert [row[1] for row in rows if row[1] != "0"] == ["2"] * len(sold)
    assert rows[0][1:] == rows[-1][1:] == ["0", "0"]


def test_a_stray_day_does_not_bring_years_of_zeros(devskin: Devskin) -> None:
    body = revenue_of(b"7d", {"2026-02-13": "20.00", "1970-01-01": "10.00"})
    with in_thread(lambda: answering(body)) as url:
        ran = devskin("revenue", "--period", "7d", "--base-url", url, "--api-key", "key")
    assert [row[0] for row in rows_of(ran.out)] == ["1970-01-01", "2026-02-13"]


def test_days_without_money_have_no_bars(devskin: Devskin) -> None:
    body = revenue_of(b"7d", {"2026-02-13": "0", "2026-02-12": "-5.00"})
    with in_thread(lambda: answering(body)) as url:
        ran = devskin("revenue", "--period", "7d", "--base-url", url, "--api-key", "key")
    assert rows_of(ran.out) == [["2026-02-12", "2", "-5.00"], ["2026-02-13", "2", "0"]]


def test_revenue_as_json_is_one_document_in_the_apis_order(devskin: Devskin, box: Sandbox) -> None:
    ran = devskin("revenue", "--period", "90d", "--json", *store_options(box))
    series = json.loads(ran.out)
    days = [day["date"] for day in series["daily"]]
    assert series["period"] == "90d"
    assert days == sorted(days, reverse=True)


def test_every_reading_command_works_on_a_sandbox_of_its_own(devskin: Devskin) -> None:
    for argv in (["overview"], ["revenue"], ["order", "1"], ["products", "--max", "1"]):
        ran = devskin(*argv, "--sandbox")
        assert ran.code == 0
        assert ran.out


def test_figures_that_are_null_are_blank(devskin: Devskin) -> None:
    body = b'{"success": true, "data": {"total_orders": 5, "monthly_revenue": null}}'
    with in_thread(lambda: answering(body)) as url:
        ran = devskin("overview", "--base-url", url, "--api-key", "key")
    assert ran.code == 0
    assert [line.split() for line in ran.out.splitlines()] == [
        ["Orders", "5"], ["monthly"], ["Revenue"], ["monthly"], ["Products"],
    ]  # fmt: skip


def test_revenue_without_sums_is_shown_all_the_same(devskin: Devskin) -> None:
    daily = b'{"date": "2026-02-13T00:00:00.000Z", "total": null, "count": null}'
    body = REVENUE.replace(b"30.00", b"null") % (b"7d", daily)
    with in_thread(lambda: answering(body)) as url:
        ran = devskin("revenue", "--period", "7d", "--base-url", url, "--api-key", "key")
    assert ran.code == 0
    assert ran.out.splitlines()[0] == "Total unknown for 7d, from 0 orders"
    assert rows_of(ran.out) == [["2026-02-13", "0", "0"]]


def test_an_order_of_goods_by_weight_shows_what_they_come_to(devskin: Devskin) -> None:
    body = b"""{"success": true, "data": {"order": {"id": "1", "order_number": 1, "status": "paid",
    "total": 3.15, "items": [{"product_id": null, "name": "Rice", "quantity": 1.5, "price": 2.10}],
    "shipping_address": [], "created_at": "2026-02-10 14:30:00+00"}}}"""
    with in_thread(lambda: answering(body)) as url:
        ran = devskin("order", "1", "--base-url", url, "--api-key", "key")
    assert ran.code == 0
    assert ["Rice", "1.5", "2.10", "3.150"] in [line.split() for line in ran.out.splitlines()]
    assert "Ships to" in ran.out


def test_text_that_was_cut_in_a_character_is_shown(devskin: Devskin) -> None:
    row = rb'{"id": 1, "name": "Ana \ud83d", "created_at": "2026-02-10T14:30:00Z"}'
    page = b'{"success": true, "data": {"items": [%b], "total": 1, "page": 1, "limit": 100}}' % row
    with in_thread(lambda: answering(page)) as url:
        shown = devskin("customers", "--base-url", url, "--api-key", "key")
        lines = devskin("customers", "--json", "--base-url", url, "--api-key", "key")
    assert "Ana \N{REPLACEMENT CHARACTER}" in shown.out
    assert json.loads(lines.out)["name"] == "Ana \N{REPLACEMENT CHARACTER}"
