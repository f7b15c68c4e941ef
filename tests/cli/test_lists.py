"""The commands that list: orders, products, customers."""

from __future__ import annotations

import json

import pytest

from devskin_async.sandbox import Sandbox
from tests.paging_store import PagingStore

from .support import Devskin, Ran, answering, in_thread, store_options


def requests_of(box: Sandbox) -> list[str]:
    """The requests that arrived since the last look, without the way to the API."""
    seen = [request.path_qs.partition("/api/v1")[2] for request in box.requests]
    box.requests.clear()
    return sorted(seen)


def test_a_table_shows_the_first_20_and_says_how_to_see_more(
    devskin: Devskin, box: Sandbox
) -> None:
    ran = devskin("orders", *store_options(box))
    assert ran.code == 0
    assert len(ran.out.splitlines()) == 21
    assert ran.out.split()[:3] == ["ID", "Number", "Created"]
    assert ran.err == "20 of 1,563 orders; --max N shows N of them, --max 0 all\n"


@pytest.mark.parametrize(
    ("maximum", "requests"),
    [
        (7, ["?page=1&limit=7"]),
        (100, ["?page=1&limit=100"]),
        (250, ["?page=1&limit=100", "?page=2&limit=100", "?page=3&limit=100"]),
    ],
)
def test_no_more_pages_are_asked_for_than_needed(
    maximum: int, requests: list[str], devskin: Devskin, box: Sandbox
) -> None:
    requests_of(box)
    for extra in ((), ("--json",)):
        ran = devskin("customers", "--max", str(maximum), *extra, *store_options(box))
        assert len(ran.out.splitlines()) == maximum + (not extra)
        assert requests_of(box) == [f"/customers{query}" for query in requests]


def test_max_0_shows_all(devskin: Devskin, box: Sandbox) -> None:
    ran = devskin("customers", "--max", "0", *store_options(box))
    assert len(ran.out.splitlines()) == 343
    assert ran.err == "342 customers\n"


def test_json_lines_are_all_rows_in_order(devskin: Devskin, box: Sandbox) -> None:
    ran = devskin("orders", "--json", *store_options(box))
    ids = [json.loads(line)["id"] for line in ran.out.splitlines()]
    assert len(ids) == len(set(ids)) == 1563
    assert ran.err == ""


def test_json_keeps_the_digits_of_money(devskin: Devskin, box: Sandbox) -> None:
    ran = devskin("products", "--json", *store_options(box))
    for line in ran.out.splitlines():
        price = line.partition('"price":')[2].partition(",")[0]
        assert len(price.partition(".")[2]) == 2


@pytest.mark.usefixtures("no_waiting")
@pytest.mark.parametrize("as_json", [(), ("--json",)])
def test_a_list_that_fails_says_on_which_page_in_one_line(
    as_json: tuple[str, ...], devskin: Devskin
) -> None:
    with in_thread(lambda: Sandbox(limiter="none", customers=120)) as box:
        box.fail_next("ok", "500", "500")
        ran = devskin("customers", "--max", "0", *as_json, *store_options(box))
    assert ran.code == 1
    assert ran.err.splitlines()[-1:] == [
        "devskin: GET /customers: 500 Internal server error (page 2 of the list)"
    ]


def test_filters_go_to_the_api(devskin: Devskin, box: Sandbox) -> None:
    requests_of(box)
    filters = ("--status", "paid", "--date-from", "2026-01-14", "--date-to", "2026-02-13")
    ran = devskin("orders", *filters, *store_options(box))
    assert ran.code == 0
    assert requests_of(box) == [
        "/orders?page=1&limit=20&status=paid&date_from=2026-01-14&date_to=2026-02-13"
    ]


def test_a_list_without_rows_is_told(devskin: Devskin) -> None:
    body = b'{"success": true, "data": {"items": [], "total": 0, "page": 1, "limit": 20}}'
    with in_thread(lambda: answering(body)) as url:
        ran = devskin("products", "--base-url", url, "--api-key", "key")
    assert (ran.code, ran.err) == (0, "0 products\n")


def test_a_table_that_is_piped_is_neither_cut_nor_coloured(devskin: Devskin) -> None:
    name = "A very long name " * 10
    row = (
        b'{"id": 1, "name": "%b", "price": 1.00, "stock": 1, "status": null,'
        b' "created_at": "2026-01-15T10:00:00.000Z"}' % name.encode()
    )
    body = b'{"success": true, "data": {"items": [%b], "total": 1, "page": 1, "limit": 20}}' % row
    with in_thread(lambda: answering(body)) as url:
        ran = devskin("products", "--base-url", url, "--api-key", "key")
    assert name.strip() in ran.out
    assert "\x1b" not in ran.out
    assert all(line == line.rstrip() for line in ran.out.splitlines())


def test_a_value_of_the_api_can_not_steer_the_terminal_or_the_markup(devskin: Devskin) -> None:
    row = (
        b'{"id": 1, "name": "\\u001b[2J[red]x[/red]\\u009b1m\\u202e\\n:tada:", "price": 1.00,'
        b' "stock": 1, "status": "\\u0007on", "created_at": "2026-01-15T10:00:00.000Z"}'
    )
    body = b'{"success": true, "data": {"items": [%b], "total": 1, "page": 1, "limit": 20}}' % row
    with in_thread(lambda: answering(body)) as url:
        ran = devskin("products", "--base-url", url, "--api-key", "key")
    assert "[2J[red]x[/red] 1m :tada:" in ran.out
    assert "".join(ran.out.splitlines()).isprintable()


def test_a_negative_max_is_a_wrong_use(devskin: Devskin, box: Sandbox) -> None:
    ran = devskin("orders", "--max", "-1", *store_options(box))
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == "devskin: --max must be 0 (for all) or more, not -1\n"


def run(store: PagingStore, devskin: Devskin, *argv: str) -> Ran:
    """Run a command against a store."""
    with in_thread(store.serving) as url:
        return devskin(*argv, "--base-url", url, "--api-key", "key")


def ids_of(ran: Ran) -> list[int]:
    """The ids of JSON lines."""
    return [json.loads(line)["id"] for line in ran.out.splitlines()]


@pytest.mark.parametrize("echoes", [False, True])
@pytest.mark.parametrize("cap", [20, 50, 1000])
@pytest.mark.parametrize("noun", ["orders", "products", "customers"])
def test_a_store_that_caps_its_pages_is_listed_as_far_as_wanted(
    noun: str, cap: int, echoes: bool, devskin: Devskin
) -> None:
    for words, wanted in (((), 250), (("--max", "0"), 250), (("--max", "120"), 120)):
        ran = run(PagingStore(250, cap, echoes), devskin, noun, "--json", *words)
        assert (ran.code, ran.err) == (0, "")
        assert ids_of(ran) == [*range(wanted)]
    ran = run(PagingStore(250, cap, echoes), devskin, noun, "--max", "120")
    assert (ran.code, len(ran.out.splitlines())) == (0, 121)
    assert ran.err == f"120 of 250 {noun}; --max N shows N of them, --max 0 all\n"


@pytest.mark.parametrize(
    ("store", "rows", "why"),
    [
        (PagingStore(150, total=20_000), 150, "20,000 rows in all, as `total` says, got 150"),
        (PagingStore(60, total=10**9), 60, "1,000,000,000 rows in all, as `total` says, got 60"),
        (PagingStore(250, total=120), 250, "120 rows in all, as `total` says, got 250"),
        (PagingStore(0, total=9), 0, "9 rows in all, as `total` says, got 0"),
        (
            PagingStore(250, same_page=True),
            100,
            "other rows on page 2 than on page 1, got the same",
        ),
    ],
    ids=["deleted rows counted", "absurd", "too small", "no rows", "no pages"],
)
def test_what_a_store_tells_of_its_list_and_does_not_keep_is_a_line_and_exit_3(
    store: PagingStore, rows: int, why: str, devskin: Devskin
) -> None:
    told = f"devskin: GET /orders: $.data.items: expected {why}\n"
    ran = run(store, devskin, "orders", "--json")
    assert (ran.code, ran.err, ids_of(ran)) == (3, told, [*range(rows)])
    assert len(store.requested) < 15
    ran = run(store, devskin, "orders", "--max", "0")
    assert (ran.code, ran.err, len(ran.out.splitlines())) == (3, told, rows + 1)


def test_fewer_rows_than_wanted_of_a_list_that_shrinks_is_no_error(devskin: Devskin) -> None:
    def change(store: PagingStore) -> None:
        if len(store.requested) == 2:
            store.rows = 110

    ran = run(PagingStore(250, change=change), devskin, "orders", "--max", "0")
    assert (ran.code, ran.err) == (0, "110 orders\n")
    assert len(ran.out.splitlines()) == 111
