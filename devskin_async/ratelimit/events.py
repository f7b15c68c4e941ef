"""What the scheduler tells whoever listens, and the log."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import TypeAlias
from weakref import WeakKeyDictionary

from attrs import frozen

from .policy import Lane

log: logging.Logger = logging.getLogger("devskin_async.ratelimit")

WAYS_OUT = {  # by where the budget is kept: which one does not wait, and what it lacks
    "valkey": ("machine", "needs no server, and shares with this machine's programs alone"),
    "machine": ("process", "needs no file, and shares with no other program"),
}


@frozen(kw_only=True)
class Queued:
    """A request waits for its turn.

    Args:
        lane: The lane that it waits in.
        waiting: How many wait in all lanes now.
    """

    lane: Lane
    waiting: int


@frozen(kw_only=True)
class Granted:
    """A request may be sent.

    Args:
        lane: The lane that it waited in.
        queued: Seconds that it waited.
    """

    lane: Lane
    queued: float


@frozen(kw_only=True)
class Sent:
    """A request is sent, for the first time or again.

    Args:
        request: Which one, such as `GET /orders`.
        lane: The lane that it waited in.
        attempt: The number of this attempt of the call, from 1.
        queued: Seconds that this attempt waited for the rate limit.
    """

    request: str
    lane: Lane
    attempt: int
    queued: float


@frozen(kw_only=True)
class Answered:
    """A response came, whatever its status.

    Args:
        request: To which request, such as `GET /orders`.
        status: The HTTP status.
        seconds: Seconds from sending the request to the end of the response.
        attempt: The number of this attempt of the call, from 1.
    """

    request: str
    status: int
    seconds: float
    attempt: int


@frozen(kw_only=True)
class Refused:
    """A request was answered with 429.

    Args:
        lane: The lane that it was sent in.
        retry_after: Seconds that the server asked for; None where it did not say.
    """

    lane: Lane
    retry_after: float | None


@frozen(kw_only=True)
class Paused:
    """Nothing is sent for a while.

    Args:
        seconds: How long from now.
        reason: Why, where the API did not ask for it: a Valkey server has just started, or has
            lost its data. Else an empty string.
    """

    seconds: float
    reason: str = ""

    def __str__(self) -> str:
        if not self.reason:
            return repr(self)
        return f"nothing is sent for {self.seconds:.0f} s: {self.reason}; {_way_out('valkey')}"


@frozen(kw_only=True)
class Adapted:
    """The token bucket was made smaller or slower, or recovers.

    Args:
        burst: Its size in requests.
        rate: Its refill in requests a second.
    """

    burst: int
    rate: float


@frozen(kw_only=True)
class Retried:
    """A request that failed transiently will be sent again.

    Args:
        request: Which one, such as `GET /orders`.
        attempt: The number of the attempt that failed, from 1.
        reason: What it failed with.
        wait: Seconds until it will be sent again, as predicted now.
    """

    request: str
    attempt: int
    reason: str
    wait: float

    def __str__(self) -> str:
        return (
            f"{self.request}: attempt {self.attempt} failed, trying again in {self.wait:.1f} s: "
            f"{self.reason}"
        )


@frozen(kw_only=True)
class Degraded:
    """A shared budget is unreachable; the client continues with its share of it.

    Args:
        where: Where the budget is kept: "valkey" or "machine".
        reason: What happened.
        share: Requests in each window that this participant goes on with; 0 where it has had no
            part in the budget, and waits.
    """

    where: str
    reason: str
    share: int

    def __str__(self) -> str:
        how, way_out = f"continues with {self.share} requests per window", ""
        if not self.share:
            how = "waits until it is back, or as long as max_wait and deadline allow"
            way_out = f"; {_way_out(self.where)}"
        text = f"the budget ({self.where}) is unreachable; this client {how}"
        return f"{text}: {self.reason.rstrip('.')}{way_out}"


def _way_out(where: str) -> str:
    place, how = WAYS_OUT[where]
    return f'budget="{place}" {how}'


@frozen(kw_only=True)
class Restored:
    """A shared budget is reachable again.

    Args:
        where: Where it is kept: "valkey" or "machine".
    """

    where: str

    def __str__(self) -> str:
        return f"the budget ({self.where}) is reachable again"


Event: TypeAlias = (
    Queued | Granted | Sent | Answered | Refused | Paused | Adapted | Retried | Degraded | Restored
)
OnEvent: TypeAlias = Callable[[Event], object]


class Listeners:
    """The users of a budget, and the functions of theirs that are called with what happens.

    A user that was garbage-collected is no longer notified.

    Attributes:
        are_called: Whether there is any function to call.
    """

    def __init__(self) -> None:
        self._of: WeakKeyDictionary[object, OnEvent | None] = WeakKeyDictionary()
        self.any_callbacks: bool = False
        self._warned_until = -math.inf

    def __len__(self) -> int:
        return len(self._of)

    def add(self, user: object, on_event: OnEvent | None) -> None:
        """Add a user, with or without a function to call."""
        self._of[user] = on_event
        self.any_callbacks = any(self._of.values())

    def remove(self, user: object) -> None:
        """Forget a user."""
        self._of.pop(user, None)
        self.any_callbacks = any(self._of.values())

    @property
    def wants_request_events(self) -> bool:
        """Whether anybody listens to every single request; most often nobody does."""
        return self.any_callbacks or log.isEnabledFor(logging.DEBUG)

    def emit(self, event: Event, level: int | None = None) -> None:
        """Log an event, and call whoever listens. What one raises is logged and goes no further."""
        if level is None:
            level = logging.DEBUG if isinstance(event, Queued | Granted) else logging.INFO
        if log.isEnabledFor(level):
            log.log(level, "%s", event)
        self.call(event)

    def call(self, event: Event) -> None:
        """Call whoever listens, and log nothing but what one raises."""
        for on_event in tuple(self._of.values()):
            try:
                if on_event is not None:
                    on_event(event)
            except Exception:
                log.exception("on_event failed on %s", event)

    def emit_retried(self, event: Retried, now: float, *, refused: bool) -> None:
        """Tell of a call that will be sent again; a burst of refusals is one warning in the log."""
        warn = not refused or now >= self._warned_until
        self.emit(event, logging.WARNING if warn else logging.INFO)
        if refused:
            self._warned_until = max(self._warned_until, now + event.wait)
