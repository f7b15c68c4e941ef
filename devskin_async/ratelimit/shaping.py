"""What refusals teach, decided from the time alone.

A 429 pauses everything. If it came though requests of ours were accepted lately, the server is
stricter than the window, or somebody else uses the key: then the token bucket beneath the window
is made small and a little slower than the limit, and if that is refused again, as slow as what
was accepted in the last `per` seconds. Both recover slowly, more slowly after each lesson.

Requests that were sent before a lesson belong to it: one burst of refusals is one lesson. After a
pause one request goes alone, until it is answered.
"""

from __future__ import annotations

import math
from collections import deque
from typing import NamedTuple

from .policy import RateLimit

_MARGIN = 0.99
_FIRST_PAUSE = 1 / 30
_RECOVERY = 3
_STEP = 1.02


class Shape(NamedTuple):
    """How the token bucket shapes the flow.

    Args:
        burst: Its size in requests.
        rate: Its refill in requests a second.
    """

    burst: int
    rate: float


class Shaper:
    """Learns the shape from what the server accepts and refuses.

    Args:
        limit: The budget; its burst and rate are the shape to begin with and to return to.

    Attributes:
        shape: The shape that the bucket should have; another object, though equal, is a bucket
            that begins empty.
        probing: Whether one request goes alone, until it is answered.
    """

    def __init__(self, limit: RateLimit) -> None:
        self._per = limit.per
        self._usual = Shape(limit.burst, limit.requests / limit.per)
        self._cautious = Shape(
            max(1, min(limit.burst, limit.requests // 10)), self._usual.rate * _MARGIN
        )
        self.shape: Shape = self._usual
        self.probing: bool = False
        self._accepted: deque[float] = deque()
        self._lesson_at = -math.inf
        self._pause = 0.0
        self._accepted_since_lesson = False
        self._changed_at = -math.inf
        self._recovery = _RECOVERY

    @property
    def is_usual(self) -> bool:
        """Whether nothing that it learned is in force."""
        return self.shape is self._usual and not self.probing

    def accepted(self, now: float, granted_at: float) -> None:
        """Note that a request was answered, and not with 429.

        Args:
            now: The present, in seconds.
            granted_at: When the request got its slot.
        """
        accepted, long_ago = self._accepted, now - 2 * self._per
        accepted.append(now)
        while accepted[0] <= long_ago:
            accepted.popleft()
        if granted_at >= self._lesson_at:
            if self.probing and self.shape is not self._usual:
                self.shape = self.shape._replace()
            self.probing = False
            self._pause = 0.0
            self._accepted_since_lesson = True
        if self.shape is not self._usual:
            self._recover(now)

    def refused(self, now: float, granted_at: float) -> float | None:
        """Note that a request was answered with 429.

        Args:
            now: The present, in seconds.
            granted_at: When the request got its slot.

        Returns:
            Seconds to pause where the server does not say: longer each time that it did not
            help. None where this was one more refusal of the same burst, and no lesson.
        """
        if granted_at <= self._lesson_at:
            return None
        self._pause = min(max(2 * self._pause, self._per * _FIRST_PAUSE), self._per)
        first = self._lesson_at == -math.inf
        if self._accepted_lately(now) and (first or self._accepted_since_lesson):
            self._tighten(now)
        self._lesson_at = now
        self._accepted_since_lesson = False
        self.probing = True
        return self._pause

    def _accepted_lately(self, now: float) -> bool:
        return bool(self._accepted) and self._accepted[-1] > now - 2 * self._per

    def _tighten(self, now: float) -> None:
        if self.shape.burst > self._cautious.burst or self.shape.rate > self._cautious.rate:
            self.shape = self._cautious
        else:
            accepted = sum(at > now - self._per for at in self._accepted)
            measured = max(1, accepted) / self._per * _MARGIN
            rate = min(self.shape.rate * _MARGIN, max(measured, self.shape.rate / 2))
            self.shape = Shape(self.shape.burst, rate)
            self._recovery *= 2
        self._changed_at = now

    def _recover(self, now: float) -> None:
        if now < self._changed_at + self._recovery * self._per:
            return
        self._changed_at = now
        if self.shape.rate < self._cautious.rate:
            rate = min(self.shape.rate * _STEP, self._cautious.rate)
            self.shape = Shape(self.shape.burst, rate)
        elif 2 * self.shape.burst < self._usual.burst:
            self.shape = Shape(2 * self.shape.burst, self.shape.rate)
        else:
            self.shape = self._usual


class Patience:
    """How long refusals are waited out: while the key was accepted within the last window.

    It belongs to the key, not to a call: one that is merely behind others of its own is no sign
    that somebody else uses the key up.

    Args:
        per: The window in seconds.
    """

    def __init__(self, per: float) -> None:
        self._per = per
        self.accepted()

    def accepted(self) -> None:
        """Note that a request was answered, and not with 429."""
        self._since = math.inf
        self._until = -math.inf

    def refused(self, now: float, pause: float) -> None:
        """Note that a request was answered with 429, which pauses for so many seconds."""
        if now > self._until + 2 * self._per:  # the first one, or the last was long ago
            self._since = now
        self._until = now + pause

    def is_over(self, granted_at: float) -> bool:
        """Say whether nothing was accepted for a whole window before a slot was granted."""
        return granted_at >= self._since + self._per
