"""What a response says of the budget."""

from __future__ import annotations

from typing import NamedTuple

LONGEST_PAUSE = 300.0
"""No server is believed that asks for a longer one, in seconds."""


class RateLimitInfo(NamedTuple):
    """What a response says of the rate limit.

    Args:
        refused: Whether it was 429.
        retry_after: Seconds until the server asks to be called again; None where it did not say.
        remaining: Requests left until the reset; None where it did not say.
        reset_after: Seconds until the reset; None where it did not say.
    """

    refused: bool = False
    retry_after: float | None = None
    remaining: int | None = None
    reset_after: float | None = None
