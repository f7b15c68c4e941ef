"""The limit on the wire: 429, and the headers that tell of it."""

from __future__ import annotations

from email.utils import parsedate_to_datetime

import pytest

from devskin_async.sandbox import LimiterKind, QuotaHeaders, Sandbox, SandboxError
from devskin_async.sandbox.limiter import Decision
from devskin_async.sandbox.quota import quota_headers
from tests.sandbox.conftest import Clock
from tests.sandbox.support import Answer, calling

PASSED = Decision(allowed=True, limit=100, remaining=50, reset_after=29.2, retry_after=0.0)
REFUSED = Decision(allowed=False, limit=100, remaining=0, reset_after=40.0, retry_after=12.1)

FORMATS: list[tuple[QuotaHeaders, dict[str, str], dict[str, str]]] = [
    ("none", {}, {}),
    ("retry-after", {}, {"Retry-After": "13"}),
    ("retry-after-date", {}, {"Retry-After": "Fri, 13 Feb 2026 13:40:13 GMT"}),
    (
        "x-ratelimit",
        {
            "X-RateLimit-Limit": "100",
            "X-RateLimit-Remaining": "50",
            "X-RateLimit-Reset": "1770990030",
        },
        {
            "X-RateLimit-Limit": "100",
            "X-RateLimit-Remaining": "0",
            "X-RateLimit-Reset": "1770990041",
        },
    ),
    (
        "x-ratelimit-delta",
        {"X-RateLimit-Limit": "100", "X-RateLimit-Remaining": "50", "X-RateLimit-Reset": "30"},
        {"X-RateLimit-Limit": "100", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "40"},
    ),
    (
        "ratelimit",
        {"RateLimit-Limit": "100", "RateLimit-Remaining": "50", "RateLimit-Reset": "30"},
        {"RateLimit-Limit": "100", "RateLimit-Remaining": "0", "RateLimit-Reset": "40"},
    ),
    (
        "ratelimit-structured",
        {"RateLimit": '"default";r=50;t=30', "RateLimit-Policy": '"default";q=100;w=60'},
        {"RateLimit": '"default";r=0;t=40', "RateLimit-Policy": '"default";q=100;w=60'},
    ),
]


@pytest.mark.parametrize(("style", "passed", "refused"), FORMATS)
def test_each_style_of_headers_has_its_format(
    clock: Clock, style: QuotaHeaders, passed: dict[str, str], refused: dict[str, str]
) -> None:
    assert quota_headers(style, PASSED, 60.0) == passed
    assert quota_headers(style, REFUSED, 60.0) == refused


def test_a_window_of_a_fraction_is_told_in_whole_seconds() -> None:
    headers = quota_headers("ratelimit-structured", PASSED, 2.5)
    assert headers["RateLimit-Policy"] == '"default";q=100;w=3'


def test_a_style_must_be_known() -> None:
    with pytest.raises(SandboxError, match=r"^there are no quota headers 'x-quota'$"):
        Sandbox(quota_headers="x-quota")  # type: ignore[arg-type]  # as from a command line


def quota_of(answer: Answer) -> set[str]:
    return {name for name in answer.headers if "ratelimit" in name.lower() or name == "Retry-After"}


async def test_past_the_limit_comes_a_bare_429(clock: Clock) -> None:
    async with Sandbox(limit=3) as box, calling(box) as api:
        answers = [await api.get("/orders") for _ in range(5)]
        assert [answer.status for answer in answers] == [200, 200, 200, 429, 429]
        assert answers[-1].text == '{"success":false,"error":"Rate limit exceeded"}'
        assert quota_of(answers[-1]) == set()


async def test_a_window_later_requests_pass_again(clock: Clock) -> None:
    async with Sandbox(limit=3) as box, calling(box) as api:
        for _ in range(3):
            assert [(await api.get("/orders")).status for _ in range(4)] == [200, 200, 200, 429]
            clock.now += 60


async def test_windows_scaled_down_pass_in_real_time() -> None:
    async with Sandbox(limit=1, per=0.05) as box, calling(box) as api:
        statuses: list[int] = []
        while statuses.count(200) < 3:
            statuses.append((await api.get("/orders/1")).status)
        assert set(statuses) <= {200, 429}


@pytest.mark.parametrize(("style", "passed", "refused"), FORMATS)
async def test_headers_are_on_every_answer_to_a_valid_key_and_no_other(
    clock: Clock, style: QuotaHeaders, passed: dict[str, str], refused: dict[str, str]
) -> None:
    async with Sandbox(limit=7, quota_headers=style) as box, calling(box) as api:
        box.fail_next("ok", "ok", "ok", "500", "502-html")
        key = box.create_key("restricted", only=("orders",))
        for path in ("/orders", "/orders/x", "/nowhere", "/orders", "/orders"):
            assert quota_of(await api.get(path)) == set(passed)
        assert quota_of(await api.get("/revenue", key)) == set(passed)
        await api.call("POST", "/orders", {"X-API-Key": box.api_key})
        await api.get("/orders")
        last = await api.get("/orders")
        assert (last.status, quota_of(last)) == (429, set(refused))
        assert quota_of(await api.get("/orders", "unknown")) == set()
        assert quota_of(await api.get("/openapi.json")) == set()


@pytest.mark.parametrize(
    "kind",
    [
        "fixed-window",
        "first-request",
        "sliding-log",
        "sliding-counter",
        "token-bucket",
        "small-bucket",
    ],
)
async def test_every_kind_of_limiter_serves(clock: Clock, kind: LimiterKind) -> None:
    async with (
        Sandbox(limiter=kind, limit=10, quota_headers="ratelimit-structured") as box,
        calling(box) as api,
    ):
        answers = [await api.get("/orders/1") for _ in range(12)]
        through = 2 if kind == "small-bucket" else 10
        assert [answer.status for answer in answers] == [200] * through + [429] * (12 - through)
        assert answers[0].headers["RateLimit"].startswith(f'"default";r={through - 1};t=')
        window = 12 if kind == "small-bucket" else 60
        assert answers[0].headers["RateLimit-Policy"] == f'"default";q={through};w={window}'


async def test_waiting_until_the_date_of_retry_after_is_enough(clock: Clock) -> None:
    async with Sandbox(limit=1, quota_headers="retry-after-date") as box, calling(box) as api:
        await api.get("/orders")
        refused = await api.get("/orders")
        clock.now = parsedate_to_datetime(refused.headers["Retry-After"]).timestamp()
        assert (await api.get("/orders")).status == 200


async def test_whatever_has_a_valid_key_is_counted(clock: Clock) -> None:
    async with Sandbox(limit=5) as box, calling(box) as api:
        key = box.create_key("restricted", only=("orders",))
        for path in ("/orders?page=0", "/orders/99999", "/nowhere", "/revenue", "/orders/1"):
            assert (await api.get(path, key)).status != 429
        assert (await api.get("/orders", key)).status == 429


async def test_requests_without_a_valid_key_are_not_counted(clock: Clock) -> None:
    async with Sandbox(limit=1) as box, calling(box) as api:
        for _ in range(3):
            assert (await api.get("/orders", "unknown")).status == 401
            assert (await api.call("GET", "/orders", {})).status == 401
            assert (await api.call("GET", "/openapi.json", {})).status == 200
        assert (await api.get("/orders")).status == 200


async def test_each_key_has_a_budget_of_its_own(clock: Clock) -> None:
    async with Sandbox(limit=1) as box, calling(box) as api:
        other = box.create_key("other")
        assert (await api.get("/orders")).status == 200
        assert (await api.get("/orders")).status == 429
        assert (await api.get("/orders", other)).status == 200
