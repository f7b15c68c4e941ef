"""Traffic: what happens in a store by itself while it is served."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from typing import TYPE_CHECKING, Final

import attrs

from .records import SandboxError
from .seeds import seeded

if TYPE_CHECKING:
    from collections.abc import Callable

    from .live import LiveStore

FAILED_SECONDS: Final = 1.0
"""How long traffic stands still after a failure: each try at a locked file holds up the server."""

_log = logging.getLogger(__name__)


@attrs.frozen(kw_only=True)
class Traffic:
    """How many orders a second come, move on and go, on average.

    Attributes:
        inserts: New orders.
        changes: Steps of open orders towards completed; three for each new order keep up.
        removals: Orders removed, of any age.
    """

    inserts: float = 0.0
    changes: float = 0.0
    removals: float = 0.0

    def __attrs_post_init__(self) -> None:
        for name, rate in attrs.asdict(self).items():
            if not 0 <= rate < float("inf"):
                raise SandboxError(f"there can't be {rate} {name} a second")


async def play(traffic: Traffic, live: LiveStore, seed: int = 1) -> None:
    """Let a store's orders come, move on and go, until it is cancelled.

    The events are a Poisson process in the running loop's time. Each is due at an instant that
    was drawn before, so a loop that was busy plays what it missed as soon as it can.

    Args:
        traffic: How often what happens; without any, it is over at once.
        live: The store.
        seed: The same seed gives the same events at the same times.
    """
    steps: tuple[Callable[[], object], ...] = (live.insert, live.change, live.remove)
    rates = (traffic.inserts, traffic.changes, traffic.removals)
    if not any(rates):
        return
    loop = asyncio.get_running_loop()
    rng = seeded(seed)
    due = loop.time()
    while True:
        due += rng.expovariate(sum(rates))
        (step,) = rng.choices(steps, rates)
        # At least a turn of the loop, however late: requests are answered in between.
        await asyncio.sleep(max(0.0, due - loop.time()))
        try:
            step()
        except (SandboxError, sqlite3.Error) as error:
            _log.warning("no live traffic for a moment: %s", error)
            await asyncio.sleep(FAILED_SECONDS)
