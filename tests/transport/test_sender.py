"""The retry loop: what is sent again, how long it waits, and the bounds of a call."""

from __future__ import annotations

import asyncio
import datetime as dt
import gc
import tracemalloc
from email.utils import format_datetime

import pytest
from aiohttp import web
from aioresponses import CallbackResult, aioresponses

from devskin_async import (
    APIError,
    BudgetExceededError,
    DevSkinClient,
    DevSkinError,
    RateLimit,
    RateLimitedError,
    Retry,
    ServerError,
    TransportError,
)
from devskin_async.api import endpoints
from devskin_async.sandbox import Sandbox
from devskin_async.testing import MockTransport, respond, virtual_time
from devskin_async.transport import Deadline, RequestOptions
from tests import samples
from tests.conftest import AT_ONCE
from tests.serving import KEY, answering, serving
from tests.support import now
from tests.transport.addresses import API, OVERVIEW


@pytest.mark.parametrize("fault", ["500", "502-html", "reset", "truncated"])
async def test_a_transient_fault_is_retried_without_the_caller_noticing(
    box: Sandbox, store: DevSkinClient, fault: str
) -> None:
    box.fail_next(fault, "ok")  # type: ignore[arg-type]  # parametrized
    assert (await store.analytics.overview()).total_products == 120
    assert box.counts.requests == 2


async def test_a_response_later_than_the_timeout_is_retried(box: Sandbox) -> None:
    box.fail_next("slow", "ok")
    async with DevSkinClient(
        box.api_key, base_url=box.base_url, timeout=0.3, retry=AT_ONCE
    ) as store:
        await store.analytics.overview()
    assert box.counts.requests == 2


async def test_each_attempt_takes_a_slot_of_the_budget(box: Sandbox, store: DevSkinClient) -> None:
    box.fail_next("500", "reset", "truncated", "ok")
    await store.analytics.overview()
    assert store.budget.sent == box.counts.requests == 4


@pytest.mark.parametrize("status", [408, 425, 500, 502, 503, 504, 520, 522, 525, 530, 599])
async def test_a_transient_status_is_retried_as_often_as_configured_and_then_raised(
    status: int,
) -> None:
    seen: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append(request.path)
        return web.json_response({"success": False, "error": "later"}, status=status)

    retry = Retry(attempts=3, wait_initial=0, wait_jitter=0)
    async with serving(answer, retry=retry) as store:
        with pytest.raises(APIError, match=f"{status} later"):
            await store.analytics.overview()
    assert len(seen) == 3


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 418, 501, 505])
async def test_any_other_status_is_raised_at_once(status: int) -> None:
    async with serving(answering(b"", status)) as store:
        with pytest.raises(APIError) as caught:
            await store.analytics.overview()
        assert (caught.value.status, store.budget.sent) == (status, 1)


async def test_one_attempt_means_no_retry(box: Sandbox) -> None:
    box.fail_next("500")
    async with DevSkinClient(box.api_key, base_url=box.base_url, retry=Retry(attempts=1)) as store:
        with pytest.raises(ServerError):
            await store.analytics.overview()
    assert box.counts.requests == 1


@pytest.mark.parametrize(
    "values", [{"attempts": 0}, {"wait_initial": -1}, {"wait_max": -1}, {"wait_jitter": -0.1}]
)
def test_invalid_retry_options_are_value_errors(values: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(values))):
        Retry(**values)


@virtual_time
async def test_waits_between_attempts_grow_with_jitter() -> None:
    with aioresponses() as mocked:
        mocked.get(OVERVIEW, status=500, repeat=True)
        retry = Retry(attempts=4, wait_initial=1, wait_max=3, wait_jitter=0.5)
        async with DevSkinClient(KEY, retry=retry) as store:
            start = now()
            with pytest.raises(ServerError):
                await store.analytics.overview()
            assert 1 + 2 + 3 < now() - start <= 1.5 + 2.5 + 3 + 0.01


@pytest.mark.parametrize(("text", "seconds"), [("7", 7), ("86400", 300), ("0.25", 0.25)])
@pytest.mark.parametrize("status", [429, 503])
@virtual_time
async def test_retry_after_in_seconds_is_waited_for(status: int, text: str, seconds: float) -> None:
    with aioresponses() as mocked:
        mocked.get(OVERVIEW, status=status, headers={"Retry-After": text})
        mocked.get(OVERVIEW, body=samples.OVERVIEW)
        async with DevSkinClient(KEY, retry=Retry(wait_initial=1, wait_jitter=0)) as store:
            start = now()
            await store.analytics.overview()
            assert now() - start == pytest.approx(seconds, abs=0.01)


@pytest.mark.parametrize(("status", "waits"), [(429, 2 + 4 + 8 + 16 + 32), (503, 0.5 + 1 + 2)])
@pytest.mark.parametrize("text", ["0", "Tue, 10 Feb 2026 12:00:00 GMT"])
@virtual_time
async def test_a_retry_after_of_zero_still_leaves_the_growing_wait(
    status: int, text: str, waits: float
) -> None:
    with aioresponses() as mocked:
        mocked.get(OVERVIEW, status=status, headers={"Retry-After": text}, repeat=True)
        async with DevSkinClient(KEY, retry=Retry(attempts=4, wait_jitter=0)) as store:
            start = now()
            with pytest.raises(APIError):
                await store.analytics.overview()
            assert now() - start == pytest.approx(waits, abs=0.01)


@virtual_time
async def test_bare_refusals_for_most_of_a_minute_are_waited_out_by_default() -> None:
    with aioresponses() as mocked:
        start = now()

        def answer(*_: object, **__: object) -> CallbackResult:
            if now() - start < 59:
                return CallbackResult(status=429)
            return CallbackResult(body=samples.OVERVIEW)

        mocked.get(OVERVIEW, callback=answer, repeat=True)
        async with DevSkinClient(KEY) as store:
            await store.analytics.overview()
            assert store.budget.refused == 5


@virtual_time
async def test_retry_after_as_a_date_is_waited_for() -> None:
    later = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=90)
    with aioresponses() as mocked:
        mocked.get(
            OVERVIEW, status=429, headers={"Retry-After": format_datetime(later, usegmt=True)}
        )
        mocked.get(OVERVIEW, body=samples.OVERVIEW)
        async with DevSkinClient(KEY) as store:
            start = now()
            await store.analytics.overview()
            assert 80 < now() - start <= 90


@virtual_time
async def test_a_refusal_pauses_the_other_callers_too() -> None:
    with aioresponses() as mocked:
        mocked.get(OVERVIEW, status=429, headers={"Retry-After": "20"})
        mocked.get(OVERVIEW, body=samples.OVERVIEW)
        mocked.get(f"{API}/revenue?period=30d", body=samples.REVENUE)
        async with DevSkinClient(KEY) as store:
            refused = asyncio.create_task(store.analytics.overview())
            await asyncio.sleep(1)
            assert store.budget.paused_for == pytest.approx(19, abs=0.01)
            start = now()
            await store.revenue()
            assert now() - start == pytest.approx(19, abs=0.01)
            assert store.budget.refused == 1
            await refused


@virtual_time
async def test_a_refusal_that_outlasts_the_retries_says_when_to_retry() -> None:
    with aioresponses() as mocked:
        mocked.get(OVERVIEW, status=429, headers={"Retry-After": "20"}, repeat=True)
        async with DevSkinClient(KEY, retry=Retry(attempts=2)) as store:
            with pytest.raises(RateLimitedError) as caught:
                await store.analytics.overview()
    assert caught.value.retry_after == 20


@virtual_time
async def test_the_deadline_covers_attempts_and_the_waits_between_them() -> None:
    with aioresponses() as mocked:
        mocked.get(OVERVIEW, status=500, repeat=True)
        async with DevSkinClient(KEY, retry=Retry(attempts=100, wait_jitter=0)) as store:
            start = now()
            with pytest.raises(TransportError) as caught:
                await store.with_options(deadline=5).analytics.overview()
            assert str(caught.value) == (
                "GET /analytics/overview: no response within the deadline of 5 s "
                "(attempt 4; last attempt: GET /analytics/overview: 500 Internal Server Error; "
                "an empty body)"
            )
            assert now() - start == pytest.approx(5, abs=0.01)


@pytest.mark.parametrize("headers", [{"Retry-After": "60"}, {}])
@virtual_time
async def test_a_refusal_that_outlasts_the_deadline_ends_the_call_at_once(
    headers: dict[str, str],
) -> None:
    with aioresponses() as mocked:
        mocked.get(OVERVIEW, status=429, headers=headers)
        mocked.get(OVERVIEW, body=samples.OVERVIEW)
        async with DevSkinClient(KEY) as store:
            start = now()
            patient = asyncio.create_task(store.analytics.overview())
            with pytest.raises(
                BudgetExceededError, match=r"over the deadline of 1\.5 s; last attempt: "
            ):
                await store.with_options(deadline=1.5).analytics.overview()
            assert now() - start == pytest.approx(0, abs=0.01)
            assert (await patient).total_products == 87


@virtual_time
async def test_a_call_whose_queue_is_longer_than_its_deadline_fails_at_once() -> None:
    with aioresponses() as mocked:
        mocked.get(OVERVIEW, body=samples.OVERVIEW, repeat=True)
        async with DevSkinClient(KEY, rate_limit=RateLimit(1, 60)) as store:
            await store.analytics.overview()
            start = now()
            with pytest.raises(BudgetExceededError) as caught:
                await store.with_options(deadline=5).analytics.overview()
            assert now() - start == pytest.approx(0, abs=0.01)
            assert str(caught.value) == (
                "GET /analytics/overview: would wait 60.0 s for the rate limit, "
                "over the deadline of 5 s; nothing was sent"
            )
            assert caught.value.retry_after == pytest.approx(60, abs=0.01)
            assert store.budget.sent == 1


async def refused_after_a_second(*_: object, **__: object) -> CallbackResult:
    await asyncio.sleep(1)
    return CallbackResult(status=429, headers={"Retry-After": "100"})


@virtual_time
async def test_a_deadline_covers_a_queue_that_turned_out_longer_than_predicted() -> None:
    with aioresponses() as mocked:
        mocked.get(f"{API}/revenue?period=30d", callback=refused_after_a_second)
        async with DevSkinClient(KEY, rate_limit=RateLimit(1, 4), retry=Retry(attempts=1)) as store:
            start = now()
            first = asyncio.create_task(store.revenue())
            await asyncio.sleep(0)
            late = asyncio.create_task(store.with_options(deadline=5).analytics.overview())
            with pytest.raises(RateLimitedError):
                await first
            with pytest.raises(BudgetExceededError, match="deadline of 5 s passed while") as caught:
                await late
            assert str(caught.value).endswith("waited for the rate limit; nothing was sent")
            assert 96 <= caught.value.retry_after <= 101
            assert now() - start == pytest.approx(5, abs=0.01)
            assert store.budget.sent == 1


@virtual_time
async def test_max_wait_is_checked_before_a_request_is_queued() -> None:
    with aioresponses() as mocked:
        mocked.get(OVERVIEW, body=samples.OVERVIEW, repeat=True)
        mocked.get(f"{API}/revenue?period=30d", body=samples.REVENUE)
        async with DevSkinClient(KEY, rate_limit=RateLimit(1, 60)) as store:
            await store.with_options(max_wait=0).analytics.overview()
            await asyncio.sleep(20)
            with pytest.raises(
                BudgetExceededError, match=r"would wait 40\.0 s .* max_wait of 39 s"
            ):
                await store.with_options(max_wait=39).revenue()
            assert store.budget.waiting == 0
            start = now()
            await store.with_options(max_wait=41).revenue()
            assert now() - start == pytest.approx(40, abs=0.01)


@virtual_time
async def test_without_a_deadline_a_caller_waits_its_turn() -> None:
    with aioresponses() as mocked:
        mocked.get(OVERVIEW, body=samples.OVERVIEW, repeat=True)
        async with DevSkinClient(KEY, rate_limit=RateLimit(1, 3600)) as store:
            start = now()
            for _ in range(3):
                await store.analytics.overview()
            assert now() - start == pytest.approx(7200, abs=0.01)


async def test_a_deadline_that_has_passed_sends_nothing(store: DevSkinClient) -> None:
    passed = RequestOptions(deadline=Deadline(5, now() - 1))
    with pytest.raises(TransportError, match="deadline of 5 s"):
        await store.reader.sender.send(endpoints.overview(), passed)
    assert store.budget.sent == 0


@pytest.mark.parametrize(
    ("status", "begins"),
    [
        (404, b'{"success": false, "error": "no such order"}'),
        (200, b'{"success": false, "error": "no such order"}'),
        (200, b'{"success": true, "data": {"order": {"id": 1, "status": 3}}}'),
        (200, b'{"success": true, "data": {}}'),
        (200, b'{"success"'),
    ],
)
async def test_the_body_of_an_error_does_not_wait_for_the_garbage_collector(
    status: int, begins: bytes
) -> None:
    transport = MockTransport(lambda _: respond(status, body=begins + b" " * 1_000_000))

    async def fail() -> None:
        with pytest.raises(DevSkinError):
            await store.orders.get(1)

    async with DevSkinClient(KEY, transport=transport, retry=Retry(1)) as store:
        await fail()
        gc.collect()
        gc.disable()
        tracemalloc.start()
        try:
            for _ in range(5):
                await fail()
            kept, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
            gc.enable()
    assert kept < 1_000_000
