"""Identical calls share one request; a caller that gives up leaves it to the others."""

from __future__ import annotations

import asyncio

import pytest
from aioresponses import aioresponses

from devskin_async import (
    APIError,
    DevSkinClient,
    Lane,
    Product,
    RateLimit,
    Retry,
    ServerError,
    TransportError,
)
from devskin_async.api import Request, Response, endpoints
from devskin_async.sandbox import Sandbox
from devskin_async.testing import MockTransport, respond, virtual_time
from devskin_async.transport import RequestOptions
from tests import samples
from tests.conftest import AT_ONCE
from tests.serving import KEY
from tests.support import now, until
from tests.transport.addresses import API, OVERVIEW


@virtual_time
async def test_an_interactive_call_does_not_wait_for_the_same_read_in_the_bulk_lane() -> None:
    with aioresponses() as mocked:
        mocked.get(OVERVIEW, body=samples.OVERVIEW, repeat=True)
        limit = RateLimit(2, 60, reserve=1)
        async with DevSkinClient(KEY, rate_limit=limit) as store:
            bulk = store.with_options(lane=Lane.BULK)
            await bulk.analytics.overview()
            waiting = asyncio.create_task(bulk.analytics.overview())
            await asyncio.sleep(1)
            start = now()
            await store.analytics.overview()
            assert now() - start == pytest.approx(0, abs=0.01)
            await waiting


async def test_identical_reads_in_flight_share_one_request(
    box: Sandbox, store: DevSkinClient
) -> None:
    results = await asyncio.gather(*(store.analytics.overview() for _ in range(50)))
    assert box.counts.requests == 1
    assert all(result is results[0] for result in results)


async def test_identical_reads_of_views_share_a_request_where_timeout_and_retries_agree(
    box: Sandbox, store: DevSkinClient
) -> None:
    views = [store, store.with_options(timeout=30, retry=AT_ONCE, concurrency=1, max_wait=5)]
    await asyncio.gather(*(view.analytics.overview() for view in views))
    assert box.counts.requests == 1


@virtual_time
async def test_a_short_timeout_does_not_end_the_request_of_a_caller_with_a_long_one() -> None:
    async def overview(_: Request[object]) -> Response:
        await asyncio.sleep(10)
        return respond(body=samples.OVERVIEW)

    once = Retry(attempts=1)
    async with DevSkinClient(KEY, transport=MockTransport(overview), retry=once) as store:
        patient = asyncio.ensure_future(store.analytics.overview())
        await asyncio.sleep(1)
        hasty = store.with_options(timeout=2)
        with pytest.raises(TransportError, match="no response within 2 s"):
            await hasty.analytics.overview()
        assert now() == pytest.approx(3, abs=0.01)
        assert (await patient).total_orders == 1563
        assert store.budget.sent == 2


async def test_a_caller_without_retries_gets_the_error_at_once_while_another_retries(
    box: Sandbox, store: DevSkinClient
) -> None:
    box.fail_next("500", "500")
    once = store.with_options(retry=Retry(attempts=1))
    first, second = await asyncio.gather(
        store.analytics.overview(), once.analytics.overview(), return_exceptions=True
    )
    assert not isinstance(first, BaseException)
    assert isinstance(second, ServerError)
    assert box.counts.requests == 3


@virtual_time
async def test_a_slot_is_held_for_as_long_as_the_timeout_of_a_view_allows() -> None:
    async def overview(_: Request[object]) -> Response:
        await asyncio.sleep(500)
        return respond(body=samples.OVERVIEW)

    async with DevSkinClient(
        KEY, transport=MockTransport(overview), rate_limit=RateLimit(2, 10, burst=2)
    ) as store:
        call = asyncio.ensure_future(store.with_options(timeout=600).analytics.overview())
        await asyncio.sleep(490)
        assert store.budget.in_flight == 1
        await call


async def test_different_reads_are_different_requests(box: Sandbox, store: DevSkinClient) -> None:
    await asyncio.gather(store.orders.page(1), store.orders.page(2), store.orders.page(1, limit=5))
    assert box.counts.requests == 3


async def test_a_record_and_a_raw_row_of_the_same_read_are_not_mixed_up(
    box: Sandbox, store: DevSkinClient
) -> None:
    call = endpoints.products(1, 100)
    options = RequestOptions()
    page, raw = await asyncio.gather(
        store.reader.sender.send(call, options),
        store.reader.sender.send(endpoints.raw(call), options),
    )
    assert box.counts.requests == 2
    assert isinstance(page.items[0], Product)
    assert b"slug" in bytes(raw.items[0])


async def test_a_later_read_is_a_request_of_its_own(box: Sandbox, store: DevSkinClient) -> None:
    await store.analytics.overview()
    await store.analytics.overview()
    assert box.counts.requests == 2


async def test_an_error_reaches_everyone_who_shares_it(box: Sandbox, store: DevSkinClient) -> None:
    results = await asyncio.gather(
        *(store.orders.get(999_999) for _ in range(5)), return_exceptions=True
    )
    assert [type(result).__name__ for result in results] == ["NotFoundError"] * 5
    assert box.counts.requests == 1


@virtual_time
async def test_cancelling_one_caller_of_a_shared_request_leaves_it_to_the_others() -> None:
    with aioresponses() as mocked:
        mocked.get(OVERVIEW, body=samples.OVERVIEW)
        async with DevSkinClient(KEY, rate_limit=RateLimit(1, 60)) as store:
            mocked.get(f"{API}/orders/1", status=404)
            with pytest.raises(APIError):
                await store.orders.get(1)
            tasks = [asyncio.create_task(store.analytics.overview()) for _ in range(3)]
            await asyncio.sleep(1)
            tasks[0].cancel()
            first, *others = await asyncio.gather(*tasks, return_exceptions=True)
            assert isinstance(first, asyncio.CancelledError)
            assert [type(other).__name__ for other in others] == ["Overview"] * 2
            assert store.budget.sent == 2


@virtual_time
async def test_after_all_callers_of_a_request_gave_up_a_new_read_is_a_new_request() -> None:
    with aioresponses() as mocked:
        mocked.get(OVERVIEW, body=samples.OVERVIEW, repeat=True)
        async with DevSkinClient(KEY, rate_limit=RateLimit(1, 60)) as store:
            await store.analytics.overview()
            tasks = [asyncio.create_task(store.analytics.overview()) for _ in range(3)]
            await asyncio.sleep(1)
            for task in tasks:
                task.cancel()
            renewed = asyncio.create_task(store.analytics.overview())
            await asyncio.wait(tasks)
            assert all(task.cancelled() for task in tasks)
            await renewed
            assert store.budget.sent == 2
            assert store.budget.waiting == 0


async def test_the_last_caller_to_give_up_cancels_the_request(
    store: DevSkinClient, box: Sandbox
) -> None:
    box.fail_next("slow", "slow")
    callers = [asyncio.create_task(store.orders.get(1)) for _ in range(2)]
    await until(lambda: store.budget.in_flight)
    callers[0].cancel()
    await asyncio.wait([callers[0]])
    assert store.budget.in_flight == 1
    callers[1].cancel()
    await asyncio.wait(callers)
    await until(lambda: not store.budget.in_flight)
    assert store.budget.in_flight == 0


async def test_a_listing_that_is_left_early_cancels_its_requests() -> None:
    async with (
        Sandbox(orders=1000, limiter="none") as box,
        DevSkinClient(box.api_key, base_url=box.base_url, concurrency=4) as store,
    ):
        box.fail_next("ok", "ok", "slow", "slow", "slow", "slow", "slow", "slow")
        async for row in store.orders.list():
            if row.id == 950:
                break
        await until(lambda: not store.budget.in_flight)
        assert box.counts.requests <= 6
