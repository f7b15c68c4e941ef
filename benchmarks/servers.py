"""The servers of the simulation: each decides from the time alone whether it counts a request."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator

REQUESTS, PER = 100, 60.0


class Server:
    """A limiter; `retry_after` tells what a 429 would say."""

    def hit(self, now: float) -> bool:
        raise NotImplementedError

    def retry_after(self, now: float) -> float | None:  # noqa: ARG002
        """Seconds that a 429 asks for; None where it does not say."""
        return None


class FixedWindow(Server):
    """So many in each window of the clock, which began `phase` seconds before the start."""

    def __init__(self, phase: float) -> None:
        self._phase = phase
        self._window, self._count = -1, 0

    def hit(self, now: float) -> bool:
        window = int((now + self._phase) // PER)
        if window != self._window:
            self._window, self._count = window, 0
        self._count += 1
        return self._count <= REQUESTS


class FirstRequest(Server):
    """So many in a window that the first request opens."""

    def __init__(self) -> None:
        self._ends, self._count = -math.inf, 0

    def hit(self, now: float) -> bool:
        if now >= self._ends:
            self._ends, self._count = now + PER, 0
        self._count += 1
        return self._count <= REQUESTS


class SlidingLog(Server):
    """So many in any window; others may have used it before, or use it evenly meanwhile."""

    def __init__(
        self, before: int = 0, ago: float = 30.0, others: float = 0.0, *, says: bool = False
    ) -> None:
        self._log: deque[float] = deque([-ago] * before)
        self._says = says
        self._others = self._evenly(others)
        self._next_other = next(self._others)
        if others:
            self._log.extend(-PER + i * PER / others for i in range(int(others)))

    @staticmethod
    def _evenly(others: float) -> Iterator[float]:
        at = 0.0
        while others:
            yield at
            at += PER / others
        yield math.inf

    def hit(self, now: float) -> bool:
        while self._next_other <= now:
            self._count(self._next_other)
            self._next_other = next(self._others)
        return self._count(now)

    def _count(self, now: float) -> bool:
        while self._log and self._log[0] <= now - PER:
            self._log.popleft()
        if len(self._log) >= REQUESTS:
            return False
        self._log.append(now)
        return True

    def retry_after(self, now: float) -> float | None:
        return math.ceil(self._log[0] + PER - now) if self._says else None


class SlidingCounter(Server):
    """Two windows of the clock, the last weighted by how much of it is in sight."""

    def __init__(self, phase: float) -> None:
        self._phase = phase
        self._window, self._last, self._count = 0, 0, 0

    def hit(self, now: float) -> bool:
        window, into = divmod(now + self._phase, PER)
        if window != self._window:
            self._last = self._count if window == self._window + 1 else 0
            self._window, self._count = int(window), 0
        if self._last * (1 - into / PER) + self._count + 1 > REQUESTS:
            return False
        self._count += 1
        return True


class Bucket(Server):
    """Tokens that come evenly, up to a capacity."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._tokens, self._at = float(capacity), 0.0

    def hit(self, now: float) -> bool:
        gained = (now - self._at) * REQUESTS / PER
        self._tokens, self._at = min(self._capacity, self._tokens + gained), now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
