"""One scheduler for all clients of a key in one event loop."""

from __future__ import annotations

import asyncio
from weakref import WeakKeyDictionary

from ..errors import ConfigurationError
from .policy import RateLimit
from .scheduler import Scheduler

_schedulers: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, Scheduler]] = (
    WeakKeyDictionary()
)


def shared_scheduler(budget: str, limit: RateLimit) -> Scheduler:
    """Give the running loop's scheduler of a budget; it stays when its clients are closed.

    Args:
        budget: What tells budgets apart: the host and a digest of the key.
        limit: The budget to keep.

    Raises:
        ConfigurationError: Another client of this budget has another limit.
    """
    # A scheduler holds its loop, so a closed one would never go by itself.
    for loop in [loop for loop in _schedulers if loop.is_closed()]:
        del _schedulers[loop]
    known = _schedulers.setdefault(asyncio.get_running_loop(), {})
    scheduler = known.setdefault(budget, Scheduler(limit))
    if scheduler.limit != limit:
        raise ConfigurationError(
            f"another client of this API key has {scheduler.limit}, and they share one budget: "
            "give both the same rate_limit"
        )
    return scheduler
