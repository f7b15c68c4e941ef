"""What a budget knows about each participant."""

from __future__ import annotations

import math

import msgspec

from .shaping import Shape


class Bucket(msgspec.Struct, array_like=True, gc=False):
    """A token bucket.

    Args:
        tokens: How many requests can be sent at once.
        filled_at: When there were so many tokens.
    """

    tokens: float = math.inf
    filled_at: float = -math.inf

    def fill(self, shape: Shape, now: float) -> float:
        """Add the tokens up to `now`, and return the seconds until there is one."""
        gained = max(0.0, now - self.filled_at) * shape.rate
        self.tokens = min(float(shape.burst), self.tokens + gained)
        self.filled_at = max(self.filled_at, now)
        if self.tokens >= 1:
            return 0.0
        return self.filled_at - now + (1 - self.tokens) / shape.rate


class Participant(msgspec.Struct, array_like=True):
    """A participant of the budget, as the budget sees it.

    Args:
        requests: Its own limit.
        per: Its own window in seconds.
        takes_part_until: When it no longer takes part, unless it reports before.
        waiting: How many of its requests wait, in each lane.
        waits_until: Until when they count as waiting; it reports again before.
        held: How many slots it holds, in each lane.
        granted_at: When it last got a slot.
        interactive_at: When it last wanted an interactive slot.
        share: Slots that it may hold while the budget is unreachable.
        promised: Slots that no other may be promised: its share, or an earlier larger one as
            long as it may not have received the reply with the smaller one.
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
