"""What the scheduler tells whoever listens, and the log."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable
from typing import TypeAlias

from attrs import frozen

from .policy import Lane

log: logging.Logger = logging.getLogger("devskin_async.ratelimit")


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
    """

    seconds: float


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
    """A request that failed in passing will be sent again.

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


Event: TypeAlias = Queued | Granted | Refused | Paused | Adapted | Retried
OnEvent: TypeAlias = Callable[[Event], object]


def is_heard(listeners: Collection[OnEvent]) -> bool:
    """Say whether anybody listens to every single request; most often nobody does."""
    return bool(listeners) or log.isEnabledFor(logging.DEBUG)


def tell(event: Event, listeners: Iterable[OnEvent], *, warn: bool = True) -> None:
    """Log an event, and hand it to whoever listens.

    Args:
        event: What happened.
        listeners: Called with it. What one raises is logged and goes no further.
        warn: Whether a `Retried` is a warning; nothing else is.
    """
    level = logging.DEBUG if isinstance(event, Queued | Granted) else logging.INFO
    if warn and isinstance(event, Retried):
        level = logging.WARNING
    if log.isEnabledFor(level):
        log.log(level, "%s", event)
    for listener in tuple(listeners):
        try:
            listener(event)
        except Exception:
            log.exception("on_event failed on %s", event)
