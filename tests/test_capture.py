"""`capture` collects the responses to the calls of a block, and errors carry the last one."""

from __future__ import annotations

import asyncio
import datetime as dt
import pickle
from collections.abc import AsyncGenerator

import pytest

from devskin_async import (
    BudgetExceededError,
    CapturedResponse,
    ConfigurationError,
    DevSkinClient,
    DevSkinError,
    NotFoundError,
    RateLimit,
    Retry,
    TransportError,
    capture,
)
from devskin_async.sandbox import Sandbox
from devskin_async.testing import MockTransport, Request, Response, respond, virtual_time

from . import samples
from .conftest import AT_ONCE
from .serving import KEY, answering, serving


def client(transport: MockTransport, **options: object) -> DevSkinClient:
    settings: dict[str, object] = {"retry": AT_ONCE} | options
    return DevSkinClient(KEY, transport=transport, **settings)  # type: ignore[arg-type]  # by name


def in_turn(*responses: Response) -> MockTransport:
    """Respond with each response in turn, a second after the request."""
    rest = iter(responses)

    async def respond_later(_: Request[object]) -> Response:
        await asyncio.sleep(1)
        return next(rest)

    return MockTransport(respond_later)


OVERVIEW = respond(body=samples.OVERVIEW)


def overviews(count: int = 1) -> MockTransport:
    return in_turn(*[OVERVIEW] * count)


async def test_a_captured_response_has_its_request_status_and_headers(
    box: Sandbox, store: DevSkinClient
) -> None:
    with capture() as responses:
        await store.orders.page(2, limit=50)
    (response,) = responses
    assert (response.method, response.path, response.status) == ("GET", "/orders", 200)
    assert response.headers["content-TYPE"].startswith("application/json")


@virtual_time
async def test_it_has_the_seconds_in_the_queue_and_on_the_wire() -> None:
    async with client(overviews(2), rate_limit=RateLimit(1, 60)) as store:
        with capture() as responses:
            for _ in range(2):
                await store.analytics.overview()
    assert [response.queued for response in responses] == pytest.approx([0, 60], abs=0.01)
    assert [response.elapsed for response in responses] == pytest.approx([1, 1], abs=0.01)


async def test_it_has_the_servers_time_and_its_age_in_a_cache() -> None:
    date = {"Date": "Tue, 10 Feb 2026 12:00:00 GMT"}
    kept = respond(body=samples.OVERVIEW, headers=date | {"Age": "90"})
    fresh = respond(body=samples.OVERVIEW, headers=date)
    rest = iter((kept, fresh))
    async with client(MockTransport(lambda _: next(rest))) as store:
        with capture() as responses:
            await store.analytics.overview()
            await store.analytics.overview()
    assert [response.age for response in responses] == [90, 0]
    assert responses[1].at == dt.datetime(2026, 2, 10, 12, tzinfo=dt.UTC)


@virtual_time
async def test_each_response_that_is_retried_is_captured_too() -> None:
    transport = in_turn(respond(503), respond(429, headers={"Retry-After": "5"}), OVERVIEW)
    async with client(transport) as store:
        with capture() as responses:
            await store.analytics.overview()
    seen = [(response.status, response.attempts) for response in responses]
    assert seen == [(503, 1), (429, 2), (200, 3)]
    assert 5 <= responses[-1].queued < 6


@virtual_time
async def test_calls_outside_of_the_block_are_not_captured() -> None:
    async with client(overviews(3)) as store:
        await store.analytics.overview()
        with capture() as responses:
            await store.analytics.overview()
        await store.analytics.overview()
    assert len(responses) == 1


@virtual_time
async def test_calls_of_tasks_made_in_the_block_are_captured() -> None:
    async with client(MockTransport(lambda _: respond(body=samples.ORDER))) as store:
        with capture() as responses:
            async with asyncio.TaskGroup() as tasks:
                for _ in range(3):
                    tasks.create_task(store.orders.get(1234))
                    await asyncio.sleep(1)
    assert [response.path for response in responses] == ["/orders/1234"] * 3


async def test_every_page_of_a_listing_is_captured(box: Sandbox, store: DevSkinClient) -> None:
    with capture() as responses:
        await store.orders.list()
    assert [response.path for response in responses] == ["/orders"] * 5


@virtual_time
async def test_a_block_around_another_captures_the_same() -> None:
    async with client(overviews(2)) as store:
        with capture() as outer:
            await store.analytics.overview()
            with capture() as inner:
                await store.analytics.overview()
    assert len(outer) == 2
    assert inner == outer[1:]


@virtual_time
async def test_a_call_that_joins_an_identical_one_in_flight_captures_its_response() -> None:
    async with client(overviews()) as store:
        first = asyncio.create_task(store.analytics.overview())
        await asyncio.sleep(0.5)
        with capture() as responses:
            joined = await store.analytics.overview()
        assert joined is await first
        assert store.budget.sent == 1
    assert [response.status for response in responses] == [200]
    assert responses[0].elapsed == pytest.approx(1, abs=0.01)


@virtual_time
async def test_a_caller_that_joins_at_any_moment_captures_the_response_or_makes_a_new_request() -> (
    None
):
    async def read(store: DevSkinClient, turns: int) -> int:
        await asyncio.sleep(1)
        for _ in range(turns):
            await asyncio.sleep(0)
        with capture() as responses:
            await store.analytics.overview()
        return len(responses)

    async with client(overviews(20)) as store:
        first = asyncio.create_task(store.analytics.overview())
        assert await asyncio.gather(*(read(store, turns) for turns in range(12))) == [1] * 12
        await first


@virtual_time
async def test_a_response_that_calls_of_the_block_share_is_captured_once() -> None:
    async with client(overviews()) as store:
        with capture() as responses:
            await asyncio.gather(*(store.analytics.overview() for _ in range(5)))
        assert store.budget.sent == 1
    assert len(responses) == 1


@virtual_time
async def test_responses_after_the_end_of_the_block_are_not_captured() -> None:
    async def forever(store: DevSkinClient) -> None:
        while True:
            await store.analytics.overview()

    async with client(overviews(10)) as store:
        with capture() as responses:
            task = asyncio.create_task(forever(store))
            await asyncio.sleep(1.5)
        await asyncio.sleep(5)
        task.cancel()
        assert store.budget.sent > 2
    assert len(responses) == 1


async def capturing() -> AsyncGenerator[None, None]:
    with capture():
        yield
        yield


@virtual_time
async def test_a_block_in_a_generator_that_ends_inside_another_block_leaves_that_alone() -> None:
    async with client(overviews(2)) as store:
        generator = capturing()
        await anext(generator)
        with capture() as responses:
            await generator.aclose()
            await store.analytics.overview()
    assert len(responses) == 1


@virtual_time
async def test_a_block_in_a_generator_that_outlives_one_around_it_does_not_bring_that_back() -> (
    None
):
    async with client(overviews(2)) as store:
        generator = capturing()
        with capture() as responses:
            await anext(generator)
            await store.analytics.overview()
        await generator.aclose()
        await store.analytics.overview()
    assert len(responses) == 1


async def test_the_key_is_not_in_the_headers() -> None:
    headers = {"X-Debug": f"key {KEY}", f"X-{KEY}": "1"}
    async with serving(answering(samples.OVERVIEW, headers=headers)) as store:
        with capture() as responses:
            await store.analytics.overview()
    assert responses[0].headers["X-Debug"] == "key [the API key]"
    assert responses[0].headers["X-[the API key]"] == "1"
    assert KEY not in repr(responses)


async def test_an_error_carries_the_response_and_how_often_the_call_was_sent(
    box: Sandbox, store: DevSkinClient
) -> None:
    box.fail_next("500", "ok")
    with capture() as responses, pytest.raises(NotFoundError) as caught:
        await store.orders.get(9999)
    error = caught.value
    assert error.response is responses[-1]
    assert (error.response.status, error.response.path) == (404, "/orders/9999")
    assert error.attempts == error.response.attempts == 2


async def test_an_error_without_a_response_says_how_often_the_call_was_sent() -> None:
    def fail(_: Request[object]) -> Response:
        raise TransportError("no route")

    async with client(MockTransport(fail), retry=Retry(3, wait_initial=0, wait_jitter=0)) as store:
        with capture() as responses, pytest.raises(TransportError, match="no route") as caught:
            await store.analytics.overview()
    assert (caught.value.response, caught.value.attempts, responses) == (None, 3, [])


@virtual_time
async def test_the_error_of_a_bound_carries_the_response_before_it() -> None:
    async with client(in_turn(respond(429, headers={"Retry-After": "60"}))) as store:
        with pytest.raises(BudgetExceededError) as caught:
            await store.with_options(max_wait=5).analytics.overview()
    assert caught.value.response is not None
    assert (caught.value.response.status, caught.value.attempts) == (429, 1)


async def test_the_error_of_a_call_that_was_never_sent_carries_nothing(
    store: DevSkinClient,
) -> None:
    await store.aclose()
    with pytest.raises(ConfigurationError) as caught:
        await store.analytics.overview()
    error: DevSkinError = caught.value
    assert (error.response, error.attempts, error.queued) == (None, 0, 0)


async def test_the_response_of_an_error_survives_pickling(
    box: Sandbox, store: DevSkinClient
) -> None:
    with pytest.raises(NotFoundError) as caught:
        await store.orders.get(9999)
    copied = pickle.loads(pickle.dumps(caught.value))
    assert isinstance(copied.response, CapturedResponse)
    assert copied.response == caught.value.response
