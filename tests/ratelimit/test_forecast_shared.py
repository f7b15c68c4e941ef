"""A forecast includes the other participants of the budget, as long as they wait too."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from devskin_async import Lane, RateLimit
from devskin_async.ratelimit.state import dumps
from devskin_async.testing import virtual_time

from ..support import now
from .test_shares import Sharing

near = partial(pytest.approx, rel=0.1)


async def served(sharing: Sharing, number: int, requests: int, lane: Lane = Lane.BULK) -> float:
    """Send so many requests at once, and return the seconds until the last was sent."""
    start, before = now(), len(sharing.sent)
    left = iter(range(requests))
    await sharing.work(number, lambda: next(left, None) is not None, lane, callers=requests)
    return max(sent.at for sent in sharing.sent[before:] if sent.by == number) - start


@pytest.mark.parametrize("others", [1, 3])
@pytest.mark.parametrize("requests", [20, 100, 300])
@pytest.mark.parametrize("since", [5, 95])
@virtual_time
async def test_a_forecast_of_a_contested_budget_comes_true(
    others: int, requests: int, since: int
) -> None:
    sharing = Sharing([RateLimit(100, 60, reserve=0)] * (others + 1), seed=others)
    greedy = [asyncio.create_task(sharing.work(each + 1, lambda: True)) for each in range(others)]
    await asyncio.sleep(since)
    predicted = sharing.schedulers[0].forecast(requests, Lane.BULK)
    took = await served(sharing, 0, requests)
    for task in greedy:
        task.cancel()
    await asyncio.wait(greedy)
    assert predicted == near(took)


@virtual_time
async def test_slots_of_others_that_do_not_wait_are_counted_for_one_window_only() -> None:
    sharing = Sharing([RateLimit(100, 60, reserve=0)] * 2, seed=1)
    await served(sharing, 1, 80)
    await asyncio.sleep(1)  # until its responses are reported, it counts as continuing
    predicted = sharing.schedulers[0].forecast(100, Lane.BULK)
    assert predicted == near(60)
    assert await served(sharing, 0, 100) == near(predicted)


@virtual_time
async def test_the_forecast_of_an_interactive_request_passes_the_bulk_work_of_others() -> None:
    sharing = Sharing([RateLimit(100, 60, reserve=10)] * 2, seed=1)
    bulk = asyncio.create_task(sharing.work(1, lambda: True))
    await asyncio.sleep(5)
    assert sharing.schedulers[0].forecast(10, Lane.INTERACTIVE) == 0
    assert sharing.schedulers[0].forecast(11, Lane.INTERACTIVE) == near(55)
    bulk.cancel()
    await asyncio.wait([bulk])


@virtual_time
async def test_a_forecast_of_a_shared_budget_changes_nothing_in_it() -> None:
    sharing = Sharing([RateLimit(100, 60, reserve=0)] * 3, seed=1)
    greedy = [asyncio.create_task(sharing.work(each, lambda: True)) for each in (1, 2)]
    await asyncio.sleep(100)
    before, steps = dumps(sharing.store.view()[0]), sharing.store.steps
    for requests in (1, 100, 1000):
        sharing.schedulers[0].budget().forecast(requests)
    assert dumps(sharing.store.view()[0]) == before
    assert sharing.store.steps == steps
    for task in greedy:
        task.cancel()
    await asyncio.wait(greedy)
