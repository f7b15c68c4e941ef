"""How a call is made: how it waits for its turn, for how long, and how often it is sent."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from attrs import frozen

from .ratelimit import Lane, SlotJob, check_seconds, check_whole


@frozen
class Retry:
    """How a request that failed in passing is sent again.

    That is: connection errors, timeouts, broken bodies, and the statuses 429, 500, 502, 503 and
    504. The wait before attempt n + 1 is `wait_initial` * 2**(n - 1) and a random part of up to
    `wait_jitter`, at most `wait_max`; a `Retry-After` goes before it.

    Args:
        attempts: How often one call is sent at the most; 1 switches retries off.
        wait_initial: Seconds before the second attempt.
        wait_max: Seconds before any attempt, at the most.
        wait_jitter: Seconds of the random part, at the most.

    Raises:
        ValueError: A number is negative, or `attempts` is below 1.
    """

    attempts: int = 6
    wait_initial: float = 0.5
    wait_max: float = 30.0
    wait_jitter: float = 1.0

    def __attrs_post_init__(self) -> None:
        check_whole("attempts", self.attempts, least=1)
        for name in ("wait_initial", "wait_max", "wait_jitter"):
            check_seconds(name, getattr(self, name), positive=False)


class Deadline(NamedTuple):
    """A moment by which a call must be over.

    Args:
        seconds: How long after the call's start that is.
        at: The moment on the running loop's clock.
    """

    seconds: float
    at: float

    @classmethod
    def after(cls, seconds: float | None) -> Deadline | None:
        """Start a deadline now; None where there is none."""
        if seconds is None:
            return None
        return cls(seconds, asyncio.get_running_loop().time() + seconds)


@frozen
class Queueing:
    """How a call waits for its turn.

    Args:
        lane: The lane to wait in.
        job: What the call is part of; jobs take turns. None is a job of its own.
        deadline: When the call must be over; None sets no bound.
        max_wait: Seconds that it may be predicted to wait for the rate limit; None is any time.
    """

    lane: Lane = Lane.INTERACTIVE
    job: SlotJob | None = None
    deadline: Deadline | None = None
    max_wait: float | None = None
