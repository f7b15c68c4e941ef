"""The events that the scheduler and the sender emit to listeners and to the log."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import TypeAlias
from weakref import WeakKeyDictionary

from msgspec import Struct

from .policy import Lane

log: logging.Logger = logging.getLogger("devskin_async.ratelimit")

WAYS_OUT = {  # by where the budget is kept: which one does not wait, and what it lacks
    "valkey": ("machine", "needs no server, and shares with this machine's programs alone"),
    "machine": ("process", "needs no file, and shares with no other program"),
}


class Queued(Struct, frozen=True, kw_only=True):
    """A request waits for a slot.

    Args:
        lane: The lane that it waits in.
        waiting: How many wait in all lanes now.
    """

    lane: Lane
    waiting: int


class Granted(Struct, frozen=True, kw_only=True):
    """A request may be sent.

    Args:
        lane: The lane that it waited in.
        queued: Seconds that it waited.
    """

    lane: Lane
    queued: float


class Sent(Struct, frozen=True, kw_only=True):
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


class Answered(Struct, frozen=True, kw_only=True):
    """A response came, whatever its status.

    Args:
        request: Which request, such as `GET /orders`.
        status: The HTTP status.
        seconds: Seconds from sending the request to the end of the response.
        attempt: The number of this attempt of the call, from 1.
    """

    request: str
    status: int
    seconds: float
    attempt: int


class Refused(Struct, frozen=True, kw_only=True):
    """A request was refused with 429.

    Args:
        lane: The lane that it was sent in.
        retry_after: Seconds until the request may be sent again; None if the server did not say.
    """

    lane: Lane
    retry_after: float | None


class Paused(Struct, frozen=True, kw_only=True):
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


class Adapted(Struct, frozen=True, kw_only=True):
    """The token bucket was made smaller or slower, or recovers.

    Args:
        burst: Its size in requests.
        rate: Its refill in requests a second.
    """

    burst: int
    rate: float


class Retried(Struct, frozen=True, kw_only=True):
    """A request that failed transiently will be sent again.

    Args:
        request: Which one, such as `GET /orders`.
        attempt: The number of the attempt that failed, from 1.
        reason: The message of its error.
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


class Degraded(Struct, frozen=True, kw_only=True):
    """A shared budget is unreachable; the client continues with its share of it.

    Args:
        where: Where the budget is kept: "valkey" or "machine".
        reason: What happened.
        share: Requests in each window that this participant continues with; 0 if it has no share of
            the budget, and waits.
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


class Restored(Struct, frozen=True, kw_only=True):
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
    """The users of a budget, and their functions that are called with each event.

    A user that was garbage-collected is no longer notified.

    Attributes:
        any_callbacks: Whether there is any function to call.
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
        """Whether events of single requests are logged, or there is a function to call."""
        return self.any_callbacks or log.isEnabledFor(logging.DEBUG)

    def emit(self, event: Event, level: int | None = None) -> None:
        """Log an event, and call the listeners; an exception of one is logged and not raised."""
        if level is None:
            level = logging.DEBUG if isinstance(event, Queued | Granted) else logging.INFO
        if log.isEnabledFor(level):
            log.log(level, "%s", event)
        self.call(event)

    def call(self, event: Event) -> None:
        """Call the listeners without logging the event; an exception of one is logged."""
        for on_event in tuple(self._of.values()):
            try:
                if on_event is not None:
                    on_event(event)
            except Exception:
                log.exception("on_event failed on %s", event)

    def emit_retried(self, event: Retried, now: float, *, refused: bool) -> None:
        """Emit that a call will be sent again; a burst of refusals is one warning in the log."""
        warn = not refused or now >= self._warned_until
        self.emit(event, logging.WARNING if warn else logging.INFO)
        if refused:
            self._warned_until = max(self._warned_until, now + event.wait)
