"""The network's faults: what is tried again, what is told, what is shared, and what is closed."""

from __future__ import annotations

import asyncio
import datetime as dt
import gzip
import json
import ssl
from email.utils import format_datetime
from urllib.parse import quote

import aiohttp
import pytest
from aiohttp import web
from aioresponses import CallbackResult, aioresponses
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from devskin_async import (
    APIError,
    AuthenticationError,
    BudgetExceededError,
    ConfigurationError,
    DecodeError,
    DevSkinClient,
    DevSkinError,
    Lane,
    Product,
    RateLimit,
    RateLimitedError,
    Retry,
    ServerError,
    TransportError,
)
from devskin_async.api import Request, Response, endpoints
from devskin_async.sandbox import Sandbox
from devskin_async.testing import MockTransport, respond, virtual_time
from devskin_async.transport import Deadline, RequestOptions
from tests import samples
from tests.conftest import AT_ONCE
from tests.serving import KEY, answering, serving, whole_text
from tests.support import open_sessions, until

API = "https://api-marketplace.devskin.com/api/v1"
OVERVIEW = f"{API}/analytics/overview"


def now() -> float:
    return asyncio.get_running_loop().time()


@pytest.mark.parametrize("fault", ["500", "502-html", "reset", "truncated"])
async def test_a_passing_fault_is_tried_again_without_the_caller_noticing(
    box: Sandbox, store: DevSkinClient, fault: str
) -> None:
    box.fail_next(fault, "ok")  # type: ignore[arg-type]  # parametrized
    assert (await store.analytics.overview()).total_products == 120
    assert box.counts.requests == 2


async def test_an_answer_later_than_the_timeout_is_tried_again(box: Sandbox) -> None:
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
async def test_a_passing_status_is_tried_again_as_often_as_said_and_then_told(status: int) -> None:
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
async def test_another_status_is_told_at_once(status: int) -> None:
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
def test_a_retry_that_can_not_be_is_a_value_error(values: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(values))):
        Retry(**values)


FAILURES = (
    TimeoutError(),
    aiohttp.ServerTimeoutError("read"),
    aiohttp.ServerDisconnectedError(),
    aiohttp.ClientPayloadError("not enough data"),
    aiohttp.ClientOSError(104, "Connection reset by peer"),
    aiohttp.ClientConnectionError("Connection closed"),
    ConnectionRefusedError(111, "refused"),
    ssl.SSLError(1, "certificate verify failed"),
    aiohttp.ClientResponseError(
        aiohttp.RequestInfo(
            url=URL(OVERVIEW),
            method="GET",
            headers=CIMultiDictProxy(CIMultiDict({"X-API-Key": KEY})),
            real_url=URL(OVERVIEW),
        ),
        (),
        message="Bad HTTP message",
    ),
)


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: type(failure).__name__)
@virtual_time
async def test_a_failing_connection_is_a_transport_error_that_does_not_hold_the_key(
    failure: Exception,
) -> None:
    with aioresponses() as mocked:
        mocked.get(OVERVIEW, exception=failure, repeat=True)
        async with DevSkinClient(KEY, retry=AT_ONCE) as store:
            with pytest.raises(TransportError, match=r"^GET /analytics/overview: .+") as caught:
                await store.analytics.overview()
    assert KEY not in whole_text(caught.value)


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
async def test_a_retry_after_of_nothing_still_leaves_the_growing_wait(
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
async def test_bare_refusals_for_most_of_a_minute_are_sat_out_by_default() -> None:
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
async def test_a_refusal_holds_the_other_callers_back_too() -> None:
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
async def test_a_refusal_that_outlasts_the_retries_says_when_to_come_back() -> None:
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
                "GET /analytics/overview: no answer within the deadline of 5 s "
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
async def test_a_deadline_that_the_queue_can_not_keep_fails_at_once() -> None:
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
async def test_max_wait_is_judged_before_options() -> None:
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


@virtual_time
async def test_without_a_deadline_a_caller_waits_its_turn() -> None:
    with aioresponses() as mocked:
        mocked.get(OVERVIEW, body=samples.OVERVIEW, repeat=True)
        async with DevSkinClient(KEY, rate_limit=RateLimit(1, 3600)) as store:
            start = now()
            for _ in range(3):
                await store.analytics.overview()
            assert now() - start == pytest.approx(7200, abs=0.01)


async def test_a_body_over_32_mib_is_told_and_not_tried_again() -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(34):
            await response.write(b" " * 2**20)
        return response

    async with serving(answer) as store:
        with pytest.raises(DecodeError, match="expected a body of at most 32 MiB"):
            await store.analytics.overview()
        assert store.budget.sent == 1


async def test_the_body_of_an_error_is_read_no_further_than_it_tells_what_it_is() -> None:
    sent = 0

    async def answer(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse(status=503)
        await response.prepare(request)
        for _ in range(64):
            await response.write(b"x" * 2**20)
            sent += 1
        return response

    async with serving(answer, retry=Retry(attempts=3, wait_initial=0, wait_jitter=0)) as store:
        with pytest.raises(ServerError, match=r"503 Service Unavailable; .*: x+…$"):
            await store.analytics.overview()
        assert store.budget.sent == 3
    assert sent < 3 * 64


async def test_a_body_that_unpacks_to_over_32_mib_is_told() -> None:
    bomb = gzip.compress(b" " * (40 * 2**20))
    async with serving(answering(bomb, headers={"Content-Encoding": "gzip"})) as store:
        with pytest.raises(DecodeError, match="expected a body of at most 32 MiB"):
            await store.analytics.overview()


async def test_a_server_that_does_not_speak_http_is_a_transport_error() -> None:
    async def babble(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"\x15\x03\x01 not http " + KEY.encode() + b"\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(babble, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with (
        server,
        DevSkinClient(KEY, base_url=f"http://127.0.0.1:{port}/api/v1", retry=AT_ONCE) as store,
    ):
        with pytest.raises(TransportError) as caught:
            await store.analytics.overview()
    assert KEY not in whole_text(caught.value)


async def test_a_server_without_tls_at_an_https_address_is_a_transport_error() -> None:
    async with serving(answering(samples.OVERVIEW)) as plain:
        address = plain.reader.sender.base_url.replace("http:", "https:")
        async with DevSkinClient(KEY, base_url=address, retry=AT_ONCE) as store:
            with pytest.raises(TransportError, match=r"can't connect to 127\.0\.0\.1 .*SSL"):
                await store.analytics.overview()


async def test_nobody_listening_is_a_transport_error(unused_port: int) -> None:
    async with DevSkinClient(
        KEY, base_url=f"http://127.0.0.1:{unused_port}", retry=AT_ONCE
    ) as store:
        with pytest.raises(
            TransportError, match=r"can't connect to 127\.0\.0\.1 port \d+: Connection refused$"
        ):
            await store.analytics.overview()


@pytest.fixture
async def unused_port() -> int:
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port: int = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    return port


async def test_a_redirect_is_not_followed() -> None:
    seen: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append(request.path)
        return web.Response(status=302, headers={"Location": "/elsewhere"})

    async with serving(answer) as store:
        with pytest.raises(APIError, match="302 redirects to /elsewhere; redirects are not"):
            await store.analytics.overview()
    assert seen == ["/api/v1/analytics/overview"]


async def test_the_key_goes_into_its_header_and_nowhere_else() -> None:
    seen: list[tuple[str, dict[str, str]]] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append((str(request.url), dict(request.headers)))
        return web.Response(body=samples.OVERVIEW)

    async with serving(answer) as store:
        await store.analytics.overview()
    url, headers = seen[0]
    assert headers.pop("X-API-Key") == KEY
    assert headers["Accept"] == "application/json"
    assert headers["User-Agent"].startswith("devskin-async/")
    assert KEY not in url + repr(headers)


async def test_an_answer_that_echoes_the_key_does_not_bring_it_into_the_error() -> None:
    body = f'{{"success": false, "error": "unknown key {KEY}"}}'.encode()
    async with serving(answering(body, 401)) as store:
        with pytest.raises(AuthenticationError) as caught:
            await store.analytics.overview()
    assert caught.value.message == "unknown key [the API key]"
    assert KEY not in whole_text(caught.value)


@pytest.mark.parametrize("before", range(170, 202))
@pytest.mark.parametrize("kind", ["envelope", "page", "redirect"])
async def test_a_message_that_is_cut_within_the_key_does_not_show_its_beginning(
    before: int, kind: str
) -> None:
    text = "x" * before + KEY
    handler = {
        "envelope": answering(f'{{"success": false, "error": "{text}"}}'.encode(), 400),
        "page": answering(f"<p>{text}</p>".encode(), 400),
        "redirect": answering(b"", 302, {"Location": f"/{text}"}),
    }[kind]
    async with serving(handler) as store:
        with pytest.raises(APIError) as caught:
            await store.analytics.overview()
    assert KEY[:4] not in whole_text(caught.value)


@pytest.mark.parametrize("key", ["sk/live+1=2%3", 'sk"live\\1'])
async def test_a_key_echoed_in_a_url_or_in_json_does_not_come_into_the_error(key: str) -> None:
    echoes = quote(key, safe=""), json.dumps(key)[1:-1]

    async def answer(_: web.Request) -> web.Response:
        return web.json_response({"success": False, "error": f"key {key}, {echoes[0]}"}, status=400)

    async with serving(answer, api_key=key) as store:
        with pytest.raises(APIError, match=r"key \[the API key\], \[the API key\]") as caught:
            await store.analytics.overview()
    assert not any(echo in whole_text(caught.value) for echo in (key, *echoes))


@pytest.mark.parametrize(
    "body", [f"<p>{KEY}</p>".encode(), f'{{"success": true, "data": "{KEY}"}}'.encode()]
)
async def test_a_broken_answer_that_echoes_the_key_does_not_bring_it_into_the_error(
    body: bytes,
) -> None:
    async with serving(answering(body)) as store:
        with pytest.raises(DevSkinError) as caught:
            await store.analytics.overview()
    assert KEY not in whole_text(caught.value)


async def test_identical_reads_in_flight_share_one_request(
    box: Sandbox, store: DevSkinClient
) -> None:
    answers = await asyncio.gather(*(store.analytics.overview() for _ in range(50)))
    assert box.counts.requests == 1
    assert all(answer is answers[0] for answer in answers)


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

    async with DevSkinClient(KEY, transport=MockTransport(overview)) as store:
        patient = asyncio.ensure_future(store.analytics.overview())
        await asyncio.sleep(1)
        hasty = store.with_options(timeout=2, retry=Retry(attempts=1))
        with pytest.raises(TransportError, match="no answer within 2 s"):
            await hasty.analytics.overview()
        assert now() == pytest.approx(3, abs=0.01)
        assert (await patient).total_orders == 1563
        assert store.budget.sent == 2


async def test_a_caller_without_retries_is_told_at_once_though_another_retries(
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
    answers = await asyncio.gather(
        *(store.orders.get(999_999) for _ in range(5)), return_exceptions=True
    )
    assert [type(answer).__name__ for answer in answers] == ["NotFoundError"] * 5
    assert box.counts.requests == 1


@virtual_time
async def test_cancelling_one_who_shares_a_request_leaves_the_others_theirs() -> None:
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
async def test_when_all_who_share_a_request_give_up_a_new_read_is_a_new_request() -> None:
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


async def test_the_last_to_give_up_cancels_the_request(store: DevSkinClient, box: Sandbox) -> None:
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


async def test_cookies_are_not_kept() -> None:
    seen: list[str | None] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append(request.headers.get("Cookie"))
        return web.Response(body=samples.OVERVIEW, headers={"Set-Cookie": "session=1"})

    async with serving(answer) as store:
        await store.analytics.overview()
        await store.analytics.overview()
    assert seen == [None, None]


async def test_a_short_key_is_taken_out_of_errors_as_a_word_only() -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.json_response({"success": False, "error": "a key that a shop lacks"}, status=401)

    async with serving(answer, api_key="a") as store:
        with pytest.raises(AuthenticationError) as caught:
            await store.analytics.overview()
    assert caught.value.message == "[the API key] key that [the API key] shop lacks"


async def test_a_client_may_be_closed_twice(store: DevSkinClient) -> None:
    await store.analytics.overview()
    await store.aclose()
    await store.aclose()


async def test_a_client_that_was_never_used_closes(box: Sandbox) -> None:
    await DevSkinClient(box.api_key, base_url=box.base_url).aclose()


async def test_use_after_close_says_what_to_do(store: DevSkinClient) -> None:
    await store.aclose()
    with pytest.raises(ConfigurationError, match=r"^this client is closed: make a new one$"):
        await store.analytics.overview()


async def test_a_loop_that_cancels_all_its_tasks_leaves_no_caller_waiting(
    box: Sandbox, store: DevSkinClient
) -> None:
    box.fail_next("slow")
    before = asyncio.all_tasks()
    call = asyncio.create_task(store.analytics.overview())
    await until(lambda: store.budget.in_flight)
    for task in asyncio.all_tasks() - before - {call}:
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call


async def test_closing_tells_the_calls_under_way(box: Sandbox, store: DevSkinClient) -> None:
    box.fail_next("slow")
    call = asyncio.create_task(store.analytics.overview())
    await until(lambda: store.budget.in_flight)
    await store.aclose()
    with pytest.raises(
        ConfigurationError, match="the client was closed before the response arrived"
    ):
        await call


async def test_the_callers_own_session_is_used_and_left_open(box: Sandbox) -> None:
    async with aiohttp.ClientSession(headers={"X-Trace": "1"}) as session:
        async with DevSkinClient(box.api_key, base_url=box.base_url, session=session) as store:
            await store.analytics.overview()
        assert not session.closed
        assert box.counts.requests == 1


async def test_the_settings_of_the_callers_session_do_not_change_what_is_read() -> None:
    body = gzip.compress(b'{"success": false, "error": "no such order"}')
    settings = {"raise_for_status": True, "auto_decompress": False}
    async with aiohttp.ClientSession(**settings) as session:  # type: ignore[arg-type]  # by name
        handler = answering(body, 404, {"Content-Encoding": "gzip"})
        async with serving(handler, session=session) as store:
            with pytest.raises(APIError, match="404 no such order"):
                await store.orders.get(1)


async def test_a_session_of_the_callers_that_is_closed_says_so(box: Sandbox) -> None:
    session = aiohttp.ClientSession()
    await session.close()
    async with DevSkinClient(box.api_key, base_url=box.base_url, session=session) as store:
        with pytest.raises(ConfigurationError, match="the session passed to this client is closed"):
            await store.analytics.overview()
        assert store.budget.sent == 0


async def test_a_session_of_another_loop_says_so(box: Sandbox) -> None:
    def read() -> None:
        async def from_another_loop() -> None:
            async with DevSkinClient(KEY, base_url=box.base_url, session=session) as store:
                await store.analytics.overview()

        asyncio.run(from_another_loop())

    async with aiohttp.ClientSession() as session:
        with pytest.raises(ConfigurationError, match="the session passed to this client: "):
            await asyncio.to_thread(read)


async def test_closing_from_another_loop_is_refused_and_leaves_the_client_usable(
    store: DevSkinClient,
) -> None:
    await store.analytics.overview()
    with pytest.raises(ConfigurationError, match="close this client in the event loop in which"):
        await asyncio.to_thread(lambda: asyncio.run(store.aclose()))
    await store.analytics.overview()


async def test_a_close_that_is_cancelled_closes_the_session_all_the_same(
    box: Sandbox, store: DevSkinClient
) -> None:
    box.fail_next("slow")
    others = open_sessions()
    call = asyncio.create_task(store.analytics.overview())
    await until(lambda: store.budget.in_flight)
    (session,) = open_sessions() - others
    closing = asyncio.create_task(store.aclose())
    await asyncio.sleep(0)
    closing.cancel()
    await asyncio.gather(closing, call, return_exceptions=True)
    assert session.closed


async def test_a_deadline_that_has_passed_sends_nothing(store: DevSkinClient) -> None:
    passed = RequestOptions(deadline=Deadline(5, now() - 1))
    with pytest.raises(TransportError, match="deadline of 5 s"):
        await store.reader.sender.send(endpoints.overview(), passed)
    assert store.budget.sent == 0


async def test_a_client_that_is_left_open_says_what_to_do(box: Sandbox) -> None:
    told: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, told_: told.append(told_["message"]))
    others = open_sessions()
    store = DevSkinClient(box.api_key, base_url=box.base_url)
    await store.analytics.overview()
    (session,) = open_sessions() - others
    clients = [store]
    del store
    with pytest.warns(ResourceWarning, match="a DevSkinClient was not closed: use `async with`"):
        clients.clear()
    assert told == []
    assert session.closed


def test_use_from_another_event_loop_says_what_to_do() -> None:
    store = DevSkinClient(KEY, retry=AT_ONCE)

    async def read() -> None:
        with aioresponses() as mocked:
            mocked.get(OVERVIEW, body=samples.OVERVIEW)
            await store.analytics.overview()

    async def read_and_keep() -> None:
        await read()
        await store.reader.sender.transport.aclose()

    asyncio.run(read_and_keep())
    with pytest.raises(ConfigurationError, match="another event loop: make one client in each"):
        asyncio.run(read())
