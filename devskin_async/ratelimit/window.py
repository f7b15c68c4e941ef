"""When a request may go, decided from the time alone.

A request holds a slot from before it is sent until `per` seconds after its answer was seen. The
server counted it before it answered, so whatever span of `per` seconds the server looks at, the
requests it counts there all hold slots at one moment: never more than there are.

The argument. Take any span of `per` seconds at the server and the last request counted in it.
Every other request that the server counted in the span was counted less than `per` seconds before,
so its answer was seen less than `per` seconds before, or not yet: it still held its slot when the
last request took one. There are `requests` slots, so the span counts at most as many.

It rests on the answer. A request that was given up (timed out, cancelled, its connection broken)
keeps its slot from that moment; a server that counts it later still is not covered.
"""

from __future__ import annotations

from collections import deque


class Window:
    """The slots of a limit of `requests` in every `per` seconds.

    Args:
        requests: How many slots there are.
        per: Seconds for which a slot stays taken after its answer.
    """

    def __init__(self, requests: int, per: float) -> None:
        self.requests = requests
        self.per = per
        self.in_flight: int = 0
        self._frees_at: deque[float] = deque()

    def available(self, now: float) -> int:
        """Count the free slots at `now`."""
        self._expire(now)
        return self.requests - self.in_flight - len(self._frees_at)

    def next_free(self, now: float) -> float | None:
        """Say when a slot is free: `now` or later, or None where that waits for an answer."""
        if self.available(now) > 0:
            return now
        return self._frees_at[0] if self._frees_at else None

    def take(self, now: float) -> None:
        """Take a free slot for a request that goes at `now`."""
        if self.available(now) <= 0:
            raise RuntimeError("no slot is free")
        self.in_flight += 1

    def answered(self, now: float) -> None:
        """Let a slot that was taken become free `per` seconds from `now`."""
        self.in_flight -= 1
        latest = self._frees_at[-1] if self._frees_at else now
        self._frees_at.append(max(latest, now + self.per))

    def _expire(self, now: float) -> None:
        while self._frees_at and self._frees_at[0] <= now:
            self._frees_at.popleft()
