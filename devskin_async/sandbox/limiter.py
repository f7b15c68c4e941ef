"""The server's side of the budget: every kind of limiter the API could turn out to have."""

from __future__ import annotations

import threading
import time
from datetime import timedelta
from fractions import Fraction
from typing import TYPE_CHECKING, Final, Protocol

import attrs
from limits import RateLimitItemPerSecond
from limits.storage import MemoryStorage
from limits.strategies import (
    FixedWindowRateLimiter,
    MovingWindowRateLimiter,
    SlidingWindowCounterRateLimiter,
)
from throttled.rate_limiter import GCRARateLimiter, per_duration
from throttled.store import MemoryStore

from .records import LimiterKind, SandboxError

if TYPE_CHECKING:
    from collections.abc import Callable


SHORTEST: Final = 0.001
LONGEST: Final = 365 * 86_400.0
KEPT_COUNTERS: Final = 64


@attrs.frozen
class Decision:
    """What a limiter says of one request; times are in seconds from now."""

    allowed: bool
    limit: int
    remaining: int
    reset_after: float
    retry_after: float


class Limiter(Protocol):
    """Counts requests key by key. A refused request uses up nothing."""

    @property
    def limit(self) -> int:
        """How many requests go through at once."""

    @property
    def window(self) -> float:
        """In how many seconds that many become free again."""

    def hit(self, key: str) -> Decision:
        """Count one request.

        Args:
            key: Whose request it is.

        Returns:
            Whether it may pass, and what is left.
        """


def make_limiter(kind: LimiterKind, limit: int, per: float) -> Limiter:
    """Build a limiter.

    Args:
        kind: Which rule it follows.
        limit: Requests in a window; the small bucket holds a fifth of them.
        per: The window's length in seconds, fractions included.

    Returns:
        A limiter that has seen no request.

    Raises:
        SandboxError: The kind is unknown, the limit not positive, or the window shorter than a
            millisecond or longer than a year.
    """
    if limit < 1:
        raise SandboxError("limit must be positive")
    if not SHORTEST <= per <= LONGEST:
        raise SandboxError("per must be from a millisecond to a year, in seconds")
    if kind not in _MAKERS:
        raise SandboxError(f"there is no limiter {kind!r}")
    return _MAKERS[kind](limit, per)


class _Seconds(RateLimitItemPerSecond):
    """A rate of `limits` over a fraction of a second, which its own items round away."""

    __slots__ = ("_per",)

    def __init__(self, amount: int, per: float) -> None:
        super().__init__(amount)
        self._per = per

    def get_expiry(self) -> float:  # type: ignore[override]  # the memory storage takes a float
        return self._per


class _NoTimer(threading.Timer):
    """Looks always alive to the storage, so that it starts no thread to clean up after itself."""

    def __init__(self) -> None:
        super().__init__(0, lambda: None)

    def is_alive(self) -> bool:
        return True


def _storage() -> MemoryStorage:
    """Make a storage of `limits` without its thread, which may outlive the server.

    Expiry is judged when a counter is read; the thread only gives memory back.
    """
    storage = MemoryStorage()
    storage.timer.cancel()
    storage.timer.join()
    storage.timer = _NoTimer()
    return storage


def _sweep(storage: MemoryStorage) -> None:
    """Give back the memory of windows long past, which is else the thread's work."""
    if len(storage.expirations) > KEPT_COUNTERS:
        now = time.time()
        for name in [name for name, end in storage.expirations.items() if end <= now]:
            storage.clear(name)


class FixedWindow:
    """So many requests in a window: the clock's own, or one that the first request opens."""

    def __init__(self, limit: int, per: float, *, aligned: bool) -> None:
        self.limit = limit
        self.window = per
        self._aligned = aligned
        self._storage = _storage()
        self._item = _Seconds(limit, per)
        self._strategy = FixedWindowRateLimiter(self._storage)

    def hit(self, key: str) -> Decision:
        """Count one request; one past the limit raises a count that is forgotten anyway."""
        now = time.time()
        index = int(now // self.window)
        name = f"{key}/{index}" if self._aligned else key
        allowed = self._strategy.hit(self._item, name)
        stats = self._strategy.get_window_stats(self._item, name)
        end = (index + 1) * self.window if self._aligned else stats.reset_time
        reset_after = max(0.0, end - now)
        _sweep(self._storage)
        return Decision(
            allowed, self.limit, stats.remaining, reset_after, 0.0 if allowed else reset_after
        )


class SlidingLog:
    """So many requests in any window: each frees its place a whole window later."""

    def __init__(self, limit: int, per: float) -> None:
        self.limit = limit
        self.window = per
        self._storage = _storage()
        self._item = _Seconds(limit, per)
        self._strategy = MovingWindowRateLimiter(self._storage)

    def hit(self, key: str) -> Decision:
        """Count one request."""
        allowed = self._strategy.hit(self._item, key)
        # Only the newest `limit` are ever looked at; the storage itself would keep all.
        del self._storage.events[self._item.key_for(key)][self.limit :]
        stats = self._strategy.get_window_stats(self._item, key)
        reset_after = max(0.0, stats.reset_time - time.time())
        return Decision(
            allowed, self.limit, stats.remaining, reset_after, 0.0 if allowed else reset_after
        )


class SlidingCounter:
    """Two of the clock's windows, the last one weighted by how much of it is still in sight.

    Source: Cloudflare, «How we built rate limiting capable of scaling to millions of domains».
    """

    def __init__(self, limit: int, per: float) -> None:
        self.limit = limit
        self.window = per
        self._storage = _storage()
        self._item = _Seconds(limit, per)
        self._strategy = SlidingWindowCounterRateLimiter(self._storage)

    def hit(self, key: str) -> Decision:
        """Count one request."""
        allowed = self._strategy.hit(self._item, key)
        name = self._item.key_for(key)
        last, last_left, this, this_left = self._storage.get_sliding_window(
            name,
            self.window,  # type: ignore[arg-type]  # the memory storage takes a float
        )
        weighted = last * last_left / self.window + this
        reset_after = this_left - self.window
        _sweep(self._storage)
        return Decision(
            allowed,
            self.limit,
            max(0, self.limit - int(weighted)),
            reset_after,
            0.0 if allowed else self._retry_after(last, last_left, this, reset_after),
        )

    def _retry_after(self, last: int, last_left: float, this: int, this_left: float) -> float:
        """Tell when the weighted count falls below the limit, if nothing comes meanwhile."""
        if this >= self.limit:
            return this_left
        # A window that began since the request was judged may have nothing of one before it.
        return max(0.0, last_left - (self.limit - this) * self.window / last) if last else 0.0


class Bucket:
    """A bucket of tokens filled evenly: GCRA, which keeps one instant per key."""

    def __init__(self, limit: int, per: float, *, capacity: int) -> None:
        self.limit = capacity
        self.window: float = capacity * per / limit
        # throttled-py takes whole seconds only; the same rate over a longer period has them.
        rate = Fraction(limit) / Fraction(per).limit_denominator(1_000_000)
        quota = per_duration(timedelta(seconds=rate.denominator), rate.numerator, capacity)
        self._limiter = GCRARateLimiter(quota, MemoryStore())

    def hit(self, key: str) -> Decision:
        """Count one request."""
        result = self._limiter.limit(key)
        state = result.state
        return Decision(
            not result.limited,
            self.limit,
            0 if result.limited else state.remaining,
            state.reset_after,
            state.retry_after,
        )


class Unlimited:
    """Lets everything through."""

    def __init__(self, limit: int, per: float) -> None:
        self.limit = limit
        self.window = per

    def hit(self, key: str) -> Decision:  # noqa: ARG002 - nobody is counted
        """Let one request through."""
        return Decision(
            allowed=True, limit=self.limit, remaining=self.limit, reset_after=0.0, retry_after=0.0
        )


_MAKERS: Final[dict[LimiterKind, Callable[[int, float], Limiter]]] = {
    "fixed-window": lambda limit, per: FixedWindow(limit, per, aligned=True),
    "first-request": lambda limit, per: FixedWindow(limit, per, aligned=False),
    "sliding-log": SlidingLog,
    "sliding-counter": SlidingCounter,
    "token-bucket": lambda limit, per: Bucket(limit, per, capacity=limit),
    "small-bucket": lambda limit, per: Bucket(limit, per, capacity=max(1, limit // 5)),
    "none": Unlimited,
}
