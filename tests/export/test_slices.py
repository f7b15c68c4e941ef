"""Slices cover every day exactly once, whatever was guessed, and few requests read them."""

from __future__ import annotations

import datetime as dt
import math
import random
from collections.abc import Callable, Iterable, Mapping

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from devskin_async.export.density import Density
from devskin_async.export.slices import (
    EARLIEST,
    EVERYTHING,
    LATEST,
    MOST_PAGES,
    Planner,
    Slice,
    without,
)

from .support import Days, Player

TODAY = dt.date(2026, 11, 23).toordinal()
SPAN = 730

near = st.integers(TODAY - 900, TODAY + 60)
stores = st.dictionaries(near, st.integers(1, 2500), max_size=12)
guesses = st.builds(
    Density,
    total=st.integers(0, 100_000),
    first=st.integers(TODAY - 700, TODAY),
    last=st.integers(TODAY, TODAY + 20),
    counted=st.dictionaries(st.integers(TODAY - 400, TODAY + 2), st.integers(1, 500), max_size=12),
)
few_days = st.integers(1, 12)
ends = st.none() | few_days


def slices_of(ends: st.SearchStrategy[int | None]) -> st.SearchStrategy[Slice]:
    return st.builds(Slice, ends, ends).filter(
        lambda found: found.first is None or found.last is None or found.first <= found.last
    )


def covered(slices: Iterable[Slice]) -> list[Slice]:
    """Join slices that follow each other without a gap and without a day in common."""
    joined: list[Slice] = []
    for found in sorted(slices, key=lambda found: found.first or 0):
        last = joined[-1].last if joined else None
        if last is not None and found.first == last + 1:
            joined[-1] = Slice(joined[-1].first, found.last)
        else:
            joined.append(found)
    return joined


@given(
    orders=stores,
    density=guesses,
    closed=st.integers(TODAY - 60, TODAY + 5),
    paged=st.booleans(),
    thrifty=st.booleans(),
    concurrency=st.integers(1, 12),
)
def test_whatever_is_guessed_every_day_is_read_exactly_once(  # noqa: PLR0917 - all that matters
    orders: dict[int, int],
    density: Density,
    closed: int,
    paged: bool,
    thrifty: bool,
    concurrency: int,
) -> None:
    # More slices than this would mean that a slice is cut to no purpose.
    most = 1_000 + 40 * len(orders)
    planner = Planner([EVERYTHING], density, closed, paged=paged, thrifty=thrifty)
    played = Player(planner, Days(orders), closed, concurrency, most).play()
    assert covered(played.slices) == [EVERYTHING]
    assert planner.next() is None


@given(orders=stores, density=guesses, known=st.lists(slices_of(st.none() | near), max_size=4))
def test_what_is_known_is_not_read_again_and_all_else_is(
    orders: dict[int, int], density: Density, known: list[Slice]
) -> None:
    gaps = without(EVERYTHING, known)
    planner = Planner(gaps, density, closed=TODAY - 2)
    played = Player(planner, Days(orders), TODAY - 2, most=1_000 + 40 * len(orders)).play()
    assert covered(played.slices) == gaps


@given(orders=stores, density=guesses, wanted=slices_of(st.none() | near))
def test_a_range_is_read_and_no_day_outside_of_it(
    orders: dict[int, int], density: Density, wanted: Slice
) -> None:
    planner = Planner([wanted], density, closed=TODAY - 2)
    played = Player(planner, Days(orders), TODAY - 2, most=1_000 + 40 * len(orders)).play()
    assert covered(played.slices) == [wanted]


@pytest.mark.parametrize(
    "orders",
    [
        {LATEST: 5000},
        {EARLIEST: 150, EARLIEST + 1: 150, TODAY: 150, LATEST - 1: 150, LATEST: 150},
        {TODAY - 50_000: 150, TODAY - 40_000: 150},
    ],
)
def test_orders_of_days_that_nobody_thought_of_are_found(
    orders: dict[int, int],
) -> None:
    store = Days(orders)
    density = Density(store.total, TODAY - 700, TODAY, {})
    planner = Planner([EVERYTHING], density, closed=TODAY - 2)
    played = Player(planner, store, TODAY - 2, most=2_000).play()
    assert covered(played.slices) == [EVERYTHING]


@pytest.mark.parametrize(
    "first",
    [
        TODAY + 1,
        TODAY + 1500,
        LATEST - 3,
    ],
)
def test_a_store_whose_oldest_order_is_of_the_future_is_covered(first: int) -> None:
    store = Days({first: 5000, first + 3: 400})
    planner = Planner([EVERYTHING], Density(store.total, first, TODAY, {}), closed=TODAY - 2)
    assert covered(Player(planner, store, TODAY - 2, most=200).play().slices) == [EVERYTHING]


def test_a_single_day_is_not_cut() -> None:
    planner = Planner([], Density(10, TODAY - 10, TODAY, {}), closed=TODAY - 2)
    assert not planner.can_cut(Slice(TODAY - 5, TODAY - 5))
    assert planner.can_cut(Slice(TODAY - 5, TODAY - 4))


def test_the_last_day_and_what_is_after_it_are_not_cut() -> None:
    planner = Planner([], Density(10, TODAY - 10, TODAY, {}), closed=TODAY - 2)
    assert not planner.can_cut(Slice(TODAY, None))
    assert planner.can_cut(Slice(TODAY - 1, None))


def test_what_is_before_the_first_day_can_always_be_cut_but_at_the_beginning_of_time() -> None:
    planner = Planner([], Density(10, TODAY - 10, TODAY, {}), closed=TODAY - 2)
    assert planner.can_cut(Slice(None, TODAY - 11))
    assert planner.can_cut(Slice(None, EARLIEST + 1))
    assert not planner.can_cut(Slice(None, EARLIEST))


def test_days_are_over_as_soon_as_no_order_can_come_to_any_of_them() -> None:
    planner = Planner([], Density(10, TODAY - 10, TODAY, {}), closed=TODAY - 2)
    assert planner.is_closed(Slice(TODAY - 9, TODAY - 2))
    assert planner.is_closed(Slice(None, TODAY - 2))
    assert not planner.is_closed(Slice(TODAY - 9, TODAY - 1))
    assert not planner.is_closed(Slice(TODAY - 9, None))


def test_a_slice_may_have_several_pages_but_where_they_are_not_wanted() -> None:
    density = Density(10, TODAY - 10, TODAY, {})
    assert Planner([], density, closed=TODAY - 2).most_pages == MOST_PAGES
    assert Planner([], density, closed=TODAY - 2, paged=False).most_pages == 1


def test_the_newest_days_come_first() -> None:
    density = Density(3000, TODAY - 99, TODAY, {})
    planner = Planner([EVERYTHING], density, closed=TODAY - 2)
    taken = list(iter(planner.next, None))
    assert taken[0].last is None
    assert taken[-1].first is None
    assert taken == sorted(taken, key=lambda found: -(found.first or 0))


@given(orders=st.integers(1, 100_000), days=st.integers(2, 40), density=guesses)
def test_what_is_given_back_comes_again_in_smaller_slices(
    orders: int, days: int, density: Density
) -> None:
    planner = Planner([], density, closed=TODAY - 2)
    whole = Slice(TODAY - days, TODAY - 1)
    planner.give_back(whole, orders)
    parts = list(iter(planner.next, None))
    assert len(parts) > 1
    assert covered(parts) == [whole]


def test_nothing_to_read_gives_no_slice() -> None:
    assert Planner([], Density(0, TODAY, TODAY, {}), closed=TODAY).next() is None


def test_a_slice_is_told_by_its_days() -> None:
    first = dt.date(2026, 1, 5).toordinal()
    assert str(Slice(first, first)) == "2026-01-05"
    assert str(Slice(first, first + 2)) == "2026-01-05 to 2026-01-07"
    assert str(EVERYTHING) == "the beginning to now"


def members(found: Slice) -> set[int]:
    """Give a slice's days; 0 stands for all before the few days, 13 for all after them."""
    first = 0 if found.first is None else found.first
    last = 13 if found.last is None else found.last
    return set(range(first, last + 1))


@given(wanted=slices_of(ends), known=st.lists(slices_of(ends), max_size=5))
@example(wanted=EVERYTHING, known=[])
@example(wanted=Slice(3, 4), known=[Slice(None, 2), Slice(5, None)])
def test_what_is_left_of_a_slice_is_each_day_that_no_other_has(
    wanted: Slice, known: list[Slice]
) -> None:
    shift = 1000  # far from the calendar's ends, beyond which nothing is
    moved = [
        Slice(*(None if end is None else end + shift for end in each)) for each in (wanted, *known)
    ]
    left = without(moved[0], moved[1:])
    parts = [Slice(*(None if end is None else end - shift for end in part)) for part in left]
    days = [day for part in parts for day in sorted(members(part))]
    assert days == sorted(members(wanted).difference(*map(members, known)))
    assert covered(parts) == parts


Rate = Callable[[int], float]

EVEN = {f"{rate} a day": (lambda _, rate=rate: rate) for rate in (8, 30, 45, 55, 68, 80, 95, 110)}
EVEN |= {f"{rate} a day": (lambda _, rate=rate: rate) for rate in (150, 190, 250, 500)}
UNEVEN: dict[str, Rate] = {
    "campaigns": lambda day: 400 if day % 30 == 0 else 3,
    "weekends": lambda day: 90 if day % 7 in (5, 6) else 12,
    "seasons": lambda day: 60 * (1 + math.sin(day / 58)),
    "growing": lambda day: 0.2 * math.exp((day - TODAY + SPAN) / 120),
    "nearly dead": lambda day: 80 if day < TODAY - 500 else 0.2,
    "quiet weeks": lambda day: 0 if day // 7 % 2 else 40,
}


def drawn(rate: Rate, seed: int) -> dict[int, int]:
    """Draw a store's orders of two years; on each day about as many as its rate says."""
    rng = random.Random(seed)
    days = {}
    for day in range(TODAY - SPAN + 1, TODAY + 1):
        mean = rate(day)
        days[day] = max(0, round(rng.gauss(mean, math.sqrt(mean)))) if mean > 50 else 0
        if mean <= 50:
            days[day] = poisson(rng, mean)
    return {day: orders for day, orders in days.items() if orders}


def poisson(rng: random.Random, mean: float) -> int:
    left, orders = math.exp(-mean), 0
    product = rng.random()
    while product > left:
        orders += 1
        product *= rng.random()
    return orders


def counted(orders: Mapping[int, int], seed: int) -> dict[int, int]:
    """Draw what the revenue series tells of the last year: six in seven orders count."""
    rng = random.Random(seed)
    told = {
        day: sum(rng.random() < 0.85 for _ in range(count))
        for day, count in orders.items()
        if day > TODAY - 365
    }
    return {day: count for day, count in told.items() if count}


def requests_per_page(orders: Mapping[int, int], told: Mapping[int, int]) -> float:
    store = Days(orders)
    assert store.total >= 5000
    density = Density(store.total, min(orders), TODAY + 1, told)
    planner = Planner([EVERYTHING], density, closed=TODAY - 2)
    played = Player(planner, store, TODAY - 2).play()
    assert covered(played.slices) == [EVERYTHING]
    survey = 2 + bool(told)
    return (survey + played.requests) / store.total * 100


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("name", [*EVEN, "3000 a day"])
def test_an_even_store_takes_at_most_1_3_requests_for_100_orders(name: str, told: bool) -> None:
    orders = drawn(EVEN.get(name, lambda _: 3000), seed=5)
    assert requests_per_page(orders, counted(orders, 6) if told else {}) <= 1.3


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("name", [*UNEVEN, "one flash sale"])
def test_busy_and_quiet_days_take_at_most_1_6_requests_for_100_orders(
    name: str, told: bool
) -> None:
    orders = drawn(UNEVEN.get(name, lambda day: 20_000 if day == TODAY - 40 else 5), seed=5)
    assert requests_per_page(orders, counted(orders, 6) if told else {}) <= 1.6


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("total", [5000, 20_000, 100_000])
def test_the_sandboxs_own_stores_take_at_most_1_6_requests_for_100_orders(
    total: int, told: bool
) -> None:
    # As the sandbox draws them: more at weekends and before Christmas, and growing.
    shape = {
        day: (0.4 + 1.6 * (day - TODAY + SPAN) / SPAN)
        * (1.4 if day % 7 in (6, 0) else 1.0)
        * {11: 1.5, 12: 1.7}.get(dt.date.fromordinal(day).month, 1.0)
        for day in range(TODAY - SPAN, TODAY)
    }
    height = total * 1.05 / sum(shape.values())
    orders = drawn(lambda day: height * shape.get(day, 0.0), seed=total)
    assert requests_per_page(orders, counted(orders, 6) if told else {}) <= 1.6
