"""The kinds of limiter, told apart by what each lets through; 100 requests in 60 seconds."""

from __future__ import annotations

import threading
from typing import get_args

import pytest

from devskin_async.sandbox import LimiterKind, SandboxError
from devskin_async.sandbox.limiter import Decision, Limiter, SlidingCounter, make_limiter
from tests.sandbox.conftest import Clock

KINDS = get_args(LimiterKind)
COUNTING = [kind for kind in KINDS if kind != "none"]
WINDOW_START = 1_770_990_000.0
"""A multiple of 60, so a window of the clock begins here."""


def passed(limiter: Limiter, tries: int, key: str = "1") -> int:
    return sum(limiter.hit(key).allowed for _ in range(tries))


def at(clock: Clock, seconds: float) -> None:
    clock.now = WINDOW_START + seconds


def full(clock: Clock, kind: LimiterKind, seconds: float = 0.0) -> Limiter:
    """A limiter that let through all it could at one instant."""
    limiter = make_limiter(kind, 100, 60)
    at(clock, seconds)
    passed(limiter, 100)
    return limiter


@pytest.mark.parametrize("kind", [kind for kind in COUNTING if kind != "small-bucket"])
def test_a_fresh_key_gets_its_limit_at_once_and_no_more(clock: Clock, kind: LimiterKind) -> None:
    assert passed(make_limiter(kind, 100, 60), 150) == 100


def test_a_small_bucket_gives_a_fifth_at_once(clock: Clock) -> None:
    limiter = make_limiter("small-bucket", 100, 60)
    assert passed(limiter, 150) == 20
    assert (limiter.limit, limiter.window) == (20, 12.0)


@pytest.mark.parametrize("kind", COUNTING)
def test_each_key_is_counted_apart(clock: Clock, kind: LimiterKind) -> None:
    limiter = make_limiter(kind, 10, 60)
    assert passed(limiter, 20, "1") == passed(limiter, 20, "2") > 0


def test_a_fixed_window_lets_twice_the_limit_through_across_its_boundary(clock: Clock) -> None:
    limiter = full(clock, "fixed-window", 59.9)
    at(clock, 60)
    assert passed(limiter, 150) == 100


def test_a_fixed_window_ends_by_the_clock_whenever_its_first_request_came(clock: Clock) -> None:
    limiter = full(clock, "fixed-window", 45)
    at(clock, 59.9)
    refused = limiter.hit("1")
    assert not refused.allowed
    assert refused.retry_after == pytest.approx(0.1, abs=1e-3)


def test_a_window_from_the_first_request_lasts_its_whole_length(clock: Clock) -> None:
    limiter = full(clock, "first-request", 45)
    at(clock, 104.9)
    refused = limiter.hit("1")
    assert not refused.allowed
    assert refused.retry_after == pytest.approx(0.1, abs=1e-3)
    at(clock, 105.1)
    assert passed(limiter, 150) == 100


def test_a_window_from_the_first_request_can_be_doubled_at_its_end_too(clock: Clock) -> None:
    limiter = make_limiter("first-request", 100, 60)
    at(clock, 45)
    assert passed(limiter, 1) == 1
    at(clock, 104.9)
    assert passed(limiter, 150) == 99
    at(clock, 105.1)
    assert passed(limiter, 150) == 100


def test_a_sliding_log_lets_no_more_than_the_limit_into_any_window(clock: Clock) -> None:
    limiter = make_limiter("sliding-log", 100, 60)
    at(clock, 10)
    assert passed(limiter, 30) == 30
    at(clock, 59.9)
    assert passed(limiter, 150) == 70
    at(clock, 69.9)
    refused = limiter.hit("1")
    assert not refused.allowed
    assert refused.retry_after == pytest.approx(0.1, abs=1e-3)
    at(clock, 70.1)
    assert passed(limiter, 150) == 30


def test_a_sliding_counter_weights_the_last_window_by_what_is_left_of_it(clock: Clock) -> None:
    limiter = full(clock, "sliding-counter", 59)
    at(clock, 60)
    assert passed(limiter, 150) == 1  # a microsecond of the last window is out of sight
    at(clock, 90)
    assert passed(limiter, 150) == 50  # half of the last window's 100 count


def test_a_sliding_counter_refuses_a_client_that_waited_a_whole_window(clock: Clock) -> None:
    """A client that frees a slot 60 s after its request is still refused here."""
    limiter = make_limiter("sliding-counter", 100, 60)
    at(clock, 30)
    assert passed(limiter, 150) == 100
    at(clock, 90.1)
    assert passed(limiter, 150) == 51


def test_a_sliding_counter_tells_as_remaining_what_it_then_lets_through(clock: Clock) -> None:
    limiter = make_limiter("sliding-counter", 100, 60)
    at(clock, 59)
    limiter.hit("1")
    at(clock, 66)
    decision = limiter.hit("1")  # the last window's one weighs 0.9
    assert decision.remaining == passed(limiter, 150) == 99


def test_a_sliding_counter_need_not_wait_for_the_windows_end(clock: Clock) -> None:
    """The last window's 100 lose one place in 0.6 seconds."""
    limiter = full(clock, "sliding-counter", 59)
    at(clock, 75.25)
    passed(limiter, 150)
    refused = limiter.hit("1")
    assert 0 < refused.retry_after <= 0.6
    now = clock.now
    clock.now = now + refused.retry_after - 0.01
    assert not limiter.hit("1").allowed
    clock.now = now + refused.retry_after + 0.01
    assert limiter.hit("1").allowed


def test_a_sliding_counters_window_may_begin_while_a_request_is_judged(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    counter = SlidingCounter(1, 60)
    monkeypatch.setattr(counter._strategy, "hit", lambda *_: False)
    assert counter.hit("key").retry_after == 0


def test_a_token_bucket_fills_evenly(clock: Clock) -> None:
    limiter = full(clock, "token-bucket")
    at(clock, 0.59)
    assert passed(limiter, 10) == 0
    at(clock, 0.61)
    assert passed(limiter, 10) == 1
    at(clock, 30.61)
    assert passed(limiter, 150) == 50
    at(clock, 1000)
    assert passed(limiter, 150) == 100


def test_a_token_bucket_lets_the_burst_and_the_refill_into_the_first_window(clock: Clock) -> None:
    limiter = full(clock, "token-bucket")
    through = 0
    for second in range(60):
        at(clock, second)
        through += passed(limiter, 100)
    assert through == 98  # and 100 at the beginning


def test_a_small_bucket_refuses_a_burst_but_not_the_even_pace(clock: Clock) -> None:
    limiter = make_limiter("small-bucket", 100, 60)
    at(clock, 0)
    assert passed(limiter, 100) == 20
    for step in range(1, 101):
        at(clock, step * 0.6001)
        assert passed(limiter, 2) == 1


def test_no_limiter_never_refuses(clock: Clock) -> None:
    limiter = make_limiter("none", 1, 60)
    assert passed(limiter, 1000) == 1000
    assert limiter.hit("1") == Decision(
        allowed=True, limit=1, remaining=1, reset_after=0.0, retry_after=0.0
    )


@pytest.mark.parametrize("kind", COUNTING)
def test_remaining_counts_down_to_nothing(clock: Clock, kind: LimiterKind) -> None:
    limiter = make_limiter(kind, 50, 60)
    decisions = [limiter.hit("1") for _ in range(limiter.limit + 2)]
    assert [d.remaining for d in decisions] == [*range(limiter.limit - 1, -1, -1), 0, 0]
    assert {d.limit for d in decisions} == {limiter.limit}


@pytest.mark.parametrize("kind", COUNTING)
@pytest.mark.parametrize("seconds", [0.0, 12.3, 59.5])
def test_whoever_waits_out_retry_after_is_let_through(
    clock: Clock, kind: LimiterKind, seconds: float
) -> None:
    limiter = full(clock, kind, seconds)
    for _ in range(50):
        refused = limiter.hit("1")
        assert not refused.allowed
        assert 0 < refused.retry_after < 120
        clock.now += refused.retry_after + 1e-4
        assert limiter.hit("1").allowed
        passed(limiter, 100)


@pytest.mark.parametrize("kind", COUNTING)
def test_retry_after_is_not_longer_than_need_be(clock: Clock, kind: LimiterKind) -> None:
    limiter = full(clock, kind, 12.3)
    clock.now += limiter.hit("1").retry_after - 0.01
    assert not limiter.hit("1").allowed


@pytest.mark.parametrize("kind", COUNTING)
def test_refused_requests_use_up_nothing(clock: Clock, kind: LimiterKind) -> None:
    calm, insistent = make_limiter(kind, 100, 60), make_limiter(kind, 100, 60)
    through = []
    for limiter, tries in ((calm, 0), (insistent, 500)):
        at(clock, 0)
        passed(limiter, 100)
        at(clock, 50)
        passed(limiter, 100)
        passed(limiter, tries)
        at(clock, 75.25)
        through.append(passed(limiter, 150))
    assert through[0] == through[1] > 0


@pytest.mark.parametrize("kind", COUNTING)
@pytest.mark.parametrize("per", [0.5, 2.5, 0.123])
def test_a_window_may_be_a_fraction_of_a_second(
    clock: Clock, kind: LimiterKind, per: float
) -> None:
    limiter = make_limiter(kind, 100, per)
    clock.now = WINDOW_START // per * per + per * 1.01
    first = passed(limiter, 150)
    clock.now += per * 0.97
    # Nothing but what buckets gain and counters forget comes back within the window.
    assert passed(limiter, 1) == (kind in {"token-bucket", "small-bucket"})
    clock.now += per * 2
    assert passed(limiter, 150) == first == limiter.limit


@pytest.mark.parametrize("kind", KINDS)
def test_a_limiter_leaves_no_thread_behind(kind: LimiterKind) -> None:
    before = set(threading.enumerate())
    limiter = make_limiter(kind, 100, 0.001)
    passed(limiter, 1000)
    assert set(threading.enumerate()) == before


@pytest.mark.parametrize("kind", ["fixed-window", "sliding-log", "sliding-counter"])
def test_a_limiter_that_runs_for_long_does_not_grow(clock: Clock, kind: LimiterKind) -> None:
    limiter = make_limiter(kind, 10, 1)
    for _ in range(1000):
        clock.now += 0.7
        limiter.hit("1")
    storage = limiter._storage  # type: ignore[attr-defined]  # what it keeps shows nowhere else
    assert sum(map(len, storage.events.values())) + len(storage.storage) <= 70


def test_the_limit_must_be_positive() -> None:
    for limit in (0, -1):
        with pytest.raises(SandboxError, match=r"^limit must be positive$"):
            make_limiter("none", limit, 60)


def test_the_window_must_be_of_a_sensible_length() -> None:
    for per in (0.0, -1.0, 0.0009, 365 * 86_400.1, float("inf"), float("nan")):
        with pytest.raises(SandboxError, match=r"^per must be from a millisecond to a year"):
            make_limiter("none", 100, per)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("per", [0.001, 1 / 3, 365 * 86_400.0])
def test_the_shortest_and_longest_windows_work(clock: Clock, kind: LimiterKind, per: float) -> None:
    decision = make_limiter(kind, 100, per).hit("1")
    assert decision.allowed
    assert 0 <= decision.reset_after <= per * 1.01


def test_a_limiters_kind_must_be_known() -> None:
    with pytest.raises(SandboxError, match=r"^there is no limiter 'leaky'$"):
        make_limiter("leaky", 100, 60)  # type: ignore[arg-type]  # as from a command line
