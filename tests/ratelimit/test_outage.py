"""An unreachable budget: its participants continue with the shares promised to them."""

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

from devskin_async import Degraded, Event, Lane, Paused, RateLimit, Restored
from devskin_async.errors import ConfigurationError
from devskin_async.ratelimit import Scheduler, StoreBusyError, StoreUnavailableError
from devskin_async.ratelimit.grants import step
from devskin_async.ratelimit.outage import OutageStore
from devskin_async.ratelimit.reports import Reply, Report
from devskin_async.ratelimit.state import BudgetState
from devskin_async.testing import VirtualTimeLoop, virtual_time

from ..support import now
from .members import StrictServer

PER, LEASE = 60.0, 30.0
TEN = RateLimit(10, PER, burst=10, reserve=0)
near = partial(pytest.approx, abs=1e-6)


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
async def test_a_participant_reuses_its_own_slots_as_they_become_free() -> None:
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
async def test_a_participant_holds_no_more_than_at_the_loss_until_all_slots_of_then_are_free() -> (
    None
):
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
async def test_participants_that_share_a_budget_each_continue_with_a_part_of_it() -> None:
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
async def test_a_participant_without_a_share_waits_until_the_store_is_back() -> None:
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
async def test_requests_sent_during_an_outage_count_once_the_store_is_back() -> None:
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
async def test_a_store_that_has_lost_its_state_is_not_used_until_it_knows_all_slots() -> None:
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
async def test_a_pause_is_kept_during_an_outage() -> None:
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
async def test_an_outage_begins_with_one_event_and_ends_with_another(
    caplog: pytest.LogCaptureFixture,
) -> None:
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
    changes = [each for each in events if isinstance(each, Degraded | Restored)]
    assert changes == [
        Degraded(where="valkey", reason="no route", share=10),
        Restored(where="valkey"),
    ]
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 2
    one.listeners.remove(server)
    await end([], one)


@virtual_time
async def test_a_client_that_comes_to_a_server_without_its_state_pauses_and_the_log_says_why(
    caplog: pytest.LogCaptureFixture,
) -> None:
    server, events, sent = Server(), list[Event](), list[float]()
    server.come_back(empty=True)
    one = participant(server)
    one.listeners.add(server, events.append)
    for _ in range(3):
        await send_and_give_up(one)
    await send(one, sent)
    assert sent == near([PER + LEASE])
    kinds = [type(each) for each in events if isinstance(each, Paused | Degraded | Restored)]
    assert kinds == [Paused]
    (message,) = caplog.messages
    assert message == (
        "nothing is sent for 90 s: the Valkey server was started or emptied a moment ago, so it "
        'can\'t know what was sent just before; budget="machine" needs no server, and shares with '
        "this machine's programs alone"
    )
    one.listeners.remove(server)
    await end([], one)


@virtual_time
async def test_the_processes_that_took_part_are_counted_while_the_server_is_away() -> None:
    server = Server()
    one, two = participant(server), participant(server, "b.1")
    for each in (one, two, one):
        await send(each, [])
    server.go_away()
    await send_and_give_up(one)
    assert (one.budget().where, one.budget().processes) == ("degraded", 2)
    await end([], one, two)


@virtual_time
async def test_the_log_names_the_ways_out_of_waiting_for_a_server_that_was_never_reached(
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = Server()
    server.go_away()
    one = participant(server)
    await send_and_give_up(one)
    (message,) = caplog.messages
    assert message == (
        "the budget (valkey) is unreachable; this client waits until it is back, or as long as "
        'max_wait and deadline allow: no route; budget="machine" needs no server, and shares with '
        "this machine's programs alone"
    )
    await end([], one)


@virtual_time
async def test_a_store_that_is_busy_for_seconds_counts_as_unreachable() -> None:
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
async def test_a_store_that_is_busy_at_two_moments_is_not_an_outage() -> None:
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
async def test_a_participant_that_was_closed_in_an_outage_finds_the_store_once_it_is_back() -> None:
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
async def test_a_participant_that_is_used_again_in_the_same_outage_continues_with_its_share() -> (
    None
):
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
async def test_a_process_that_was_stopped_in_an_outage_tries_the_store_before_it_grants_slots() -> (
    None
):
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


async def two_in_an_outage(server: Server) -> tuple[RemoteStore, Scheduler, Scheduler]:
    """Return two participants whose shares are whole, and the store of the first one."""
    remote = RemoteStore(server)
    one, two = through(remote, "a.1"), participant(server, "b.1")
    for each in (one, two) * 3:
        await send(each, [])
    server.go_away()
    await asyncio.gather(*(send_and_give_up(each) for each in (one, two)))
    await asyncio.sleep(2 * (PER + LEASE))
    return remote, one, two


@virtual_time
async def test_requests_of_a_program_killed_in_an_outage_count_when_the_store_is_back() -> None:
    server, strict, sent = Server(), StrictServer(TEN), list[float]()
    remote, one, two = await two_in_an_outage(server)
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
async def test_a_participant_takes_its_share_at_once_and_the_rest_when_others_are_back() -> None:
    server, sent = Server(), list[float]()
    remote, one, two = await two_in_an_outage(server)
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
async def test_a_store_that_never_worked_is_an_error() -> None:
    server = Server(failure=ConfigurationError("wrong password"))
    one = participant(server, immediate=False)
    with pytest.raises(ConfigurationError, match="wrong password"):
        await send(one, [])
    await end([], one)


@virtual_time
async def test_a_store_that_has_worked_is_an_outage_whatever_its_error() -> None:
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
def test_nothing_is_refused_whenever_the_store_goes_away_and_comes_back(
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
        if empty:  # all get a reply before it goes away again
            await asyncio.sleep(PER + LEASE)
    await asyncio.sleep(400)
    for each in programs:
        each.cancel()
    await asyncio.gather(*programs, return_exceptions=True)
    assert strict.over == 0
