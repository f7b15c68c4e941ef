"""Wherever a budget is kept, its participants are never over the limit, and all get done."""

from __future__ import annotations

import tempfile
from pathlib import Path
from unittest import mock

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from devskin_async import RateLimit
from devskin_async.ratelimit.machine import open_machine_store
from devskin_async.ratelimit.store import MemoryStore, Store

from .reporting import Clock
from .world import LEASE, Delays, Member, Place, World

DELAYS = st.builds(Delays, there=st.floats(0, LEASE / 2), back=st.floats(0, LEASE / 2))
REFUSED = st.builds(
    Delays, there=st.floats(0, 1), back=st.floats(0, 1), refused=st.just(value=True)
)
WITH_QUOTA = st.builds(
    Delays, there=st.floats(0, 1), back=st.floats(0, 1), remaining=st.integers(0, 6)
)


class ProcessPlace:
    """The memory of this process."""

    def __init__(self) -> None:
        self.clock = Clock()
        self._store = MemoryStore(self.clock, report_within=0.0)

    def open(self) -> Store:
        return self._store

    def lose(self) -> None:
        raise NotImplementedError

    def close(self) -> None:
        pass


class MachinePlace:
    """A file, in a directory of its own."""

    def __init__(self) -> None:
        self.clock = Clock()
        self._temporary = tempfile.TemporaryDirectory()
        self._environment = mock.patch.dict("os.environ", XDG_RUNTIME_DIR=self._temporary.name)
        self._environment.start()

    def open(self) -> Store:
        return open_machine_store("budget", report_within=0.0, clock=self.clock)

    def lose(self) -> None:
        for path in Path(self._temporary.name).rglob("*.sqlite"):
            path.unlink()

    def close(self) -> None:
        self._environment.stop()
        self._temporary.cleanup()


class Traffic(RuleBasedStateMachine):
    """Participants come, ask, are answered late or never, are cancelled, and are killed."""

    compares = True
    loses = False

    def make_place(self) -> Place:
        raise NotImplementedError

    @initialize(requests=st.integers(1, 6), per=st.floats(0.05, 60))
    def start(self, requests: int, per: float) -> None:
        self.requests, self.per = requests, per
        self.world = World(self.make_place(), requests, per, compares=self.compares)
        self.ahead = 0.0
        self.wanted = 0
        self.join(requests, 1, 0, 0.0)

    @rule(
        requests=st.integers(1, 6),
        burst=st.integers(1, 6),
        reserve=st.integers(-1, 6),
        report_within=st.sampled_from([0.0, 0.01, 0.3]),
    )
    def join(self, requests: int, burst: int, reserve: int, report_within: float) -> None:
        if len(self.world.members) < 4:
            requests = min(requests, self.requests)
            limit = RateLimit(
                requests, self.per, burst=burst, reserve=None if reserve < 0 else reserve
            )
            self.world.join(limit, report_within * self.per)

    def member(self, position: int) -> Member | None:
        members = self.world.members
        return members[position % len(members)] if members else None

    @rule(
        position=st.integers(0, 3),
        lane=st.integers(0, 1),
        requests=st.lists(DELAYS, min_size=1, max_size=8),
    )
    def requests_come(self, position: int, lane: int, requests: list[Delays]) -> None:
        if member := self.member(position):
            self.world.want(member, lane, requests)
            self.wanted += len(requests)

    @rule(position=st.integers(0, 3), fate=st.one_of(REFUSED, WITH_QUOTA))
    def a_request_comes_that_will_teach_something(self, position: int, fate: Delays) -> None:
        self.requests_come(position, 0, [fate])

    @rule(seconds=st.floats(0, 30))
    def time_passes(self, seconds: float) -> None:
        self.world.run(self.world.now + seconds)

    @rule()
    def a_window_passes(self) -> None:
        self.world.run(self.world.now + self.per)

    @rule(position=st.integers(0, 3), which=st.integers(0, 5))
    def a_request_is_given_up(self, position: int, which: int) -> None:
        member = self.member(position)
        if member and (under_way := list(member.under_way.values())):
            self.world.give_up(member, under_way[which % len(under_way)])

    @rule(position=st.integers(0, 3))
    def a_reply_is_lost(self, position: int) -> None:
        if member := self.member(position):
            self.world.ask(member, loses_reply=True)

    @rule(position=st.integers(0, 3))
    def a_participant_is_killed(self, position: int) -> None:
        if member := self.member(position):
            self.world.crash(member)

    @rule(seconds=st.floats(0, 0.4))
    def the_clock_is_adjusted(self, seconds: float) -> None:
        if self.ahead + seconds < 0.9:  # what is more is a restart
            self.ahead += seconds
            self.world.adjust_clock(seconds)

    @rule(clock=st.floats(0, 100))
    def the_machine_is_restarted(self, clock: float) -> None:
        if clock < self.world.place.clock.now - 2:
            self.world.restart(clock)
            self.ahead = 0.0

    @precondition(lambda self: self.loses)
    @rule(position=st.integers(0, 3), killed=st.none() | st.integers(0, 3))
    def the_state_is_lost(self, position: int, killed: int | None) -> None:
        if (member := self.member(position)) and member.epoch:
            self.world.ask(member)  # who knew it lately is the one to notice
            other = None if killed is None else self.member(killed)
            if other and other is not member:
                self.world.crash(other)
            self.world.place.lose()
            self.world.ask(member)

    @invariant()
    def nothing_is_over_the_limit(self) -> None:
        if hasattr(self, "world"):
            assert self.world.server.over == 0

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        try:
            patience = (self.wanted + 2) * 4 * (LEASE + self.per) + 3600
            self.world.run(self.world.now + patience)
            assert not any(any(each.wants) for each in self.world.members), "somebody starves"
            assert self.world.server.over == 0
        finally:
            self.world.close()


class ProcessTraffic(Traffic):
    """Kept in the memory of a process."""

    def make_place(self) -> Place:
        return ProcessPlace()


class MachineTraffic(Traffic):
    """Kept in a file."""

    def make_place(self) -> Place:
        return MachinePlace()


class LostFileTraffic(MachineTraffic):
    """Kept in a file that is removed again and again."""

    compares = False
    loses = True


MANY = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestProcessTraffic = ProcessTraffic.TestCase
TestProcessTraffic.settings = MANY
TestMachineTraffic = MachineTraffic.TestCase
TestMachineTraffic.settings = MANY
TestLostFileTraffic = LostFileTraffic.TestCase
TestLostFileTraffic.settings = MANY
