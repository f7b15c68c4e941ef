"""What the budget is: the limit to keep, the lanes it is shared by, a snapshot of how it stands."""

from __future__ import annotations

import sys
from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING

from attrs import field, frozen

_DEFAULT_RESERVE = 10


class Lane(Enum):
    """Who a request is for: `INTERACTIVE` calls go before `BULK` work."""

    INTERACTIVE = "interactive"
    BULK = "bulk"

    if not TYPE_CHECKING:
        # Enum's own is Python code, and a lane is looked up several times for each request.
        __hash__ = object.__hash__


def check_whole(name: str, value: object, *, least: int) -> None:
    """Check an argument that must be a whole number.

    Raises:
        ValueError: It is not, or it is less than `least`.
    """
    if isinstance(value, int) and not isinstance(value, bool) and value >= least:
        return
    raise ValueError(f"{name} must be a whole number of {least} or more, not {value!r}")


def check_seconds(name: str, value: object, *, positive: bool) -> None:
    """Check an argument that must be a number of seconds.

    Raises:
        ValueError: It is not finite, or negative, or 0 where it must be positive.
    """
    if (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and 0 <= value <= sys.float_info.max  # an integer can be larger
        and (value or not positive)
    ):
        return
    kind = "positive " if positive else ""
    raise ValueError(f"{name} must be a {kind}number of seconds, not {value!r}")


@frozen
class RateLimit:
    """How many requests a key may make.

    Args:
        requests: Requests in any span of `per` seconds; the reference says 100.
        per: The span in seconds; the reference says a minute.
        burst: Size of the token bucket beneath the window, in requests: how many may be sent at
            once after a pause. The bucket refills at `requests` / `per`.
        reserve: How many slots of the window bulk work leaves to interactive calls, and
            interactive calls leave to bulk work that waits: fewer than `requests`, except that
            10, the default, is `requests` - 1 for a lower limit. None is 10 while another process
            makes interactive calls with the key, and 0 otherwise.

    Raises:
        ValueError: A number is not positive (`reserve`: is negative) or not finite, or `reserve`
            leaves nothing to bulk work.
    """

    requests: int = 100
    per: float = 60.0
    burst: int = 100
    reserve: int | None = _DEFAULT_RESERVE

    def __attrs_post_init__(self) -> None:
        # Not attrs' validators: they make importing the package dearer.
        check_whole("requests", self.requests, least=1)
        check_whole("burst", self.burst, least=1)
        if self.reserve is not None:
            check_whole("reserve", self.reserve, least=0)
            if self.reserve >= self.requests and self.reserve != _DEFAULT_RESERVE:
                raise ValueError(
                    f"reserve must be less than requests ({self.requests}), not {self.reserve}: "
                    "bulk work would get none"
                )
        check_seconds("per", self.per, positive=True)


@frozen(kw_only=True)
class Use:
    """What one process has of a budget, in one lane.

    Args:
        process: Its host and process id, such as `web-1:4711`.
        lane: The lane.
        in_flight: Requests sent and not answered yet.
        answered: Requests answered, whose slots are not free yet.
        waiting: Requests that wait for a slot.
    """

    process: str
    lane: Lane
    in_flight: int
    answered: int
    waiting: int


@frozen(kw_only=True)
class Budget:
    """How a key's budget stands at one moment.

    Args:
        limit: Requests allowed in any span of `per` seconds.
        per: The span in seconds.
        available: Slots of the window that are free now.
        in_flight: Requests sent and not answered yet, of all processes.
        waiting: Callers waiting for a slot, in this event loop.
        paused_for: Seconds until the API asked to be called again, gives the next quota where
            none is left, or a Valkey server has been up for long enough; 0 for none of these.
        sent: Requests sent so far, in this event loop.
        refused: Requests answered with 429 so far, in this event loop.
        processes: Processes that take part in it or still hold slots, this one too, as far as is
            known here.
        held_here: Slots that this event loop holds: in flight, or answered within `per`.
        where: What is shared: "process", "machine" or "valkey"; "degraded" while the file or the
            server can't be reached.
        next_free_in: Seconds until the next slot that is held is free; None where none is held
            or a response must come first.
        uses: What each process has of it, by lane; a process that has nothing is left out.
    """

    limit: int
    per: float
    available: int
    in_flight: int
    waiting: int
    paused_for: float
    sent: int
    refused: int
    processes: int
    held_here: int
    where: str
    next_free_in: float | None
    uses: tuple[Use, ...]
    _forecast: Callable[[int, Lane], float] = field(repr=False, eq=False, alias="forecast")

    def forecast(self, requests: int = 1, *, lane: Lane = Lane.BULK) -> float:
        """Predict how long further requests would wait.

        Args:
            requests: How many requests, of one flow.
            lane: Which lane they would wait in.

        Returns:
            Seconds from now until the last of them would have been sent, if nothing else comes.

        Raises:
            ValueError: `requests` is not positive.
        """
        if requests < 1:
            raise ValueError(f"requests must be a positive integer, not {requests!r}")
        return self._forecast(requests, lane)
