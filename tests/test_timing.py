"""Each result and error can say how long it queued and how often it was sent."""

from __future__ import annotations

import asyncio
import gc

import pytest

from devskin_async import DevSkinClient, NotFoundError, RateLimit, Retried, Timing, timing
from devskin_async import timing as timing_of
from devskin_async.sandbox import Sandbox
from devskin_async.timing import _timings, remember

from .conftest import AT_ONCE


async def test_a_result_says_how_often_it_was_sent(box: Sandbox, store: DevSkinClient) -> None:
    box.fail_next("500", "reset", "ok")
    overview = await store.analytics.overview()
    taken = timing(overview)
    assert taken is not None
    assert taken.attempts == 3


async def test_a_result_says_how_long_it_queued(box: Sandbox) -> None:
    limit = RateLimit(1, 0.2)
    async with DevSkinClient(box.api_key, base_url=box.base_url, rate_limit=limit) as store:
        first, second = await asyncio.gather(store.orders.page(1), store.orders.page(2))
    at_once, later = timing(first), timing(second)
    assert at_once is not None
    assert later is not None
    assert at_once.queued < 0.2 <= later.queued


async def test_an_error_says_it_too(store: DevSkinClient) -> None:
    with pytest.raises(NotFoundError) as caught:
        await store.orders.get(9999)
    taken = timing(caught.value)
    assert taken is not None
    assert taken.attempts == 1


def test_a_value_of_no_call_has_no_timing() -> None:
    assert timing_of(object()) is None


def test_a_timing_goes_with_its_value() -> None:
    gc.collect()
    before = len(_timings)
    error = NotFoundError(404, "short-lived", "GET", "/orders/1")
    remember(error, Timing(queued=0.0, attempts=1))
    assert len(_timings) == before + 1
    del error
    gc.collect()
    assert len(_timings) == before


async def test_a_listener_is_told_of_every_retry(box: Sandbox) -> None:
    told: list[object] = []
    async with DevSkinClient(
        box.api_key, base_url=box.base_url, retry=AT_ONCE, on_event=told.append
    ) as store:
        box.fail_next("500", "ok")
        await store.analytics.overview()
    retried = [event for event in told if isinstance(event, Retried)]
    assert retried == [
        Retried(
            request="GET /analytics/overview",
            attempt=1,
            reason="500 Internal server error",
            wait=0,
        )
    ]


async def test_a_client_that_is_closed_is_told_no_more(box: Sandbox) -> None:
    told: list[object] = []
    async with DevSkinClient(box.api_key, base_url=box.base_url, on_event=told.append) as store:
        await store.analytics.overview()
    seen = len(told)
    async with DevSkinClient(box.api_key, base_url=box.base_url) as store:
        await store.analytics.overview()
    assert len(told) == seen > 0
