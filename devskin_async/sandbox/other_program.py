"""Another program with the same key: what it takes of the limit is seen by nobody else."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from .quirks import Quirk

if TYPE_CHECKING:
    from .limiter import Decision, Limiter
    from .quirks import Quirks


def with_other_program(limiter: Limiter, quirks: Quirks) -> Limiter:
    """Let another program use each key of a limiter too, if a quirk says so.

    Args:
        limiter: Counts the requests of all.
        quirks: Which ones are switched on.

    Returns:
        The limiter as it counts for those who are watched.
    """
    if (requests := quirks.whole(Quirk.OTHERS)) is not None:
        return _Shared(limiter, requests, again=True)
    if Quirk.USED_UP in quirks:
        return _Shared(limiter, limiter.limit, again=False)
    return limiter


class _Shared:
    """A limiter of which another program takes so many requests first: once, or each window."""

    def __init__(self, limiter: Limiter, requests: int, *, again: bool) -> None:
        self.limit = limiter.limit
        self.window = limiter.window
        self._limiter = limiter
        self._requests = requests
        self._again = again
        self._taken: dict[str, int] = {}

    def hit(self, key: str) -> Decision:
        """Count one request, after those of the other program."""
        window = int(time.time() // self.window) if self._again else 0
        if self._taken.get(key) != window:
            self._taken[key] = window
            # A refused request uses up nothing, so there is no need for more of them.
            for _ in range(min(self._requests, self.limit)):
                self._limiter.hit(key)
        return self._limiter.hit(key)
