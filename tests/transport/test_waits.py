"""Refusals, pauses and bounds: how long a call waits for the rate limit, and its errors."""

from __future__ import annotations

import asyncio
import datetime as dt
import gc
import logging
import math
import re
from collections.abc import Callable
from email.utils import format_datetime

import pytest
from aioresponses import CallbackResult, aioresponses
from hypothesis import given
from hypothesis import strategies as st

from devskin_async import (
    BudgetExceededError,
    DevSkinClient,
    Granted,
    Lane,
    RateLimit,
    RateLimitedError,
    Retried,
    Retry,
    ServerError,
    TransportError,
)
from devskin_async.ratelimit import Scheduler
from devskin_async.sandbox import Sandbox
from devskin_async.testing import virtual_time
from tests import samples
from tests.conftest import AT_ONCE
from tests.serving import KEY
from tests.support import now, until
from tests.transport.addresses import API, OVERVIEW

REVENUE = f"{API}/revenue?period=30d"


async def never(*_: object, **__: object) -> CallbackResult:
    await asyncio.sleep(1e6)
    raise AssertionError


def refusing_until(moment: float, **headers: str) -> Callable[..., CallbackResult]:
    """Respond with 429 up to a moment of the loop's clock, and with the overview from then on."""

    def answer(*_: object, **__: object) -> CallbackResult:
        if now() < moment:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            return CallbackResult(status=429, headers=named)
        return CallbackResult(body=samples.OVERVIEW)

    return answer


@pytest.mark.parametrize("headers", [{"Retry_After": "8"}, {}])
@virtual_time
async def test_max_wait_bounds_the_wait_after_a_refusal_too(headers: dict[str, str]) -> None:
    with aioresponses() as mocked:
        mocked.get(OVERVIEW, callback=refusing_until(8, **headers), repeat=True)
        async with DevSkinClient(KEY) as store:
            with pytest.raises(BudgetExceededError) as caught:
                await store.with_options(max_wait=0.5).analytics.overview()
            assert now() < 0.1
    assert caught.value.retry_after == pytest.approx(8 if headers else 2, abs=0.1)
    assert str(caught.value).startswith("GET /analytics/overview: would wait ")
    assert "over the max_wait of 0.5 s; last attempt: GET /analytics/overview: 429" in str(
        caught.value
    )


@virtual_time
async def test_max_wait_bounds_a_caller_that_joins_a_call_during_its_pause() -> None:
    with aioresponses() as mocked:
        mocked.get(OVERVIEW, callback=refusing_until(6, Retry_After="6"), repeat=True)
        async with DevSkinClient(KEY) as store:
            patient = asyncio.create_task(store.analytics.overview())
            await asyncio.sleep(0.3)
            with pytest.raises(BudgetExceededError) as caught:
                await store.with_options(max_wait=0.5).analytics.overview()
            assert now() == pytest.approx(0.3, abs=0.01)
            assert caught.value.retry_after == pytest.approx(5.7, abs=0.05)
            assert (await patient).total_products == 87


@virtual_time
async def test_max_wait_ends_a_wait_that_turned_out_longer_than_predicted() -> None:
    with aioresponses() as mocked:
        mocked.get(OVERVIEW, body=samples.OVERVIEW, repeat=True)
        mocked.get(REVENUE, status=429, headers={"Retry-After": "60"}, repeat=True)
        async with DevSkinClient(KEY, rate_limit=RateLimit(2, 4, burst=2)) as store:
            await store.analytics.overview()
            await asyncio.sleep(2)
            revenue = asyncio.create_task(store.revenue())
            waiting = asyncio.create_task(store.with_options(max_wait=3).analytics.overview())
            start = now()
            with pytest.raises(BudgetExceededError, match="its whole max_wait of 3 s; nothing was"):
                await waiting
            assert now() - start == pytest.approx(3, abs=0.01)
            revenue.cancel()


@given(max_wait=st.floats(0, 30), pause=st.integers(1, 40), begun=st.floats(0, 20))
def test_no_caller_waits_for_the_rate_limit_longer_than_it_may(
    max_wait: float, pause: int, begun: float
) -> None:
    @virtual_time
    async def play() -> None:
        with aioresponses() as mocked:
            answer = refusing_until(pause, Retry_After=str(pause))
            mocked.get(OVERVIEW, callback=answer, repeat=True)
            async with DevSkinClient(KEY) as store:
                others = asyncio.create_task(store.analytics.overview())
                await asyncio.sleep(begun)
                start = now()
                try:
                    await store.with_options(max_wait=max_wait).analytics.overview()
                except BudgetExceededError as error:
                    assert max_wait < pause - begun + 0.01
                    assert error.retry_after == pytest.approx(pause - start, abs=0.1)
                else:
                    assert max_wait > pause - begun - 0.01
                assert now() - start <= max_wait + 0.01
                await others

    play()


@pytest.mark.parametrize("max_wait", [None, 20.0])
@virtual_time
async def test_the_wait_after_a_server_error_is_not_a_wait_for_the_rate_limit(
    max_wait: float | None,
) -> None:
    with aioresponses() as mocked:
        mocked.get(OVERVIEW, status=503, headers={"Retry-After": "30"})
        mocked.get(OVERVIEW, body=samples.OVERVIEW)
        async with DevSkinClient(KEY) as store:
            await store.with_options(max_wait=max_wait).analytics.overview()
            assert now() == pytest.approx(30, abs=0.01)


@pytest.mark.parametrize("behind", [dt.timedelta(hours=1), dt.timedelta(hours=-1)])
@pytest.mark.parametrize("header", ["Retry-After", "X-RateLimit-Reset"])
@virtual_time
async def test_a_pause_follows_the_servers_clock_even_if_this_machines_is_wrong(
    behind: dt.timedelta, header: str
) -> None:
    there = dt.datetime.now(dt.UTC).replace(microsecond=0) + behind
    until = there + dt.timedelta(seconds=5)
    reset = format_datetime(until, usegmt=True) if header == "Retry-After" else until.timestamp()
    headers = {
        "Date": format_datetime(there, usegmt=True),
        "X-RateLimit-Remaining": "0",
        header: f"{reset:.0f}" if isinstance(reset, float) else reset,
    }
    with aioresponses() as mocked:
        mocked.get(OVERVIEW, status=429, headers=headers)
        mocked.get(OVERVIEW, body=samples.OVERVIEW)
        async with DevSkinClient(KEY) as store:
            await store.analytics.overview()
    assert now() == pytest.approx(5, abs=1)


@pytest.mark.parametrize("attempts", [2, 4, 6])
@virtual_time
async def test_a_refusal_uses_up_no_attempt_and_is_waited_out_for_a_whole_window(
    attempts: int,
) -> None:
    with aioresponses() as mocked:
        mocked.get(OVERVIEW, callback=refusing_until(59.9), repeat=True)
        async with DevSkinClient(KEY, retry=Retry(attempts=attempts)) as store:
            assert (await store.analytics.overview()).total_products == 87
            assert store.budget.refused == 5


@pytest.mark.parametrize("per", [1.0, 60.0])
@virtual_time
async def test_the_error_of_a_call_refused_for_over_a_window_says_why_and_when_to_retry(
    per: float,
) -> None:
    with aioresponses() as mocked:
        mocked.get(OVERVIEW, callback=refusing_until(math.inf, Retry_After="0"), repeat=True)
        async with DevSkinClient(KEY, rate_limit=RateLimit(100, per)) as store:
            with pytest.raises(RateLimitedError) as caught:
                await store.analytics.overview()
            assert per <= now() <= 2.5 * per
            pause = store.budget.paused_for
    error = caught.value
    assert error.retry_after == pytest.approx(pause, abs=0.01)
    assert pause > 0
    assert str(error) == (
        "GET /analytics/overview: 429 Too Many Requests; an empty body; rate-limited for more "
        f"than {per:g} s, probably because another program uses this API key; retry in "
        f"{math.ceil(pause)} s"
    )


@pytest.mark.parametrize("retry_after", [{}, {"Retry-After": "5"}])
@pytest.mark.parametrize("left", [1, 5, 20])
@virtual_time
async def test_a_call_that_is_merely_behind_others_of_its_client_does_not_fail(
    left: int, retry_after: dict[str, str]
) -> None:
    accepted: list[float] = []

    def answer(*_: object, **__: object) -> CallbackResult:
        if sum(at > now() - 60 for at in accepted) >= left:
            return CallbackResult(status=429, headers=retry_after)
        accepted.append(now())
        return CallbackResult(body=samples.OVERVIEW)

    with aioresponses() as mocked:
        for period in ("7d", "30d", "90d", "1y"):
            mocked.get(f"{API}/revenue?period={period}", callback=answer, repeat=True)
        mocked.get(re.compile(r".*/orders\?.*"), callback=answer, repeat=True)
        async with DevSkinClient(KEY) as store:
            calls = [store.orders.page(number) for number in range(1, 31)]
            results = await asyncio.gather(*calls, return_exceptions=True)
    assert not [error for error in results if isinstance(error, RateLimitedError)]


@virtual_time
async def test_a_refusal_after_a_failure_is_not_a_window_of_refusals() -> None:
    with aioresponses() as mocked:
        mocked.get(OVERVIEW, status=429, headers={"Retry-After": "1"})
        mocked.get(OVERVIEW, status=503, headers={"Retry-After": "61"})
        mocked.get(OVERVIEW, status=429, headers={"Retry-After": "1"})
        mocked.get(OVERVIEW, body=samples.OVERVIEW)
        async with DevSkinClient(KEY) as store:
            assert (await store.analytics.overview()).total_products == 87


@virtual_time
async def test_all_refused_calls_fail_together() -> None:
    async def refuse(*_: object, **__: object) -> CallbackResult:
        await asyncio.sleep(0.1)  # so that all of them are under way
        return CallbackResult(status=429)

    with aioresponses() as mocked:
        mocked.get(re.compile(r".*/orders/.*"), callback=refuse, repeat=True)
        async with DevSkinClient(KEY) as store:
            calls = [store.orders.get(number) for number in range(1, 41)]
            errors = await asyncio.gather(*calls, return_exceptions=True)
            assert 60 <= now() < 150
    assert {type(error) for error in errors} == {RateLimitedError}
    assert all("another program uses" in str(error) for error in errors)


@virtual_time
async def test_a_refusal_long_after_the_last_one_is_waited_out_again() -> None:
    with aioresponses() as mocked:
        mocked.get(OVERVIEW, status=429, repeat=True)
        mocked.get(REVENUE, status=429)
        mocked.get(REVENUE, body=samples.REVENUE)
        async with DevSkinClient(KEY) as store:
            with pytest.raises(RateLimitedError):
                await store.analytics.overview()
            await asyncio.sleep(3600)
            assert (await store.revenue()).period == "30d"


@virtual_time
async def test_refusals_between_failures_do_not_use_up_their_attempts() -> None:
    with aioresponses() as mocked:
        for status in (500, 429, 502, 429, 429):
            mocked.get(OVERVIEW, status=status)
        mocked.get(OVERVIEW, body=samples.OVERVIEW)
        async with DevSkinClient(KEY, retry=Retry(3, wait_initial=0, wait_jitter=0)) as store:
            await store.analytics.overview()
            assert store.budget.sent == 6


@virtual_time
async def test_failures_between_refusals_are_counted() -> None:
    with aioresponses() as mocked:
        for status in (500, 429, 502, 429, 500):
            mocked.get(OVERVIEW, status=status)
        async with DevSkinClient(KEY, retry=Retry(3, wait_initial=0, wait_jitter=0)) as store:
            with pytest.raises(ServerError):
                await store.analytics.overview()


@virtual_time
async def test_with_retries_off_a_refusal_is_raised_at_once() -> None:
    with aioresponses() as mocked:
        mocked.get(OVERVIEW, status=429, headers={"Retry-After": "7"}, repeat=True)
        async with DevSkinClient(KEY, retry=Retry(attempts=1)) as store:
            with pytest.raises(RateLimitedError) as caught:
                await store.analytics.overview()
            assert (now() < 0.1, caught.value.retry_after) == (True, 7)


@virtual_time
async def test_a_deadline_that_passes_in_the_queue_is_a_budget_error_with_the_wait() -> None:
    with aioresponses() as mocked:
        mocked.get(OVERVIEW, body=samples.OVERVIEW, repeat=True)
        mocked.get(REVENUE, status=429, headers={"Retry-After": "60"}, repeat=True)
        async with DevSkinClient(KEY, rate_limit=RateLimit(2, 4, burst=2)) as store:
            await store.analytics.overview()
            await asyncio.sleep(2)
            revenue = asyncio.create_task(store.revenue())
            late = asyncio.create_task(store.with_options(deadline=3).analytics.overview())
            with pytest.raises(BudgetExceededError, match="of 3 s passed while it wait") as caught:
                await late
            assert now() == pytest.approx(5, abs=0.01)
            assert 57 <= caught.value.retry_after < 65
            revenue.cancel()


@virtual_time
async def test_a_deadline_that_passes_on_the_wire_or_in_a_backoff_is_a_transport_error() -> None:
    with aioresponses() as mocked:
        mocked.get(OVERVIEW, status=503, headers={"Retry-After": "30"}, repeat=True)
        async with DevSkinClient(KEY) as store:
            with pytest.raises(TransportError, match="can't be retried before the deadline"):
                await store.with_options(deadline=5).analytics.overview()


@virtual_time
async def test_a_retry_is_one_warning_that_says_request_reason_and_wait(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with aioresponses() as mocked:
        mocked.get(OVERVIEW, status=503, headers={"Retry-After": "7"})
        mocked.get(OVERVIEW, body=samples.OVERVIEW)
        async with DevSkinClient(KEY) as store:
            await store.analytics.overview()
    (record,) = caplog.records
    assert record.getMessage() == (
        "GET /analytics/overview: attempt 1 failed, trying again in 7.0 s: "
        "503 Service Unavailable; an empty body"
    )
    assert record.levelno == logging.WARNING
    assert record.name.startswith("devskin_async")


@virtual_time
async def test_a_burst_of_refusals_is_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    with aioresponses() as mocked:

        async def refuse(*_: object, **__: object) -> CallbackResult:
            await asyncio.sleep(0.1)  # so that all of them are under way
            return CallbackResult(status=429, headers={"Retry-After": "8"})

        for number in range(1, 41):
            mocked.get(f"{API}/orders/{number}", callback=refuse)
        async with DevSkinClient(KEY) as store:
            calls = [asyncio.create_task(store.orders.get(number)) for number in range(1, 41)]
            await asyncio.sleep(1)
            assert store.budget.refused == 40
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
    warnings = [each for each in caplog.records if each.levelno >= logging.WARNING]
    assert len(warnings) == 1
    assert "trying again in 8.0 s: 429 Too Many Requests" in warnings[0].getMessage()


@virtual_time
async def test_a_retry_event_has_the_seconds_until_the_next_attempt() -> None:
    events: list[tuple[float, Retried]] = []
    sent: list[float] = []

    def listen(event: object) -> None:
        if isinstance(event, Retried):
            events.append((now(), event))

    def answer(*_: object, **__: object) -> CallbackResult:
        sent.append(now())
        statuses = (500, 503, 429)
        if len(sent) <= len(statuses):
            headers = {"Retry-After": "9"} if len(sent) == 3 else {}
            return CallbackResult(status=statuses[len(sent) - 1], headers=headers)
        return CallbackResult(body=samples.OVERVIEW)

    with aioresponses() as mocked:
        mocked.get(OVERVIEW, callback=answer, repeat=True)
        async with DevSkinClient(KEY, on_event=listen) as store:
            await store.analytics.overview()
    for (at, event), again in zip(events, sent[1:], strict=True):
        # After a refusal the bucket is empty too, which takes less than a second.
        assert at + event.wait - 0.05 <= again <= at + event.wait + 1


@virtual_time
async def test_a_queued_call_is_joined_even_if_a_new_one_would_wait_too_long() -> None:
    with aioresponses() as mocked:
        mocked.get(OVERVIEW, body=samples.OVERVIEW, repeat=True)
        mocked.get(re.compile(r".*/orders/.*"), status=404, repeat=True)
        async with DevSkinClient(KEY, rate_limit=RateLimit(10, 60)) as store:
            first = [store.orders.get(number) for number in range(1, 11)]
            await asyncio.gather(*first, return_exceptions=True)
            queued = asyncio.create_task(store.analytics.overview())
            await asyncio.sleep(0.1)
            behind = [asyncio.create_task(store.orders.get(n)) for n in range(11, 61)]
            await asyncio.sleep(0.9)
            joined = await store.with_options(max_wait=100, deadline=100).analytics.overview()
            assert joined is await queued
            for call in behind:
                call.cancel()


@virtual_time
async def test_thousands_of_calls_whose_bounds_end_together_fail_without_a_forecast_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    forecasts = 0
    original = Scheduler.forecast

    def counted(self: Scheduler, requests: int, lane: Lane) -> float:
        nonlocal forecasts
        forecasts += 1
        return original(self, requests, lane)

    with aioresponses() as mocked:
        mocked.get(re.compile(r".*/orders/.*"), status=429, headers={"Retry-After": "1"})
        mocked.get(re.compile(r".*/orders/.*"), callback=never, repeat=True)
        async with DevSkinClient(KEY, rate_limit=RateLimit(1, 1)) as store:
            view = store.with_options(deadline=400, max_wait=300)
            calls = [asyncio.create_task(view.orders.get(n)) for n in range(1, 301)]
            await asyncio.sleep(1)
            monkeypatch.setattr(Scheduler, "forecast", counted)
            errors = await asyncio.gather(*calls, return_exceptions=True)
    assert sum(isinstance(error, BudgetExceededError) for error in errors) > 250
    assert forecasts < 30


@pytest.mark.parametrize("requests", [1, 3])
async def test_a_connection_that_was_never_made_takes_no_slot(
    requests: int, unused_tcp_port: int
) -> None:
    url = f"http://127.0.0.1:{unused_tcp_port}"
    async with DevSkinClient(
        KEY, base_url=url, rate_limit=RateLimit(requests, 3600), retry=AT_ONCE
    ) as store:
        for _ in range(2):
            with pytest.raises(TransportError, match="can't connect") as caught:
                await store.analytics.overview()
            assert not caught.value.sent
        assert store.budget.available == requests


@pytest.mark.parametrize("end", ["deadline", "cancel"])
async def test_a_call_that_ends_while_it_connects_takes_no_slot(end: str) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    # The TLS handshake is a part of connecting, and this server never responds to it.
    url, limit = f"https://127.0.0.1:{port}", RateLimit(3, 3600, reserve=0)
    async with server, DevSkinClient(KEY, base_url=url, rate_limit=limit) as store:
        for number in range(1, 6):
            if end == "deadline":
                with pytest.raises(TransportError, match="deadline"):
                    await store.with_options(deadline=0.05).orders.get(number)
            else:
                call = asyncio.create_task(store.orders.get(number))
                await until(lambda: store.budget.in_flight)
                await asyncio.sleep(0)
                call.cancel()
                await asyncio.wait([call])
            await until(lambda: not store.budget.in_flight)
        assert store.budget.available == 3


class Listening:
    """Compares by what it holds, as dataclasses do, and so has no hash."""

    def __init__(self) -> None:
        self.heard: list[object] = []

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Listening)

    __hash__ = None  # type: ignore[assignment]  # as `@dataclass` sets it

    def __call__(self, event: object) -> None:
        self.heard.append(event)


async def test_each_client_has_its_listener_to_itself(box: Sandbox) -> None:
    listening = Listening()
    async with DevSkinClient(box.api_key, base_url=box.base_url, on_event=listening) as one:
        async with DevSkinClient(box.api_key, base_url=box.base_url, on_event=listening) as other:
            await other.analytics.overview()
        listening.heard.clear()
        await one.analytics.overview()
        assert len([event for event in listening.heard if isinstance(event, Granted)]) == 1


async def test_a_listener_that_ends_the_program_keeps_no_slot(box: Sandbox) -> None:
    class StopError(BaseException):
        pass

    def stop(_: object) -> None:
        raise StopError

    async with DevSkinClient(box.api_key, base_url=box.base_url, on_event=stop) as store:
        with pytest.raises((StopError, asyncio.CancelledError)):
            await store.analytics.overview()
        assert store.budget.in_flight == 0


async def test_schedulers_of_unused_keys_are_forgotten_once_their_slots_are_free() -> None:
    @virtual_time
    async def come_and_go() -> int:
        with aioresponses() as mocked:
            mocked.get(OVERVIEW, body=samples.OVERVIEW, repeat=True)
            for number in range(400):
                async with DevSkinClient(f"key-{number:05}") as store:
                    await store.analytics.overview()
                await asyncio.sleep(1)
            gc.collect()
            return sum(isinstance(each, Scheduler) for each in gc.get_objects())

    assert await asyncio.to_thread(come_and_go) < 200


@virtual_time
async def test_a_budget_is_remembered_while_its_slots_are_taken_or_a_client_is_open() -> None:
    with aioresponses() as mocked:
        mocked.get(OVERVIEW, body=samples.OVERVIEW, repeat=True)
        limit = RateLimit(2, 60)
        async with DevSkinClient("the-key", rate_limit=limit) as closed:
            await closed.analytics.overview()
        open_one = DevSkinClient("another-key", rate_limit=limit)
        await open_one.analytics.overview()
        for number in range(300):
            async with DevSkinClient(f"key-{number}") as store:
                await store.analytics.overview()
        async with (
            DevSkinClient("the-key", rate_limit=limit) as again,
            DevSkinClient("another-key", rate_limit=limit) as twin,
        ):
            assert again.budget.available == twin.budget.available == 1
        await open_one.aclose()
