"""Callers wait their turn for a slot of the budget; an hour passes in a millisecond."""

from __future__ import annotations

import asyncio
import random
from functools import partial

import pytest

from devskin_async import RateLimit
from devskin_async.ratelimit import Scheduler, Told
from devskin_async.testing import virtual_time

# A turn of the virtual clock is a nanosecond.
near = partial(pytest.approx, abs=1e-6)


def now() -> float:
    return asyncio.get_running_loop().time()


async def request(scheduler: Scheduler, sent: list[float], seconds: float = 0.0) -> None:
    async with scheduler.slot():
        sent.append(now())
        await asyncio.sleep(seconds)


async def gather(scheduler: Scheduler, callers: int, seconds: float = 0.0) -> list[float]:
    sent: list[float] = []
    await asyncio.gather(*(request(scheduler, sent, seconds) for _ in range(callers)))
    return sent


@virtual_time
async def test_a_free_slot_is_had_at_once() -> None:
    start = now()
    assert await gather(Scheduler(RateLimit(100, 60)), 100) == near([start] * 100)


@virtual_time
async def test_what_is_over_the_limit_waits_until_per_after_the_answers() -> None:
    start = now()
    sent = await gather(Scheduler(RateLimit(3, 60)), 7, seconds=2)
    assert sent == near([start] * 3 + [start + 62] * 3 + [start + 124])


@virtual_time
async def test_callers_go_first_come_first_served() -> None:
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
async def test_a_slot_tells_how_long_its_caller_queued() -> None:
    scheduler = Scheduler(RateLimit(1, 60))
    async with scheduler.slot() as slot:
        assert slot.queued == near(0)
    async with scheduler.slot() as slot:
        assert slot.queued == near(60)


@virtual_time
async def test_a_refusal_holds_everybody_back_and_a_shorter_one_does_not_shorten_it() -> None:
    scheduler = Scheduler(RateLimit(100, 60))
    start = now()
    async with scheduler.slot() as one, scheduler.slot() as another:
        one.answered(Told(refused=True, retry_after=30))
        another.answered(Told(refused=True, retry_after=5))
    assert scheduler.budget().paused_for == near(30)
    assert await gather(scheduler, 2) == near([start + 30] * 2)
    assert scheduler.budget().paused_for == 0


@virtual_time
async def test_a_refusal_that_says_no_time_pauses_for_longer_each_time_up_to_the_window() -> None:
    scheduler = Scheduler(RateLimit(100, 60))
    pauses: list[float] = []
    for _ in range(7):
        async with scheduler.slot() as slot:
            slot.answered(Told(refused=True))
            slot.answered(Told(refused=True))  # of the same burst
        pauses.append(scheduler.budget().paused_for)
    assert pauses == near([2, 4, 8, 16, 32, 60, 60])
    async with scheduler.slot() as slot:
        slot.answered(Told())
    async with scheduler.slot() as slot:
        slot.answered(Told(refused=True))
    assert scheduler.budget().paused_for == near(2)


@virtual_time
async def test_a_refusal_that_comes_while_a_caller_waits_for_the_bucket_holds_it_too() -> None:
    scheduler = Scheduler(RateLimit(requests=60, per=60, burst=1))
    start = now()
    sent: list[float] = []
    await request(scheduler, sent)
    waiting = asyncio.create_task(request(scheduler, sent))
    await asyncio.sleep(0.5)
    scheduler._pause(10)
    await waiting
    assert sent == near([start, start + 10.5])


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
