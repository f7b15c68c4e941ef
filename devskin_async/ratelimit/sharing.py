"""One budget for all clients of a key: in this loop, this process, on this machine or beyond."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
from itertools import count
from typing import TypeAlias
from weakref import WeakKeyDictionary, WeakValueDictionary

from .events import log
from .policy import RateLimit
from .scheduler import Scheduler
from .store import MemoryStore, Store, StoreUnavailableError, report_within

PROCESS, MACHINE = "process", "machine"

_SWEPT_FROM = 64
_Key: TypeAlias = tuple[str, str, RateLimit]


class _Stores:
    """Budgets in memory; `kept` are those that hold something or are used, as far as is known.

    One that is in use is found even if it is not kept, so that a key never has two.
    """

    def __init__(self) -> None:
        self.known: WeakValueDictionary[str, MemoryStore] = WeakValueDictionary()
        self.kept: dict[str, MemoryStore] = {}
        self.sweep_at = _SWEPT_FROM

    def get(self, name: str, per: float, *, own_clock: bool) -> MemoryStore:
        """Return a budget, and let go of those that nobody uses and whose slots are free again."""
        store = self.known.get(name)
        if store is None:
            if len(self.kept) >= self.sweep_at:
                self.kept = {k: each for k, each in self.kept.items() if not each.is_idle()}
                self.sweep_at = max(_SWEPT_FROM, 2 * len(self.kept))
            clock = asyncio.get_running_loop().time if own_clock else time.monotonic
            store = self.known[name] = MemoryStore(clock, report_within=report_within(per))
        self.kept[name] = store
        return store


class _Loop:
    """What one event loop has."""

    def __init__(self) -> None:
        self.schedulers: dict[_Key, Scheduler] = {}
        self.sweep_at = _SWEPT_FROM
        self.stores = _Stores()  # where its clock is not the machine's

    def sweep(self) -> None:
        """Forget the schedulers that nobody uses any more."""
        if len(self.schedulers) >= self.sweep_at:
            kept = {k: each for k, each in self.schedulers.items() if not each.is_unused}
            self.schedulers = kept
            self.sweep_at = max(_SWEPT_FROM, 2 * len(kept))


class _Process:
    """What this process has; another begins anew after a fork."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.stores = _Stores()
        self.loops: WeakKeyDictionary[asyncio.AbstractEventLoop, _Loop] = WeakKeyDictionary()
        self.name = f"{socket.gethostname()}:{os.getpid()}:{os.urandom(4).hex()}"
        self.participants = count(1)
        self.warned: set[str] = set()


_process = _Process()


def forget_budgets() -> None:
    """Forget what this process knows of budgets, as a forked one does and a test may."""
    global _process  # noqa: PLW0603  # locks and loops of the parent are of no use here
    _process = _Process()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=forget_budgets)


def shared_scheduler(where: str, name: str, limit: RateLimit) -> Scheduler:
    """Return the running loop's scheduler of a budget.

    Args:
        where: Where the budget is kept: "process", "machine", or the URL of a Valkey server.
        name: What tells budgets apart; see `budget_name`.
        limit: The limit to keep. Who gives another one is another participant of the budget.

    Raises:
        ConfigurationError: The place can't be used.
    """
    loop = asyncio.get_running_loop()
    with _process.lock:
        # A scheduler holds its loop, so a closed one would never go by itself.
        for closed in [each for each in _process.loops if each.is_closed()]:
            del _process.loops[closed]
        known = _process.loops.setdefault(loop, _Loop())
        key = (where, name, limit)
        if key not in known.schedulers:
            known.sweep()
            participant = f"{_process.name}.{next(_process.participants)}"
            known.schedulers[key] = Scheduler(
                limit, _store(where, name, limit.per, known), participant
            )
        return known.schedulers[key]


def _store(where: str, name: str, per: float, known: _Loop) -> Store:
    # A loop with a clock of its own, as in tests, can share with nobody.
    if abs(asyncio.get_running_loop().time() - time.monotonic()) > 1:
        return known.stores.get(name, per, own_clock=True)
    if where == PROCESS:
        return _process.stores.get(name, per, own_clock=False)
    from .outage import OutageStore  # not with the package, whose import it would make slower

    if where == MACHINE:
        from .machine import open_machine_store

        try:
            return OutageStore(open_machine_store(name, report_within=report_within(per)))
        except StoreUnavailableError as error:
            _warn_once(
                f"{error}; the API key's requests are shared within this process alone: set "
                'DEVSKIN_BUDGET to "process" to accept that, or to the address of a Valkey server'
            )
            return _process.stores.get(name, per, own_clock=False)
    from .valkey import ValkeyStore

    return OutageStore(ValkeyStore(where, name, report_within=report_within(per)))


def _warn_once(text: str) -> None:
    if text not in _process.warned:
        _process.warned.add(text)
        log.warning("%s", text)
