"""What refusals teach: a pure value, and what it becomes.

A 429 pauses everything. If it came though requests of ours were accepted lately, the server is
stricter than the window, or somebody else uses the key: then a token bucket beneath the window
is made small and a little slower than the limit, and if that is refused again, as slow as what
was accepted in the last `per` seconds. Both recover slowly, more slowly after each lesson.

Requests that were sent before a lesson belong to it: one burst of refusals is one lesson. After a
pause one request goes alone, until it is answered.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from .policy import RateLimit

_MARGIN = 0.99
_FIRST_PAUSE = 1 / 30
_RECOVERY = 3
_STEP = 1.02


class Shape(NamedTuple):
    """The token bucket that shapes the flow.

    Args:
        burst: Its size in requests.
        rate: Its refill in requests a second.
    """

    burst: int
    rate: float


def usual_shape(limit: RateLimit) -> Shape:
    """Return the shape of a limit that nothing was learned about."""
    return Shape(limit.burst, limit.requests / limit.per)


def cautious_shape(limit: RateLimit) -> Shape:
    """Return the shape after the first lesson: a tenth of the window at once, a little slower."""
    burst = max(1, min(limit.burst, limit.requests // 10))
    return Shape(burst, limit.requests / limit.per * _MARGIN)


class Shaping(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """What was learned, as all that share a budget know it.

    Args:
        version: How often it has changed, as counted by the budget that keeps it.
        burst: The bucket's size in requests.
        rate: The bucket's refill in requests a second; 0 where nothing that was learned is in
            force, and each limit's own shape holds.
        probing: Whether one request goes alone, until it is answered.
        lesson_at: When the last lesson was.
        pause: The last pause where the server did not say, in seconds.
        accepted_since_lesson: Whether a request granted since then was accepted.
        changed_at: When the shape last changed.
        recovery: How many windows each step of the recovery takes.
    """

    version: int = 0
    burst: int = 0
    rate: float = 0.0
    probing: bool = False
    lesson_at: float = -math.inf
    pause: float = 0.0
    accepted_since_lesson: bool = True
    changed_at: float = -math.inf
    recovery: int = _RECOVERY

    @property
    def shape(self) -> Shape | None:
        """The learned shape; None where none is in force."""
        return Shape(self.burst, self.rate) if self.rate else None

    @property
    def is_in_force(self) -> bool:
        """Whether something that was learned is in force, or not confirmed yet."""
        return bool(self.rate or self.probing or not self.accepted_since_lesson)

    def accepted(self, limit: RateLimit, now: float, granted_at: float) -> Shaping:
        """Return what it becomes when a request is answered, and not with 429.

        Args:
            limit: The limit to return to in the end.
            now: The present, in seconds.
            granted_at: When the request got its slot.
        """
        after = self
        if self.rate and now >= self.changed_at + self.recovery * limit.per:
            after = self._recovered(limit, now)
        is_unconfirmed = self.probing or not self.accepted_since_lesson
        if granted_at >= self.lesson_at and is_unconfirmed:
            after = replace(after, probing=False, pause=0.0, accepted_since_lesson=True)
        return after

    def refused(
        self, limit: RateLimit, now: float, granted_at: float, accepted: tuple[int, float]
    ) -> Shaping:
        """Return what it becomes when a request is answered with 429.

        One more refusal of the same burst is no lesson, and changes nothing.

        Args:
            limit: The limit that was kept.
            now: The present, in seconds.
            granted_at: When the request got its slot.
            accepted: How many requests were accepted in the last `per` seconds, and when the last.

        Returns:
            The lesson; its `pause` is how many seconds to pause where the server does not say:
            longer each time that it did not help.
        """
        if granted_at <= self.lesson_at:
            return self
        after = self
        count, accepted_at = accepted
        if accepted_at > now - 2 * limit.per and self.accepted_since_lesson:
            after = self._tightened(limit, now, count)
        return replace(
            after,
            lesson_at=now,
            pause=min(max(2 * self.pause, limit.per * _FIRST_PAUSE), limit.per),
            accepted_since_lesson=False,
            probing=True,
        )

    def _tightened(self, limit: RateLimit, now: float, accepted: int) -> Shaping:
        cautious = cautious_shape(limit)
        if not self.rate or self.burst > cautious.burst or self.rate > cautious.rate:
            return replace(self, burst=cautious.burst, rate=cautious.rate, changed_at=now)
        measured = max(1, accepted) / limit.per * _MARGIN
        rate = min(self.rate * _MARGIN, max(measured, self.rate / 2))
        return replace(self, rate=rate, recovery=2 * self.recovery, changed_at=now)

    def _recovered(self, limit: RateLimit, now: float) -> Shaping:
        cautious = cautious_shape(limit)
        if self.rate < cautious.rate:
            rate = min(self.rate * _STEP, cautious.rate)
            return replace(self, rate=rate, changed_at=now)
        if 2 * self.burst < limit.burst:
            return replace(self, burst=2 * self.burst, changed_at=now)
        return replace(self, burst=0, rate=0.0, changed_at=now)


class RefusalTracker:
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
        """Return whether nothing was accepted for a whole window before a slot was granted."""
        return granted_at >= self._since + self._per
