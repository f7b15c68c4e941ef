"""What servers do beside the reference: errors, headers, limits and clocks."""

from __future__ import annotations

import asyncio
import base64
import html
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import formatdate, parsedate_to_datetime
from typing import get_args
from urllib.parse import unquote

import aiohttp
import pytest

from devskin_async.sandbox import FaultKind, Faults, LimiterKind, Sandbox
from tests.sandbox.conftest import Clock
from tests.sandbox.support import TODAY, calling

KEY = 'a/"key"&<e>'
BASE64 = base64.b64encode(KEY.encode()).decode()


def quirky(*quirks: str, **options: object) -> Sandbox:
    settings: dict[str, object] = {"orders": 30, "today": TODAY, "limiter": "none", **options}
    return Sandbox(quirks=quirks, **settings)  # type: ignore[arg-type]  # as a test has them


@pytest.mark.parametrize(
    ("shape", "content_type", "text"),
    [
        ("object", "application/json", '{"success":false,"error":{"message":"Order not found"}}'),
        ("message", "application/json", '{"message":"Order not found"}'),
        ("list", "application/json", '{"errors":[{"message":"Order not found"}]}'),
        (
            "html",
            "text/html; charset=utf-8",
            "<html><body><h1>Error</h1>\n<p>Order not found</p></body></html>\n",
        ),
        ("text", "text/plain; charset=utf-8", "Order not found\n"),
        ("empty", "text/plain; charset=utf-8", ""),
    ],
)
async def test_an_error_has_the_body_of_its_quirk(shape: str, content_type: str, text: str) -> None:
    async with quirky(f"error-body={shape}") as box, calling(box) as api:
        answer = await api.get("/orders/999")
        assert (answer.status, answer.text) == (404, text)
        assert answer.headers["Content-Type"] == content_type
        assert (await api.data("/orders/1"))["order"]["id"] == 1


@pytest.mark.parametrize(
    "path", ["/orders/999", "/orders?page=0", "/nothing", "/orders/1"], ids=lambda path: path[1:]
)
async def test_every_error_has_the_body_of_its_quirk(path: str) -> None:
    box = quirky("error-body=message", limiter="first-request", limit=1)
    async with box, calling(box) as api:
        first = await api.get(path)
        assert first.status == 200 or set(first.body) == {"message"}
        refused = await api.get(path)
        assert (refused.status, set(refused.body)) == (429, {"message"})
        assert set((await api.get(path, key="wrong")).body) == {"message"}


@pytest.mark.parametrize(
    ("style", "raw", "read"),
    [
        ("plain", json.dumps(KEY)[1:-1], lambda text: text),
        ("unicode", "".join(rf"\u{ord(each):04x}" for each in KEY), lambda text: text),
        ("slash", json.dumps(KEY)[1:-1].replace("/", r"\/"), lambda text: text),
        ("percent", "a%2f%22key%22%26%3ce%3e", unquote),
        ("html", "a&#x2f;&quot;key&quot;&amp;&lt;e&gt;", html.unescape),
        ("base64", BASE64, lambda text: text.replace(BASE64, KEY)),
    ],
)
async def test_an_error_repeats_the_key_in_the_style_of_its_quirk(
    style: str, raw: str, read: Callable[[str], str]
) -> None:
    async with quirky(f"echo-key={style}", key=KEY) as box, calling(box) as api:
        box.fail_next("ok", "500")
        for answer in (await api.get("/orders/999"), await api.get("/orders")):
            assert f"(API key {raw})" in answer.text
            assert read(answer.body["error"]).endswith(f"(API key {KEY})")
        assert "(API key" in (await api.get("/orders", key="wrong")).text
        assert raw not in (await api.get("/orders/1")).text


@pytest.mark.parametrize("style", ["plain", "unicode", "slash", "percent", "html", "base64"])
async def test_a_key_of_stray_bytes_is_repeated_too(style: str) -> None:
    async with quirky(f"echo-key={style}") as box:
        reader, writer = await asyncio.open_connection("127.0.0.1", box.port)
        writer.write(b"GET /api/v1/orders HTTP/1.1\r\nHost: x\r\nConnection: close\r\n")
        writer.write(b"X-API-Key: \xff\xe9\r\n\r\n")
        answer = await reader.read()
        writer.close()
        assert answer.startswith(b"HTTP/1.1 401 ")
        assert b"Invalid or expired API key (API key " in answer


async def test_an_order_that_fails_by_503_says_how_long_to_wait() -> None:
    async with quirky("failing-order=7:503", "retry-after=8") as box, calling(box) as api:
        assert (await api.get("/orders/7")).headers["Retry-After"] == "8"


@pytest.mark.parametrize(("quirk", "status"), [("7", 500), ("7:403", 403), ("7:503", 503)])
async def test_the_details_of_one_order_always_fail(quirk: str, status: int) -> None:
    async with quirky(f"failing-order={quirk}") as box, calling(box) as api:
        assert [(await api.get("/orders/7")).status for _ in range(3)] == [status] * 3
        assert (await api.get("/orders/8")).status == 200
        assert 7 in await api.ids("/orders")


async def test_answers_tell_how_old_a_cache_had_them(clock: Clock) -> None:
    async with quirky("age=42", "clock=3600") as box, calling(box) as api:
        for path in ("/orders", "/orders/999"):
            headers = (await api.get(path)).headers
            assert headers["Age"] == "42"
            assert headers["Date"] == formatdate(clock.now + 3600 - 42, usegmt=True)


async def test_headers_can_be_big() -> None:
    async with quirky("big-headers=32") as box:
        session = aiohttp.ClientSession(max_field_size=2**20)
        async with session, session.get(f"{box.base_url}/orders") as response:
            assert len(response.headers["X-Debug-Trace"]) == 32 * 1024


@pytest.mark.parametrize("kind", [kind for kind in get_args(FaultKind) if kind.isdigit()])
async def test_a_fault_that_is_a_status_has_it(kind: FaultKind) -> None:
    faults = Faults(fail=1, kinds=(kind,))
    async with quirky(faults=faults) as box, calling(box) as api:
        answer = await api.get("/orders")
        assert answer.status == int(kind)
        from_cdn = int(kind) >= 520
        assert (answer.text if from_cdn else bool(answer.error)) == (
            f"error code: {kind}\n" if from_cdn else True
        )
        assert (box.counts.refused, box.counts.faulted) == (0, 1)
        assert "Retry-After" not in answer.headers


async def test_a_share_of_requests_fails_by_the_common_faults_only() -> None:
    assert Faults().kinds == ("500", "502-html", "reset", "truncated", "slow")


@pytest.mark.parametrize(
    ("kind", "raised"),
    [
        ("closed", aiohttp.ServerDisconnectedError),
        ("garbage", aiohttp.ClientResponseError),
        ("bad-length", aiohttp.ClientResponseError),
        ("bad-chunk", aiohttp.ClientError),
        ("bad-gzip", aiohttp.ClientPayloadError),
    ],
)
async def test_an_answer_can_break_http(kind: FaultKind, raised: type[aiohttp.ClientError]) -> None:
    async with quirky() as box, calling(box) as api:
        box.fail_next(kind, kind)
        with pytest.raises(raised):
            await api.get("/orders")


@pytest.mark.parametrize("kind", ["429", "503"])
@pytest.mark.parametrize("style", ["none", "retry-after", "x-ratelimit"])
async def test_a_fault_can_say_how_long_to_wait(kind: FaultKind, style: str) -> None:
    async with quirky("retry-after=8", quota_headers=style) as box, calling(box) as api:
        box.fail_next(kind, "500", "ok")
        answers = [await api.get("/orders/1") for _ in range(3)]
        assert [answer.headers.get("Retry-After") for answer in answers] == ["8", None, None]


@pytest.mark.parametrize("style", ["none", "retry-after"])
async def test_the_limiters_refusals_say_it_too(style: str, clock: Clock) -> None:
    options = {"limiter": "first-request", "limit": 1, "quota_headers": style}
    async with quirky("retry-after=8", **options) as box, calling(box) as api:
        answers = [await api.get("/orders/1") for _ in range(2)]
        assert [answer.headers.get("Retry-After") for answer in answers] == [None, "8"]


KINDS: list[LimiterKind] = [
    *("fixed-window", "first-request", "sliding-log", "sliding-counter"),
    *("token-bucket", "small-bucket"),
]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_keys_window_can_be_used_up_by_another_program(
    kind: LimiterKind, clock: Clock
) -> None:
    async with quirky("used-up", limiter=kind) as box, calling(box) as api:
        assert (await api.get("/orders")).status == 429
        assert (box.counts.requests, box.counts.refused) == (1, 1)
        clock.now += 120
        assert [(await api.get("/orders")).status for _ in range(20)] == [200] * 20


async def test_another_program_can_take_its_part_of_each_window(clock: Clock) -> None:
    box = quirky("others=3", limiter="fixed-window", limit=5)
    async with box, calling(box) as api:
        for _ in range(3):
            assert [(await api.get("/orders")).status for _ in range(3)] == [200, 200, 429]
            clock.now += 60


async def test_another_program_can_take_all_of_each_window(clock: Clock) -> None:
    async with quirky("others=1000000", limiter="fixed-window") as box, calling(box) as api:
        for _ in range(3):
            assert (await api.get("/orders")).status == 429
            clock.now += 60


@pytest.mark.parametrize("ahead", [3600, -3600, 0.25])
async def test_a_clock_that_is_wrong_is_wrong_in_the_date_and_in_the_resets(
    ahead: float, clock: Clock
) -> None:
    box = quirky(f"clock={ahead}", limiter="fixed-window", quota_headers="x-ratelimit")
    async with box, calling(box) as api:
        headers = (await api.get("/orders")).headers
        assert headers["Date"] == formatdate(clock.now + ahead, usegmt=True)
        assert ahead <= float(headers["X-RateLimit-Reset"]) - clock.now <= ahead + 61


@pytest.mark.parametrize("quirks", [(), ("retry-after=60",)])
async def test_a_date_to_wait_for_is_by_the_servers_clock(
    quirks: tuple[str, ...], clock: Clock
) -> None:
    options = {"limiter": "first-request", "limit": 1, "quota_headers": "retry-after-date"}
    async with quirky("clock=-3600", *quirks, **options) as box, calling(box) as api:
        await api.get("/orders")
        refused = (await api.get("/orders")).headers
        dates = [parsedate_to_datetime(refused[name]) for name in ("Retry-After", "Date")]
        assert (dates[0] - dates[1]).total_seconds() in (60, 61)


async def test_the_store_lives_by_the_servers_clock() -> None:
    async with quirky("clock=-864000", today=None) as box, calling(box) as api:
        earliest = datetime.now(UTC) - timedelta(days=10, seconds=1)
        order = (await api.data(f"/orders/{box.live.insert()}"))["order"]
        assert earliest < (created := datetime.fromisoformat(order["created_at"]))
        assert created < datetime.now(UTC) - timedelta(days=9)
        newest = (await api.data("/orders?limit=1"))["items"][0]
        assert newest["id"] == order["id"]
        total = (await api.data("/orders"))["total"]
        day = order["created_at"][:10]
        assert (await api.data(f"/orders?date_to={day}"))["total"] == total
