"""The script on a Valkey server does the same as the Python code that it is a port of."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from devskin_async.ratelimit.grants import step
from devskin_async.ratelimit.reports import HeldSlot, HeldSlots, Limit, Quota, Reply, Report
from devskin_async.ratelimit.shaping import Shaping
from devskin_async.ratelimit.state import BudgetState, dumps, loads

from .reporting import Clock
from .valkey_script import OLD, ScriptStore
from .valkey_server import ValkeyProcess

Draw = Callable[..., Any]
NAMES = ("a-host:1:00.1", "a-host:1:00.2", "A-host:2:00.1")
BEGAN = 1_700_000_000.0


class Participant:
    """What one keeps of itself, as a participant does."""

    def __init__(self, name: str, limit: Limit, lease: float) -> None:
        self.name, self.limit, self.lease = name, limit, lease
        self.epoch, self.next_number, self.share = 0, 1, 0
        self.in_flight: dict[int, int] = {}

    def draw_report(self, draw: Draw, state: BudgetState | None) -> Report:
        over = (
            draw(st.lists(st.sampled_from(sorted(self.in_flight)), unique=True, max_size=9))
            if (self.in_flight)
            else []
        )
        cancelled = {number for number in over if draw(st.integers(0, 4)) == 0}
        held = None
        if self.epoch == 0 or draw(st.integers(0, 15)) == 0:
            self.epoch = 0
            held = self.draw_held(draw, over) if draw(st.booleans()) else None
        wrong_epoch = self.epoch - 1 if self.epoch and draw(st.integers(0, 15)) == 0 else None
        return Report(
            participant=self.name,
            limit=self.limit,
            lease=self.lease,
            epoch=wrong_epoch or self.epoch,
            next_number=self.next_number,
            answered=tuple(
                (number, draw(st.floats(0, 0.5))) for number in over if number not in cancelled
            ),
            cancelled=tuple(sorted(cancelled)),
            accepted=draw(st.booleans()),
            wants=draw(st.tuples(st.integers(0, 4), st.integers(0, 12))),
            pause=draw(st.sampled_from((0.0, 0.0, 0.0, 0.0, 0.3, 2))),
            quota=draw(
                st.none()
                | st.builds(Quota, st.integers(0, 9), st.floats(0, 2), st.floats(BEGAN, BEGAN + 9))
            ),
            shaping=self.draw_shaping(draw, state),
            held=held,
            leaves=draw(st.integers(0, 9)) == 0,
            share=self.share,
            away=draw(st.sampled_from((0.0, 0.0, 0.0, 0.0, 0.5, 2.0, 9.0, math.inf))),
        )

    def draw_held(self, draw: Draw, over: list[int]) -> HeldSlots:
        slots = [
            HeldSlot(self.name, n, lane, draw(st.floats(0.01, 2)))
            for n, lane in self.in_flight.items()
        ]
        return HeldSlots(
            tuple(slot for slot in slots if slot.number not in over or draw(st.booleans())),
            tuple(HeldSlot(self.name, n, 1, draw(st.floats(0.01, 2))) for n in range(-3, 0)),
        )

    def draw_shaping(self, draw: Draw, state: BudgetState | None) -> Shaping | None:
        if state is None or draw(st.integers(0, 3)):
            return None
        if draw(st.booleans()):  # a probe comes back
            return replace(state.shaping, probing=not state.shaping.probing)
        version = state.shaping.version + draw(st.sampled_from((0, 0, 0, 1)))
        rate = draw(st.sampled_from((0.0, 3.5, 7.0)))
        burst = draw(st.integers(1, 5)) if rate else 0
        return Shaping(
            version, burst, rate, draw(st.booleans()), state.now, draw(st.floats(0, 1)),
            draw(st.booleans()), state.now - draw(st.floats(0, 5)), 6,
        )  # fmt: skip

    def apply(self, report: Report, reply: Reply, state: BudgetState) -> None:
        if report.epoch not in (0, reply.epoch):
            return
        self.epoch = reply.epoch
        self.share = state.participants[self.name].share
        for number, _ in report.answered:
            del self.in_flight[number]
        for number in report.cancelled:
            del self.in_flight[number]
        for number, lane in enumerate(reply.granted, self.next_number):
            self.in_flight[number] = lane
        self.next_number += len(reply.granted)


limits = st.builds(
    Limit,
    st.integers(1, 4) | st.integers(1, 30),
    st.sampled_from((0.5, 1.0, 1.7)),
    st.integers(1, 30),
    st.integers(-1, 4),
)
# Most often a little later; now and then the clock is adjusted, or set back, or somebody was not
# heard of for so long that it takes part no more.
passing = (
    st.floats(0, 0.4) | st.floats(0, 3) | st.floats(-0.5, 0) | st.sampled_from((-5.0, 6.0, 4000.0))
)


@given(data=st.data())
def test_the_script_and_the_model_take_the_same_steps(
    running_valkey: ValkeyProcess, data: st.DataObject
) -> None:
    clock, draw = Clock(BEGAN), data.draw
    store = ScriptStore(running_valkey, clock)
    participants = [
        Participant(name, draw(limits), draw(st.sampled_from((0.3, 2.0)))) for name in NAMES
    ]
    model: BudgetState | None = None
    for _ in range(draw(st.integers(1, 25))):
        clock.now += draw(passing)
        each = draw(st.sampled_from(participants))
        report = each.draw_report(draw, model)
        reply = store.exchange(report)
        state, _ = store.view()
        model = model or BudgetState(epoch=reply.epoch)
        assert reply == step(model, clock.now, report)
        assert state == model
        if draw(st.integers(0, 5)):  # else the reply is lost
            each.apply(report, reply, state)


def ask(store: ScriptStore, name: str = "a.1", epoch: int = 0) -> Reply:
    limit = Limit(5, 1.0, 5, -1)
    return store.exchange(
        Report(participant=name, limit=limit, lease=2.0, epoch=epoch, wants=(1, 0))
    )


def test_numbers_keep_their_precision(running_valkey: ValkeyProcess) -> None:
    clock = Clock(BEGAN + 0.1234567)
    store = ScriptStore(running_valkey, clock)
    ask(store)
    state, _ = store.view()
    assert loads(dumps(state)) == state
    assert state.in_flight == [HeldSlot("a.1", 1, 0, clock.now + 2.0)]
    assert (state.quota_until, state.quota_left) == (-math.inf, math.inf)


def test_a_young_server_pauses_what_it_may_have_forgotten(running_valkey: ValkeyProcess) -> None:
    store = ScriptStore(running_valkey, Clock(BEGAN))
    store.info = "run_id:abc\r\nuptime_in_seconds:1"
    reply = ask(store)
    assert reply.granted == ()
    assert reply.paused_until == BEGAN - 1 + 1 + (1.0 + 2.0)


def test_the_first_participant_of_an_old_server_is_not_paused(
    running_valkey: ValkeyProcess,
) -> None:
    assert ask(ScriptStore(running_valkey, Clock(BEGAN))).granted == (0,)


def test_a_loss_is_noticed_even_if_a_new_participant_came_first(
    running_valkey: ValkeyProcess,
) -> None:
    clock = Clock(BEGAN)
    store = ScriptStore(running_valkey, clock)
    epoch = ask(store).epoch
    store.lose()
    clock.now += 0.5
    assert ask(store, "new.1").granted == (0,)
    reply = ask(store, epoch=epoch)
    assert reply.epoch != epoch
    assert reply.paused_until == pytest.approx(clock.now + (1.0 + 2.0), abs=1)


def test_after_a_fail_over_participants_are_asked_what_they_hold(
    running_valkey: ValkeyProcess,
) -> None:
    store = ScriptStore(running_valkey, Clock(BEGAN))
    epoch = ask(store).epoch
    store.info = OLD.replace("abc", "def")
    reply = ask(store, epoch=epoch)
    assert reply.epoch > epoch
    assert reply.paused_until == BEGAN + 2
    assert len(store.view()[0].in_flight) == 1
    assert ask(store, epoch=reply.epoch).epoch == reply.epoch
