"""How a server tells its limiter's state: the header styles in use on the web."""

from __future__ import annotations

import math
import time
from email.utils import formatdate
from typing import TYPE_CHECKING, Final, get_args

from .records import QuotaHeaders, SandboxError

if TYPE_CHECKING:
    from collections.abc import Callable

    from .limiter import Decision


def quota_headers(
    style: QuotaHeaders, decision: Decision, window: float, ahead: float = 0.0
) -> dict[str, str]:
    """Write a limiter's decision into headers.

    Args:
        style: Which headers the server sends.
        decision: What the limiter said of this request.
        window: The limiter's window in seconds.
        ahead: By how many seconds the server's clock is ahead of this machine's.

    Returns:
        The headers; only the two Retry-After styles tell refused and passed requests apart.
    """
    return _WRITERS[style](decision, window, time.time() + ahead)


def retry_after_header(style: QuotaHeaders, seconds: float, ahead: float) -> dict[str, str]:
    """Write how long to wait, whatever the limiter says.

    Args:
        style: Which headers the server sends; one of them has a date in place of seconds.
        seconds: How long.
        ahead: By how many seconds the server's clock is ahead of this machine's.

    Returns:
        The header.
    """
    now = time.time() + ahead
    return {"Retry-After": _date(now + seconds) if style == "retry-after-date" else _up(seconds)}


def check_style(style: str) -> None:
    """Make sure a style exists.

    Args:
        style: Its name.

    Raises:
        SandboxError: There is no such style.
    """
    if style not in get_args(QuotaHeaders):
        raise SandboxError(f"there are no quota headers {style!r}")


def _none(decision: Decision, window: float, now: float) -> dict[str, str]:  # noqa: ARG001
    return {}


def _retry_after(decision: Decision, window: float, now: float) -> dict[str, str]:  # noqa: ARG001
    return {} if decision.allowed else {"Retry-After": _up(decision.retry_after)}


def _retry_after_date(decision: Decision, window: float, now: float) -> dict[str, str]:  # noqa: ARG001
    if decision.allowed:
        return {}
    return {"Retry-After": _date(now + decision.retry_after)}


def _x_ratelimit(decision: Decision, window: float, now: float) -> dict[str, str]:  # noqa: ARG001
    return _three("X-RateLimit", decision, _up(now + decision.reset_after))


def _x_ratelimit_delta(decision: Decision, window: float, now: float) -> dict[str, str]:  # noqa: ARG001
    return _three("X-RateLimit", decision, _up(decision.reset_after))


def _ratelimit(decision: Decision, window: float, now: float) -> dict[str, str]:  # noqa: ARG001
    return _three("RateLimit", decision, _up(decision.reset_after))


def _ratelimit_structured(decision: Decision, window: float, now: float) -> dict[str, str]:  # noqa: ARG001
    return {
        "RateLimit": f'"default";r={decision.remaining};t={_up(decision.reset_after)}',
        "RateLimit-Policy": f'"default";q={decision.limit};w={_up(window)}',
    }


def _three(prefix: str, decision: Decision, reset: str) -> dict[str, str]:
    return {
        f"{prefix}-Limit": str(decision.limit),
        f"{prefix}-Remaining": str(decision.remaining),
        f"{prefix}-Reset": reset,
    }


def _date(instant: float) -> str:
    return formatdate(math.ceil(instant), usegmt=True)


def _up(seconds: float) -> str:
    """Round up to whole seconds: a client that waits them is not early."""
    return str(math.ceil(seconds))


_WRITERS: Final[dict[str, Callable[[Decision, float, float], dict[str, str]]]] = {
    "none": _none,
    "retry-after": _retry_after,
    "retry-after-date": _retry_after_date,
    "x-ratelimit": _x_ratelimit,
    "x-ratelimit-delta": _x_ratelimit_delta,
    "ratelimit": _ratelimit,
    "ratelimit-structured": _ratelimit_structured,
}
