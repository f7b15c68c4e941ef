"""Listings of a client against stores that page and count as they like."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from devskin_async import (
    DecodeError,
    DevSkinClient,
    InconsistentListError,
    Listing,
    OrderSummary,
)

from .conftest import AT_ONCE, UNLIMITED
from .paging_store import PagingStore, PastEnd

CONCURRENCY = 10
NOUNS = ("orders", "products", "customers")


@asynccontextmanager
async def reading(store: PagingStore) -> AsyncIterator[DevSkinClient]:
    """A client of a store."""
    async with (
        store.serving() as url,
        DevSkinClient(
            "key", base_url=url, rate_limit=UNLIMITED, retry=AT_ONCE, concurrency=CONCURRENCY
        ) as client,
    ):
        yield client


async def rows_of(listing: Listing[Any]) -> tuple[list[int], Exception | None]:
    """The ids of a listing's rows, and the error after them."""
    ids: list[int] = []
    try:
        async for row in listing:
            ids.append(row.id)  # noqa: PERF401 - those before an error count
    except DecodeError as error:
        return ids, error
    return ids, None


@pytest.mark.parametrize("echoes", [False, True])
@pytest.mark.parametrize("cap", [20, 50, 100, 1000])
@pytest.mark.parametrize("noun", NOUNS)
async def test_a_store_that_caps_its_pages_is_read_whole(noun: str, cap: int, echoes: bool) -> None:
    store = PagingStore(250, cap, echoes)
    async with reading(store) as client:
        listing = getattr(client, noun).list()
        assert await rows_of(listing) == ([*range(250)], None)
        assert len(store.requested) == -(-250 // min(cap, 100))
        assert [row.id async for page in listing.pages() for row in page.items] == [*range(250)]


@pytest.mark.parametrize("past_end", ["empty", "404"])
@pytest.mark.parametrize("rows", [60, 150, 200])
@pytest.mark.parametrize("total", [20_000, 10**9])
async def test_a_total_that_is_too_large_is_an_error_after_the_rows_and_a_few_requests(
    total: int, rows: int, past_end: PastEnd
) -> None:
    store = PagingStore(rows, total=total, past_end=past_end)
    async with reading(store) as client:
        ids, error = await rows_of(client.orders.list())
    assert ids == [*range(rows)]
    assert isinstance(error, InconsistentListError)
    expected = f"expected {total:,} rows in all, as `total` says, got {rows}"
    assert str(error) == f"GET /orders: $.data.items: {expected}"
    assert len(store.requested) <= 2 + CONCURRENCY + 1


async def test_a_total_that_is_too_small_is_an_error_after_all_rows() -> None:
    store = PagingStore(730, total=120)
    async with reading(store) as client:
        ids, error = await rows_of(client.customers.list())
    assert ids == [*range(730)]
    assert str(error).endswith("expected 120 rows in all, as `total` says, got 730")


async def test_a_store_that_repeats_one_page_is_an_error_after_the_rows_of_that_page() -> None:
    store = PagingStore(730, same_page=True)
    async with reading(store) as client:
        ids, error = await rows_of(client.orders.list())
    assert ids == [*range(100)]
    assert isinstance(error, InconsistentListError)


@pytest.mark.parametrize("past_end", ["empty", "404", "last page"])
@pytest.mark.parametrize("left", [30, 100, 101, 200])
async def test_a_list_that_shrinks_while_it_is_read_is_no_error(
    left: int, past_end: PastEnd
) -> None:
    def change(store: PagingStore) -> None:
        if len(store.requested) == 2:
            store.rows = left

    store = PagingStore(250, past_end=past_end, change=change)
    async with reading(store) as client:
        ids, error = await rows_of(client.orders.list())
    assert error is None
    assert ids == [*range(max(left, 100))]


@pytest.mark.parametrize(
    ("limit", "requested"),
    [
        (1, [(1, 1)]),
        (50, [(1, 50)]),
        (100, [(1, 100)]),
        (120, [(1, 100), (2, 100)]),
        (500, [(1, 100), (2, 100), (3, 100)]),
    ],
)
@pytest.mark.parametrize("noun", NOUNS)
async def test_a_limit_bounds_the_rows_and_the_requests_for_them(
    noun: str, limit: int, requested: list[tuple[int, int]]
) -> None:
    store = PagingStore(250)
    async with reading(store) as client:
        listing = getattr(client, noun).list(limit=limit)
        assert await rows_of(listing) == ([*range(min(limit, 250))], None)
    assert sorted(store.requested) == requested


async def test_a_limit_is_kept_where_the_store_caps_its_pages() -> None:
    store = PagingStore(250, 20, echoes=True)
    async with reading(store) as client:
        assert [row.id for row in await client.orders.list(limit=50)] == [*range(50)]
    assert sorted(store.requested) == [(1, 50), (2, 50), (3, 50)]


@pytest.mark.parametrize("limit", [0, -1, 1.5, "7", True, 2**63])
@pytest.mark.parametrize("noun", NOUNS)
def test_an_invalid_limit_is_a_value_error_at_once(noun: str, limit: Any) -> None:
    with pytest.raises(ValueError, match=r"^limit must be (a positive integer|at most)"):
        getattr(DevSkinClient("key"), noun).list(limit=limit)


@pytest.mark.parametrize("noun", NOUNS)
async def test_the_first_row_is_one_request_for_one_row(noun: str) -> None:
    store = PagingStore(250)
    async with reading(store) as client:
        first = await getattr(client, noun).list().first()
        assert first.id == 0
        assert store.requested == [(1, 1)]
        store.rows = 0
        assert await getattr(client, noun).list(limit=5).first() is None


async def test_no_first_row_in_a_list_that_has_some_is_an_error() -> None:
    async with reading(PagingStore(0, total=7)) as client:
        with pytest.raises(InconsistentListError, match="expected 7 rows"):
            await client.orders.list().first()


def test_the_repr_of_a_listing_says_what_it_lists_and_how_to_read_it() -> None:
    store = DevSkinClient("key")
    how = ': use "async for" or "await">'
    assert repr(store.orders.list()) == f"<Listing of orders{how}"
    assert repr(store.products.list(limit=5)) == f"<Listing of products, limit=5{how}"
    assert repr(store.orders.get_many([1, 2])) == f"<Rows of orders by their ids{how}"
    listing = store.orders.list(status="paid", date_from="2026-01-14", limit=50)
    assert repr(listing) == (
        f"<Listing of orders, status=paid, date_from=2026-01-14, limit=50{how}"
    )


def loop_over(orders: Listing[OrderSummary]) -> None:
    # mypy holds that this can't be: the `ignore` would be an error where it could.
    for _ in orders:  # type: ignore[attr-defined]
        raise AssertionError


def test_the_error_of_a_plain_for_says_how_to_read_a_listing() -> None:
    orders = DevSkinClient("key").orders.list()
    with pytest.raises(TypeError) as caught:
        loop_over(orders)
    assert str(caught.value) == (
        '<Listing of orders: use "async for" or "await"> is not read by a plain "for"'
    )


def test_rows_of_many_ids_are_not_read_by_a_plain_for_either() -> None:
    orders = DevSkinClient("key").orders.get_many([1, 2])
    with pytest.raises(TypeError, match='use "async for" or "await"'):
        list(orders)  # type: ignore[call-overload]
