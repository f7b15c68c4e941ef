"""Pages are fetched concurrently and delivered in order: bounded, cancellable, failing once."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections import Counter
from collections.abc import Awaitable, Iterator
from contextlib import aclosing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devskin_async import InconsistentListError, Page
from devskin_async.listings import Listing, Rows
from devskin_async.paging import Ordered, Pages
from devskin_async.testing import VirtualTimeLoop, virtual_time


class Store:
    """Pages of numbers, each sent after the seconds that `delay` returns."""

    def __init__(
        self, rows: int, *, limit: int = 10, delay: dict[int, float] | None = None
    ) -> None:
        self.rows = rows
        self.limit = limit
        self.delay = delay or {}
        self.requested: list[int] = []
        self.cancelled: list[int] = []
        self.in_flight = 0
        self.most_in_flight = 0
        self.idle = asyncio.Event()
        self.failing: dict[int, Exception] = {}

    async def fetch(self, number: int) -> Page[int]:
        self.requested.append(number)
        self.in_flight += 1
        self.idle.clear()
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await asyncio.sleep(self.delay.get(number, 1.0))
        except asyncio.CancelledError:
            self.cancelled.append(number)
            raise
        finally:
            self.in_flight -= 1
            if not self.in_flight:
                self.idle.set()
        if number in self.failing:
            raise self.failing[number]
        first = (number - 1) * self.limit
        items = tuple(range(first, min(first + self.limit, self.rows)))
        return Page(items=items, total=self.rows, page=number, limit=self.limit)

    def listing(self, concurrency: int = 4) -> Listing[int]:
        return Listing(
            lambda wanted, first: Pages(self.fetch, concurrency, first_page=first, wanted=wanted)
        )


@virtual_time
async def test_awaiting_a_listing_collects_its_rows() -> None:
    assert await Store(95).listing() == list(range(95))


@virtual_time
async def test_rows_come_in_order_even_if_responses_do_not() -> None:
    store = Store(95, delay={2: 9, 3: 1, 4: 5, 5: 0.5, 6: 7})
    assert [row async for row in store.listing()] == list(range(95))


@virtual_time
async def test_each_page_is_requested_once() -> None:
    store = Store(95)
    await store.listing()
    assert sorted(store.requested) == list(range(1, 11))


@virtual_time
async def test_an_empty_list_is_one_request_and_no_rows() -> None:
    store = Store(0)
    assert await store.listing() == []
    assert store.requested == [1]


@virtual_time
async def test_a_listing_can_be_read_again() -> None:
    store = Store(15)
    listing = store.listing()
    assert await listing == await listing
    assert Counter(store.requested) == {1: 2, 2: 2}


@virtual_time
async def test_pages_are_fetched_concurrently() -> None:
    loop = asyncio.get_running_loop()
    start = loop.time()
    await Store(410).listing(concurrency=4)
    assert loop.time() - start == pytest.approx(1 + 40 / 4, abs=1.01)


@virtual_time
async def test_no_more_than_concurrency_are_in_flight_or_held() -> None:
    store = Store(200, delay={2: 100})
    taken = 0
    async for page in store.listing(concurrency=4).pages():
        assert len(store.requested) - taken <= 4
        taken = page.page
    assert store.most_in_flight <= 4


@virtual_time
async def test_a_slow_consumer_does_not_make_pages_pile_up() -> None:
    store = Store(200)
    async with aclosing(store.listing(concurrency=3).pages()) as pages:
        await anext(pages)
        await asyncio.sleep(1000)
        assert sorted(store.requested) == [1, 2, 3]


@virtual_time
async def test_a_consumer_that_stops_early_cancels_what_is_in_flight() -> None:
    store = Store(200, delay={3: 50, 4: 50, 5: 50})
    async for row in store.listing(concurrency=4):
        if row == 12:
            break
    await store.idle.wait()
    assert sorted(store.cancelled) == [3, 4, 5]


@virtual_time
async def test_a_consumer_that_is_cancelled_cancels_what_is_in_flight() -> None:
    store = Store(200, delay=dict.fromkeys(range(2, 30), 50.0))

    async def consume() -> None:
        await store.listing(concurrency=4)

    task = asyncio.create_task(consume())
    await asyncio.sleep(10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert sorted(store.cancelled) == [2, 3, 4, 5]


@virtual_time
async def test_an_error_in_one_page_cancels_the_rest_at_once_and_comes_once() -> None:
    loop = asyncio.get_running_loop()
    store = Store(200, delay={2: 50, 3: 1, 4: 50, 5: 50})
    store.failing[3] = ConnectionError("page 3")
    rows = aiter(store.listing(concurrency=4))
    assert [await anext(rows) for _ in range(10)] == list(range(10))
    with pytest.raises(ConnectionError, match="page 3"):
        await anext(rows)
    with pytest.raises(StopAsyncIteration):
        await anext(rows)
    assert sorted(store.cancelled) == [2, 4, 5]
    assert sorted(store.requested) == [1, 2, 3, 4, 5]
    assert loop.time() == pytest.approx(2, abs=1e-3)


@virtual_time
@pytest.mark.parametrize("failing", [1, 3, 8])
async def test_an_error_names_the_page_it_came_on(failing: int) -> None:
    store = Store(95)
    store.failing[failing] = ConnectionError("away")
    with pytest.raises(ConnectionError) as caught:
        await store.listing(concurrency=4)
    assert caught.value.__notes__ == [f"page {failing} of the list"]


@virtual_time
async def test_an_error_of_a_page_that_is_not_even_sent_names_it() -> None:
    store = Store(95)

    def fetch(number: int) -> Awaitable[Page[int]]:
        if number == 4:
            raise ConnectionError("refused at once")
        return store.fetch(number)

    with pytest.raises(ConnectionError) as caught:
        await Listing(lambda *_: Pages(fetch, 4))
    assert caught.value.__notes__ == ["page 4 of the list"]


@virtual_time
async def test_an_error_that_listings_share_names_the_page_once() -> None:
    store = Store(95)
    store.failing[3] = ConnectionError("away")
    outcomes = await asyncio.gather(collected(store), collected(store), return_exceptions=True)
    assert [*outcomes] == [store.failing[3]] * 2
    assert store.failing[3].__notes__ == ["page 3 of the list"]


async def collected(store: Store) -> list[int]:
    return await store.listing()


@virtual_time
async def test_no_page_beyond_the_last_number_is_requested_whatever_the_total_says() -> None:
    store = Store(2**80)
    store.failing = {2**63: ValueError("page must be at most 9223372036854775807")}
    pages = store.listing().pages(start=2**63 - 2)
    assert [(await anext(pages)).page for _ in range(2)] == [2**63 - 2, 2**63 - 1]
    with pytest.raises(InconsistentListError, match="rows in all"):
        await anext(pages)
    assert max(store.requested) == 2**63 - 1


@virtual_time
async def test_a_reading_may_begin_with_any_page() -> None:
    store = Store(95)
    pages = [page async for page in store.listing().pages(start=7)]
    assert [page.page for page in pages] == [7, 8, 9, 10]
    assert sorted(store.requested) == [7, 8, 9, 10]
    assert store.most_in_flight == 3  # the first alone, as it tells how many there are


@virtual_time
async def test_two_pages_that_fail_together_are_one_error() -> None:
    store = Store(200)
    store.failing = {2: ConnectionError("page 2"), 3: ConnectionError("page 3")}
    with pytest.raises(ConnectionError, match="page 2"):
        await store.listing(concurrency=4)


@virtual_time
async def test_an_error_on_the_first_page_reaches_the_caller() -> None:
    store = Store(200)
    store.failing[1] = ConnectionError("page 1")
    with pytest.raises(ConnectionError, match="page 1"):
        await store.listing()
    assert store.requested == [1]


@virtual_time
async def test_a_list_that_shrinks_ends_at_the_first_empty_page() -> None:
    store = Store(200)

    async def fetch(number: int) -> Page[int]:
        page = await store.fetch(number)
        store.rows = 35
        return page

    rows = await Listing(lambda *_: Pages(fetch, 3))
    assert rows == list(range(35))
    assert max(store.requested) <= 8


@virtual_time
async def test_a_total_that_is_far_too_high_costs_no_memory_and_few_requests() -> None:
    requested: list[int] = []

    async def fetch(number: int) -> Page[int]:
        requested.append(number)
        return Page(items=(1,) if number == 1 else (), total=10**18, page=number, limit=100)

    rows = aiter(Listing(lambda *_: Pages(fetch, 5, request="GET /orders")))
    assert await anext(rows) == 1
    with pytest.raises(InconsistentListError, match=r"GET /orders: .* rows in all, .* got 1"):
        await anext(rows)
    assert len(requested) <= 7


@virtual_time
async def test_a_server_with_smaller_pages_than_requested_is_read_to_the_end() -> None:
    store = Store(95, limit=7)
    assert await store.listing() == list(range(95))


@virtual_time
async def test_pages_are_fetched_concurrently_whatever_their_size_is() -> None:
    loop = asyncio.get_running_loop()
    start = loop.time()
    rows = await Listing(lambda *_: Pages(Store(410, limit=7).fetch, 4))
    assert rows == list(range(410))
    assert loop.time() - start == pytest.approx(1 + 58 / 4, abs=1.01)


@virtual_time
async def test_a_list_that_grows_is_read_to_its_new_end() -> None:
    store = Store(25)

    async def fetch(number: int) -> Page[int]:
        page = await store.fetch(number)
        store.rows = 45
        return page

    assert await Listing(lambda *_: Pages(fetch, 3)) == list(range(45))


@virtual_time
async def test_an_inconsistency_is_raised_once_after_the_last_page() -> None:
    async def fetch(number: int) -> Page[int]:
        items = (1, 2) if number == 1 else (3,) if number == 2 else ()
        return Page(items=items, total=9, page=number, limit=2)

    pages = Pages(fetch, 3)
    async with aclosing(pages):
        assert [(await anext(pages)).items, (await anext(pages)).items] == [(1, 2), (3,)]
        with pytest.raises(InconsistentListError):
            await anext(pages)
        with pytest.raises(StopAsyncIteration):
            await anext(pages)


@virtual_time
async def test_a_closed_reading_sends_no_further_requests() -> None:
    requested: list[int] = []

    async def fetch(number: int) -> Page[int]:
        requested.append(number)
        return Page(items=() if number == 2 else (1,), total=9, page=number, limit=1)

    pages = Pages(fetch, 1)
    await anext(pages)
    await pages.aclose()
    with pytest.raises(StopAsyncIteration):
        await anext(pages)
    assert requested == [1]


@virtual_time
@pytest.mark.parametrize(("limit", "pages"), [(1, 1), (10, 1), (11, 2), (95, 10), (1000, 10)])
async def test_a_limit_bounds_the_rows_and_the_requests(limit: int, pages: int) -> None:
    store = Store(95)
    listing = Listing(lambda wanted, _: Pages(store.fetch, 4, wanted=wanted), limit=limit)
    assert await listing == list(range(min(limit, 95)))
    assert len(store.requested) == pages
    assert sum([len(page.items) async for page in listing.pages()]) == min(limit, 95)


@virtual_time
async def test_the_first_row_is_one_request() -> None:
    store = Store(95)
    assert await store.listing().first() == 0
    assert store.requested == [1]
    assert await Store(0).listing().first() is None


@given(
    arguments=st.lists(st.floats(0, 9, allow_subnormal=False), max_size=30),
    concurrency=st.integers(1, 8),
)
@virtual_time
async def test_results_come_in_the_order_of_the_arguments_within_the_bound(
    arguments: list[float], concurrency: int
) -> None:
    in_flight = 0

    async def fetch(seconds: float) -> float:
        nonlocal in_flight
        in_flight += 1
        assert in_flight <= concurrency
        await asyncio.sleep(seconds)
        in_flight -= 1
        return seconds

    rows = Rows(lambda: Ordered(fetch, arguments, concurrency))
    assert await rows == arguments


def test_a_program_that_fails_during_a_listing_ends_without_a_warning_of_asyncio() -> None:
    contexts: list[object] = []

    async def program() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: contexts.append(context))
        listing = Store(200).listing()
        rows, pages = aiter(listing), listing.pages()
        await anext(rows)
        async for page in pages:
            if page.page == 2:
                raise KeyError(page.page)

    with (
        pytest.raises(KeyError),
        asyncio.Runner(loop_factory=VirtualTimeLoop) as runner,
    ):
        runner.run(program())
    assert contexts == []


@virtual_time
async def test_a_page_that_was_delivered_is_not_held() -> None:
    pages = Store(200).listing(concurrency=2).pages()
    first = weakref.ref(await anext(pages))
    await anext(pages)
    gc.collect()
    assert first() is None
    await pages.aclose()


@virtual_time
async def test_arguments_are_consumed_only_as_calls_are_started() -> None:
    taken: list[int] = []

    def arguments() -> Iterator[int]:
        for number in range(1000):
            taken.append(number)
            yield number

    async def fetch(number: int) -> int:
        return number

    results = Ordered(fetch, arguments(), 3)
    async with aclosing(results):
        assert await anext(results) == 0
    assert taken == [0, 1, 2]
