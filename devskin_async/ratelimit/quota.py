"""What a response says about the rate limit."""

from __future__ import annotations

from typing import NamedTuple

LONGEST_PAUSE = 300.0
"""The longest pause in seconds; a server that asks for a longer one gets this."""


class RateLimitInfo(NamedTuple):
    """What a response says about the rate limit.

    Args:
        refused: Whether the status is 429.
        retry_after: Seconds until the request may be sent again; None if not said.
        remaining: Requests left until the reset; None if not said.
        reset_after: Seconds until the reset; None if not said.
    """

    refused: bool = False
    retry_after: float | None = None
    remaining: int | None = None
    reset_after: float | None = None
