"""What refusals teach: pauses that grow, a smaller and slower bucket, and a slow recovery."""

from __future__ import annotations

import math

import pytest
from msgspec.structs import replace

from devskin_async import RateLimit
from devskin_async.ratelimit.shaping import RefusalTracker, Shape, Shaping

LIMIT = RateLimit()
CAUTIOUS = Shape(10, 100 / 60 * 0.99)
NEVER = (0, -math.inf)  # nothing was accepted yet


def refused(
    known: Shaping, now: float, granted_at: float, accepted: tuple[int, float] = NEVER
) -> Shaping:
    return known.refused(LIMIT, now, granted_at, accepted)


def accepted(known: Shaping, now: float, granted_at: float) -> Shaping:
    return known.accepted(LIMIT, now, granted_at)


def lesson(now: float = 1.0, accepted_at: float = 0.0) -> Shaping:
    """What one refusal teaches after one request was accepted."""
    return refused(Shaping(), now, now - 0.5, (1, accepted_at))


def test_no_learned_shape_is_in_force_at_first() -> None:
    assert Shaping().shape is None
    assert not Shaping().probing


def test_a_refusal_of_the_very_first_requests_only_pauses() -> None:
    after = refused(Shaping(), 1, granted_at=0)
    assert after.pause == 2
    assert after.shape is None
    assert after.probing


def test_a_refusal_after_requests_were_accepted_makes_the_bucket_small() -> None:
    assert lesson().shape == CAUTIOUS


def test_a_refusal_long_after_anything_was_accepted_only_pauses() -> None:
    after = lesson(now=121)
    assert after.shape is None
    assert after.pause == 2


def test_one_burst_of_refusals_is_one_lesson() -> None:
    first = lesson()
    for i in range(1, 16):
        assert refused(first, 1 + i / 10, 0.5 + i / 100, (1, 0)) is first


def test_pauses_grow_until_something_is_accepted() -> None:
    known = Shaping()
    pauses = []
    for now in (1, 10, 20, 40, 80, 160, 320):
        known = refused(known, now, now - 0.1)
        pauses.append(known.pause)
    assert pauses == [2, 4, 8, 16, 32, 60, 60]
    known = accepted(known, 400, granted_at=399)
    assert refused(known, 401, granted_at=400.5).pause == 2


def test_a_response_to_a_request_sent_before_the_lesson_ends_nothing() -> None:
    known = refused(Shaping(), 1, granted_at=0)
    assert accepted(known, 2, granted_at=0.5) is known
    assert not accepted(known, 4, granted_at=3).probing


def test_a_request_that_is_accepted_as_usual_changes_nothing() -> None:
    known = Shaping()
    assert accepted(known, 10, granted_at=9) is known


def test_a_refused_probe_does_not_change_the_shape() -> None:
    assert refused(lesson(), 4, granted_at=3.5, accepted=(1, 0)).shape == CAUTIOUS


def test_a_small_bucket_that_is_refused_becomes_as_slow_as_what_was_accepted() -> None:
    known = accepted(lesson(5, accepted_at=4.9), 8, granted_at=7.9)
    shape = refused(known, 9, granted_at=8.5, accepted=(51, 8)).shape
    assert shape is not None
    assert shape.burst == 10
    assert shape.rate == pytest.approx(51 / 60 * 0.99)


def test_the_rate_is_never_more_than_halved_at_once_and_always_lowered() -> None:
    known = accepted(lesson(), 4, granted_at=3.9)
    known = refused(known, 5, granted_at=4.5, accepted=(2, 4))
    assert known.rate == pytest.approx(CAUTIOUS.rate / 2)
    known = accepted(known, 10, granted_at=9)
    known = refused(known, 31, granted_at=30.5, accepted=(200, 30))
    assert known.rate == pytest.approx(CAUTIOUS.rate / 2 * 0.99)


def test_the_shape_recovers_slowly() -> None:
    known = lesson()
    bursts = []
    for minute in range(1, 20):
        known = accepted(known, 60.0 * minute + 2, granted_at=60.0 * minute + 1)
        bursts.append(known.burst if known.shape else "as usual")
    assert bursts == [10] * 2 + [20] * 3 + [40] * 3 + [80] * 3 + ["as usual"] * 8


def test_a_rate_that_was_lowered_recovers_before_the_burst_and_after_twice_as_long() -> None:
    known = accepted(lesson(), 4, granted_at=3.9)
    lowered = refused(known, 5, granted_at=4.5, accepted=(2, 4))
    still = accepted(lowered, 5 + 5 * 60, granted_at=5 + 5 * 60)
    assert still.rate == lowered.rate
    higher = accepted(still, 5 + 6 * 60, granted_at=5 + 6 * 60)
    assert higher.burst == 10
    assert higher.rate == pytest.approx(lowered.rate * 1.02)


def test_a_small_limit_learns_too() -> None:
    limit = RateLimit(5, 60)
    after = Shaping().refused(limit, 1, 0.5, (1, 0))
    assert after.shape == Shape(1, 5 / 60 * 0.99)


def test_only_the_budget_counts_versions() -> None:
    known = replace(Shaping(), version=7)
    assert refused(known, 1, granted_at=0).version == 7


@pytest.fixture
def tracker() -> RefusalTracker:
    return RefusalTracker(per=60)


def test_refusals_are_waited_out_until_nothing_was_accepted_for_a_window(
    tracker: RefusalTracker,
) -> None:
    tracker.refused(10, pause=2)
    tracker.refused(14, pause=4)
    assert not tracker.is_over(granted_at=69.9)
    assert tracker.is_over(granted_at=70)


def test_an_accepted_request_restarts_the_wait(tracker: RefusalTracker) -> None:
    tracker.refused(10, pause=2)
    tracker.accepted()
    tracker.refused(60, pause=2)
    assert not tracker.is_over(granted_at=119)
    assert tracker.is_over(granted_at=120)


def test_a_refusal_long_after_the_last_one_restarts_the_wait(tracker: RefusalTracker) -> None:
    tracker.refused(10, pause=2)
    tracker.refused(500, pause=2)
    assert not tracker.is_over(granted_at=559)


def test_without_a_refusal_the_wait_does_not_end(tracker: RefusalTracker) -> None:
    assert not tracker.is_over(granted_at=1e9)
