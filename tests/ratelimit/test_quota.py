"""What headers tell of the budget; it only ever lowers the estimate."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from devskin_async.ratelimit import quota_told
from devskin_async.ratelimit.quota import QuotaLeft

AT = dt.datetime(2026, 2, 10, 12, tzinfo=dt.UTC)
EPOCH = AT.timestamp()


@pytest.mark.parametrize(
    ("headers", "told"),
    [
        ({}, (None, None)),
        ({"X-RateLimit-Remaining": "7", "X-RateLimit-Reset": "30"}, (7, 30)),
        ({"x-ratelimit-remaining": "7", "x-ratelimit-reset": f"{EPOCH + 30:.0f}"}, (7, 30)),
        (
            {"X-RateLimit-Remaining": "7", "X-RateLimit-Reset": f"{1000 * EPOCH + 30000:.0f}"},
            (7, 30),
        ),
        ({"X-RateLimit-Remaining": "7", "X-RateLimit-Reset": f"{EPOCH - 30:.0f}"}, (7, 0)),
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
    headers: dict[str, str], told: tuple[int | None, float | None]
) -> None:
    assert quota_told(CIMultiDict(headers), AT) == told


@given(
    st.dictionaries(
        st.sampled_from(["X-RateLimit-Remaining", "X-RateLimit-Reset", "RateLimit"]), st.text()
    )
)
def test_no_header_is_an_error_or_a_day_away(headers: dict[str, str]) -> None:
    remaining, reset_after = quota_told(headers, AT)
    assert (remaining is None) == (reset_after is None)
    assert remaining is None or remaining >= 0


def test_nothing_told_holds_nothing_back() -> None:
    left = QuotaLeft()
    left.spend()
    assert left.wait(0) == 0


def test_when_nothing_is_left_all_wait_for_the_reset() -> None:
    left = QuotaLeft()
    left.told(10, remaining=2, reset_after=30, in_flight=0)
    left.spend()
    assert left.wait(11) == 0
    left.spend()
    assert left.wait(11) == 29
    assert left.wait(40) == 0


def test_requests_under_way_may_not_be_counted_yet() -> None:
    left = QuotaLeft()
    left.told(10, remaining=2, reset_after=30, in_flight=2)
    assert left.wait(10) == 30
