"""The token bucket beneath the window: aiolimiter's, with a shape that can change."""

from __future__ import annotations

from collections.abc import Awaitable

from aiolimiter import AsyncLimiter

from .shaping import Shape, Shaper

_HALVINGS = 24


class Bucket:
    """Tokens for requests, in the shape that the shaper has learned.

    Only one at a time may wait in `draw`, so aiolimiter's own order of waiters does not matter.

    Args:
        shaper: What it takes its shape from, whenever that changes.
    """

    def __init__(self, shaper: Shaper) -> None:
        self._shaper = shaper
        self._shape = shaper.shape
        self._limiter = _limiter(self._shape)
        self._spare = 0

    @property
    def is_anew(self) -> bool:
        """Whether the next `draw` begins with another, empty bucket."""
        return self._shape is not self._shaper.shape

    def has_token(self) -> bool:
        """Say whether `draw` would give a token at once."""
        if self.is_anew:
            return False
        return self._spare > 0 or self._limiter.has_capacity()

    def draw(self) -> Awaitable[None]:
        """Take a token, when awaited; where `has_token`, without giving way to anyone."""
        if self._spare or self.is_anew:
            return self._draw_anew()
        return self._limiter.acquire()

    async def _draw_anew(self) -> None:
        if self.is_anew:
            self._shape = self._shaper.shape
            self._limiter = _limiter(self._shape)
            self._spare = 0
            await self._limiter.acquire(self._shape.burst)  # it begins empty, at once
        if self._spare:
            self._spare -= 1
        else:
            await self._limiter.acquire()

    def put_back(self) -> None:
        """Give back a token that was not used."""
        self._spare += 1

    def tokens(self) -> float:
        """Find how many tokens there are, which the limiter tells by yes and no only."""
        if self.is_anew:
            return 0.0
        low, high = 0.0, float(self._shape.burst)
        if self._limiter.has_capacity(high):
            return high + self._spare
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            if self._limiter.has_capacity(middle):
                low = middle
            else:
                high = middle
        return low + self._spare


def _limiter(shape: Shape) -> AsyncLimiter:
    return AsyncLimiter(shape.burst, shape.burst / shape.rate)
