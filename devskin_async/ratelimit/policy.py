"""What the budget is: the limit to keep, and a snapshot of how it stands."""

from __future__ import annotations

import math

from attrs import field, frozen, validators


def _finite(_: object, attribute: object, value: float) -> None:
    if not math.isfinite(value):
        name = getattr(attribute, "name", "value")
        raise ValueError(f"{name} must be a finite number, not {value}")


@frozen
class RateLimit:
    """How many requests a key may make.

    Args:
        requests: Requests in any span of `per` seconds; the reference says 100.
        per: The span in seconds; the reference says a minute.
        burst: Size of the token bucket beneath the window, in requests: how many may be sent at
            once after a pause. The bucket refills at `requests` / `per`.

    Raises:
        ValueError: A number is not positive or not finite.
    """

    requests: int = field(default=100, validator=[validators.instance_of(int), validators.ge(1)])
    per: float = field(default=60.0, converter=float, validator=[_finite, validators.gt(0)])
    burst: int = field(default=100, validator=[validators.instance_of(int), validators.ge(1)])


@frozen(kw_only=True)
class Budget:
    """How a key's budget stands at one moment.

    Args:
        limit: Requests allowed in any span of `per` seconds.
        per: The span in seconds.
        available: Slots of the window that are free now.
        in_flight: Requests sent and not answered yet.
        waiting: Callers waiting for a slot.
        paused_for: Seconds until the API asked to be called again; 0 where it did not.
        sent: Requests sent so far.
        refused: Requests answered with 429 so far.
    """

    limit: int
    per: float
    available: int
    in_flight: int
    waiting: int
    paused_for: float
    sent: int
    refused: int
