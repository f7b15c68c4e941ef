"""All reading of response headers.

Three families of rate-limit headers are in use: `X-RateLimit-*` and `RateLimit-*`, with a reset in
seconds or as a Unix time, and the IETF's structured `RateLimit` (draft-ietf-httpapi-ratelimit-
headers). Headers are looked up without regard to case.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from functools import lru_cache

from ..ratelimit import LONGEST_PAUSE, RateLimitInfo

_TOO_MANY_REQUESTS = 429
_SECONDS = re.compile(r"\d+(\.\d+)?", re.ASCII)
_PAIRS = (
    ("X-RateLimit-Remaining", "X-RateLimit-Reset"),
    ("RateLimit-Remaining", "RateLimit-Reset"),
)
_NUMBER = re.compile(r"\d{1,15}(\.\d{1,6})?", re.ASCII)
_PARAMETER = re.compile(r";\s*([rt])=(\d{1,15})", re.ASCII)
# No reset is so many seconds away: a number from the first on is a Unix time, from the second on
# one in milliseconds.
_UNIX = 1e8
_UNIX_MILLISECONDS = 1e11


def parse_rate_limit_headers(
    status: int, headers: Mapping[str, str], at: dt.datetime
) -> RateLimitInfo:
    """Read what the headers of a response say about the rate limit.

    Args:
        status: The HTTP status.
        headers: The headers.
        at: The instant of the response, for a date or a reset that is a Unix time.
    """
    remaining, reset_after = _quota(headers, at)
    wait = retry_after(headers, at)
    if wait is None and remaining == 0 and reset_after is not None:
        wait = reset_after
    return RateLimitInfo(status == _TOO_MANY_REQUESTS, wait, remaining, reset_after)


def retry_after(headers: Mapping[str, str], at: dt.datetime) -> float | None:
    """Read `Retry-After`, which is seconds or a date (RFC 9110, section 10.2.3).

    Returns:
        Seconds from `at`, 0 to 300; a longer wait is shortened to 300. None if the header is
        missing, or is neither seconds nor a date.
    """
    value = headers.get("Retry-After")
    if value is None:
        return None
    text = value.strip()
    if _SECONDS.fullmatch(text):
        return min(float(text), LONGEST_PAUSE)
    if (date := _date(text)) is None:
        return None
    return min(max((date - at).total_seconds(), 0.0), LONGEST_PAUSE)


def response_time(headers: Mapping[str, str], clock: dt.datetime) -> dt.datetime:
    """Return when a response was sent: its `Date`, or this machine's time without one.

    Dates and Unix times in other headers are by the server's clock, which may differ from this
    machine's. A response with an `Age` over 0 came from a cache, so its `Date` is in the past.

    Args:
        headers: The headers.
        clock: The present by this machine's clock.
    """
    cached = "Age" in headers and age(headers) > 0
    date = None if cached else _date(headers.get("Date", ""))
    return clock if date is None else date


def age(headers: Mapping[str, str]) -> float:
    """Return for how many seconds a cache had kept a response (RFC 9111, section 5.1)."""
    text = headers.get("Age", "").strip()
    return float(text) if text.isascii() and text.isdigit() else 0.0


@lru_cache(maxsize=16)  # all responses of one second have the same
def _date(text: str) -> dt.datetime | None:
    try:
        date = parsedate_to_datetime(text)
        # With the zone "-0000" it is naive; dates of HTTP are in UTC (RFC 9110, section 5.6.7).
        return date.replace(tzinfo=dt.UTC) if date.tzinfo is None else date.astimezone(dt.UTC)
    except (ValueError, OverflowError):
        return None


def _quota(headers: Mapping[str, str], at: dt.datetime) -> tuple[int | None, float | None]:
    """Read the requests left and the seconds until the reset; two Nones unless both are there."""
    for remaining_name, reset_name in _PAIRS:
        if remaining_name in headers:
            remaining = _number(headers[remaining_name])
            reset = _number(headers.get(reset_name))
            if remaining is not None and reset is not None:
                return int(remaining), _seconds_until(reset, at)
    policies = headers.get("RateLimit")
    if policies is None:
        return None, None
    # Of several policies in one header, the one with the fewest requests left applies.
    quotas = [
        (int(found["r"]), float(found["t"]))
        for item in policies.split(",")
        if {"r", "t"} <= (found := dict(_PARAMETER.findall(item))).keys()
    ]
    return min(quotas, default=(None, None))


def _number(value: str | None) -> float | None:
    if value is None:
        return None
    text = value.strip()
    return float(text) if _NUMBER.fullmatch(text) else None


def _seconds_until(reset: float, at: dt.datetime) -> float:
    if reset >= _UNIX_MILLISECONDS:
        reset /= 1000
    if reset >= _UNIX:
        reset -= at.timestamp()
    return min(max(reset, 0.0), LONGEST_PAUSE)
