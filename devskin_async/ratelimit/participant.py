"""What a budget knows of each of its participants."""

from __future__ import annotations

import math

import msgspec

from .shaping import Shape


class Bucket(msgspec.Struct, array_like=True, gc=False):
    """A token bucket.

    Args:
        tokens: How many requests could go at once.
        filled_at: When that was so.
    """

    tokens: float = math.inf
    filled_at: float = -math.inf

    def fill(self, shape: Shape, now: float) -> float:
        """Bring the level up to the present, and return the seconds until there is a token."""
        gained = max(0.0, now - self.filled_at) * shape.rate
        self.tokens = min(float(shape.burst), self.tokens + gained)
        self.filled_at = max(self.filled_at, now)
        if self.tokens >= 1:
            return 0.0
        return self.filled_at - now + (1 - self.tokens) / shape.rate


class Participant(msgspec.Struct, array_like=True):
    """One that shares the budget.

    Args:
        requests: Its own limit.
        per: Its own window in seconds.
        takes_part_until: When it takes part no more, unless it reports before.
        waiting: How many of its requests wait, in each lane.
        waits_until: Until when they are believed to wait; they are asked for again before.
        held: How many slots it holds, in each lane.
        granted_at: When it last got a slot.
        interactive_at: When it last wanted an interactive slot.
        share: Slots that it may hold while the budget is out of reach.
        promised: Slots that no other may be promised: its share, or an earlier one that was
            larger, while it is not known to have been told of the smaller one.
        bucket: Its own token bucket.
    """

    requests: int
    per: float = 0.0
    takes_part_until: float = -math.inf
    waiting: list[int] = msgspec.field(default_factory=lambda: [0, 0])
    waits_until: float = -math.inf
    held: list[int] = msgspec.field(default_factory=lambda: [0, 0])
    granted_at: float = -math.inf
    interactive_at: float = -math.inf
    share: int = 0
    promised: int = 0
    bucket: Bucket = msgspec.field(default_factory=Bucket)
