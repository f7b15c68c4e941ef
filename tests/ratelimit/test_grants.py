"""Which participant is granted slots: lanes, equal shares, and when to ask again."""

from __future__ import annotations

import math
from functools import partial

import pytest
from attrs import evolve

from devskin_async import RateLimit
from devskin_async.ratelimit.state import BudgetState

from .members import Member, new_state

near = partial(pytest.approx, abs=1e-9)
LIMIT = RateLimit(10, 60, burst=1000, reserve=0)


def pair(first: RateLimit = LIMIT, second: RateLimit = LIMIT) -> tuple[Member, Member]:
    state = new_state()
    return Member(state, "one.1", first), Member(state, "other.1", second)


def used_up(member: Member, answered_at: tuple[float, ...] = (0.0,)) -> None:
    """Take all slots of the limit at 0, and have them answered in turns at these moments."""
    numbers = range(1, member.take(0, interactive=100) + 1)
    for turn, at in enumerate(answered_at):
        member.answer(at, *numbers[turn :: len(answered_at)])


# When to ask again.


def test_a_participant_that_wants_nothing_need_not_ask_again() -> None:
    one, _ = pair()
    assert one.ask(0).wait == math.inf


def test_the_reply_to_a_single_participant_says_when_the_next_slot_is_free() -> None:
    one, _ = pair()
    used_up(one, (5, 10))
    assert one.ask(10, interactive=1).wait == near(55)


def test_a_single_participant_with_all_slots_in_flight_need_not_ask_before_a_response() -> None:
    one, _ = pair()
    assert one.ask(0, interactive=11).wait == math.inf


def test_a_participant_among_others_asks_again_even_if_no_slots_free_time_is_known() -> None:
    one, other = pair()
    other.ask(0)
    one.take(0, interactive=10)
    assert other.ask(0, interactive=1).wait == near(6)


def test_the_reply_to_each_participant_says_when_its_own_turn_is() -> None:
    one, other = pair()
    used_up(one, (0, 1, 2, 3))
    first = other.ask(10, interactive=2)
    second = one.ask(10, interactive=2)
    assert first.wait == near(50)
    # It holds 10 and the other none: the other's two go first, of three that are free at 60.
    assert second.wait == near(50)
    assert other.take(60, interactive=2) == 2
    assert one.take(60, interactive=2) == 1


def test_a_token_bucket_smaller_than_the_window_is_a_participants_own() -> None:
    small = RateLimit(10, 60, burst=2, reserve=0)
    one, other = pair(small, small)
    assert one.take(0, interactive=5) == 2
    assert one.ask(0, interactive=3).wait == near(6)
    assert other.take(0, interactive=5) == 2


# Equal shares.


def test_a_free_slot_goes_to_whoever_holds_fewer() -> None:
    one, other = pair()
    one.take(0, interactive=8)
    other.ask(0, interactive=4)  # gets 2, and waits
    one.ask(1, cancelled=(1, 2))
    assert one.take(1, interactive=2) == 0
    assert other.take(1, interactive=2) == 2


def test_a_participant_continues_while_more_is_free_than_the_others_need_to_catch_up() -> None:
    one, other = pair()
    one.take(0, interactive=6)
    other.take(0, interactive=5)  # gets 4, and waits for 1
    one.ask(1, cancelled=(1, 2, 3))
    assert one.take(1, interactive=3) == 2
    assert other.take(1, interactive=1) == 1


def test_of_participants_that_hold_equally_many_the_one_that_waited_longest_is_next() -> None:
    one, other = pair()
    keeper = Member(one.state, "keeper.1")
    keeper.take(0, interactive=2)
    other.take(1, interactive=4)
    one.take(2, interactive=4)
    other.ask(3, interactive=1)
    one.ask(3, interactive=1)
    keeper.ask(4, cancelled=(1,))
    assert one.take(4, interactive=1) == 0
    assert other.take(4, interactive=1) == 1


@pytest.mark.parametrize("names", [("a.1", "b.1"), ("b.1", "a.1")])
def test_ties_are_broken_by_name_so_that_exactly_one_of_two_goes(names: tuple[str, str]) -> None:
    state = new_state()
    one, other = (Member(state, name) for name in names)
    keeper = Member(state, "keeper.1")
    keeper.take(0, interactive=10)
    one.ask(0, interactive=1)
    other.ask(0, interactive=1)
    keeper.ask(1, cancelled=(1,))
    granted = one.take(1, interactive=1), other.take(1, interactive=1)
    assert sum(granted) == 1
    assert granted[names.index("a.1")] == 1


def test_a_participant_with_a_lower_limit_gets_nothing_while_the_others_hold_as_many() -> None:
    one, low = pair(LIMIT, RateLimit(5, 60, burst=1000, reserve=0))
    assert one.take(0, interactive=6) == 6
    assert low.take(0, interactive=1) == 0
    assert one.take(0, interactive=4) == 4


def test_a_participant_with_a_lower_limit_counts_everybodys_slots() -> None:
    one, low = pair(LIMIT, RateLimit(5, 60, burst=1000, reserve=0))
    one.take(0, interactive=3)
    assert low.take(0, interactive=5) == 2
    assert one.take(0, interactive=9) == 5


def test_a_participant_that_never_asks_again_delays_a_slot_by_a_fraction_of_a_window() -> None:
    one, gone = pair()
    used_up(one)
    assert gone.ask(1, interactive=5).wait == near(59)
    now = 1.0
    while not (reply := one.ask(now, interactive=1)).granted:
        assert reply.wait > 0
        now += reply.wait
    assert now <= 60 + 60 * 3 / 20 + 1e-6


def test_the_slots_of_an_emptied_queue_go_to_the_others_at_once() -> None:
    one, other = pair()
    one.take(0, interactive=10)
    other.ask(1, interactive=1)
    assert one.ask(2, interactive=1, cancelled=(1,)).granted == ()
    other.ask(2)
    assert one.take(2, interactive=1) == 1


def test_a_participant_that_holds_fewer_takes_no_more_than_it_wants() -> None:
    one, other = pair()
    used_up(one)
    other.ask(1, interactive=1)
    assert one.take(60, interactive=100) == 9
    assert other.take(60, interactive=1) == 1


# Lanes.


def test_of_the_usual_reserve_a_lower_limit_leaves_each_lane_a_slot() -> None:
    limit = RateLimit(5, 60, burst=1000)
    assert Member(new_state(), limit=limit).take(0, bulk=10) == 1
    granted = Member(new_state(), limit=limit).ask(0, interactive=10, bulk=10).granted
    assert granted.count(0) == 4


@pytest.mark.parametrize("reserve", [0, 1, 50, 99])
def test_every_reserve_leaves_each_lane_a_slot(reserve: int) -> None:
    limit = RateLimit(100, 60, burst=1000, reserve=reserve)
    bulk = Member(new_state(), limit=limit).take(0, bulk=200)
    contested = Member(new_state(), limit=limit).ask(0, interactive=200, bulk=200).granted
    assert bulk == 100 - reserve
    interactive = contested.count(0)
    assert interactive >= 1
    assert Member(new_state(), limit=limit).take(0, interactive=200) == 100
    assert reserve == 0 or 100 - interactive >= min(reserve, bulk) > 0


def test_an_interactive_request_passes_bulk_work_of_every_participant() -> None:
    one, other = pair()
    used_up(one)
    one.ask(1, bulk=5)
    other.ask(2, interactive=10)
    assert one.take(60, bulk=5) == 0
    assert other.take(60, interactive=10) == 10


def test_bulk_work_goes_on_with_what_interactive_requests_leave() -> None:
    one, other = pair()
    used_up(one)
    other.ask(2, interactive=3)
    assert one.take(60, bulk=100) == 7


def test_the_reserve_is_one_reserve_for_all_participants() -> None:
    limit = RateLimit(10, 60, burst=1000, reserve=3)
    one, other = pair(limit, limit)
    assert one.take(0, bulk=100) == 7
    assert other.take(0, bulk=100) == 0
    assert other.take(0, interactive=2) == 2
    assert one.take(0, interactive=2) == 1


def test_bulk_work_gets_the_reserve_even_if_another_participant_makes_interactive_requests() -> (
    None
):
    limit = RateLimit(10, 60, burst=1000, reserve=3)
    one, other = pair(limit, limit)
    used_up(one)
    one.ask(1, bulk=10)
    assert other.take(60, interactive=100) == 7
    assert one.take(60, bulk=10) == 3


def automatic(requests: int = 100) -> tuple[Member, Member]:
    limit = RateLimit(requests, 60, burst=1000, reserve=None)
    return pair(limit, limit)


def test_an_automatic_reserve_is_0_without_interactive_requests_elsewhere() -> None:
    one, other = automatic()
    other.take(0, bulk=1)
    one.take(0, interactive=1)  # its own do not count
    assert one.take(0, bulk=100) == 98


def test_an_automatic_reserve_is_10_after_a_recent_interactive_request_elsewhere() -> None:
    one, other = automatic()
    other.take(0, interactive=1)
    assert one.take(1, bulk=100) == 90


def test_an_automatic_reserve_is_0_again_five_windows_after_the_last_such_request() -> None:
    one, other = automatic()
    other.take(0, interactive=1)
    other.answer(0, 1)
    assert one.take(299, bulk=100) == 90
    one, other = automatic()
    other.take(0, interactive=1)
    other.answer(0, 1)
    assert one.take(301, bulk=100) == 100


def test_an_automatic_reserve_leaves_bulk_work_a_slot() -> None:
    one, other = automatic(5)
    other.take(0, interactive=1)
    other.answer(0, 1)
    assert one.take(61, bulk=100) == 1


# Replies.


def test_a_reply_has_the_present_by_the_budgets_clock() -> None:
    one, _ = pair()
    assert one.ask(1234.5).now == 1234.5


def test_a_report_with_another_epoch_is_not_applied_and_the_reply_has_the_right_one() -> None:
    one = Member(BudgetState(epoch=7))
    reply = one.ask(0, interactive=1, epoch=6, pause=30)
    assert (reply.epoch, reply.granted) == (7, ())
    assert not one.state.participants
    assert one.state.paused_until == -math.inf


def test_a_report_without_an_epoch_is_applied() -> None:
    one = Member(BudgetState(epoch=7))
    assert one.ask(0, interactive=1).epoch == 7
    assert evolve(one, name="two.1").take(0, interactive=1) == 1
