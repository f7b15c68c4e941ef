"""What a response tells of the budget; it only ever lowers the estimate of what is left."""

from __future__ import annotations

import math
from typing import NamedTuple

LONGEST_PAUSE = 300.0
"""No server is believed that asks for a longer one, in seconds."""


class RateLimitInfo(NamedTuple):
    """What a response tells of the rate limit.

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


class QuotaLeft:
    """The estimate of what the server has left for us, from what its headers told."""

    def __init__(self) -> None:
        self._left = math.inf
        self._until = -math.inf

    def told(self, now: float, remaining: int, reset_after: float, in_flight: int) -> None:
        """Take in what an answer told.

        Args:
            now: The present, in seconds.
            remaining: Requests left when it was given.
            reset_after: Seconds until there are more again.
            in_flight: Requests that the server may not have counted yet.
        """
        self._left = remaining - in_flight
        self._until = now + reset_after

    def spend(self) -> None:
        """Count a request that goes now."""
        self._left -= 1

    def wait(self, now: float) -> float:
        """Say how many seconds nothing may go: 0 where something is left, or nothing is known."""
        return 0.0 if self._left > 0 else max(0.0, self._until - now)
