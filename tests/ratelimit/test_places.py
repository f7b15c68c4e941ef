"""Wherever a budget is kept, its participants stay within the limit, and all finish."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import ClassVar
from unittest import mock

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from devskin_async import RateLimit
from devskin_async.ratelimit.machine import open_machine_store
from devskin_async.ratelimit.store import MemoryStore, Store

from .reporting import Clock
from .valkey_script import ScriptStore
from .valkey_server import ValkeyProcess
from .world import LEASE, Delays, Member, Place, World

DELAY = st.just(0.0) | st.floats(0, LEASE / 2)
DELAYS = st.builds(Delays, there=DELAY, back=DELAY)
HOUR = 3600.0
SEVERAL = st.lists(DELAYS, min_size=1, max_size=8)
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


class ValkeyPlace:
    """A key on a real Valkey server, by the server's script and the test's clock."""

    def __init__(self, server: ValkeyProcess) -> None:
        self.clock = Clock()
        self._server = server
        self._first = ScriptStore(server, self.clock)

    def open(self) -> Store:
        return ScriptStore(self._server, self.clock, self._first.key)

    def lose(self) -> None:
        self._first.lose()

    def close(self) -> None:
        self.lose()


class Traffic(RuleBasedStateMachine):
    """Participants come, ask, are answered late or never, are cancelled, and are killed."""

    compares = True
    loses = False

    def make_place(self) -> Place:
        raise NotImplementedError

    @initialize(requests=st.integers(1, 6), per=st.floats(1, 60))
    def start(self, requests: int, per: float) -> None:
        self.requests, self.per = requests, per
        self.world = World(self.make_place(), requests, per, compares=self.compares)
        self.ahead = 0.0
        self.wanted = 0
        self.join(requests, requests, 0, 0.0)
        self.join(requests, requests, 0, 0.0)

    @rule(
        requests=st.integers(1, 6),
        burst=st.integers(1, 6),
        reserve=st.integers(-1, 6),
        report_within=st.sampled_from([0.0, 0.01, 0.3]),
    )
    def join(self, requests: int, burst: int, reserve: int, report_within: float) -> None:
        if len(self.world.members) < 4:
            requests = min(requests, self.requests)
            automatic = reserve < 0
            limit = RateLimit(
                requests,
                self.per,
                burst=burst,
                reserve=None if automatic else min(reserve, requests - 1),
            )
            self.world.join(limit, report_within * self.per)

    def member(self, position: int) -> Member | None:
        members = self.world.members
        return members[position % len(members)] if members else None

    @rule(
        position=st.integers(0, 3),
        lane=st.integers(0, 1),
        requests=SEVERAL,
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

    @rule(clock=st.floats(0, 100), requests=SEVERAL)
    def the_machine_is_restarted(self, clock: float, requests: list[Delays]) -> None:
        if clock < self.world.place.clock.now - 2:
            self.world.restart(clock)
            self.ahead = 0.0
            self.join(self.requests, len(requests), 0, 0.0)
            self.requests_come(0, 0, requests)

    @precondition(lambda self: self.loses)
    @rule(requests=SEVERAL, of_the_other=SEVERAL)
    def the_state_is_lost_of_one_who_is_killed(
        self, requests: list[Delays], of_the_other: list[Delays]
    ) -> None:
        if len(self.world.members) < 2:
            return
        member, other = self.world.members[:2]
        self.requests_come(1, 0, of_the_other)
        self.world.ask(member)  # a participant that knew the state recently notices its loss
        self.world.run(self.world.now)
        self.world.crash(other)
        self.world.place.lose()
        self.requests_come(0, 0, requests)

    @invariant()
    def nothing_is_over_the_limit(self) -> None:
        if hasattr(self, "world"):
            assert self.world.server.over == 0

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        try:
            patience = self.world.now + (self.wanted + 2) * 4 * (LEASE + self.per) + HOUR
            while any(any(each.wants) for each in self.world.members):
                self.world.run(self.world.now + self.per)
                assert self.world.now < patience, "somebody starves"
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


class ValkeyTraffic(Traffic):
    """Kept on a Valkey server."""

    server: ClassVar[ValkeyProcess]

    def make_place(self) -> Place:
        return ValkeyPlace(self.server)


class FlushedTraffic(ValkeyTraffic):
    """Kept on a Valkey server that forgets it again and again."""

    compares = False
    loses = True


@pytest.fixture(scope="class")
def _valkey_place(running_valkey: ValkeyProcess) -> None:
    ValkeyTraffic.server = running_valkey


MANY = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestProcessTraffic = ProcessTraffic.TestCase
TestProcessTraffic.settings = MANY
TestMachineTraffic = MachineTraffic.TestCase
TestMachineTraffic.settings = MANY
TestLostFileTraffic = LostFileTraffic.TestCase
TestLostFileTraffic.settings = MANY
TestValkeyTraffic = pytest.mark.usefixtures("_valkey_place")(ValkeyTraffic.TestCase)
TestValkeyTraffic.settings = MANY
TestFlushedTraffic = pytest.mark.usefixtures("_valkey_place")(FlushedTraffic.TestCase)
TestFlushedTraffic.settings = MANY
