"""The page arithmetic of a list against stores of every kind: right, wrong and changing ones."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Literal, NamedTuple

import pytest
from attrs import define, field
from hypothesis import given
from hypothesis import strategies as st

from devskin_async import InconsistentListError, Page
from devskin_async.api import PageNumbers

LIMIT = 100
WINDOW = 10

PastEnd = Literal["empty", "no page", "last page"]


@define
class Store:
    """A store with these properties.

    Args:
        rows: Its rows, first one first.
        cap: The most rows that a page may have.
        echoes: Its pages have the limit that was requested, not the one that it keeps.
        total: The total of its pages; None counts its rows.
        past_end: What comes past the end: an empty page, what `devskin_async` makes of a 404, or
            the last page under the number that was requested.
        change: Called before each response.
    """

    rows: list[int]
    cap: int = LIMIT
    echoes: bool = True
    total: int | None = None
    past_end: PastEnd = "empty"
    change: Callable[[], object] = lambda: None
    requests: int = field(default=0, init=False)

    def page(self, number: int, limit: int = LIMIT) -> Page[int]:
        self.requests += 1
        self.change()
        size = min(limit, self.cap)
        total = len(self.rows) if self.total is None else self.total
        start = (number - 1) * size
        if number > 1 and start >= len(self.rows):
            if self.past_end == "no page":
                return Page(items=(), total=0, page=number, limit=limit)
            if self.past_end == "last page":
                start = (len(self.rows) - 1) // size * size
        items = tuple(self.rows[start : start + size])
        shown = limit if self.echoes else size
        return Page(items=items, total=total, page=number, limit=shown)


class Read(NamedTuple):
    """The result of a reading."""

    rows: list[int]
    inconsistency: InconsistentListError | None


def read(
    page: Callable[[int, int], Page[int]],
    wanted: int | None = None,
    window: int = WINDOW,
    first: int = 1,
) -> Read:
    """Read a list as far as the page arithmetic says, so many pages at a time."""
    numbers = PageNumbers(wanted, first)
    limit = LIMIT if wanted is None or first > 1 else min(wanted, LIMIT)
    coming: deque[Page[int]] = deque()
    requested = first - 1
    rows: list[int] = []
    while not numbers.over:
        while requested < numbers.last and len(coming) < window:
            requested += 1
            coming.append(page(requested, limit))
        rows += numbers.take(coming.popleft())
    if numbers.recounted is not None:
        numbers.recount(page(numbers.recounted, limit))
    return Read(rows, numbers.inconsistency("GET /orders"))


counts = st.integers(0, 700)
caps = st.integers(1, LIMIT)
past_ends = st.sampled_from(["empty", "no page", "last page"])


@given(
    count=counts,
    cap=caps,
    echoes=st.booleans(),
    past_end=past_ends,
    wanted=st.none() | st.integers(1, 800),
)
def test_any_page_size_is_read_whole_with_no_request_too_many(
    count: int, cap: int, echoes: bool, past_end: PastEnd, wanted: int | None
) -> None:
    store = Store([*range(count)], cap, echoes, past_end=past_end)
    assert read(store.page, wanted) == ([*range(count)][:wanted], None)
    needed = min(count, wanted or count)
    assert store.requests == max(1, -(-needed // min(cap, wanted or cap)))


@given(
    count=counts,
    cap=caps,
    echoes=st.booleans(),
    past_end=past_ends,
    wanted=st.none() | st.integers(1, 800),
    first=st.integers(2, 20),
)
def test_a_reading_from_a_later_page_gives_the_rest_of_the_list(
    *, count: int, cap: int, echoes: bool, past_end: PastEnd, wanted: int | None, first: int
) -> None:
    skipped = (first - 1) * cap
    if past_end == "last page" and skipped + cap >= count:
        past_end = "empty"  # nothing distinguishes such a page from the one requested
    store = Store([*range(count)], cap, echoes, past_end=past_end)
    rest = [*range(skipped, count)]
    assert read(store.page, wanted, first=first) == (rest[:wanted], None)
    needed = min(len(rest), wanted or len(rest))
    # A first page with fewer rows than its limit may be the last one.
    assert store.requests <= max(1, -(-needed // cap)) + (0 < len(rest) < LIMIT)


@given(cap=caps, pages=st.integers(2, 8), data=st.data(), excess=st.integers(1, 10**6))
def test_a_total_that_is_too_large_is_inconsistent_from_a_later_page_on_too(
    cap: int, pages: int, data: st.DataObject, excess: int
) -> None:
    count = cap * (pages - 1) + data.draw(st.integers(1, cap))
    store = Store([*range(count)], cap, echoes=False, total=count + excess)
    first = data.draw(st.integers(1, pages - 1))
    rows, inconsistency = read(store.page, first=first)
    assert rows == [*range((first - 1) * cap, count)]
    assert inconsistency is not None
    if first > 1:
        assert str(inconsistency).endswith(f", got {len(rows)} from page {first} on")


@given(count=st.integers(1, 700), cap=caps, fewer=st.integers(1, 700), first=st.integers(2, 8))
def test_a_total_below_the_rows_of_a_reading_from_a_later_page_is_inconsistent(
    count: int, cap: int, fewer: int, first: int
) -> None:
    least = first * cap  # where page `first` is full
    count = max(count, least)
    store = Store([*range(count)], cap, echoes=False, total=max(0, least - fewer))
    rows, inconsistency = read(store.page, first=first)
    assert rows == [*range(least - cap, count)]
    assert inconsistency is not None


@given(
    data=st.data(),
    cap=st.integers(5, LIMIT),
    echoes=st.booleans(),
    count=counts,
    first=st.integers(2, 6),
    window=st.integers(1, WINDOW),
)
def test_a_list_that_changes_is_not_inconsistent_from_a_later_page_on_either(
    *, data: st.DataObject, cap: int, echoes: bool, count: int, first: int, window: int
) -> None:
    store = Store([*range(count)], cap, echoes)

    def change() -> None:
        what = data.draw(st.integers(-3, 3))
        for new in range(what):
            store.rows.insert(0, 1000 * store.requests + new)
        for _ in range(min(-what, len(store.rows))):
            del store.rows[data.draw(st.integers(0, len(store.rows) - 1))]

    store.change = change
    rows, inconsistency = read(store.page, window=window, first=first)
    assert inconsistency is None
    assert len(rows) <= max(0, count + 3 * store.requests - (first - 1) * cap)


@given(
    count=counts,
    cap=st.integers(20, LIMIT),
    excess=st.integers(1, 1000) | st.just(10**9),
    past_end=past_ends,
)
def test_a_total_that_is_too_large_is_inconsistent_after_all_rows_and_a_few_requests(
    count: int, cap: int, excess: int, past_end: PastEnd
) -> None:
    if past_end == "last page" and not count:
        past_end = "empty"
    store = Store([*range(count)], cap, total=count + excess, past_end=past_end)
    rows, inconsistency = read(store.page)
    assert rows == [*range(count)]
    assert inconsistency is not None
    assert store.requests <= -(-count // cap) + WINDOW + 1


@given(count=st.integers(1, 700), cap=caps, total=counts, past_end=past_ends)
def test_a_total_that_is_too_small_is_inconsistent_unless_it_ends_with_a_page(
    count: int, cap: int, total: int, past_end: PastEnd
) -> None:
    total = total % count
    store = Store([*range(count)], cap, total=total, past_end=past_end)
    rows, inconsistency = read(store.page)
    if total and total % cap == 0:  # as many rows came as the total
        assert (rows, inconsistency) == ([*range(total)], None)
    else:
        assert rows == [*range(count)]
        assert inconsistency is not None
    assert store.requests <= -(-count // cap) * 2 + 2


@given(data=st.data(), cap=st.integers(5, LIMIT), count=counts, window=st.integers(1, WINDOW))
def test_a_list_that_changes_is_never_inconsistent(
    data: st.DataObject, cap: int, count: int, window: int
) -> None:
    store = Store([*range(count)], cap)
    lengths: list[int] = []

    def change() -> None:
        what = data.draw(st.integers(-3, 3))
        for new in range(what):
            store.rows.insert(0, 1000 * store.requests + new)
        for _ in range(min(-what, len(store.rows))):
            del store.rows[data.draw(st.integers(0, len(store.rows) - 1))]
        lengths.append(len(store.rows))

    store.change = change
    rows, inconsistency = read(store.page, window=window)
    assert inconsistency is None
    assert min(lengths) <= len(rows) <= max(lengths)
    assert store.requests <= -(-max(lengths) // cap) + WINDOW


@given(data=st.data(), cap=st.integers(5, LIMIT), count=counts)
def test_a_list_that_shrinks_in_a_store_without_pages_past_the_end_is_not_inconsistent(
    data: st.DataObject, cap: int, count: int
) -> None:
    store = Store([*range(count)], cap, past_end="no page")

    def change() -> None:
        for _ in range(min(data.draw(st.integers(0, 60)), len(store.rows))):
            store.rows.pop()

    store.change = change
    assert read(store.page).inconsistency is None


@given(count=counts, cap=caps)
def test_a_store_that_gives_the_same_page_again_and_again_is_inconsistent(
    count: int, cap: int
) -> None:
    store = Store([*range(count)], cap)
    rows, inconsistency = read(lambda number, limit: store.page(1, limit))
    assert rows == [*range(min(count, cap))]
    if count <= cap:
        assert inconsistency is None
    else:
        assert str(inconsistency) == (
            "GET /orders: $.data.items: expected other rows on page 2 than on page 1, got the same"
        )
    assert store.requests <= WINDOW + 1


@pytest.mark.parametrize("sizes", [(100, 50, 100), (60, 100, 90), (100, 120, 30)])
def test_pages_of_varying_size_are_inconsistent_even_if_the_total_is_right(
    sizes: tuple[int, ...],
) -> None:
    total = sum(sizes)

    def page(number: int, limit: int) -> Page[int]:
        start = sum(sizes[: number - 1])
        items = tuple(range(start, start + sizes[number - 1])) if number <= len(sizes) else ()
        return Page(items=items, total=total, page=number, limit=limit)

    rows, inconsistency = read(page)
    assert rows == [*range(total)]
    assert f"expected {sizes[0]} rows on each page, as on page 1, got" in str(inconsistency)


def test_a_first_page_without_rows_of_a_list_that_has_some_is_inconsistent() -> None:
    store = Store([], total=5)
    rows, inconsistency = read(store.page)
    assert rows == []
    assert str(inconsistency) == (
        "GET /orders: $.data.items: expected 5 rows in all, as `total` says, got 0"
    )
    assert store.requests == 2


def test_more_rows_than_requested_are_read_once_and_cut_to_what_is_wanted() -> None:
    store = Store([*range(250)])
    assert read(lambda number, limit: store.page(number, 100), wanted=7) == ([*range(7)], None)
    assert store.requests == 1
    assert read(lambda number, limit: store.page(number, 100), wanted=120) == (
        [*range(120)],
        None,
    )
    assert store.requests == 3


@pytest.mark.parametrize("change", [-1, 1])
@pytest.mark.parametrize("past_end", ["empty", "no page"])
def test_a_row_that_comes_or_goes_between_count_and_rows_of_a_response_is_a_change(
    change: int, past_end: PastEnd
) -> None:
    store = Store([*range(250)], past_end=past_end)

    def page(number: int, limit: int) -> Page[int]:
        counted = store.page(1).total
        if number == 3 and counted == 250:
            store.rows = [*range(250 + change)]
        rows = store.page(number, limit).items
        total = counted if rows or past_end == "empty" or number == 1 else 0
        return Page(items=rows, total=total, page=number, limit=limit)

    assert read(page) == ([*range(250 + change)], None)


def test_the_error_of_totals_that_the_pages_contradict_has_the_span_of_all_totals() -> None:
    store = Store([*range(150)], total=20_000)

    def change() -> None:
        assert store.total is not None
        store.total += 1

    store.change = change
    assert "expected 20,001 to 20,0" in str(read(store.page, window=1).inconsistency)
