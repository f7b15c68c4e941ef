"""Where a budget is kept: the interface of all stores, and the store in memory."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable
from typing import Protocol

from .grants import step
from .reports import Reply, Report
from .state import BudgetState

_LATEST_REPORT = 0.5  # seconds
_TICK = 1e-3
_FORGETFUL_SERVER = (
    "the Valkey server was started or emptied a moment ago, so it can't know what was sent just "
    "before"
)


def report_within(per: float) -> float:
    """Return for how many seconds a response may remain unreported, for a window of `per`."""
    return min(per / 20, _LATEST_REPORT)


class StoreBusyError(Exception):
    """Another process is using the store at this moment: retry after some milliseconds."""


class StoreUnavailableError(Exception):
    """The store can't be reached or used; whether a report was applied is unknown."""


class Store(Protocol):
    """A budget, wherever it is kept. Only a `MemoryStore` serves several participants.

    Attributes:
        immediate: Whether `exchange` returns a reply, not something to await.
        report_within: Seconds for which a response may remain unreported, so that one call reports
            several.
    """

    immediate: bool
    report_within: float

    @property
    def where(self) -> str:
        """Where the budget is kept: "process", "machine" or "valkey"; "degraded" if unreachable."""
        ...

    @property
    def steps(self) -> int:
        """How many calls were made."""
        ...

    def exchange(self, report: Report) -> Reply | Awaitable[Reply]:
        """Send a report, and return the reply.

        Raises:
            StoreBusyError: The store is in use.
            StoreUnavailableError: The store is unreachable.
        """
        ...

    def view(self) -> tuple[BudgetState, float]:
        """Return a copy of the budget as last seen, and the time by its clock."""
        ...

    async def aclose(self) -> None:
        """Close connections."""
        ...


def pause_reason(store: Store, seconds: float) -> str:
    """Say why a store grants nothing for so long, where it is not what the API asked for."""
    unknown_for: float = getattr(store, "unknown_for", 0.0)
    return _FORGETFUL_SERVER if 0 < seconds <= unknown_for + _TICK else ""


class MemoryStore:
    """A budget in this process, for all its event loops and threads.

    Args:
        clock: Its clock.
        report_within: See `Store`.

    Attributes:
        replaces_file: Whether it is used because the file of a budget could not be.
    """

    where = "process"
    immediate: bool = True

    def __init__(self, clock: Callable[[], float], *, report_within: float) -> None:
        self.report_within: float = report_within
        self._clock = clock
        self._lock = threading.Lock()
        self._state = BudgetState(epoch=1)
        self.steps: int = 0
        self.replaces_file: bool = False

    def exchange(self, report: Report) -> Reply:
        """Apply a report; see `Store.exchange`."""
        with self._lock:
            self.steps += 1
            return step(self._state, self._clock(), report)

    def view(self) -> tuple[BudgetState, float]:
        """Return the budget; see `Store.view`."""
        with self._lock:
            return self._state.copy(), self._clock()

    def is_idle(self) -> bool:
        """Return whether no process takes part, and a new budget would be in the same state."""
        with self._lock:
            state = self._state
            state.advance(self._clock())
            held = state.in_flight or state.answered
            return not (state.processes() or held or state.is_adapted())

    async def aclose(self) -> None:
        """Do nothing: slots of a participant that left count until they are free."""
