"""Callers wait their turn for a slot of the budget; an hour passes in a millisecond."""

from __future__ import annotations

import asyncio
import gc
import logging
import random
import weakref
from contextvars import ContextVar
from functools import partial
from itertools import pairwise

import pytest
from msgspec.structs import replace

from devskin_async import Event, Granted, Lane, Paused, Queued, RateLimit, Refused
from devskin_async.ratelimit import MemoryStore, RateLimitInfo, Scheduler, StoreBusyError
from devskin_async.ratelimit.reports import Reply, Report
from devskin_async.ratelimit.state import BudgetState
from devskin_async.testing import VirtualTimeLoop, virtual_time

from ..support import now

# A turn of the virtual clock is a nanosecond.
near = partial(pytest.approx, abs=1e-6)


async def request(scheduler: Scheduler, sent: list[float], seconds: float = 0.0) -> None:
    async with scheduler.slot():
        sent.append(now())
        await asyncio.sleep(seconds)


async def gather(scheduler: Scheduler, callers: int, seconds: float = 0.0) -> list[float]:
    sent: list[float] = []
    await asyncio.gather(*(request(scheduler, sent, seconds) for _ in range(callers)))
    return sent


@virtual_time
async def test_a_free_slot_is_granted_at_once() -> None:
    start = now()
    assert await gather(Scheduler(RateLimit(100, 60)), 100) == near([start] * 100)


@virtual_time
async def test_requests_over_the_limit_wait_until_per_after_the_responses() -> None:
    start = now()
    sent = await gather(Scheduler(RateLimit(3, 60)), 7, seconds=2)
    assert sent == near([start] * 3 + [start + 62] * 3 + [start + 124])


@virtual_time
async def test_callers_are_first_come_first_served() -> None:
    scheduler = Scheduler(RateLimit(1, 10))
    order: list[int] = []

    async def caller(number: int) -> None:
        async with scheduler.slot():
            order.append(number)

    await asyncio.gather(*map(caller, range(5)))
    assert order == list(range(5))


@virtual_time
async def test_the_token_bucket_shapes_a_small_burst() -> None:
    start = now()
    sent = await gather(Scheduler(RateLimit(requests=60, per=60, burst=2)), 5)
    assert sent == near([start, start, start + 1, start + 2, start + 3])


@virtual_time
async def test_a_caller_cancelled_while_waiting_costs_nothing() -> None:
    scheduler = Scheduler(RateLimit(1, 60))
    start = now()
    sent: list[float] = []
    async with scheduler.slot():
        waiting = [asyncio.create_task(request(scheduler, sent)) for _ in range(3)]
        await asyncio.sleep(1)
        waiting[0].cancel()
        waiting[1].cancel()
        await asyncio.sleep(1)
        assert scheduler.budget().waiting == 1
    await waiting[2]
    assert sent == near([start + 62])
    assert scheduler.budget().sent == 2


@pytest.mark.parametrize("position", range(5))
@virtual_time
async def test_cancelling_a_waiter_at_any_position_hangs_nobody(position: int) -> None:
    scheduler = Scheduler(RateLimit(1, 60))
    sent: list[float] = []
    tasks = [asyncio.create_task(request(scheduler, sent)) for _ in range(5)]
    await asyncio.sleep(30)
    tasks[position].cancel()
    await asyncio.wait(tasks)
    assert len(sent) == (5 if position == 0 else 4)


@virtual_time
async def test_a_request_cancelled_in_flight_keeps_its_slot_for_the_window() -> None:
    scheduler = Scheduler(RateLimit(1, 60))
    start = now()
    sent: list[float] = []
    flying = asyncio.create_task(request(scheduler, sent, seconds=1000))
    await asyncio.sleep(5)
    flying.cancel()
    await request(scheduler, sent)
    assert sent == near([start, start + 65])


@virtual_time
async def test_a_request_that_fails_keeps_its_slot_for_the_window() -> None:
    scheduler = Scheduler(RateLimit(1, 60))
    start = now()
    with pytest.raises(ConnectionError):
        async with scheduler.slot():
            raise ConnectionError
    assert await gather(scheduler, 1) == near([start + 60])


@virtual_time
async def test_a_slot_records_how_long_its_caller_queued() -> None:
    scheduler = Scheduler(RateLimit(1, 60))
    async with scheduler.slot() as slot:
        assert slot.queued == near(0)
    async with scheduler.slot() as slot:
        assert slot.queued == near(60)


@virtual_time
async def test_a_refusal_pauses_everybody_and_a_shorter_one_does_not_shorten_the_pause() -> None:
    scheduler = Scheduler(RateLimit(100, 60))
    start = now()
    async with scheduler.slot() as one, scheduler.slot() as another:
        one.observe(RateLimitInfo(refused=True, retry_after=30))
        another.observe(RateLimitInfo(refused=True, retry_after=5))
    assert scheduler.budget().paused_for == near(30)
    assert await gather(scheduler, 2) == near([start + 30] * 2)
    assert scheduler.budget().paused_for == 0


@virtual_time
async def test_refusals_without_a_time_pause_for_longer_each_time_up_to_the_window() -> None:
    scheduler = Scheduler(RateLimit(100, 60))
    pauses: list[float] = []
    for _ in range(7):
        async with scheduler.slot() as slot:
            slot.observe(RateLimitInfo(refused=True))
            slot.observe(RateLimitInfo(refused=True))  # of the same burst
        pauses.append(scheduler.budget().paused_for)
    assert pauses == near([2, 4, 8, 16, 32, 60, 60])
    async with scheduler.slot() as slot:
        slot.observe(RateLimitInfo())
    async with scheduler.slot() as slot:
        slot.observe(RateLimitInfo(refused=True))
    assert scheduler.budget().paused_for == near(2)


@virtual_time
async def test_a_refusal_pauses_a_caller_that_waits_for_the_bucket_too() -> None:
    scheduler = Scheduler(RateLimit(requests=60, per=60, burst=1))
    start = now()
    sent: list[float] = []
    async with scheduler.slot() as slot:
        waiting = asyncio.create_task(request(scheduler, sent))
        await asyncio.sleep(0.5)
        slot.observe(RateLimitInfo(refused=True, retry_after=10))
    await waiting
    assert sent == near([start + 10.5])


@virtual_time
async def test_the_budget_counts_what_is_free_in_flight_waiting_sent_and_refused() -> None:
    scheduler = Scheduler(RateLimit(2, 60))
    sent: list[float] = []
    tasks = [asyncio.create_task(request(scheduler, sent, seconds=10)) for _ in range(3)]
    await asyncio.sleep(1)
    budget = scheduler.budget()
    assert (budget.limit, budget.per) == (2, 60)
    assert (budget.available, budget.in_flight, budget.waiting) == (0, 2, 1)
    assert (budget.sent, budget.refused) == (2, 0)
    await asyncio.gather(*tasks)
    budget = scheduler.budget()
    assert (budget.available, budget.in_flight, budget.waiting, budget.sent) == (1, 0, 0, 3)


@pytest.mark.parametrize("seed", range(10))
@virtual_time
async def test_no_span_at_the_server_has_more_than_the_limit_whatever_the_delays(
    seed: int,
) -> None:
    rng = random.Random(seed)
    scheduler = Scheduler(RateLimit(5, 10))
    counted: list[float] = []

    async def caller() -> None:
        await asyncio.sleep(rng.uniform(0, 60))
        async with scheduler.slot():
            await asyncio.sleep(rng.expovariate(1))
            counted.append(now())
            await asyncio.sleep(rng.expovariate(1))

    tasks = [asyncio.create_task(caller()) for _ in range(60)]
    for task in rng.sample(tasks, 15):
        asyncio.get_running_loop().call_later(rng.uniform(0, 120), task.cancel)
    await asyncio.wait(tasks)
    counted.sort()
    assert len(counted) >= 45
    assert all(b - a >= 10 for a, b in zip(counted, counted[5:], strict=False))


@virtual_time
async def test_after_a_pause_one_request_is_sent_alone_until_its_response() -> None:
    scheduler = Scheduler(RateLimit(100, 60))
    start = now()
    async with scheduler.slot() as slot:
        slot.observe(RateLimitInfo(refused=True, retry_after=10))
    sent: list[float] = []
    first = asyncio.create_task(answered(scheduler, sent, after=5, refused=False))
    await asyncio.sleep(1)
    others = [asyncio.create_task(answered(scheduler, sent)) for _ in range(5)]
    await asyncio.gather(first, *others)
    assert sent == near([start + 10] + [start + 15] * 5)


async def answered(
    scheduler: Scheduler, sent: list[float], *, after: float = 0.0, refused: bool = False
) -> None:
    async with scheduler.slot() as slot:
        sent.append(now())
        await asyncio.sleep(after)
        slot.observe(RateLimitInfo(refused=refused))


@virtual_time
async def test_a_cancelled_probe_is_followed_by_the_next() -> None:
    scheduler = Scheduler(RateLimit(100, 60))
    async with scheduler.slot() as slot:
        slot.observe(RateLimitInfo(refused=True, retry_after=10))
    sent: list[float] = []
    probe = asyncio.create_task(answered(scheduler, sent, after=1000))
    await asyncio.sleep(11)
    other = asyncio.create_task(answered(scheduler, sent))
    await asyncio.sleep(1)
    probe.cancel()
    await other
    assert sent == near([10, 12])


@virtual_time
async def test_a_refusal_within_the_budget_shapes_the_flow() -> None:
    scheduler = Scheduler(RateLimit(100, 60))
    sent: list[float] = []
    await asyncio.gather(*(answered(scheduler, sent) for _ in range(20)))
    await answered(scheduler, sent, refused=True)
    sent.clear()
    await asyncio.gather(*(answered(scheduler, sent) for _ in range(5)))
    gaps = [later - earlier for earlier, later in pairwise(sent[1:])]
    assert gaps == near([1 / (100 / 60 * 0.99)] * 3)


@virtual_time
async def test_a_refused_request_is_not_counted_and_releases_its_slot() -> None:
    scheduler = Scheduler(RateLimit(10, 60))
    async with scheduler.slot() as slot:
        slot.observe(RateLimitInfo(refused=True, retry_after=1))
    assert scheduler.budget().available == 10


@virtual_time
async def test_quota_headers_that_leave_nothing_pause_everybody_until_the_reset() -> None:
    scheduler = Scheduler(RateLimit(100, 60))
    async with scheduler.slot() as slot:
        slot.observe(RateLimitInfo(remaining=2, reset_after=30))
    assert await gather(scheduler, 4) == near([0, 0, 30, 30])


@virtual_time
async def test_quota_headers_never_raise_the_budget_above_our_own() -> None:
    scheduler = Scheduler(RateLimit(2, 60))
    async with scheduler.slot() as slot:
        slot.observe(RateLimitInfo(remaining=1000, reset_after=1))
    assert await gather(scheduler, 3) == near([0, 60, 60])


def rounded(event: Event) -> Event:
    return replace(event, queued=round(event.queued, 6)) if isinstance(event, Granted) else event


@virtual_time
async def test_events_are_emitted_in_order() -> None:
    scheduler = Scheduler(RateLimit(1, 60, reserve=0))
    events: list[Event] = []
    scheduler.listeners.add(scheduler, events.append)
    async with scheduler.slot() as slot:
        waiting = asyncio.create_task(answered(scheduler, []))
        await asyncio.sleep(1)
        slot.observe(RateLimitInfo(refused=True, retry_after=7))
    await waiting
    assert [rounded(event) for event in events] == [
        Granted(lane=Lane.INTERACTIVE, queued=0.0),
        Queued(lane=Lane.INTERACTIVE, waiting=1),
        Refused(lane=Lane.INTERACTIVE, retry_after=7),
        Paused(seconds=7),
        Granted(lane=Lane.INTERACTIVE, queued=8.0),
    ]


@virtual_time
async def test_a_listener_that_fails_is_logged_and_stops_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    scheduler = Scheduler(RateLimit())
    events: list[Event] = []

    def fail(event: Event) -> None:
        events.append(event)
        raise KeyError("listener")

    scheduler.listeners.add(scheduler, fail)
    await gather(scheduler, 2)
    assert len(events) == 2
    assert "on_event failed on Granted(" in caplog.text


@virtual_time
async def test_events_are_logged_under_the_ratelimits_name(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, logger="devskin_async.ratelimit")
    scheduler = Scheduler(RateLimit())
    async with scheduler.slot() as slot:
        slot.observe(RateLimitInfo(refused=True))
    logged = [
        (record.levelname, record.getMessage().partition("(")[0]) for record in caplog.records
    ]
    assert logged == [("DEBUG", "Granted"), ("INFO", "Refused"), ("INFO", "Paused")]


class SlowStore:
    """A store that takes a while, as one that many share would."""

    where = "valkey"
    immediate = False
    report_within = 0.5
    steps = 0

    def __init__(self) -> None:
        self._store = MemoryStore(now, report_within=0.5)

    async def exchange(self, report: Report) -> Reply:
        await asyncio.sleep(0.01)
        reply = self._store.exchange(report)
        await asyncio.sleep(0.01)
        return reply

    def view(self) -> tuple[BudgetState, float]:
        return self._store.view()

    async def aclose(self) -> None:
        pass


@virtual_time
async def test_a_slow_store_is_waited_for() -> None:
    limit = RateLimit(3, 60)
    scheduler = Scheduler(limit, SlowStore())
    sent = await gather(scheduler, 7, seconds=2)
    assert sent == pytest.approx([0] * 3 + [62] * 3 + [124], abs=0.2)
    async with scheduler.slot() as slot:
        slot.observe(RateLimitInfo(refused=True, retry_after=30))
    await asyncio.sleep(1)
    assert scheduler.budget().paused_for == pytest.approx(29, abs=0.1)
    assert scheduler.budget().in_flight == 0


@virtual_time
async def test_callers_cancelled_during_a_call_to_a_slow_store_leave_no_slot_taken() -> None:
    limit = RateLimit(5, 60)
    scheduler = Scheduler(limit, SlowStore())
    tasks = [asyncio.create_task(request(scheduler, [])) for _ in range(3)]
    await asyncio.sleep(0.005)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    await asyncio.sleep(1)
    budget = scheduler.budget()
    assert (budget.available, budget.in_flight, budget.waiting) == (5, 0, 0)


@virtual_time
async def test_a_slow_store_grants_one_probe_alone_too() -> None:
    limit = RateLimit(100, 60)
    scheduler = Scheduler(limit, SlowStore())
    async with scheduler.slot() as slot:
        slot.observe(RateLimitInfo(refused=True, retry_after=10))
    await asyncio.sleep(20)
    sent: list[float] = []
    await asyncio.gather(*(answered(scheduler, sent, after=5) for _ in range(4)))
    assert min(at - sent[0] for at in sent[1:]) >= 5


@virtual_time
async def test_a_caller_cancelled_at_the_moment_of_its_turn_costs_nothing() -> None:
    scheduler = Scheduler(RateLimit(1, 60))
    sent: list[float] = []
    async with scheduler.slot():
        pass
    unlucky = asyncio.create_task(request(scheduler, sent))
    other = asyncio.create_task(request(scheduler, sent))
    await asyncio.sleep(59)
    loop = asyncio.get_running_loop()
    # Between the grant of the slot and the task that continues with it.
    real = MemoryStore.exchange

    def exchange(self: MemoryStore, report: Report) -> Reply:
        loop.call_soon(unlucky.cancel)
        return real(self, report)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MemoryStore, "exchange", exchange)
        await asyncio.wait([unlucky])
    await other
    assert unlucky.cancelled()
    assert sent == near([60])
    assert scheduler.budget().sent == 2


def test_a_loop_that_closes_with_callers_waiting_leaves_nothing_behind() -> None:
    async def leave() -> None:
        scheduler = Scheduler(RateLimit(1, 60))
        async with scheduler.slot():
            for _ in range(5):
                asyncio.get_running_loop().create_task(request(scheduler, []))
            await asyncio.sleep(1)

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(leave())


class StoppedClockLoop(asyncio.SelectorEventLoop):
    """A loop whose clock moves only when a test sets it."""

    stopped_at = 1000.0

    def time(self) -> float:
        return self.stopped_at


def test_free_slots_are_granted_while_the_clock_stands_still_and_further_ones_when_it_moves() -> (
    None
):
    async def main() -> list[float]:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, StoppedClockLoop)
        scheduler = Scheduler(RateLimit(2, 0.05))
        sent: list[float] = []
        tasks = [asyncio.create_task(request(scheduler, sent)) for _ in range(3)]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        assert sent == [1000.0, 1000.0]
        assert scheduler.budget().waiting == 1
        loop.stopped_at += 0.05
        await asyncio.wait(tasks)
        return sent

    with asyncio.Runner(loop_factory=StoppedClockLoop) as runner:
        assert runner.run(main()) == [1000.0, 1000.0, 1000.05]


@virtual_time
async def test_ten_thousand_waiters_may_all_be_cancelled() -> None:
    scheduler = Scheduler(RateLimit(1, 60))
    sent: list[float] = []
    async with scheduler.slot():
        tasks = [asyncio.create_task(request(scheduler, sent)) for _ in range(10_000)]
        await asyncio.sleep(1)
        assert scheduler.budget().waiting == 10_000
        for task in reversed(tasks[1:]):
            task.cancel()
        await asyncio.wait(tasks[1:])
        assert scheduler.budget().waiting == 1
    await tasks[0]
    assert sent == near([61])


class BusyStore(MemoryStore):
    """A store that is in use by another process, for as many calls as a test sets."""

    busy_for = 0

    def exchange(self, report: Report) -> Reply:
        if self.busy_for:
            self.busy_for -= 1
            raise StoreBusyError
        return super().exchange(report)


@virtual_time
async def test_the_last_report_is_retried_while_the_store_is_busy() -> None:
    store = BusyStore(now, report_within=0.5)
    scheduler = Scheduler(RateLimit(10, 60), store)
    await gather(scheduler, 1)
    store.busy_for = 50
    await scheduler.leave(scheduler)
    state, _ = store.view()
    assert (len(state.in_flight), len(state.answered), state.processes()) == (0, 1, 1)
    state.advance(now() + 60)
    assert state.processes() == 0


@virtual_time
async def test_a_store_that_stays_busy_does_not_delay_the_last_user_for_long() -> None:
    store = BusyStore(now, report_within=0.5)
    scheduler = Scheduler(RateLimit(10, 60), store)
    store.busy_for = 10**9
    start = now()
    await scheduler.leave(scheduler)
    assert now() - start == near(2)


@virtual_time
async def test_a_user_that_joins_during_the_last_report_takes_part() -> None:
    store = BusyStore(now, report_within=0.5)
    scheduler = Scheduler(RateLimit(10, 60), store)
    await gather(scheduler, 1)
    store.busy_for = 50
    leaving = asyncio.create_task(scheduler.leave(scheduler))
    await asyncio.sleep(0.001)
    scheduler.listeners.add(scheduler, None)
    await leaving
    state, _ = store.view()
    state.advance(now() + 60)
    assert state.processes() == 1


@virtual_time
async def test_waiters_get_their_turns_even_if_all_other_tasks_are_cancelled() -> None:
    scheduler = Scheduler(RateLimit(1, 60))
    await gather(scheduler, 1)
    start, sent = now(), list[float]()
    waiting = asyncio.create_task(request(scheduler, sent))
    await asyncio.sleep(1)
    others = asyncio.all_tasks() - {waiting, asyncio.current_task()}
    assert others
    for task in others:
        task.cancel()
    async with asyncio.timeout(100):
        await waiting
    assert sent == near([start + 60])


def test_a_loop_that_ends_while_callers_wait_leaves_no_task_behind() -> None:
    async def end_while_some_wait() -> None:
        scheduler = Scheduler(RateLimit(1, 60))
        waiting.extend(asyncio.create_task(gather(scheduler, 2)) for _ in range(3))
        await asyncio.sleep(1)

    waiting: list[asyncio.Task[list[float]]] = []
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        loop = runner.get_loop()
        runner.run(end_while_some_wait())
    assert not asyncio.all_tasks(loop)
    assert all(task.cancelled() for task in waiting)


@virtual_time
async def test_the_context_of_a_call_is_freed_after_it() -> None:
    class Held:
        """What a caller keeps in its context, such as a database session."""

    async def call() -> weakref.ref[Held]:
        held = Held()
        variable.set(held)
        await gather(scheduler, 2)
        return weakref.ref(held)

    variable = ContextVar[object]("variable")
    scheduler = Scheduler(RateLimit(1, 60))
    held = await asyncio.create_task(call())
    await asyncio.sleep(3)
    gc.collect()
    assert held() is None


@virtual_time
async def test_a_budget_whose_quota_is_used_up_is_paused_until_the_reset() -> None:
    scheduler = Scheduler(RateLimit(10, 60))
    async with scheduler.slot() as slot:
        slot.observe(RateLimitInfo(remaining=0, reset_after=20))
    assert scheduler.budget().paused_for == scheduler.paused_for() == near(20)
    await asyncio.sleep(21)
    assert scheduler.budget().paused_for == 0
