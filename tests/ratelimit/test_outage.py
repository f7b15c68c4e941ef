"""A budget that can't be reached: its participants go on with shares that were promised to them."""

from __future__ import annotations

import asyncio
import logging
import math
import random
from collections.abc import Awaitable
from functools import partial

import pytest
from attrs import define, field
from hypothesis import given, settings
from hypothesis import strategies as st

from devskin_async import Degraded, Event, Lane, RateLimit, Restored
from devskin_async.errors import ConfigurationError
from devskin_async.ratelimit import Scheduler, StoreBusyError, StoreUnavailableError
from devskin_async.ratelimit.grants import step
from devskin_async.ratelimit.outage import OutageStore
from devskin_async.ratelimit.reports import Reply, Report
from devskin_async.ratelimit.state import BudgetState
from devskin_async.testing import VirtualTimeLoop, virtual_time

from .members import StrictServer

PER, LEASE = 60.0, 30.0
TEN = RateLimit(10, PER, burst=10, reserve=0)
near = partial(pytest.approx, abs=1e-6)


def now() -> float:
    return asyncio.get_running_loop().time()


@define(eq=False)
class Server:
    """Keeps a budget, and can be out of reach, for everybody at once."""

    state: BudgetState = field(factory=lambda: BudgetState(epoch=1))
    failure: Exception | None = None
    loses_replies: bool = False
    unknown_until: float = -math.inf
    rng: random.Random = field(factory=lambda: random.Random(1))

    def go_away(self, *, loses_replies: bool = False) -> None:
        self.failure = StoreUnavailableError("no route")
        self.loses_replies = loses_replies

    def come_back(self, *, empty: bool = False) -> None:
        self.failure = None
        if empty:  # it has forgotten, and waits until that can't matter
            self.state = BudgetState(epoch=self.state.epoch + 1)
            self.unknown_until = self.state.paused_until = now() + PER + LEASE


@define
class RemoteStore:
    """One participant's way to it."""

    server: Server
    immediate: bool = False
    report_within: float = 0.5
    where: str = "valkey"
    steps: int = 0
    unknown_for: float = 0.0
    was_lost: bool = False
    is_killed: bool = False
    seen: tuple[BudgetState, float] = field(factory=lambda: (BudgetState(epoch=0), 0.0))

    def exchange(self, report: Report) -> Reply | Awaitable[Reply]:
        return self._now(report) if self.immediate else self._later(report)

    async def _later(self, report: Report) -> Reply:
        await asyncio.sleep(self.server.rng.uniform(0, 0.02))
        reply = self._now(report)
        await asyncio.sleep(self.server.rng.uniform(0, 0.02))
        return reply

    def _now(self, report: Report) -> Reply:
        self.steps += 1
        if self.is_killed:
            raise StoreUnavailableError("killed")
        if self.server.failure is not None:
            if self.server.loses_replies and self.server.rng.random() < 0.5:
                step(self.server.state, now(), report)
            raise self.server.failure
        reply = step(self.server.state, now(), report)
        self.was_lost = False
        self.unknown_for = max(0.0, self.server.unknown_until - now())
        self.seen = self.server.state.copy(), now()
        return reply

    async def check(self) -> None:
        await asyncio.sleep(self.server.rng.uniform(0, 0.04))
        if self.is_killed:
            raise StoreUnavailableError("killed")
        if self.server.failure is not None:
            raise self.server.failure
        lost = self.seen[0].epoch not in (0, self.server.state.epoch)
        if lost and not self.was_lost:
            self.was_lost = True
            raise StoreUnavailableError("has lost the budget")

    def view(self) -> tuple[BudgetState, float]:
        state, at = self.seen
        return state.copy(), now() if self.steps else at

    async def aclose(self) -> None:
        pass


def participant(
    server: Server, name: str = "a.1", limit: RateLimit = TEN, *, immediate: bool = True
) -> Scheduler:
    return through(RemoteStore(server, immediate), name, limit)


def through(remote: RemoteStore, name: str, limit: RateLimit = TEN) -> Scheduler:
    store = OutageStore(remote, clock=asyncio.get_running_loop().time)
    return Scheduler(limit, store, name)


async def send(scheduler: Scheduler, sent: list[float], seconds: float = 0.0) -> None:
    async with scheduler.slot(Lane.BULK):
        sent.append(now())
        await asyncio.sleep(seconds)


def send_many(scheduler: Scheduler, count: int, sent: list[float]) -> list[asyncio.Task[None]]:
    return [asyncio.ensure_future(send(scheduler, sent)) for _ in range(count)]


async def end(tasks: list[asyncio.Task[None]], *schedulers: Scheduler) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for scheduler in schedulers:
        await scheduler.leave(scheduler)


@virtual_time
async def test_its_own_slots_are_used_again_as_they_become_free() -> None:
    server, sent = Server(), list[float]()
    one = participant(server)
    tasks = send_many(one, 30, sent)
    await asyncio.sleep(1)
    server.go_away()
    start = sent[0]
    await asyncio.sleep(130)
    assert sent == near([start] * 10 + [start + 60] * 10 + [start + 120] * 10)
    assert one.budget().where == "degraded"
    await end(tasks, one)


@virtual_time
async def test_no_more_is_held_than_at_the_loss_until_all_that_was_held_is_free() -> None:
    server, sent = Server(), list[float]()
    one = participant(server)
    await send(one, sent)
    server.go_away()
    away = now()
    tasks = send_many(one, 12, sent)
    await asyncio.sleep(1000)
    whole = away + 2 * (PER + LEASE)
    assert sent[:4] == near([away, away + 60, away + 120, away + 180])
    assert sent[4:13] == near([whole] * 9)
    await end(tasks, one)


@virtual_time
async def test_the_share_of_who_is_not_alone_is_a_part() -> None:
    server, sent = Server(), list[float]()
    one, two = participant(server), participant(server, "b.1")
    for each in (one, two, one, two):
        await send(each, [])
    server.go_away()
    away = now()
    tasks = send_many(one, 30, sent)
    await asyncio.sleep(2 * (PER + LEASE))
    await asyncio.sleep(3 * PER - 1)
    assert sum(at >= away + 2 * (PER + LEASE) for at in sent) == 3 * 5
    await end(tasks, one, two)


@virtual_time
async def test_who_had_no_part_waits_until_it_is_back() -> None:
    server, sent = Server(), list[float]()
    server.go_away()
    one = participant(server)
    task = asyncio.ensure_future(send(one, sent))
    await asyncio.sleep(1000)
    assert sent == []
    assert one.budget().where == "degraded"
    server.come_back()
    back = now()
    await task
    assert sent[0] - back < 5
    assert one.budget().where == "valkey"
    await end([], one)


@pytest.mark.parametrize(("windows", "share"), [(4.99, 10), (5.01, 0)])
@virtual_time
async def test_a_share_holds_for_five_windows_after_the_last_reply(
    windows: float, share: int
) -> None:
    server, events = Server(), list[Event]()
    one = participant(server)
    one.listeners.add(server, events.append)
    async with one.slot() as slot:
        slot.cancel()
    await asyncio.sleep(windows * PER)
    server.go_away()
    await send_and_give_up(one)
    assert [each.share for each in events if isinstance(each, Degraded)] == [share]
    one.listeners.remove(server)
    await end([], one)


@virtual_time
async def test_what_was_sent_meanwhile_counts_when_it_is_back() -> None:
    server, sent = Server(), list[float]()
    one, two = participant(server), participant(server, "b.1")
    for each in (one, two):
        await send(each, [])
    await asyncio.gather(*(send(one, []) for _ in range(4)))
    server.go_away()
    await asyncio.sleep(61)
    tasks = send_many(one, 4, sent)
    await asyncio.sleep(1)
    server.come_back()
    await asyncio.sleep(3)
    assert one.budget().where == "valkey"
    assert [slot.number for slot in server.state.answered if slot.at > now() + 30] == [6, 7, 8, 9]
    await end(tasks, one, two)


@virtual_time
async def test_a_store_that_has_lost_its_state_is_gone_without_until_it_knows_all() -> None:
    server, sent = Server(), list[float]()
    one = participant(server)
    tasks = send_many(one, 40, sent)
    await asyncio.sleep(1)
    start = sent[0]
    server.come_back(empty=True)
    await asyncio.sleep(200)
    assert sent == near([start] * 10 + [start + 60] * 10 + [start + 120] * 10 + [start + 180] * 10)
    assert one.budget().where == "valkey"
    await end(tasks, one)


@virtual_time
async def test_the_pause_is_kept() -> None:
    server, sent = Server(), list[float]()
    one = participant(server)
    await send(one, [])
    server.state.paused_until = now() + 100
    await send_and_give_up(one)
    server.go_away()
    start = now()
    await send(one, sent)
    assert sent[0] - start >= 99
    await end([], one)


async def send_and_give_up(scheduler: Scheduler) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await send(scheduler, [])


@virtual_time
async def test_an_event_each_way_says_what_happened(caplog: pytest.LogCaptureFixture) -> None:
    server, events = Server(), list[Event]()
    one = participant(server)
    one.listeners.add(server, events.append)
    await send(one, [])
    caplog.set_level(logging.WARNING)
    server.go_away()
    for _ in range(20):
        await send_and_give_up(one)
    server.come_back()
    await asyncio.sleep(3)
    told = [each for each in events if isinstance(each, Degraded | Restored)]
    assert told == [
        Degraded(where="valkey", reason="no route", share=10),
        Restored(where="valkey"),
    ]
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 2
    one.listeners.remove(server)
    await end([], one)


@virtual_time
async def test_a_store_that_is_in_use_for_seconds_is_gone_without() -> None:
    server, sent = Server(), list[float]()
    one = participant(server)
    await send(one, [])
    await asyncio.sleep(61)
    await send(one, [])
    server.failure = StoreBusyError()
    start = now()
    task = asyncio.ensure_future(send(one, sent))
    await asyncio.sleep(2.9)
    assert one.budget().where == "valkey"
    await asyncio.sleep(0.2)
    assert one.budget().where == "degraded"
    await task
    assert sent[0] - start == near(60)
    await end([], one)


@virtual_time
async def test_two_moments_in_which_a_store_is_in_use_are_no_outage() -> None:
    server = Server()
    one = participant(server)
    await send(one, [])
    await asyncio.sleep(1)
    server.failure = StoreBusyError()
    await send_and_give_up(one)
    await asyncio.sleep(4)
    await send_and_give_up(one)
    assert one.budget().where == "valkey"
    await end([], one)


@virtual_time
async def test_who_was_closed_in_an_outage_finds_the_store_that_is_back() -> None:
    server, sent = Server(), list[float]()
    one = participant(server)
    await send(one, [])
    await asyncio.sleep(PER)
    server.go_away()
    await send(one, [])
    await one.leave(one)
    await asyncio.sleep(PER + LEASE)
    server.come_back()
    await send(one, sent)
    assert one.budget().where == "valkey"
    assert [slot.number for slot in server.state.in_flight + server.state.answered] == [3]
    await end([], one)


@virtual_time
async def test_who_is_used_again_in_the_same_outage_goes_on_with_its_share() -> None:
    server, sent = Server(), list[float]()
    one = participant(server)
    await send(one, [])
    server.go_away()
    await send_and_give_up(one)
    await one.leave(one)
    await asyncio.sleep(2 * (PER + LEASE))
    start = now()
    await asyncio.gather(*send_many(one, 10, sent))
    assert one.budget().where == "degraded"
    assert start < sent[0] <= sent[9] < start + 2
    await end([], one)


@virtual_time
async def test_who_was_stopped_in_an_outage_looks_for_the_store_before_it_grants_anything() -> None:
    server, stopped_for = Server(), 0.0
    clock = asyncio.get_running_loop().time
    store = OutageStore(RemoteStore(server, immediate=True), clock=lambda: clock() + stopped_for)
    one = Scheduler(TEN, store, "a.1")
    await send(one, [])
    server.go_away()
    await send_and_give_up(one)
    await asyncio.sleep(2 * (PER + LEASE))
    server.come_back()
    stopped_for = 5.0
    await send(one, [])
    assert one.budget().where == "valkey"
    await end([], one)


@virtual_time
async def test_what_who_is_killed_in_an_outage_may_have_sent_counts_when_it_is_back() -> None:
    server, strict, sent = Server(), StrictServer(TEN), list[float]()
    remote = RemoteStore(server)
    one, two = through(remote, "a.1"), participant(server, "b.1")
    for each in (one, two) * 3:
        await send(each, [])
    server.go_away()
    await asyncio.gather(*(send_and_give_up(each) for each in (one, two)))
    await asyncio.sleep(2 * (PER + LEASE))
    await asyncio.gather(*send_many(one, 5, sent))
    remote.is_killed = True
    server.come_back()
    back = now()
    tasks = send_many(two, 30, sent)
    await asyncio.sleep(PER + LEASE + 3)
    for at in sorted(sent):
        strict.count(at)
    assert strict.over == 0
    assert sum(back <= at < back + 2 for at in sent) == 5
    assert sum(at >= back + PER + LEASE for at in sent) == 5
    await end(tasks, one, two)


@virtual_time
async def test_who_is_back_takes_its_share_at_once_and_the_rest_when_the_others_are() -> None:
    server, sent = Server(), list[float]()
    remote = RemoteStore(server)
    one, two = through(remote, "a.1"), participant(server, "b.1")
    for each in (one, two) * 3:
        await send(each, [])
    server.go_away()
    await asyncio.gather(*(send_and_give_up(each) for each in (one, two)))
    await asyncio.sleep(2 * (PER + LEASE))
    remote.is_killed = True
    server.come_back()
    tasks = send_many(two, 10, sent)
    await asyncio.sleep(2)
    assert len(sent) == 5
    remote.is_killed = False
    await asyncio.sleep(2)
    assert len(sent) == 10
    await end(tasks, one, two)


@virtual_time
async def test_a_store_that_never_was_of_use_is_an_error() -> None:
    server = Server(failure=ConfigurationError("wrong password"))
    one = participant(server, immediate=False)
    with pytest.raises(ConfigurationError, match="wrong password"):
        await send(one, [])
    await end([], one)


@virtual_time
async def test_one_that_was_of_use_is_an_outage_whatever_it_says() -> None:
    server, sent = Server(), list[float]()
    one = participant(server, immediate=False)
    await send(one, [])
    server.failure = ConfigurationError("wrong password")
    await asyncio.sleep(61)
    await send(one, sent)
    assert sent
    await end([], one)


ALL_ARE_BACK = 5.0  # seconds


@given(
    seed=st.integers(0, 10**6),
    participants=st.integers(1, 4),
    outages=st.lists(
        st.tuples(
            st.floats(1, 200),  # in reach
            st.floats(0.05, 600),  # out of reach
            st.booleans(),  # replies are lost first
            st.booleans(),  # comes back empty
            st.sampled_from((-1, -1, 0, 1, 2, 3)),  # which program is killed meanwhile
        ),
        max_size=3,
    ),
)
@settings(max_examples=12)
def test_nothing_is_refused_whenever_it_goes_and_comes(
    seed: int, participants: int, outages: list[tuple[float, float, bool, bool, int]]
) -> None:
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(play(random.Random(seed), participants, outages))


async def play(
    rng: random.Random, participants: int, outages: list[tuple[float, float, bool, bool, int]]
) -> None:
    server, strict = Server(rng=rng), StrictServer(TEN)

    async def request(scheduler: Scheduler) -> None:
        async with scheduler.slot(rng.choice(list(Lane))):
            await asyncio.sleep(rng.choice((0.01, 0.5, 14)) * rng.random())
            strict.count(now())
            await asyncio.sleep(rng.choice((0.01, 0.5, 14)) * rng.random())

    back_at = [-math.inf]

    remotes = [RemoteStore(server, rng.random() < 0.5) for _ in range(participants)]

    async def program(number: int) -> None:
        await asyncio.sleep(rng.choice((0, 30, 300)) * rng.random())
        # Nobody new is first to come to a store that is back: `outage` assumes so.
        await asyncio.sleep(max(0.0, back_at[0] + ALL_ARE_BACK - now()))
        scheduler = through(remotes[number], f"{number}.1")
        idles = rng.choice((0, 0, 40))
        try:
            while True:
                await asyncio.gather(*(request(scheduler) for _ in range(rng.randint(1, 15))))
                await asyncio.sleep(idles * rng.random())
        finally:
            await scheduler.leave(scheduler)

    programs = [asyncio.ensure_future(program(number)) for number in range(participants)]
    for in_reach, out_of_reach, loses_replies, empty, killed in outages:
        await asyncio.sleep(in_reach)
        away_at = now()
        server.go_away(loses_replies=loses_replies)
        await asyncio.sleep(out_of_reach * 0.01)
        server.loses_replies = False
        await asyncio.sleep(out_of_reach * 0.99 * rng.random())
        if 0 <= killed < participants:
            remotes[killed].is_killed = True
            programs[killed].cancel()
        await asyncio.sleep(max(0.0, away_at + out_of_reach - now()))
        server.come_back(empty=empty)
        back_at[0] = now()
        if empty:  # all hear of it before it goes again
            await asyncio.sleep(PER + LEASE)
    await asyncio.sleep(400)
    for each in programs:
        each.cancel()
    await asyncio.gather(*programs, return_exceptions=True)
    assert strict.over == 0
