"""Interactive calls go before bulk work, bulk work never starves, and flows share a lane."""

from __future__ import annotations

import asyncio
from collections import Counter
from functools import partial

import pytest

from devskin_async import Lane, RateLimit
from devskin_async.ratelimit import Flow, RequestFlow, Scheduler
from devskin_async.testing import virtual_time

from ..support import now

near = partial(pytest.approx, abs=1e-6)
LIMIT = RateLimit(requests=10, per=60, burst=10, reserve=3)


async def request(
    scheduler: Scheduler, lane: Lane, sent: list[float], flow: RequestFlow | None = None
) -> None:
    async with scheduler.slot(lane, flow):
        sent.append(now())


async def listing(scheduler: Scheduler, pages: int, sent: list[float]) -> None:
    """So many pages of one flow, ten at a time."""
    flow: RequestFlow = Flow()
    at_once = asyncio.Semaphore(10)

    async def page() -> None:
        async with at_once:
            await request(scheduler, Lane.BULK, sent, flow)

    await asyncio.gather(*(page() for _ in range(pages)))


@virtual_time
async def test_bulk_work_leaves_the_reserve_to_interactive_calls() -> None:
    scheduler = Scheduler(LIMIT)
    bulk: list[float] = []
    interactive: list[float] = []
    task = asyncio.create_task(listing(scheduler, 20, bulk))
    await asyncio.sleep(1)
    assert len(bulk) == 7
    for _ in range(3):
        await request(scheduler, Lane.INTERACTIVE, interactive)
    assert interactive == near([1, 1, 1])
    await task
    assert bulk == near([0] * 7 + [60] * 7 + [120] * 6)


@virtual_time
async def test_interactive_calls_that_wait_go_before_bulk_work_that_waited_longer() -> None:
    scheduler = Scheduler(RateLimit(1, 60, reserve=0))
    order: list[str] = []

    async def call(name: str, lane: Lane) -> None:
        async with scheduler.slot(lane):
            order.append(name)

    async with scheduler.slot():
        tasks = [asyncio.create_task(call("bulk", Lane.BULK))]
        await asyncio.sleep(1)
        tasks.append(asyncio.create_task(call("interactive", Lane.INTERACTIVE)))
        await asyncio.sleep(1)
    await asyncio.gather(*tasks)
    assert order == ["interactive", "bulk"]


@virtual_time
async def test_bulk_work_gets_the_reserve_even_if_interactive_calls_come_at_the_full_rate() -> None:
    scheduler = Scheduler(LIMIT)
    bulk: list[float] = []
    calls: list[float] = []
    task = asyncio.create_task(listing(scheduler, 30, bulk))

    async def visitors() -> None:
        while True:
            await request(scheduler, Lane.INTERACTIVE, calls)

    crowd = [asyncio.create_task(visitors()) for _ in range(20)]
    await task
    for visitor in crowd:
        visitor.cancel()
    assert Counter(round(at) for at in bulk) == {60 * minute: 3 for minute in range(1, 11)}


@virtual_time
async def test_interactive_calls_may_use_the_whole_window_when_no_bulk_work_waits() -> None:
    scheduler = Scheduler(LIMIT)
    sent: list[float] = []
    await asyncio.gather(*(request(scheduler, Lane.INTERACTIVE, sent) for _ in range(10)))
    assert sent == near([0] * 10)


@virtual_time
async def test_two_listings_share_evenly_while_both_run() -> None:
    scheduler = Scheduler(RateLimit(100, 60))
    first: list[float] = []
    second: list[float] = []
    one = asyncio.create_task(listing(scheduler, 500, first))
    await asyncio.sleep(10)
    two = asyncio.create_task(listing(scheduler, 500, second))
    await one
    both = first[-1]
    during = [len([at for at in sent if 60 <= at <= both]) for sent in (first, second)]
    assert during[0] == near(during[1]) or abs(during[0] - during[1]) / during[1] < 0.05
    await two


@virtual_time
async def test_a_caller_of_one_request_is_not_behind_a_thousand_queued_ones() -> None:
    scheduler = Scheduler(RateLimit(100, 60))
    flow: RequestFlow = Flow()
    bulk: list[float] = []
    queued = [asyncio.create_task(request(scheduler, Lane.BULK, bulk, flow)) for _ in range(1000)]
    await asyncio.sleep(1)
    one: list[float] = []
    await request(scheduler, Lane.BULK, one)
    assert one == near([60])
    for task in queued:
        task.cancel()


@virtual_time
async def test_a_limit_of_one_request_serves_both_lanes() -> None:
    scheduler = Scheduler(RateLimit(1, 60))
    sent: list[float] = []
    await request(scheduler, Lane.BULK, sent)
    await request(scheduler, Lane.INTERACTIVE, sent)
    assert sent == near([0, 60])
