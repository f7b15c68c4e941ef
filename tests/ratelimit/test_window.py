"""The window never lets more than `requests` in any `per` seconds reach a server."""

from __future__ import annotations

import heapq
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devskin_async import Lane, RateLimit
from devskin_async.ratelimit import Window


def test_slots_are_free_at_first() -> None:
    window = Window(RateLimit(3, 60))
    assert window.available(0) == 3
    assert window.next_room(Lane.INTERACTIVE, 5, contested=False) == 5


def test_a_slot_is_taken_from_before_the_request_until_per_after_its_answer() -> None:
    window = Window(RateLimit(1, 60))
    window.take(Lane.INTERACTIVE, 0)
    assert (window.available(100), window.in_flight) == (0, 1)
    window.answered(Lane.INTERACTIVE, 100)
    assert (window.available(159), window.in_flight) == (0, 0)
    assert window.available(160) == 1


def test_the_next_free_slot_is_told_from_the_earliest_answer() -> None:
    window = Window(RateLimit(2, 60))
    window.take(Lane.INTERACTIVE, 0)
    window.take(Lane.INTERACTIVE, 0)
    assert window.next_room(Lane.INTERACTIVE, 1, contested=False) is None
    window.answered(Lane.INTERACTIVE, 10)
    window.answered(Lane.INTERACTIVE, 20)
    assert window.next_room(Lane.INTERACTIVE, 30, contested=False) == 70
    assert window.next_room(Lane.INTERACTIVE, 75, contested=False) == 75


def test_taking_what_is_not_free_is_a_bug_that_shows() -> None:
    window = Window(RateLimit(1, 60))
    window.take(Lane.INTERACTIVE, 0)
    with pytest.raises(RuntimeError, match="no slot is free"):
        window.take(Lane.INTERACTIVE, 1)


def test_a_clock_that_jumps_back_frees_no_slot_early() -> None:
    window = Window(RateLimit(2, 60))
    window.take(Lane.INTERACTIVE, 100)
    window.answered(Lane.INTERACTIVE, 100)
    window.take(Lane.INTERACTIVE, 50)
    window.answered(Lane.INTERACTIVE, 50)
    assert window.available(159) == 0
    assert window.available(160) == 2


@given(
    requests=st.integers(1, 5),
    per=st.integers(1, 50),
    sends=st.lists(
        st.tuples(st.integers(0, 20), st.integers(0, 60), st.integers(0, 60)), max_size=60
    ),
)
def test_no_delay_lets_a_server_count_more_than_the_limit(
    requests: int, per: int, sends: list[tuple[int, int, int]]
) -> None:
    """Each send: a pause before it, its way to the server, the answer's way back."""
    window = Window(RateLimit(requests, per))
    order = count()
    answers: list[tuple[int, int]] = []
    counted: list[int] = []
    now = 0
    for pause, there, back in sends:
        now += pause
        while True:
            while answers and answers[0][0] <= now:
                window.answered(Lane.INTERACTIVE, heapq.heappop(answers)[0])
            if window.available(now):
                break
            free = window.next_room(Lane.INTERACTIVE, now, contested=False)
            now = min(([] if free is None else [int(free)]) + [at for at, _ in answers[:1]])
        window.take(Lane.INTERACTIVE, now)
        counted.append(now + there)
        heapq.heappush(answers, (now + there + back, next(order)))
    counted.sort()
    spans = zip(counted, counted[requests:], strict=False)
    assert all(later - earlier >= per for earlier, later in spans)
