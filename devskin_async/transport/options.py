"""How a request is sent: when, how often, and how long each part of it may take."""

from __future__ import annotations

import asyncio
import random
from typing import NamedTuple

from msgspec import Struct

from ..ratelimit import Lane, RequestFlow, check_seconds, check_whole

_DOUBLINGS = 64  # of a wait; more are not needed to reach any `wait_max`


class Retry(Struct, frozen=True, cache_hash=True):  # since it is part of every call's key
    """How a request that failed transiently is sent again.

    Transient failures are connection errors, timeouts, broken bodies, responses to another
    request, and the statuses 408, 425 and 5xx except 501 and 505. The wait after n failures is
    `wait_initial` * 2**(n - 1) plus a random part of up to `wait_jitter`, at most `wait_max`; a
    `Retry-After` takes precedence. A 429 is not a failure: the call waits for the rate limit
    again, and fails only if no request of this key was accepted for a whole window.

    Args:
        attempts: How often one call may fail before its error is raised; 1 switches all retries
            off, also those of refusals.
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

    def __post_init__(self) -> None:
        check_whole("attempts", self.attempts, least=1)
        for name in ("wait_initial", "wait_max", "wait_jitter"):
            check_seconds(name, getattr(self, name), positive=False)

    def wait(self, failures: int) -> float:
        """Return the seconds to wait after so many failures, with a new random part."""
        grown = self.wait_initial * 2.0 ** min(failures - 1, _DOUBLINGS)
        jitter = random.uniform(0, self.wait_jitter)  # noqa: S311  # no secret
        return min(grown + jitter, self.wait_max)


class Deadline(NamedTuple):
    """The time by which a call must be over.

    Args:
        seconds: Its length in seconds, from the call's start.
        at: Its end on the running loop's clock.
    """

    seconds: float
    at: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        """Return a deadline that starts now."""
        return cls(seconds, asyncio.get_running_loop().time() + seconds)


class RequestOptions(Struct, frozen=True):
    """How a request is sent.

    Args:
        lane: The lane to wait in.
        flow: What the request is part of; flows take turns. None is a flow of its own.
        deadline: When the call must be over; None sets no bound.
        max_wait: Seconds that it may wait for the rate limit, each time; None is any time.
        timeout: Seconds from sending it to the end of its response.
        retry: How a failed attempt is repeated.
    """

    lane: Lane = Lane.INTERACTIVE
    flow: RequestFlow | None = None
    deadline: Deadline | None = None
    max_wait: float | None = None
    timeout: float = 30.0
    retry: Retry = Retry()

    @property
    def bounded(self) -> bool:
        """Whether it has a deadline or a `max_wait`."""
        return self.deadline is not None or self.max_wait is not None

    def bound_below(self, wait: float, now: float) -> str | None:
        """Return the bound that a wait of `wait` seconds would exceed, as text; None if none."""
        if self.max_wait is not None and wait > self.max_wait:
            return f"max_wait of {self.max_wait:g} s"
        if self.deadline is not None and wait > 0 and now + wait > self.deadline.at:
            return f"deadline of {self.deadline.seconds:g} s"
        return None
