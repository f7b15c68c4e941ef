"""The guess of a day's orders is a number above 0, whatever it is made of, and it learns."""

from __future__ import annotations

import datetime as dt
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devskin_async.export.density import YEAR, Density

TODAY = dt.date(2026, 11, 23).toordinal()

days = st.integers(TODAY - 800, TODAY + 100)
counts = st.integers(0, 10**6)
reads = st.lists(st.tuples(days, st.integers(0, 400), st.integers(0, 10**7)), max_size=20)


@given(
    total=st.integers(0, 10**9),
    first=days,
    last=days,
    counted=st.dictionaries(days, counts, max_size=20),
    read=reads,
    asked=days,
)
def test_a_guess_is_above_0_whatever_it_is_made_of(  # noqa: PLR0917 - all that matters
    total: int,
    first: int,
    last: int,
    counted: dict[int, int],
    read: list[tuple[int, int, int]],
    asked: int,
) -> None:
    density = Density(total, first, last, counted)
    for begin, length, orders in read:
        density.learn(begin, begin + length, orders)
    for day in (asked, first, last, first - 1, last + 1):
        assert 0 < density.on(day) < math.inf
        assert 0 < density.variance(day) < math.inf
    assert density.between(asked, asked + 3) >= density.on(asked)


def test_a_store_without_orders_is_guessed_to_have_hardly_any() -> None:
    assert Density(0, TODAY, TODAY, {}).between(TODAY - 30, TODAY) < 1


def test_no_days_have_no_orders() -> None:
    assert Density(1000, TODAY - 30, TODAY, {}).between(TODAY, TODAY - 1) == 0


def test_all_orders_of_a_store_of_one_day_are_on_it() -> None:
    assert Density(50, TODAY, TODAY, {}).on(TODAY) == pytest.approx(50)


def test_without_a_series_the_total_is_spread_evenly() -> None:
    density = Density(700, TODAY - 69, TODAY, {})
    assert density.on(TODAY - 69) == density.on(TODAY) == pytest.approx(10)
    assert density.between(TODAY - 69, TODAY) == pytest.approx(700)


def test_with_a_series_the_total_is_guessed_as_it_is() -> None:
    counted = {day: 10 + day % 7 for day in range(TODAY - 364, TODAY + 1)}
    total = round(sum(counted.values()) * 2.5)
    density = Density(total, TODAY - 729, TODAY, counted)
    assert density.between(TODAY - 729, TODAY) == pytest.approx(total, rel=0.01)


def test_a_day_has_what_the_series_tells_of_it() -> None:
    density = Density(4000, TODAY - 364, TODAY, {TODAY - 1: 5, TODAY - 2: 50, TODAY - 364: 3})
    assert density.on(TODAY - 2) > 9 * density.on(TODAY - 1)


def test_a_day_of_which_the_series_tells_nothing_may_still_have_orders() -> None:
    density = Density(4000, TODAY - 364, TODAY, {TODAY - 2: 50, TODAY - 364: 3})
    assert 0 < density.on(TODAY - 1) < 5


def test_a_day_before_the_series_is_like_its_weekday_a_year_later() -> None:
    counted = {day: 90 if day % 7 == 0 else 10 for day in range(TODAY - 364, TODAY + 1)}
    density = Density(10_000, TODAY - 729, TODAY, counted)
    busy = next(day for day in range(TODAY - 600, TODAY) if day % 7 == 0)
    assert YEAR % 7 == 0
    assert density.on(busy) == pytest.approx(9 * density.on(busy + 1), rel=0.05)


@pytest.mark.parametrize("real", [0.5, 3.0, 40.0, 900.0])
@pytest.mark.parametrize("guessed", [0.5, 3.0, 40.0, 900.0])
def test_the_height_is_learned_within_a_few_slices(real: float, guessed: float) -> None:
    density = Density(round(guessed * 730), TODAY - 729, TODAY, {})
    last = TODAY
    for _ in range(12):
        # As many days as were guessed to fill two pages, or as it takes to see that they do not.
        length = max(1, min(60, round(200 / density.on(last))))
        density.learn(last - length + 1, last, round(real * length))
        last -= length
    assert 0.4 < density.on(last) / real < 2.5


def test_what_is_read_of_days_with_a_series_tells_nothing_of_those_without() -> None:
    counted = dict.fromkeys(range(TODAY - 364, TODAY + 1), 10)
    density = Density(10_000, TODAY - 729, TODAY, counted)
    before = density.on(TODAY - 700)
    density.learn(TODAY - 100, TODAY, 5000)
    assert density.on(TODAY - 50) > 20
    assert density.on(TODAY - 700) == before


def test_orders_before_the_first_day_move_it() -> None:
    density = Density(1000, TODAY - 30, TODAY, {})
    density.learn(TODAY - 90, TODAY - 31, 10)
    assert density.first == TODAY - 90
    density.learn(TODAY - 20, TODAY, 10)
    assert density.first == TODAY - 90


def test_a_total_that_was_told_too_low_leaves_a_guess_for_the_days_without_a_series() -> None:
    counted = dict.fromkeys(range(TODAY - 364, TODAY + 1), 10)
    assert Density(100, TODAY - 729, TODAY, counted).on(TODAY - 700) > 0
