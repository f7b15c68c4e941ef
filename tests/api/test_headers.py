"""What the headers of a response say: when it was sent, how long to wait, what is left."""

from __future__ import annotations

import datetime as dt
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from devskin_async.api import parse_rate_limit_headers, response_time
from devskin_async.api.headers import retry_after

NOW = dt.datetime(2026, 2, 10, 12, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, (None, None)),
        ({"X-RateLimit-Remaining": "7", "X-RateLimit-Reset": "30"}, (7, 30)),
        (
            {"x-ratelimit-remaining": "7", "x-ratelimit-reset": f"{NOW.timestamp() + 30:.0f}"},
            (7, 30),
        ),
        (
            {
                "X-RateLimit-Remaining": "7",
                "X-RateLimit-Reset": f"{1000 * NOW.timestamp() + 30000:.0f}",
            },
            (7, 30),
        ),
        (
            {"X-RateLimit-Remaining": "7", "X-RateLimit-Reset": f"{NOW.timestamp() - 30:.0f}"},
            (7, 0),
        ),
        ({"RateLimit-Limit": "100", "RateLimit-Remaining": "0", "RateLimit-Reset": "12"}, (0, 12)),
        ({"RateLimit": '"default";r=50;t=30'}, (50, 30)),
        ({"RateLimit": '"hour";r=900;t=3000, "minute"; r=3; t=20'}, (3, 20)),
        ({"RateLimit": '"default";r=50'}, (None, None)),
        ({"RateLimit-Policy": '"default";q=100;w=60'}, (None, None)),
        ({"X-RateLimit-Remaining": "7"}, (None, None)),
        ({"X-RateLimit-Remaining": "many", "X-RateLimit-Reset": "30"}, (None, None)),
        ({"X-RateLimit-Remaining": "-1", "X-RateLimit-Reset": "30"}, (None, None)),
        ({"X-RateLimit-Remaining": "7", "X-RateLimit-Reset": "99999999"}, (7, 300)),
    ],
)
def test_the_requests_left_and_the_seconds_until_the_reset_are_read(
    headers: dict[str, str], expected: tuple[int | None, float | None]
) -> None:
    info = parse_rate_limit_headers(200, CIMultiDict(headers), NOW)
    assert (info.remaining, info.reset_after) == expected


@given(
    st.dictionaries(
        st.sampled_from(["X-RateLimit-Remaining", "X-RateLimit-Reset", "RateLimit"]), st.text()
    )
)
def test_any_headers_give_both_numbers_of_a_quota_or_neither(headers: dict[str, str]) -> None:
    _, _, remaining, reset_after = parse_rate_limit_headers(200, headers, NOW)
    assert (remaining is None) == (reset_after is None)
    assert remaining is None or remaining >= 0


@pytest.mark.parametrize("clock", [-3600, -5, 0, 5, 3600, 86_400 * 365])
@pytest.mark.parametrize(
    "headers",
    [
        {"Retry-After": format_datetime(NOW + dt.timedelta(seconds=5), usegmt=True)},
        {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(int(NOW.timestamp()) + 5)},
        {"RateLimit-Remaining": "0", "RateLimit-Reset": str(int(NOW.timestamp() + 5) * 1000)},
    ],
)
def test_a_pause_is_as_long_as_the_server_means_whatever_this_machines_clock_says(
    headers: dict[str, str], clock: int
) -> None:
    dated = CIMultiDict({"Date": format_datetime(NOW, usegmt=True)} | headers)
    at = response_time(dated, NOW + dt.timedelta(seconds=clock))
    assert parse_rate_limit_headers(429, dated, at).retry_after == 5


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Date": "yesterday"},
        {"Date": "Tue, 10 Feb 99999 12:00:00 GMT"},
        {"Date": "Tue, 10 Feb 2026 11:00:00 GMT", "Age": "3600"},
    ],
)
def test_without_its_own_date_a_response_has_this_machines_time(
    headers: dict[str, str],
) -> None:
    assert response_time(CIMultiDict(headers), NOW) == NOW


@given(
    clock=st.integers(-(10**9), 10**9),
    reset=st.integers(0, 10**14),
    remaining=st.integers(0, 3),
    after=st.integers(-(10**6), 10**6),
)
def test_no_pause_is_longer_than_five_minutes(
    clock: int, reset: int, remaining: int, after: int
) -> None:
    headers = CIMultiDict(
        {
            "Retry-After": format_datetime(NOW + dt.timedelta(seconds=after), usegmt=True),
            "X-RateLimit-Remaining": str(remaining),
            "X-RateLimit-Reset": str(reset),
        }
    )
    heard = parse_rate_limit_headers(
        429, headers, response_time(headers, NOW + dt.timedelta(seconds=clock))
    )
    assert 0 <= (heard.retry_after or 0) <= 300
    assert heard.reset_after is not None
    assert 0 <= heard.reset_after <= 300


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("7", 7),
        (" 7 ", 7),
        ("1.5", 1.5),
        ("299", 299),
        ("301", 300),
        ("9" * 5000, 300),
        (format_datetime(NOW + dt.timedelta(seconds=42), usegmt=True), 42),
        (format_datetime(NOW - dt.timedelta(days=1), usegmt=True), 0),
        ("Tue, 10 Feb 2026 12:00:09 -0000", 9),
        ("Tue, 10 Feb 2099 12:00:00 GMT", 300),
        ("", None),
        ("-5", None),
        ("inf", None),
        ("nan", None),
        ("٣", None),
        ("soon", None),
        ("Tue, 99 Feb 2026 12:00:00 GMT", None),
        ("Tue, 10 Feb 99999 12:00:00 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date_between_0_and_5_minutes(
    text: str, seconds: float | None
) -> None:
    assert retry_after({"Retry-After": text}, NOW) == seconds


def test_retry_after_may_be_missing() -> None:
    assert retry_after({}, NOW) is None


@given(text=st.text())
def test_no_retry_after_is_negative_or_above_5_minutes(text: str) -> None:
    seconds = retry_after({"Retry-After": text}, NOW)
    assert seconds is None or 0 <= seconds <= 300


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({}, None),
        ({"Retry-After": "7"}, 7),
        ({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "20"}, 20),
        ({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "4000"}, 300),
        ({"X-RateLimit-Remaining": "3", "X-RateLimit-Reset": "20"}, None),
        ({"Retry-After": "7", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "20"}, 7),
    ],
)
def test_a_refusal_says_how_long_to_wait_by_retry_after_or_by_its_reset(
    headers: dict[str, str], wait: float | None
) -> None:
    refused = parse_rate_limit_headers(429, CIMultiDict(headers), NOW)
    assert (refused.refused, refused.retry_after) == (True, wait)
    assert not parse_rate_limit_headers(200, CIMultiDict(headers), NOW).refused
