"""What refusals teach: pauses that grow, a smaller and slower bucket, and a slow recovery."""

from __future__ import annotations

import pytest

from devskin_async import RateLimit
from devskin_async.ratelimit.shaping import Shape, Shaper

USUAL = Shape(100, 100 / 60)
CAUTIOUS = Shape(10, 100 / 60 * 0.99)


def shaper(*, accepted_at: float | None = None) -> Shaper:
    made = Shaper(RateLimit())
    if accepted_at is not None:
        made.accepted(accepted_at, accepted_at)
    return made


def test_the_flow_is_shaped_by_the_limit_at_first() -> None:
    assert shaper().shape == USUAL
    assert not shaper().probing


def test_a_refusal_of_the_very_first_requests_only_pauses() -> None:
    made = shaper()
    assert made.refused(1, granted_at=0) == 2
    assert made.shape == USUAL
    assert made.probing


def test_a_refusal_after_requests_were_accepted_makes_the_bucket_small() -> None:
    made = shaper(accepted_at=0)
    made.refused(1, granted_at=0.5)
    assert made.shape == CAUTIOUS


def test_a_refusal_long_after_anything_was_accepted_only_pauses() -> None:
    made = shaper(accepted_at=0)
    made.refused(121, granted_at=120.5)
    assert made.shape == USUAL


def test_one_burst_of_refusals_is_one_lesson() -> None:
    made = shaper(accepted_at=0)
    assert made.refused(1, granted_at=0.5) == 2
    assert [made.refused(1 + i / 10, granted_at=0.5 + i / 100) for i in range(1, 16)] == [None] * 15
    assert made.shape == CAUTIOUS


def test_pauses_grow_until_something_is_accepted() -> None:
    made = shaper()
    pauses = [made.refused(t, granted_at=t - 0.1) for t in (1, 10, 20, 40, 80, 160, 320)]
    assert pauses == [2, 4, 8, 16, 32, 60, 60]
    made.accepted(400, granted_at=399)
    assert made.refused(401, granted_at=400.5) == 2


def test_an_answer_to_a_request_sent_before_the_lesson_ends_nothing() -> None:
    made = shaper()
    made.refused(1, granted_at=0)
    made.accepted(2, granted_at=0.5)
    assert made.probing
    made.accepted(4, granted_at=3)
    assert not made.probing


def test_a_probe_that_is_refused_says_no_more_about_the_shape() -> None:
    made = shaper(accepted_at=0)
    made.refused(1, granted_at=0.5)
    made.refused(4, granted_at=3.5)
    assert made.shape == CAUTIOUS


def test_a_small_bucket_that_is_refused_becomes_as_slow_as_what_was_accepted() -> None:
    made = shaper()
    for i in range(50):
        made.accepted(i / 10, granted_at=i / 10)
    made.refused(5, granted_at=4.9)
    made.accepted(8, granted_at=7.9)
    made.refused(9, granted_at=8.5)
    assert made.shape.burst == 10
    assert made.shape.rate == pytest.approx(51 / 60 * 0.99)


def test_the_rate_is_never_more_than_halved_at_once_and_always_lowered() -> None:
    made = shaper(accepted_at=0)
    made.refused(1, granted_at=0.5)
    made.accepted(4, granted_at=3.9)
    made.refused(5, granted_at=4.5)
    assert made.shape.rate == pytest.approx(CAUTIOUS.rate / 2)
    for i in range(200):
        made.accepted(10 + i / 10, granted_at=9 + i / 10)
    made.refused(31, granted_at=30.5)
    assert made.shape.rate == pytest.approx(CAUTIOUS.rate / 2 * 0.99)


def test_the_shape_recovers_slowly() -> None:
    made = shaper(accepted_at=0)
    made.refused(1, granted_at=0.5)
    shapes = []
    for minute in range(1, 20):
        made.accepted(60.0 * minute + 2, granted_at=60.0 * minute + 1)
        shapes.append(made.shape.burst)
    assert shapes == [10] * 2 + [20] * 3 + [40] * 3 + [80] * 3 + [100] * 8
    assert made.shape == USUAL


def test_a_rate_that_was_lowered_recovers_before_the_burst_and_after_twice_as_long() -> None:
    made = shaper(accepted_at=0)
    made.refused(1, granted_at=0.5)
    made.accepted(4, granted_at=3.9)
    made.refused(5, granted_at=4.5)
    lowered = made.shape.rate
    made.accepted(5 + 5 * 60, granted_at=5 + 5 * 60)
    assert made.shape.rate == lowered
    made.accepted(5 + 6 * 60, granted_at=5 + 6 * 60)
    assert made.shape.burst == 10
    assert made.shape.rate == pytest.approx(lowered * 1.02)


def test_a_shaped_flow_begins_with_an_empty_bucket_after_each_pause() -> None:
    made = shaper(accepted_at=0)
    made.refused(1, granted_at=0.5)
    cautious = made.shape
    made.accepted(4, granted_at=3.9)
    emptied = made.shape
    assert emptied is not cautious
    assert emptied == cautious
    made.accepted(5, granted_at=4.9)
    assert made.shape is emptied
