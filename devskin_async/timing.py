"""How long a result or an error was under way: asked for afterwards, kept beside the value."""

from __future__ import annotations

import datetime as dt
import weakref
from functools import partial
from typing import NamedTuple


class Timing(NamedTuple):
    """What a call took.

    Args:
        queued: Seconds that its attempts waited for the rate limit, together.
        attempts: How often it was sent.
        at: When it was answered, by the server's clock where it tells; None of an error.
        age: Seconds for which a cache had kept the answer; 0 where it came from the API itself.
    """

    queued: float
    attempts: int
    at: dt.datetime | None = None
    age: float = 0.0


_timings: dict[int, tuple[weakref.ref[object], Timing]] = {}


def timing(value: object) -> Timing | None:
    """Say how long a result was under way, or an error.

    Args:
        value: What a call returned or raised: the very object, not a copy.

    Returns:
        Its timing; None where the value came from no call.
    """
    known = _timings.get(id(value))
    return known[1] if known is not None and known[0]() is value else None


def remember(value: object, taken: Timing) -> None:
    """Keep a timing for as long as its value lives."""
    key = id(value)
    _timings[key] = (weakref.ref(value, partial(_timings.pop, key)), taken)
