"""Identical calls share a response, which is decoded once, and retried if it is broken."""

from __future__ import annotations

import asyncio
import gc
import sys

import aiohttp
import pytest
from aioresponses import CallbackResult, aioresponses

from devskin_async import (
    AuthenticationError,
    BudgetExceededError,
    DecodeError,
    DevSkinClient,
    Retried,
    Retry,
    TransportError,
)
from devskin_async.api import endpoints
from devskin_async.ratelimit import OnEvent
from devskin_async.sandbox import Sandbox
from devskin_async.testing import virtual_time
from devskin_async.transport.single_flight import SharedCall, Waiter
from tests import samples
from tests.conftest import UNLIMITED
from tests.serving import KEY
from tests.support import now
from tests.transport.addresses import API, OVERVIEW

BROKEN = b'{"success": true, "data": {"total_orders": }'


def client(attempts: int = 6, on_event: OnEvent | None = None) -> DevSkinClient:
    retry = Retry(attempts=attempts, wait_initial=0, wait_jitter=0)
    return DevSkinClient(KEY, rate_limit=UNLIMITED, retry=retry, on_event=on_event)


def page(number: int, rows: bytes = b"", total: int = 5) -> bytes:
    """A page of orders; of rows that a test does not look at, one is enough."""
    return b'{"success": true, "data": {"items": [%b], "total": %d, "page": %d, "limit": 100}}' % (
        rows
        or b'{"id": %d, "order_number": "ORD-1", "status": "paid", "total": 1.5,'
        b' "created_at": "2026-02-10T14:30:00.000Z"}'
        % number,
        total,
        number,
    )


def serve(mocked: aioresponses, *bodies: bytes) -> None:
    """Respond with each body in turn, with the last one from then on."""
    for body in bodies[:-1]:
        mocked.get(OVERVIEW, body=body)
    mocked.get(OVERVIEW, body=bodies[-1], repeat=True)


def serve_pages(mocked: aioresponses, bodies: dict[int, list[bytes]]) -> None:
    for number in range(1, 6):
        for body in bodies.get(number, [page(number)]):
            mocked.get(f"{API}/orders?page={number}&limit=100", body=body)


@virtual_time
async def test_a_broken_response_is_retried_once_for_all_callers_who_share_it() -> None:
    events: list[object] = []
    with aioresponses() as mocked:
        serve(mocked, BROKEN, samples.OVERVIEW)
        async with client(on_event=events.append) as store:
            results = await asyncio.gather(*(store.analytics.overview() for _ in range(5)))
            assert store.budget.sent == 2
    assert all(result is results[0] for result in results)
    assert [event.attempt for event in events if isinstance(event, Retried)] == [1]


@virtual_time
@pytest.mark.parametrize("attempts", [1, 2, 6])
async def test_a_response_that_stays_broken_is_retried_as_often_as_retry_allows(
    attempts: int,
) -> None:
    with aioresponses() as mocked:
        serve(mocked, BROKEN)
        async with client(attempts) as store:
            with pytest.raises(TransportError, match="can't be read as JSON") as caught:
                await store.analytics.overview()
            assert store.budget.sent == attempts
    assert caught.value.attempts == attempts


@virtual_time
async def test_failures_of_all_kinds_count_together() -> None:
    with aioresponses() as mocked:
        for _ in range(2):
            mocked.get(OVERVIEW, status=500)
            mocked.get(OVERVIEW, body=BROKEN)
        mocked.get(OVERVIEW, body=samples.OVERVIEW)
        async with client(attempts=5) as store:
            await store.analytics.overview()
            assert store.budget.sent == 5


@virtual_time
async def test_waits_between_broken_responses_grow() -> None:
    with aioresponses() as mocked:
        for body in (BROKEN, BROKEN, BROKEN, BROKEN, samples.OVERVIEW):
            mocked.get(OVERVIEW, body=body)
        retry = Retry(wait_initial=1, wait_max=5, wait_jitter=0)
        async with DevSkinClient(KEY, rate_limit=UNLIMITED, retry=retry) as store:
            began = now()
            await store.analytics.overview()
            took = now() - began
    assert took == pytest.approx(1 + 2 + 4 + 5, abs=0.01)


@virtual_time
async def test_broken_responses_are_retried_until_the_deadline() -> None:
    with aioresponses() as mocked:
        serve(mocked, BROKEN)
        retry = Retry(attempts=100, wait_initial=4, wait_jitter=0)
        async with DevSkinClient(KEY, rate_limit=UNLIMITED, retry=retry) as store:
            began = now()
            with pytest.raises(TransportError, match="deadline of 10 s"):
                await store.with_options(deadline=10).analytics.overview()
            assert now() - began == pytest.approx(10)


@virtual_time
@pytest.mark.parametrize("attempts", [2, 6])
async def test_a_broken_first_page_is_retried_once(attempts: int) -> None:
    with aioresponses() as mocked:
        serve_pages(mocked, {1: [BROKEN, page(1), BROKEN]})
        async with client(attempts) as store:
            assert [order.id async for order in store.orders.list()] == [1, 2, 3, 4, 5]
            assert store.budget.sent == 6


@virtual_time
async def test_a_broken_response_is_retried_once_even_if_it_is_awaited_at_many_times() -> None:
    with aioresponses() as mocked:
        mocked.get(f"{API}/orders/1234", body=BROKEN)
        mocked.get(f"{API}/orders/1234", body=samples.ORDER, repeat=True)
        async with client(attempts=2) as store:
            orders = await store.orders.get_many([1234] * 10)
            assert store.budget.sent == 2
    assert all(order is orders[0] for order in orders)


@virtual_time
async def test_an_error_of_one_page_is_raised_while_another_is_retried() -> None:
    with aioresponses() as mocked:
        mocked.get(f"{API}/orders?page=1&limit=100", body=page(1))
        mocked.get(f"{API}/orders?page=2&limit=100", body=BROKEN, repeat=True)
        mocked.get(f"{API}/orders?page=3&limit=100", status=503, headers={"Retry-After": "1"})
        mocked.get(f"{API}/orders?page=3&limit=100", status=401)
        retry = Retry(wait_initial=60, wait_max=60, wait_jitter=0)
        async with DevSkinClient(KEY, rate_limit=UNLIMITED, retry=retry, concurrency=3) as store:
            began = now()
            with pytest.raises(AuthenticationError):
                await store.orders.list()
            assert now() - began == pytest.approx(1, abs=0.01)


@virtual_time
async def test_a_task_that_is_cancelled_before_it_began_leaves_nobody_waiting() -> None:
    with aioresponses() as mocked:
        serve(mocked, samples.OVERVIEW)
        async with client() as store:
            before = asyncio.all_tasks()
            call = store.reader.sender.send(endpoints.overview(), store.reader.flow_options())
            for task in asyncio.all_tasks() - before:
                task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            await store.analytics.overview()
            assert store.budget.sent == 1


@virtual_time
async def test_a_listing_that_shares_pages_with_another_reads_each_once() -> None:
    with aioresponses() as mocked:
        serve_pages(mocked, {})
        async with client() as store:
            one, other = await asyncio.gather(store.orders.list(), store.orders.list())
            assert store.budget.sent == 5
    assert all(order is twin for order, twin in zip(one, other, strict=True))


async def test_calls_that_are_over_leave_nothing_for_the_garbage_collector(
    box: Sandbox, store: DevSkinClient
) -> None:
    await store.analytics.overview()
    gc.collect()
    gc.disable()
    try:
        await asyncio.gather(*(store.analytics.overview() for _ in range(5)))
        await store.orders.list()
        await asyncio.sleep(0)
        left = [each for each in gc.get_objects() if isinstance(each, SharedCall | Waiter)]
    finally:
        gc.enable()
    assert left == []


@pytest.mark.skipif(sys.version_info < (3, 12), reason="tasks are eager from Python 3.12 on")
@virtual_time
async def test_a_call_that_ends_before_its_task_is_stored_reaches_its_caller() -> None:
    asyncio.get_running_loop().set_task_factory(getattr(asyncio, "eager_task_factory"))  # noqa: B009  # unknown to Python 3.11's types
    with aioresponses() as mocked:
        mocked.get(OVERVIEW, exception=aiohttp.ClientConnectionError("gone"))
        mocked.get(OVERVIEW, exception=aiohttp.ClientConnectionError("gone"))
        mocked.get(OVERVIEW, body=samples.OVERVIEW)
        async with client(attempts=1) as store:
            with pytest.raises(TransportError, match="gone"):
                await store.analytics.overview()
            with pytest.raises(TransportError, match="gone"):
                await store.reader.sender.send(endpoints.overview(), store.reader.flow_options())
            await store.analytics.overview()


@virtual_time
async def test_a_broken_page_of_a_listing_is_retried() -> None:
    with aioresponses() as mocked:
        serve_pages(mocked, {3: [BROKEN, page(3)]})
        async with client() as store:
            assert [order.id async for order in store.orders.list()] == [1, 2, 3, 4, 5]
            assert store.budget.sent == 6


@virtual_time
async def test_a_page_of_another_shape_ends_a_listing_before_its_turn_comes() -> None:
    with aioresponses() as mocked:
        serve_pages(mocked, {3: [page(3, b'{"id": "three"}')]})
        async with client() as store:
            pages = store.orders.list().pages()
            await anext(pages)
            await asyncio.sleep(1)  # the others have come meanwhile
            with pytest.raises(DecodeError, match=r"items\[0\]\.id"):
                await anext(pages)


@virtual_time
async def test_a_pause_that_outlasts_the_deadline_ends_a_broken_call_at_once() -> None:
    async def broken_later(*_: object, **__: object) -> CallbackResult:
        await asyncio.sleep(1)
        return CallbackResult(body=BROKEN)

    with aioresponses() as mocked:
        mocked.get(OVERVIEW, callback=broken_later, repeat=True)
        mocked.get(f"{API}/orders/1", status=429, headers={"Retry-After": "60"}, repeat=True)
        async with client() as store:
            refused = asyncio.create_task(store.orders.get(1))
            with pytest.raises(
                BudgetExceededError, match="over the deadline of 5 s; last attempt: GET"
            ):
                await store.with_options(deadline=5).analytics.overview()
            assert now() == pytest.approx(1, abs=0.01)
            refused.cancel()
