"""The public values of a budget: its limit, its lanes, and a snapshot of it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING

from attrs import field, frozen
from msgspec import Struct

_DEFAULT_RESERVE = 10


class Lane(Enum):
    """The queue that a request waits in: `INTERACTIVE` calls go before `BULK` work."""

    INTERACTIVE = "interactive"
    BULK = "bulk"

    if not TYPE_CHECKING:
        # Enum's own hash is slow Python code, and each request hashes a lane several times.
        __hash__ = object.__hash__


def check_whole(name: str, value: object, *, least: int) -> None:
    """Check an argument that must be a whole number.

    Raises:
        ValueError: It is not a whole number, or is less than `least`.
    """
    if isinstance(value, int) and not isinstance(value, bool) and value >= least:
        return
    raise ValueError(f"{name} must be a whole number of {least} or more, not {value!r}")


def check_seconds(name: str, value: object, *, positive: bool) -> None:
    """Check an argument that must be a number of seconds.

    Raises:
        ValueError: It is not a finite number, is negative, or is 0 and must be positive.
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


class RateLimit(Struct, frozen=True):
    """How many requests a key may make.

    Args:
        requests: Requests in any span of `per` seconds; the reference says 100.
        per: The span in seconds; the reference says a minute.
        burst: Size of the token bucket beneath the window, in requests: how many may be sent at
            once after a pause. The bucket refills at `requests` / `per`.
        reserve: How many slots of the window bulk work leaves to interactive calls, and
            interactive calls leave to bulk work that waits: less than `requests`, except that 10,
            the default, is reduced to `requests` - 1 for a lower limit. None means 10 while
            another process makes interactive calls with the key, and 0 otherwise.

    Raises:
        ValueError: A number is not positive (`reserve`: is negative) or not finite, or `reserve`
            leaves nothing to bulk work.
    """

    requests: int = 100
    per: float = 60.0
    burst: int = 100
    reserve: int | None = _DEFAULT_RESERVE

    def __post_init__(self) -> None:
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


class Use(Struct, frozen=True, kw_only=True):
    """What one process uses of a budget, in one lane.

    Args:
        process: Its host and process id, such as `web-1:4711`.
        lane: The lane.
        in_flight: Requests sent, whose response has not come yet.
        answered: Requests whose response has come, and whose slots are not free yet.
        waiting: Requests that wait for a slot.
    """

    process: str
    lane: Lane
    in_flight: int
    answered: int
    waiting: int


@frozen(kw_only=True)
class Budget:
    """A snapshot of a key's budget.

    Args:
        limit: Requests allowed in any span of `per` seconds.
        per: The span in seconds.
        available: Slots of the window that are free now.
        in_flight: Requests sent, whose response has not come yet, of all processes.
        waiting: Callers waiting for a slot, in this event loop.
        paused_for: Seconds for which nothing is sent: until the `Retry-After` of a refusal is
            over, until the reset of a quota that is used up, or until a Valkey server has been up
            for long enough; 0 without a pause.
        sent: Requests sent so far, in this event loop.
        refused: Requests refused with 429 so far, in this event loop.
        processes: Processes that take part in it or still hold slots, this one too, as far as this
            event loop knows.
        held_here: Slots that this event loop holds: those in flight, and those whose response came
            within the last `per` seconds.
        where: Where it is kept: "process", "machine" or "valkey"; "degraded" while the file or
            the server is unreachable.
        next_free_in: Seconds until the next slot that is held is free; None if none is held, or if
            that depends on a response.
        uses: What each process uses, by lane; a process that uses nothing is left out.
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
            Seconds from now until the last of them would be sent, if no other requests come.

        Raises:
            ValueError: `requests` is not positive.
        """
        if requests < 1:
            raise ValueError(f"requests must be a positive integer, not {requests!r}")
        return self._forecast(requests, lane)
