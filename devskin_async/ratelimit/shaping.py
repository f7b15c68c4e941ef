"""What refusals teach about the server: a pure value, and its changes.

A 429 pauses everything. If requests of ours were accepted lately, the server is stricter than the
window, or another program uses the key. Then a token bucket within the window is made small and a
little slower than the limit. If a request is refused again, the bucket is made as slow as the
requests that were accepted in the last `per` seconds. Its size and rate recover slowly, more slowly
after each lesson.

Refusals of requests that were sent before a lesson belong to that lesson: one burst of refusals is
one lesson. After a pause one request is sent alone, until its response comes.
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
    """Return the shape of a limit without any lesson."""
    return Shape(limit.burst, limit.requests / limit.per)


def cautious_shape(limit: RateLimit) -> Shape:
    """Return the shape after the first lesson: a tenth of the window at once, a little slower."""
    burst = max(1, min(limit.burst, limit.requests // 10))
    return Shape(burst, limit.requests / limit.per * _MARGIN)


class Shaping(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """What was learned, shared by all participants of a budget.

    Args:
        version: How often it has changed, as counted by the budget that keeps it.
        burst: The bucket's size in requests.
        rate: The bucket's refill in requests a second; 0 if no learned shape is in force, so that
            each limit's own shape is used.
        probing: Whether one request is sent alone, until its response comes.
        lesson_at: When the last lesson was.
        pause: The last pause whose length the server did not say, in seconds.
        accepted_since_lesson: Whether a request that was granted since the last lesson was
            accepted.
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
        """The learned shape; None if none is in force."""
        return Shape(self.burst, self.rate) if self.rate else None

    @property
    def is_in_force(self) -> bool:
        """Whether a learned shape is in force, or a lesson is not confirmed yet."""
        return bool(self.rate or self.probing or not self.accepted_since_lesson)

    def accepted(self, limit: RateLimit, now: float, granted_at: float) -> Shaping:
        """Return the value after a response other than 429.

        Args:
            limit: The limit that the shape recovers to.
            now: The time, in seconds.
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
        """Return the value after a 429.

        Another refusal of the same burst is not a lesson, and changes nothing.

        Args:
            limit: The limit that was kept.
            now: The time, in seconds.
            granted_at: When the request got its slot.
            accepted: How many requests were accepted in the last `per` seconds, and when the last
                one was.

        Returns:
            The new value; its `pause` is for how many seconds to pause if the server does not say.
            It is longer each time until a request is accepted.
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
    """Whether refusals are still waited out: while a request was accepted in the last window.

    It belongs to the key, not to a call: a call that is merely behind other calls of this key is
    not a sign that another program uses the key up.

    Args:
        per: The window in seconds.
    """

    def __init__(self, per: float) -> None:
        self._per = per
        self.accepted()

    def accepted(self) -> None:
        """Note a response other than 429."""
        self._since = math.inf
        self._until = -math.inf

    def refused(self, now: float, pause: float) -> None:
        """Note a 429, which pauses for so many seconds."""
        if now > self._until + 2 * self._per:  # the first one, or the last was long ago
            self._since = now
        self._until = now + pause

    def is_over(self, granted_at: float) -> bool:
        """Return whether nothing was accepted for a whole window before a slot was granted."""
        return granted_at >= self._since + self._per
