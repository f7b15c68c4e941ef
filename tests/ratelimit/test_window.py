"""The window never lets more than `requests` in any `per` seconds reach a server."""

from __future__ import annotations

import heapq
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devskin_async.ratelimit import Window


def test_slots_are_free_at_first() -> None:
    window = Window(3, 60)
    assert window.available(0) == 3
    assert window.next_free(5) == 5


def test_a_slot_is_taken_from_before_the_request_until_per_after_its_answer() -> None:
    window = Window(1, 60)
    window.take(0)
    assert (window.available(100), window.in_flight) == (0, 1)
    window.answered(100)
    assert (window.available(159), window.in_flight) == (0, 0)
    assert window.available(160) == 1


def test_the_next_free_slot_is_told_from_the_earliest_answer() -> None:
    window = Window(2, 60)
    window.take(0)
    window.take(0)
    assert window.next_free(1) is None
    window.answered(10)
    window.answered(20)
    assert window.next_free(30) == 70
    assert window.next_free(75) == 75


def test_taking_what_is_not_free_is_a_bug_that_shows() -> None:
    window = Window(1, 60)
    window.take(0)
    with pytest.raises(RuntimeError, match="no slot is free"):
        window.take(1)


def test_a_clock_that_jumps_back_frees_no_slot_early() -> None:
    window = Window(2, 60)
    window.take(100)
    window.answered(100)
    window.take(50)
    window.answered(50)
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
    window = Window(requests, per)
    order = count()
    answers: list[tuple[int, int]] = []
    counted: list[int] = []
    now = 0
    for pause, there, back in sends:
        now += pause
        while True:
            while answers and answers[0][0] <= now:
                window.answered(heapq.heappop(answers)[0])
            if window.available(now):
                break
            free = window.next_free(now)
            now = min(([] if free is None else [int(free)]) + [at for at, _ in answers[:1]])
        window.take(now)
        counted.append(now + there)
        heapq.heappush(answers, (now + there + back, next(order)))
    counted.sort()
    spans = zip(counted, counted[requests:], strict=False)
    assert all(later - earlier >= per for earlier, later in spans)
