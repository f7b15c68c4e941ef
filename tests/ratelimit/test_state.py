"""The state of a budget: what holds slots, for how long, and what else is shared."""

from __future__ import annotations

import math
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from devskin_async import RateLimit
from devskin_async.ratelimit.grants import step
from devskin_async.ratelimit.participant import Bucket, Participant
from devskin_async.ratelimit.reports import HeldSlot, HeldSlots, Quota
from devskin_async.ratelimit.shaping import Shaping
from devskin_async.ratelimit.state import BudgetState, dumps, loads

from .members import Member, new_state

near = partial(pytest.approx, abs=1e-9)
TEN = RateLimit(10, 60, burst=10, reserve=0)


def test_a_slot_is_free_per_seconds_after_the_response() -> None:
    one = Member(new_state())
    assert one.take(0, interactive=10) == 10
    one.answer(2, *range(1, 11))
    assert one.take(61.999, interactive=1) == 0
    assert one.take(62, interactive=1) == 1


def test_a_response_of_some_seconds_ago_counts_from_then() -> None:
    one = Member(new_state())
    one.take(0, interactive=10)
    one.answer(5, *range(1, 11), ago=3)
    assert one.ask(5, interactive=1).wait == near(57)
    assert one.take(62, interactive=1) == 1


def test_a_request_in_flight_holds_its_slot_for_as_long_as_its_lease() -> None:
    one = Member(new_state(), lease=1000)
    one.take(0, interactive=10)
    assert one.take(1059, interactive=1) == 0


def test_the_slots_of_a_killed_process_are_free_after_the_lease_and_per() -> None:
    state = new_state()
    Member(state, "killed.1", lease=30).take(0, interactive=10)
    one = Member(state)
    assert one.take(89.999, interactive=1) == 0
    assert one.take(90, interactive=1) == 1


def test_a_response_after_the_end_of_the_lease_holds_the_slot_until_per_after_it() -> None:
    one = Member(new_state(), lease=30)
    one.take(0, interactive=10)
    one.ask(35)
    one.answer(40, *range(1, 11))
    assert one.take(99.999, interactive=1) == 0
    assert one.take(100, interactive=1) == 1


def test_a_report_that_comes_twice_is_counted_once() -> None:
    one = Member(new_state())
    one.take(0, interactive=10)
    one.answer(1, 1)
    one.answer(2, 1, ago=1)
    assert len(one.state.answered) == 1
    assert one.state.answered[0].at == near(61)


def test_slots_of_a_reply_that_was_lost_are_free_with_the_next_report() -> None:
    one = Member(new_state())
    step(one.state, 0, one.report(interactive=10))  # `next_number` stays where it was
    assert one.take(1, interactive=10) == 10
    assert len(one.state.in_flight) == 10


def test_a_slot_that_was_cancelled_is_free_at_once() -> None:
    one = Member(new_state())
    one.take(0, interactive=10)
    assert len(one.ask(0, interactive=3, cancelled=(4, 7)).granted) == 2


def test_another_participants_numbers_are_its_own() -> None:
    state = new_state()
    one, other = Member(state), Member(state, "other.1")
    one.take(0, interactive=5)
    other.take(0, interactive=5)
    one.ask(0, cancelled=(1, 2))
    assert state.participants["one.1"].held == [3, 0]
    assert state.participants["other.1"].held == [5, 0]


def test_the_longest_window_of_all_that_take_part_is_kept() -> None:
    state = new_state()
    Member(state, "long.1", RateLimit(10, 100, reserve=0)).ask(0)
    one = Member(state)
    one.take(0, interactive=10)
    one.answer(0, *range(1, 11))
    assert one.take(99, interactive=1) == 0
    assert one.take(100, interactive=1) == 1


def test_a_longer_window_ends_when_its_participant_leaves() -> None:
    state = new_state()
    long, one = Member(state, "long.1", RateLimit(10, 3600, reserve=0)), Member(state)
    long.take(0, interactive=1)
    one.take(0, interactive=2)
    one.answer(0, 1)
    long.ask(0, answered=((1, 0.0),), leaves=True)
    one.answer(1, 2)
    assert [(slot.participant, slot.at) for slot in state.answered] == [
        ("one.1", 61),
        ("one.1", 3600),  # it was answered while the longer window was kept
        ("long.1", 3600),
    ]


def test_a_longer_window_is_kept_until_its_silent_participant_is_forgotten() -> None:
    state = new_state()
    long, one = Member(state, "long.1", RateLimit(10, 3600, reserve=0)), Member(state)
    long.take(0, interactive=1)
    one.ask(3629.9)
    assert state.per == 3600
    one.ask(3630)
    assert state.per == 60


def test_slots_are_kept_for_their_own_participants_window_at_least() -> None:
    state = new_state()
    long, one = Member(state, "long.1", RateLimit(10, 100, reserve=0)), Member(state)
    long.take(0, interactive=1)
    long.ask(0, leaves=True)  # its request is in flight until the lease ends
    one.ask(30)
    assert [slot.at for slot in state.answered] == [130]


def test_a_pause_is_for_everybody_and_the_longest_one_wins() -> None:
    state = new_state()
    one, other = Member(state), Member(state, "other.1")
    one.ask(0, pause=30)
    other.ask(1, pause=5)
    assert other.ask(1, interactive=1).wait == near(29)
    assert other.ask(1).paused_until == 30
    assert other.take(29.9, interactive=1) == 0
    assert other.take(30, interactive=1) == 1


def quota(remaining: int, granted_at: float = 0.0, reset_after: float = 30.0) -> Quota:
    return Quota(remaining, reset_after, granted_at)


def test_without_a_quota_nothing_is_held_back() -> None:
    assert Member(new_state()).take(0, interactive=10) == 10


def test_when_no_quota_is_left_everybody_waits_for_the_reset() -> None:
    state = new_state()
    one, other = Member(state), Member(state, "other.1")
    one.ask(10, quota=quota(2, granted_at=9))
    assert other.take(11, interactive=3) == 2
    assert other.ask(11, interactive=1).wait == near(29)
    assert one.take(11, interactive=1) == 0
    assert other.take(40, interactive=1) == 1


def test_requests_under_way_may_not_be_counted_in_a_quota_yet() -> None:
    one = Member(new_state())
    one.take(9, interactive=3)
    reply = one.ask(10, interactive=1, answered=((1, 0.0),), quota=quota(2, granted_at=9))
    assert reply.granted == ()
    assert reply.wait == near(30)


def test_a_quota_in_the_response_to_an_earlier_request_changes_nothing() -> None:
    state = new_state()
    one, other = Member(state), Member(state, "other.1")
    one.ask(10, quota=quota(0, granted_at=9))
    other.ask(11, quota=quota(50, granted_at=8))
    assert other.take(12, interactive=1) == 0


def test_a_quota_never_raises_the_limit() -> None:
    one = Member(new_state())
    one.ask(0, quota=quota(1000))
    assert one.take(0, interactive=100) == 10


def test_a_quota_is_forgotten_at_its_reset() -> None:
    one = Member(new_state())
    one.ask(0, quota=quota(3))
    one.ask(30)
    assert one.state.quota_left == math.inf


def lesson(known: Shaping) -> Shaping:
    return replace(known, burst=1, rate=0.5, changed_at=0.0)


def test_a_learned_shape_holds_for_all_that_share_the_budget() -> None:
    state = new_state()
    one, other = Member(state), Member(state, "other.1")
    learned = one.ask(0, shaping=lesson(state.shaping)).shaping
    assert learned.shape == (1, 0.5)
    assert other.ask(0, interactive=1).shaping == learned
    assert other.ask(0, interactive=1).wait == near(2)
    assert other.take(2, interactive=5) == 1
    assert one.take(2, interactive=5) == 0


def test_a_shape_that_was_learned_from_an_older_one_is_ignored() -> None:
    state = new_state()
    one, other = Member(state), Member(state, "other.1")
    old = state.shaping
    first = one.ask(0, shaping=lesson(old)).shaping
    second = other.ask(0, shaping=replace(lesson(old), rate=0.1)).shaping
    assert (first.version, second) == (1, first)


def test_a_shaped_flow_begins_with_an_empty_bucket_after_each_pause() -> None:
    one = Member(new_state())
    one.ask(0, pause=4, shaping=replace(lesson(one.state.shaping), probing=True))
    one.ask(5, accepted=True, shaping=replace(one.state.shaping, probing=False))
    assert one.ask(5, interactive=1).wait == near(2)


def test_after_a_pause_one_request_of_all_that_share_the_budget_is_sent_alone() -> None:
    state = new_state()
    one, other = Member(state), Member(state, "other.1")
    one.ask(0, pause=2, shaping=replace(state.shaping, probing=True))
    assert one.take(2, interactive=5) == 1
    assert other.take(2, interactive=5) == 0
    one.ask(3, answered=((1, 0.0),), shaping=replace(state.shaping, probing=False))
    assert other.take(3, interactive=5) == 5


def test_a_probe_that_was_cancelled_or_whose_process_died_is_followed_by_the_next() -> None:
    state = new_state()
    one, other = Member(state, lease=30), Member(state, "other.1")
    one.ask(0, shaping=replace(state.shaping, probing=True))
    assert one.take(1, interactive=1) == 1
    one.ask(2, cancelled=(1,))
    assert one.take(2, interactive=1) == 1
    assert other.take(31.9, interactive=1) == 0
    assert other.take(32, interactive=1) == 1


def test_a_clock_that_is_adjusted_by_less_than_a_second_stands_still() -> None:
    one = Member(new_state())
    one.take(1000, interactive=5)
    assert one.ask(999.5).now == 1000
    assert len(one.state.in_flight) == 5


@given(
    back=st.floats(1, 1e6),
    pause=st.floats(0, 300),
    flying=st.integers(0, 10),
    shaped=st.booleans(),
    left=st.integers(0, 10),
)
def test_after_the_clock_was_set_back_nobody_waits_longer_than_per(
    back: float, pause: float, flying: int, shaped: bool, left: int
) -> None:
    one = Member(new_state())
    one.take(1e6, interactive=10)
    one.answer(1e6, *range(1, 1 + 10 - flying))
    known = one.state.shaping
    one.ask(
        1e6, pause=pause, quota=quota(left, 1e6, 300), shaping=lesson(known) if shaped else None
    )
    after = 1e6 - back
    wait = one.ask(after, interactive=1).wait
    assert wait <= 60 + (2 if shaped else 0) + 1e-6  # a slow bucket begins empty after a pause
    assert one.take(after + wait + 1e-6, interactive=1) == 1


def test_slots_in_flight_before_a_restart_of_the_machine_are_free_after_per() -> None:
    one = Member(new_state(), lease=1000)
    one.take(5000, interactive=10)
    new = Member(one.state, "new.1")
    assert new.take(7, interactive=1) == 0
    assert new.take(66.9, interactive=1) == 0
    assert new.take(67, interactive=1) == 1


def test_a_participant_that_is_silent_for_five_windows_and_a_lease_is_forgotten() -> None:
    state = new_state()
    one, other = Member(state, lease=30), Member(state, "other.1")
    one.take(0, interactive=1)
    other.ask(329.9)
    assert state.processes() == 2
    other.ask(330)
    assert state.processes() == 1
    assert list(state.participants) == ["other.1"]


def test_with_a_long_window_a_participant_is_forgotten_an_hour_and_a_lease_after_its_report() -> (
    None
):
    state = new_state()
    one = Member(state, limit=RateLimit(10, 3000), lease=30)
    other = Member(state, "other.1", RateLimit(10, 3000))
    one.ask(0)
    other.ask(3629.9)
    assert state.processes() == 2
    other.ask(3630)
    assert list(state.participants) == ["other.1"]


def test_the_share_of_a_silent_participant_goes_to_the_others() -> None:
    state = new_state()
    killed, other = Member(state, "killed.1", lease=30), Member(state)
    killed.ask(0)
    assert other.ask(329.9).share == 0
    assert other.ask(330).share == 10


def test_a_participant_that_left_is_forgotten_when_its_slots_are_free() -> None:
    state = new_state()
    one, other = Member(state), Member(state, "other.1")
    one.take(0, interactive=1)
    one.ask(1, answered=((1, 0.0),), leaves=True)
    other.ask(60)
    assert state.processes() == 2
    assert list(state.participants) == ["one.1", "other.1"]
    other.ask(61)
    assert state.processes() == 1
    assert list(state.participants) == ["other.1"]


def test_two_event_loops_of_one_process_are_one_process() -> None:
    state = new_state()
    for name in ("host:1:aa.1", "host:1:aa.2", "host:2:bb.1"):
        Member(state, name).ask(0)
    assert state.processes() == 2


def test_a_budget_that_lost_its_state_is_restored_from_what_its_participants_hold() -> None:
    state = BudgetState(epoch=2)
    one = Member(state)
    assert one.ask(0, interactive=1, epoch=1).granted == ()
    assert not state.participants
    held = HeldSlots(
        (HeldSlot("one.1", 6, 0, 20.0),), tuple(HeldSlot("one.1", n, 0, 5.0) for n in range(1, 6))
    )
    one.next_number = 7
    reply = one.ask(0, interactive=10, epoch=2, held=held)
    assert len(reply.granted) == 4
    assert reply.wait == near(5)
    one.ask(1, held=held)  # what is known already is not counted twice
    assert len(state.in_flight) + len(state.answered) == 10


def test_who_comes_back_finds_the_shares_of_the_others_held_until_they_report() -> None:
    state = new_state()
    one, two = Member(state, "one.1"), Member(state, "two.1")
    for now in (0, 1, 2):  # until each knows its share
        one.take(now, bulk=1), two.take(now, bulk=1)
    now = 2 + 200
    assert one.ask(now, bulk=10, away=200).granted == (1,) * 5
    assert two.take(now + 1, bulk=1) == 1
    assert one.take(now + 1, bulk=10) == 4


def test_who_held_nothing_before_a_short_outage_holds_nothing_after_it() -> None:
    state = new_state()
    one, two = Member(state, "one.1"), Member(state, "two.1")
    two.take(0, bulk=1)
    now = 0 + 90 + 60
    assert two.take(now) == 0
    assert one.ask(now + 1, bulk=10, away=0.5).granted == (1,) * 10


def test_the_share_of_who_does_not_come_back_is_held_for_a_lease_and_a_window() -> None:
    state = new_state()
    one, two = Member(state, "one.1"), Member(state, "two.1")
    for now in (0, 1, 2):
        one.take(now, bulk=1), two.take(now, bulk=1)
    now = 2 + 200
    for number in range(2):  # it is held once, however often somebody comes back
        assert one.ask(now + number, away=200).granted == ()
    assert one.take(now + 30 + 59.9, bulk=10) == 5
    assert one.take(now + 30 + 60.1, bulk=10) == 5


@given(
    reports=st.lists(
        st.tuples(st.integers(0, 5), st.booleans(), st.floats(0, 4000)), min_size=1, max_size=60
    ),
    requests=st.integers(1, 100),
)
def test_promised_shares_never_add_up_to_more_than_the_limit(
    reports: list[tuple[int, bool, float]], requests: int
) -> None:
    state = new_state()
    limit = RateLimit(requests, 60)
    now = 0.0
    for number, leaves, later in reports:
        now += later
        Member(state, f"p{number}.1", limit).ask(now, leaves=leaves)
        assert sum(each.share for each in state.participants.values()) <= requests


def test_equal_participants_are_promised_equal_shares_once_all_have_reported() -> None:
    state = new_state()
    members = [Member(state, f"p{i}.1") for i in range(5)]
    for now in range(3):
        for each in members:
            each.ask(now)
    assert [each.share for each in state.participants.values()] == [2] * 5


any_time = st.floats(allow_nan=False)
slots = st.builds(HeldSlot, st.text(), st.integers(0, 2**53), st.integers(0, 1), any_time)
buckets = st.builds(Bucket, any_time, any_time)
pairs = st.lists(st.integers(0, 100), min_size=2, max_size=2)
states = st.builds(
    BudgetState,
    epoch=st.integers(1, 2**63 - 1),
    now=any_time,
    per=any_time,
    in_flight=st.lists(slots, max_size=3),
    answered=st.lists(slots, max_size=3),
    participants=st.dictionaries(
        st.text(),
        st.builds(
            Participant,
            st.integers(1, 1000),
            per=any_time,
            takes_part_until=any_time,
            waiting=pairs,
            waits_until=any_time,
            held=pairs,
            granted_at=any_time,
            interactive_at=any_time,
            share=st.integers(0, 100),
            bucket=buckets,
        ),
        max_size=3,
    ),
    paused_until=any_time,
    quota_left=any_time,
    quota_until=any_time,
    quota_at=any_time,
    accepted_at=any_time,
    shaping=st.builds(
        Shaping,
        version=st.integers(0, 1000),
        burst=st.integers(0, 100),
        rate=any_time,
        probing=st.booleans(),
        lesson_at=any_time,
    ),
    bucket=buckets,
    probe=st.tuples(st.text(), st.integers(0, 2**53)),
)


@given(states)
def test_a_state_comes_back_from_its_bytes_as_it_was(state: BudgetState) -> None:
    assert loads(dumps(state)) == state


@given(states)
def test_a_copy_shares_nothing_with_its_state(state: BudgetState) -> None:
    before = dumps(state)
    copy = state.copy()
    copy.now = 0.0
    copy.per = 60.0
    copy.quota_until = math.inf
    copy.in_flight.clear()
    copy.answered.clear()
    Member(copy, "new").ask(1e9, interactive=5)
    assert dumps(state) == before


def test_queries_change_nothing() -> None:
    one = Member(new_state())
    one.take(0, interactive=3)
    before = dumps(one.state)
    one.state.is_adapted()
    one.state.processes()
    one.state.copy()
    assert dumps(one.state) == before


def test_no_state_shares_its_lists_with_another() -> None:
    Member(new_state()).take(0, interactive=3)
    assert new_state() == BudgetState(epoch=1, in_flight=[], answered=[], participants={})


def test_a_state_without_lessons_pauses_or_quota_is_not_adapted() -> None:
    one = Member(new_state())
    one.take(0, interactive=3)
    assert not one.state.is_adapted()
    one.ask(0, pause=5)
    assert one.state.is_adapted()
    one.ask(5, quota=quota(3))
    assert one.state.is_adapted()
    one.ask(35, shaping=replace(one.state.shaping, probing=True))
    assert one.state.is_adapted()
    one.ask(35, shaping=replace(one.state.shaping, probing=False))
    assert not one.state.is_adapted()


def test_an_unused_slot_is_free_even_if_its_lease_has_ended() -> None:
    one = Member(new_state(), lease=5)
    one.take(0, interactive=1)
    one.ask(6, cancelled=(1,))
    assert one.state.participants[one.name].held == [0, 0]
    assert not one.state.answered


def test_a_response_that_is_reported_after_its_lease_counts_from_when_it_came() -> None:
    one = Member(new_state(), lease=5)
    one.take(0, interactive=1)
    one.answer(50, 1, ago=49)
    assert [slot.at for slot in one.state.answered] == [61]
