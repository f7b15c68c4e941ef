"""What servers do beside the reference: lists, values and text, each by its quirk."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from devskin_async.sandbox import Quirk, Sandbox, SandboxError
from tests.sandbox.support import TODAY, Body, calling, place_order

Look = Callable[[Body], object]

ORDERS = 250


def quirky(*quirks: str) -> Sandbox:
    return Sandbox(limiter="none", today=TODAY, orders=ORDERS, customers=9, quirks=quirks)


def frame(data: Body) -> tuple[object, ...]:
    return len(data["items"]), data["total"], data["page"], data["limit"]


def field(name: str) -> Look:
    """What the listed rows have in a field."""
    return lambda data: [item.get(name, "absent") for item in data["items"]]


def order(name: str) -> Look:
    return lambda data: data["order"].get(name, "absent")


# Quirk, path, what to look at, and what it then is.
LISTS: list[tuple[str, str, Look, object]] = [
    ("page-cap=50", "/orders?limit=100", frame, (50, 250, 1, 50)),
    ("page-cap=50", "/orders?limit=100&page=5", frame, (50, 250, 5, 50)),
    ("page-cap=50", "/orders?limit=20&page=13", frame, (10, 250, 13, 20)),
    ("page-cap=3", "/customers?limit=100", frame, (3, 9, 1, 3)),
    ("silent-page-cap=50", "/orders?limit=100", frame, (50, 250, 1, 100)),
    ("silent-page-cap=50", "/orders?limit=100&page=5", frame, (50, 250, 5, 100)),
    ("silent-page-cap=50", "/orders?limit=100&page=6", frame, (0, 250, 6, 100)),
    ("past-end=last", "/orders?limit=100&page=4", frame, (50, 250, 3, 100)),
    ("past-end=last", "/orders?limit=100&page=3", frame, (50, 250, 3, 100)),
    ("past-end=last", "/orders?limit=9&page=2&date_from=2030-01-01", frame, (0, 0, 1, 9)),
    ("total=1000000000", "/orders?limit=100", frame, (100, 1_000_000_000, 1, 100)),
    ("total=+19750", "/orders?limit=100", frame, (100, 20_000, 1, 100)),
    ("total=+1", "/customers?page=2", frame, (0, 10, 2, 20)),
    ("total=unfiltered", "/orders?date_from=2030-01-01", frame, (0, 250, 1, 20)),
    ("total=unfiltered", "/orders?date_to=2020-01-01&limit=9", frame, (0, 250, 1, 9)),
    ("total=unfiltered", "/customers", frame, (9, 9, 1, 20)),
    ("frame=text", "/orders?limit=9", frame, (9, "250", "1", "9")),
    ("frame=float", "/orders?limit=9", frame, (9, Decimal("250.0"), 1, Decimal("9.0"))),
]


@pytest.mark.parametrize(("quirk", "path", "look", "expected"), LISTS)
async def test_a_page_is_as_its_quirk_has_it(
    quirk: str, path: str, look: Look, expected: object
) -> None:
    async with quirky(quirk) as box, calling(box) as api:
        assert look(await api.data(path)) == expected


async def test_the_pages_of_a_capped_list_are_the_whole_list() -> None:
    async with quirky() as box, calling(box) as api:
        whole = await api.ids("/orders")
    async with quirky("silent-page-cap=20") as box, calling(box) as api:
        pages = [(await api.data(f"/orders?limit=100&page={n}"))["items"] for n in range(1, 14)]
        assert [item["id"] for page in pages for item in page] == whole


async def test_the_last_page_comes_again_under_its_own_number() -> None:
    async with quirky("past-end=last") as box, calling(box) as api:
        last, after = await api.data("/orders?page=13"), await api.data("/orders?page=99")
        assert after == last
        assert after["page"] == 13


@pytest.mark.parametrize("status", [400, 404])
async def test_a_page_past_the_end_is_an_error_but_the_first_never(status: int) -> None:
    async with quirky(f"past-end={status}") as box, calling(box) as api:
        answer = await api.get("/orders?page=14")
        assert (answer.status, answer.error) == (status, "No such page")
        assert (await api.get("/orders?page=13")).status == 200
        assert (await api.data("/orders?date_from=2030-01-01"))["items"] == []


async def test_an_unfiltered_total_minds_the_status() -> None:
    async with quirky("total=unfiltered") as box, calling(box) as api:
        paid = (await api.data("/orders?status=paid"))["total"]
        assert (await api.data("/orders?status=paid&date_from=2030-01-01"))["total"] == paid
        assert 0 < paid < ORDERS


@pytest.mark.parametrize(
    ("seconds", "found"), [(0, ["00", "58", "59"]), (60, ["00", "58"]), (3600, ["00"])]
)
async def test_a_filter_by_day_can_leave_out_the_end_of_its_last_day(
    seconds: int, found: list[str]
) -> None:
    async with quirky(f"day-cut={seconds}") as box, calling(box) as api:
        times = {"00": "00:00:00", "58": "23:58:59", "59": "23:59:00"}
        for minute, time in times.items():
            await place_order(box, f"2027-01-31 {time}", order_number=minute)
        page = await api.data("/orders?date_from=2027-01-31&date_to=2027-01-31")
        assert sorted(item["order_number"] for item in page["items"]) == found
        assert page["total"] == len(found)
        assert (await api.data("/orders?date_to=2027-02-01"))["total"] == ORDERS + 3
        assert (await api.data("/orders"))["total"] == ORDERS + 3


async def test_filters_by_day_leave_out_the_same_share_of_the_orders() -> None:
    async with quirky("day-loss=0.1") as box, calling(box) as api:
        found = set(await api.ids("/orders?date_from=2020-01-01"))
        assert ORDERS * 0.85 < len(found) < ORDERS * 0.95
        assert set(await api.ids("/orders?date_to=2030-01-01")) == found
        assert set(await api.ids("/orders?date_to=2026-01-31")) < found
        assert len(await api.ids("/orders")) == ORDERS


def amounts(value: Any) -> list[Decimal]:
    """Every number of an answer that is not whole on the wire."""
    if isinstance(value, list):
        return [amount for each in value for amount in amounts(each)]
    if isinstance(value, dict):
        return [amount for each in value.values() for amount in amounts(each)]
    return [value] if isinstance(value, Decimal) else []


PATHS = ("/orders", "/orders/3", "/products", "/customers", "/revenue?period=1y")
PATHS_AND_OVERVIEW = (*PATHS, "/analytics/overview")


async def both(quirk: str, path: str) -> tuple[Body, Body]:
    """An answer's data without a quirk, and with it."""
    data = []
    for quirks in ((), (quirk,)):
        async with quirky(*quirks) as box, calling(box) as api:
            data.append(await api.data(path))
    return data[0], data[1]


@pytest.mark.parametrize("path", PATHS_AND_OVERVIEW)
async def test_float_noise_is_past_the_fifteenth_digit(path: str) -> None:
    plain, noisy = await both("float-noise", path)
    assert amounts(noisy) != amounts(plain)
    for exact, noise in zip(amounts(plain), amounts(noisy), strict=True):
        assert Decimal(f"{noise:.15g}") == exact
        assert (noise != exact) == (exact != 0)
        assert noise == Decimal(repr(float(noise)))


async def test_a_third_decimal_is_in_the_amounts_of_every_third_record() -> None:
    plain, finer = await both("third-decimal", "/orders")
    for before, after in zip(plain["items"], finer["items"], strict=True):
        added = Decimal("0.005") if before["id"] % 3 == 0 else 0
        assert after == before | {"total": before["total"] + added}


async def test_numbers_as_text_are_all_but_ids_and_the_frame() -> None:
    plain, text = await both("numbers-as-text", "/products?limit=1")
    (before,), (after,) = plain["items"], text["items"]
    assert after == before | {"price": str(before["price"]), "stock": str(before["stock"])}
    assert frame(text) == frame(plain)
    _, detail = await both("numbers-as-text", "/orders/3")
    assert {type(detail["order"]["total"]), type(detail["order"]["items"][0]["quantity"])} == {str}
    assert type(detail["order"]["id"]) is type(detail["order"]["items"][0]["product_id"]) is int
    _, overview = await both("numbers-as-text", "/analytics/overview")
    assert set(map(type, overview.values())) == {str}


EMPTIED = {
    "/products": {"stock"},
    "/customers": {"total_orders", "total_spent"},
    "/orders/3": {"discount", "shipping_cost", "updated_at"},
    "/revenue": {"total"},
    "/analytics/overview": {"monthly_revenue"},
    "/orders": set(),
}


def records(data: Body) -> list[Body]:
    """The records of an answer, the whole of it among them."""
    rows: list[Body] = [*data.get("items", []), *data.get("daily", []), data]
    return [*rows, data["order"]] if "order" in data else rows


@pytest.mark.parametrize("quirk", ["null", "absent"])
@pytest.mark.parametrize(("path", "names"), EMPTIED.items())
async def test_what_sql_leaves_empty_is_null_or_absent(
    quirk: str, path: str, names: set[str]
) -> None:
    plain, emptied = await both(quirk, path)
    seen: set[str] = set()
    for before, after in zip(records(plain), records(emptied), strict=True):
        gone = {name for name in before if after.get(name) is None and before[name] is not None}
        seen |= gone
        assert not gone or before.get("id", 0) % 3 == 0
        assert all((name in after) == (quirk == "null") for name in gone)
    assert seen == names


async def test_half_an_emoji_is_an_escape_without_its_partner() -> None:
    async with quirky("cut-emoji") as box, calling(box) as api:
        for path, name in (("/orders", "customer_name"), ("/customers", "name")):
            answer = await api.get(path)
            cut = [item["id"] for item in answer.data["items"] if item[name].endswith(" \ud83d")]
            assert cut == [item["id"] for item in answer.data["items"] if item["id"] % 3 == 0]
            assert answer.text.count(r"\ud83d") == len(cut) > 0


async def test_revenue_days_can_be_instants() -> None:
    plain, instants = await both("revenue-instants", "/revenue?period=7d")
    assert [day["date"] for day in instants["daily"]] == [
        f"{day['date']}T00:00:00.000Z" for day in plain["daily"]
    ]


@pytest.mark.parametrize(("word", "empty"), [("list", []), ("text", "")])
async def test_an_address_can_be_an_empty_list_or_text(word: str, empty: object) -> None:
    async with quirky(f"empty-address={word}") as box, calling(box) as api:
        assert (await api.data("/orders/3"))["order"]["shipping_address"] == empty
        assert (await api.data("/orders/4"))["order"]["shipping_address"]["city"]


async def test_instants_can_end_in_a_short_offset() -> None:
    plain, short = await both("times=short-offset", "/orders/3")
    for name in ("created_at", "updated_at"):
        assert short["order"][name] == plain["order"][name].replace("Z", "+00")


async def test_a_second_can_be_the_sixtieth() -> None:
    async with quirky("times=leap-second") as box, calling(box) as api:
        new = await place_order(box, "2026-01-01 10:29:59")
        assert (await api.data(f"/orders/{new}"))["order"]["created_at"] == (
            "2026-01-01T10:29:60.000Z"
        )


async def test_a_quantity_can_have_a_half() -> None:
    plain, half = await both("half-quantity", "/orders/3")
    for before, after in zip(plain["order"]["items"], half["order"]["items"], strict=True):
        assert after == before | {"quantity": before["quantity"] + Decimal("0.5")}
    plain, same = await both("half-quantity", "/orders/4")
    assert same == plain


async def test_a_byte_order_mark_comes_before_the_json() -> None:
    async with quirky("bom") as box, calling(box) as api:
        for path in ("/orders", "/orders/999"):
            text = (await api.get(path)).text
            assert text[0] == "\ufeff"
            assert json.loads(text[1:])["success"] == (path == "/orders")


@pytest.mark.parametrize("path", PATHS_AND_OVERVIEW)
async def test_odd_json_says_the_same_in_ascii_escapes_and_blanks(path: str) -> None:
    plain, odd = await both("odd-json", path)
    assert odd == plain
    async with quirky("odd-json", "cut-emoji") as box, calling(box) as api:
        text = (await api.get(path)).text
        assert text.isascii()
        assert text.startswith(" \t\r\n{")
        assert r"\u0073\u0075\u0063\u0063\u0065\u0073\u0073" in text


async def test_quirks_go_together() -> None:
    quirks = [str(quirk) for quirk in Quirk if quirk.argument is None and quirk != "used-up"]
    async with quirky(*quirks, "frame=text", "page-cap=9") as box, calling(box) as api:
        for path in PATHS_AND_OVERVIEW:
            answer = await api.get(path)
            assert answer.status == 200
            assert json.loads(answer.text.removeprefix("\ufeff"))["success"] is True


@pytest.mark.parametrize(
    ("quirks", "message"),
    [
        (["pagecap"], "unknown quirk 'pagecap': did you mean page-cap? "),
        (["x=1"], "unknown quirk 'x': `devskin sandbox quirks` lists all of them"),
        (["page-cap"], "the quirk page-cap needs a value: page-cap=ROWS"),
        (["bom="], "the quirk bom takes no value, but was given ''"),
        (["bom", "bom"], "the quirk bom is given twice"),
        (["page-cap=0"], "invalid value '0' for page-cap=ROWS: must be a whole number"),
        (["page-cap=1_0"], "invalid value '1_0' for page-cap=ROWS"),
        (["page-cap=x"], "invalid value 'x' for page-cap=ROWS"),
        (["day-loss=nan"], "invalid value 'nan' for day-loss=SHARE: must be a number from"),
        (["day-loss=2"], "invalid value '2' for day-loss=SHARE"),
        (["past-end=500"], "invalid value '500' for past-end=404|400|last: must be one of"),
        (["total=-1"], "invalid value '-1' for total=unfiltered|+ROWS|ROWS"),
        (["failing-order=7:200"], "invalid value '7:200' for failing-order=ID[:STATUS]"),
        (["failing-order=7:"], "invalid value '7:' for failing-order=ID[:STATUS]"),
        (["idle-408=-1"], "invalid value '-1' for idle-408[=SECONDS]"),
    ],
)
def test_a_quirk_that_can_not_be_is_one_line(quirks: list[str], message: str) -> None:
    with pytest.raises(SandboxError) as raised:
        Sandbox(quirks=quirks)
    assert str(raised.value).startswith(message)


def test_one_quirk_needs_no_list_around_it() -> None:
    Sandbox(quirks=Quirk.BOM)
    Sandbox(quirks="page-cap=50")
