"""What an answer's headers tell of the budget.

Three families are in use: `X-RateLimit-*` and `RateLimit-*`, with a reset in seconds or as a Unix
time, and the IETF's structured `RateLimit` (draft-ietf-httpapi-ratelimit-headers). What they tell
only ever lowers the estimate of what is left.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping

from ..ratelimit import LONGEST_PAUSE

_PAIRS = (
    ("X-RateLimit-Remaining", "X-RateLimit-Reset"),
    ("RateLimit-Remaining", "RateLimit-Reset"),
)
_NUMBER = re.compile(r"\d{1,15}(\.\d{1,6})?", re.ASCII)
_PARAMETER = re.compile(r";\s*([rt])=(\d{1,15})", re.ASCII)
# No reset is this many seconds away: what is greater is a Unix time, and if so, in milliseconds.
_UNIX = 1e8
_UNIX_MILLISECONDS = 1e11


def quota_told(headers: Mapping[str, str], at: dt.datetime) -> tuple[int | None, float | None]:
    """Read the requests left and the seconds until the reset from quota headers.

    Args:
        headers: The answer's headers, looked up without regard to case.
        at: The instant of the answer, for a reset that is a Unix time.

    Returns:
        Both, or None and None where the headers do not tell both.
    """
    for remaining_name, reset_name in _PAIRS:
        if remaining_name in headers:
            remaining = _number(headers[remaining_name])
            reset = _number(headers.get(reset_name))
            if remaining is not None and reset is not None:
                return int(remaining), _seconds_until(reset, at)
    policies = headers.get("RateLimit")
    if policies is None:
        return None, None
    # Of several policies in one header, the one with the least left binds.
    told = [
        (int(found["r"]), float(found["t"]))
        for item in policies.split(",")
        if {"r", "t"} <= (found := dict(_PARAMETER.findall(item))).keys()
    ]
    return min(told, default=(None, None))


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
