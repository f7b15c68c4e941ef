"""Each attempt is a line of the log `devskin_async.http`, and events for listeners."""

from __future__ import annotations

import asyncio
import logging
import re
from typing import NoReturn

import pytest
from msgspec.structs import replace

from devskin_async import (
    Answered,
    DevSkinClient,
    Event,
    Lane,
    RateLimit,
    Refused,
    Retried,
    Retry,
    Sent,
    TransportError,
)
from devskin_async.api import Request, Response
from devskin_async.ratelimit import Listeners
from devskin_async.sandbox import Sandbox
from devskin_async.testing import MockTransport, respond, virtual_time
from tests import samples
from tests.conftest import AT_ONCE, UNLIMITED
from tests.serving import KEY

HTTP = "devskin_async.http"


def client(transport: MockTransport, **options: object) -> DevSkinClient:
    settings: dict[str, object] = {"rate_limit": UNLIMITED, "retry": AT_ONCE} | options
    return DevSkinClient(KEY, transport=transport, **settings)  # type: ignore[arg-type]


async def overview(_: Request[object]) -> Response:
    await asyncio.sleep(0.25)
    return respond(body=samples.OVERVIEW)


def on_the_wire(events: list[Event]) -> list[Event]:
    return [event for event in events if isinstance(event, Sent | Answered)]


# The log


async def test_each_attempt_is_a_line_with_path_and_query_status_and_number(
    box: Sandbox, store: DevSkinClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, HTTP)
    box.fail_next("500", "ok")
    await store.orders.page(2, limit=50, status="paid")
    lines = [
        re.sub(r"\d+ ms", "N ms", line) for name, _, line in caplog.record_tuples if name == HTTP
    ]
    assert lines == [
        "GET /orders?page=2&limit=50&status=paid: 500 in N ms (queued 0.0 s, attempt 1)",
        "GET /orders?page=2&limit=50&status=paid: 200 in N ms (queued 0.0 s, attempt 2)",
    ]


@virtual_time
async def test_the_line_has_the_time_on_the_wire_and_in_the_queue(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, HTTP)
    limit = RateLimit(1, 10, burst=1, reserve=0)
    async with client(MockTransport(overview), rate_limit=limit) as store:
        await store.analytics.overview()
        await store.analytics.overview()
    assert caplog.messages == [
        "GET /analytics/overview: 200 in 250 ms (queued 0.0 s, attempt 1)",
        "GET /analytics/overview: 200 in 250 ms (queued 10.0 s, attempt 1)",
    ]


@virtual_time
async def test_an_attempt_without_a_response_is_a_line_that_says_why(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def never(request: Request[object]) -> Response:
        await asyncio.sleep(3600)
        raise AssertionError(request)

    async def broken(request: Request[object]) -> NoReturn:
        raise TransportError(f"{request}: the peer said {KEY}\naway")

    caplog.set_level(logging.DEBUG, HTTP)
    for handler in (never, broken):
        once = client(MockTransport(handler), timeout=2, retry=Retry(attempts=1))
        async with once as store:
            with pytest.raises(TransportError):
                await store.orders.get(7)
    assert caplog.messages == [
        "GET /orders/7: failed in 2000 ms (queued 0.0 s, attempt 1): timed out",
        "GET /orders/7: failed in 0 ms (queued 0.0 s, attempt 1): the peer said [the API key] away",
    ]


@virtual_time
async def test_a_cancelled_attempt_is_a_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, HTTP)
    async with client(MockTransport(overview)) as store:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(store.analytics.overview(), 0.1)
        await asyncio.sleep(1)  # the attempt ends some turns of the loop after its caller
    assert caplog.messages == [
        "GET /analytics/overview: cancelled in 100 ms (queued 0.0 s, attempt 1)"
    ]


async def test_the_key_is_in_no_line(
    box: Sandbox, store: DevSkinClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, HTTP)
    box.fail_next("500", "reset", "truncated", "ok")
    await store.analytics.overview()
    logged = "".join(repr(vars(record)) for record in caplog.records if record.name == HTTP)
    assert "attempt 4" in logged
    assert box.api_key not in logged


@virtual_time
async def test_a_disabled_log_is_checked_once_for_each_attempt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    levels: list[int] = []
    log = logging.getLogger(HTTP)

    def is_off(level: int) -> bool:
        levels.append(level)
        return False

    monkeypatch.setattr(log, "isEnabledFor", is_off)
    async with client(MockTransport(overview)) as store:
        await store.analytics.overview()
        await store.analytics.overview()
    assert levels == [logging.DEBUG] * 2


# The events


@virtual_time
async def test_a_listener_is_called_when_a_request_is_sent_and_when_it_is_answered() -> None:
    events: list[Event] = []
    async with client(MockTransport(overview), on_event=events.append) as store:
        await store.analytics.overview()
    request = "GET /analytics/overview"
    sent = Sent(request=request, lane=Lane.INTERACTIVE, attempt=1, queued=0)
    answered = Answered(request=request, status=200, seconds=0.25, attempt=1)
    _, came = on_the_wire(events)
    assert isinstance(came, Answered)
    assert came.seconds == pytest.approx(0.25, abs=1e-6)
    assert on_the_wire(events) == [sent, replace(answered, seconds=came.seconds)]


async def test_every_attempt_has_its_events_whatever_its_status(box: Sandbox) -> None:
    events: list[Event] = []
    box.fail_next("500", "429", "ok")
    async with DevSkinClient(
        box.api_key, base_url=box.base_url, retry=AT_ONCE, on_event=events.append
    ) as store:
        await store.analytics.overview()
    kinds = (Sent, Answered, Refused, Retried)
    assert [type(event) for event in events if isinstance(event, kinds)] == [
        *(Sent, Answered, Retried),
        *(Sent, Answered, Refused, Retried),
        *(Sent, Answered),
    ]
    assert [e.status for e in events if isinstance(e, Answered)] == [500, 429, 200]
    assert [e.attempt for e in on_the_wire(events)] == [1, 1, 2, 2, 3, 3]  # type: ignore[union-attr]


@virtual_time
async def test_a_request_without_a_response_has_a_sent_event_and_no_answered_event() -> None:
    def cut(request: Request[object]) -> Response:
        raise TransportError(f"{request}: cut")

    events: list[Event] = []
    async with client(MockTransport(cut), retry=Retry(attempts=1), on_event=events.append) as store:
        with pytest.raises(TransportError):
            await store.analytics.overview()
    assert [type(event) for event in on_the_wire(events)] == [Sent]


@virtual_time
async def test_callers_who_share_a_request_get_one_event_of_each_kind() -> None:
    events: list[Event] = []
    async with client(MockTransport(overview), on_event=events.append) as store:
        await asyncio.gather(*(store.analytics.overview() for _ in range(5)))
    assert [type(event) for event in on_the_wire(events)] == [Sent, Answered]


@virtual_time
async def test_without_a_listener_no_event_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Event] = []
    monkeypatch.setattr(Listeners, "call", lambda _, event: made.append(event))
    async with client(MockTransport(overview)) as store:
        await store.analytics.overview()
    assert made == []


@virtual_time
async def test_a_listener_that_fails_harms_no_request() -> None:
    def fail(event: Event) -> None:
        raise RuntimeError(str(event))

    async with client(MockTransport(overview), on_event=fail) as store:
        assert (await store.analytics.overview()).total_orders == 1563
