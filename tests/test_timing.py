"""Each result and error can say how long it queued and how often it was sent."""

from __future__ import annotations

import gc

import pytest
from aioresponses import aioresponses

from devskin_async import DevSkinClient, NotFoundError, RateLimit, Retried, Timing, timing
from devskin_async import timing as timing_of
from devskin_async.client import DEFAULT_BASE_URL
from devskin_async.sandbox import Sandbox
from devskin_async.testing import virtual_time
from devskin_async.timing import _timings, remember

from . import samples
from .conftest import AT_ONCE


async def test_a_result_says_how_often_it_was_sent(box: Sandbox, store: DevSkinClient) -> None:
    box.fail_next("500", "reset", "ok")
    overview = await store.analytics.overview()
    taken = timing(overview)
    assert taken is not None
    assert taken.attempts == 3


@virtual_time
async def test_a_result_says_how_long_it_queued() -> None:
    with aioresponses() as mocked:
        mocked.get(f"{DEFAULT_BASE_URL}/analytics/overview", body=samples.OVERVIEW, repeat=True)
        async with DevSkinClient("dsk_secret_key", rate_limit=RateLimit(1, 60)) as store:
            overviews = [await store.analytics.overview() for _ in range(2)]
    at_once, later = map(timing, overviews)
    assert at_once is not None
    assert later is not None
    assert at_once.queued == pytest.approx(0, abs=0.01)
    assert later.queued == pytest.approx(60, abs=0.01)


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
