"""One scheduler for all clients of a key in one event loop."""

from __future__ import annotations

import asyncio
from weakref import WeakKeyDictionary

from attrs import define, field

from ..errors import ConfigurationError
from .policy import RateLimit
from .scheduler import Scheduler

_SWEPT_FROM = 64


@define
class _Known:
    """The schedulers of one event loop, and at how many they are next gone through."""

    schedulers: dict[str, Scheduler] = field(factory=dict)
    sweep_at: int = _SWEPT_FROM

    def sweep(self) -> None:
        """Forget the schedulers of clients that are gone, once their slots are free again."""
        if len(self.schedulers) >= self.sweep_at:
            kept = {k: each for k, each in self.schedulers.items() if not each.is_forgettable()}
            self.schedulers = kept
            self.sweep_at = max(_SWEPT_FROM, 2 * len(kept))


_schedulers: WeakKeyDictionary[asyncio.AbstractEventLoop, _Known] = WeakKeyDictionary()


def shared_scheduler(budget: str, limit: RateLimit) -> Scheduler:
    """Give the running loop's scheduler of a budget.

    It outlives its clients for as long as their requests count.

    Args:
        budget: What tells budgets apart: the host and a digest of the key.
        limit: The budget to keep.

    Raises:
        ConfigurationError: Another client of this budget has another limit.
    """
    # A scheduler holds its loop, so a closed one would never go by itself.
    for loop in [loop for loop in _schedulers if loop.is_closed()]:
        del _schedulers[loop]
    known = _schedulers.setdefault(asyncio.get_running_loop(), _Known())
    scheduler = known.schedulers.get(budget)
    if scheduler is None:
        known.sweep()
        scheduler = known.schedulers[budget] = Scheduler(limit)
    if scheduler.limit != limit:
        raise ConfigurationError(
            f"another client of this API key has {scheduler.limit}, and they share one budget: "
            "give both the same rate_limit"
        )
    return scheduler
