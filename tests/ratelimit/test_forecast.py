"""A wait is predicted before it begins, and comes true."""

from __future__ import annotations

import asyncio
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devskin_async import Lane, RateLimit
from devskin_async.ratelimit import Flow, MemoryStore, RateLimitInfo, RequestFlow, Scheduler
from devskin_async.testing import virtual_time

from ..support import now


async def request(
    scheduler: Scheduler, lane: Lane, seconds: float, flow: RequestFlow | None = None
) -> float:
    """Send one request whose response takes so many seconds; return when it was sent."""
    async with scheduler.slot(lane, flow):
        went = now()
        await asyncio.sleep(seconds)
        return went


async def all_sent(scheduler: Scheduler, requests: int, lane: Lane, seconds: float) -> float:
    """Send requests of one flow at once; return the seconds until the last was sent."""
    start = now()
    flow: RequestFlow = Flow()
    went = await asyncio.gather(*(request(scheduler, lane, seconds, flow) for _ in range(requests)))
    return max(went) - start


def close(predicted: float, actual: float) -> bool:
    return abs(predicted - actual) <= max(0.1, 0.02 * actual)


@given(
    limit=st.integers(1, 40).flatmap(
        lambda requests: st.builds(
            RateLimit,
            requests=st.just(requests),
            per=st.floats(1, 100),
            burst=st.integers(1, 40),
            reserve=st.integers(0, min(20, requests - 1)),
        )
    ),
    before=st.integers(1, 60),
    pause=st.floats(0, 100),
    further=st.integers(1, 120),
    lane=st.sampled_from(Lane),
    seconds=st.floats(0, 0.02),
)
@virtual_time
async def test_a_forecast_comes_true(  # noqa: PLR0917  # one for each thing that matters
    limit: RateLimit, before: int, pause: float, further: int, lane: Lane, seconds: float
) -> None:
    scheduler = Scheduler(limit)
    await all_sent(scheduler, before, Lane.BULK, seconds)
    await asyncio.sleep(pause)
    predicted = scheduler.forecast(further, lane)
    took = await all_sent(scheduler, further, lane, seconds)
    assert close(predicted, took), f"{limit} {before=} {pause=} {further=} {lane} {seconds=}"


@virtual_time
async def test_a_forecast_counts_requests_that_already_wait() -> None:
    scheduler = Scheduler(RateLimit(10, 60, reserve=0))
    waiting = asyncio.create_task(all_sent(scheduler, 25, Lane.BULK, 0.1))
    await asyncio.sleep(1)
    assert scheduler.budget().forecast(1, lane=Lane.BULK) == pytest.approx(59.1, abs=0.1)
    assert scheduler.budget().forecast(1, lane=Lane.INTERACTIVE) == pytest.approx(59.1, abs=0.1)
    assert scheduler.budget().forecast(100) > 600
    await waiting


@virtual_time
async def test_a_forecast_assumes_that_bulk_work_of_others_continues_between_two_requests() -> None:
    limit = RateLimit(10, 60, reserve=0)
    store = MemoryStore(asyncio.get_running_loop().time, report_within=0.5)
    mine, others = (Scheduler(limit, store, name) for name in ("mine.1", "others.1"))

    async def read_on() -> None:
        while True:
            await request(others, Lane.BULK, 1)

    reading = asyncio.gather(*(read_on() for _ in range(5)))
    await asyncio.sleep(0.5)
    assert (others.budget().in_flight, others.budget().waiting) == (5, 0)
    predicted = mine.forecast(60, Lane.BULK)
    took = await all_sent(mine, 60, Lane.BULK, 1)
    reading.cancel()
    assert predicted == pytest.approx(took, rel=0.1)
    assert took > 500  # and not 300, by itself


@virtual_time
async def test_a_forecast_counts_a_pause() -> None:
    scheduler = Scheduler(RateLimit(10, 60))
    async with scheduler.slot() as slot:
        slot.observe(RateLimitInfo(refused=True, retry_after=42))
    assert scheduler.budget().forecast() == pytest.approx(42, abs=1e-3)


@virtual_time
async def test_a_forecast_changes_nothing() -> None:
    scheduler = Scheduler(RateLimit(10, 60))
    await all_sent(scheduler, 7, Lane.BULK, 0.1)
    before = scheduler.budget()
    for requests in (1, 100, 1000):
        before.forecast(requests)
    assert scheduler.budget() == before


@virtual_time
async def test_a_forecast_of_no_requests_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="requests must be a positive integer, not 0"):
        Scheduler(RateLimit()).budget().forecast(0)


@pytest.mark.parametrize("seed", range(5))
@virtual_time
async def test_a_listing_of_500_pages_is_predicted_with_real_delays(seed: int) -> None:
    rng = random.Random(seed)
    scheduler = Scheduler(RateLimit())
    await request(scheduler, Lane.BULK, 0.12)
    predicted = scheduler.forecast(500, Lane.BULK)
    start = now()
    flow: RequestFlow = Flow()
    at_once = asyncio.Semaphore(10)

    async def page() -> float:
        async with at_once:
            return await request(scheduler, Lane.BULK, 0.04 + rng.expovariate(1 / 0.08), flow)

    went = await asyncio.gather(*(page() for _ in range(500)))
    assert close(predicted, max(went) - start)
