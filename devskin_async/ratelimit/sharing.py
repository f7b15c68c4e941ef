"""Finds the one budget of a key: of this process, this machine, or a Valkey server."""

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
    """Budgets in memory; `kept` has those with held slots or with a user, and perhaps some others.

    `known` also has those that are in use and no longer kept, so that a key never has two.
    """

    def __init__(self) -> None:
        self.known: WeakValueDictionary[str, MemoryStore] = WeakValueDictionary()
        self.kept: dict[str, MemoryStore] = {}
        self.sweep_at = _SWEPT_FROM

    def get(self, name: str, per: float, *, own_clock: bool) -> MemoryStore:
        """Return a budget; at times forget those that are idle."""
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
    """The schedulers of one event loop."""

    def __init__(self) -> None:
        self.schedulers: dict[_Key, Scheduler] = {}
        self.sweep_at = _SWEPT_FROM
        self.stores = _Stores()  # for a loop whose clock is not the machine's

    def sweep(self) -> None:
        """Forget the schedulers without users."""
        if len(self.schedulers) >= self.sweep_at:
            kept = {k: each for k, each in self.schedulers.items() if not each.is_unused}
            self.schedulers = kept
            self.sweep_at = max(_SWEPT_FROM, 2 * len(kept))


class _Process:
    """The budgets of this process; a forked child starts with none."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.stores = _Stores()
        self.loops: WeakKeyDictionary[asyncio.AbstractEventLoop, _Loop] = WeakKeyDictionary()
        self.name = f"{socket.gethostname()}:{os.getpid()}:{os.urandom(4).hex()}"
        self.participants = count(1)
        self.warned: set[str] = set()


_process = _Process()


def forget_budgets() -> None:
    """Forget all budgets of this process, as a forked child does and a test may."""
    global _process  # noqa: PLW0603  # locks and loops of the parent are of no use here
    _process = _Process()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=forget_budgets)


def shared_scheduler(where: str, name: str, limit: RateLimit) -> Scheduler:
    """Return the running loop's scheduler of a budget.

    Args:
        where: Where the budget is kept: "process", "machine", or the URL of a Valkey server.
        name: The budget's name; see `budget_name`.
        limit: The limit to keep. Each limit is another participant of the budget.

    Raises:
        ConfigurationError: `where` can't be used.
    """
    loop = asyncio.get_running_loop()
    with _process.lock:
        # A scheduler refers to its loop, so a closed loop would never be garbage-collected.
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
    # A loop with its own clock, as in tests, can't share a budget with other loops.
    if abs(asyncio.get_running_loop().time() - time.monotonic()) > 1:
        return known.stores.get(name, per, own_clock=True)
    if where == PROCESS:
        return _process.stores.get(name, per, own_clock=False)
    from .outage import OutageStore  # not with the package, whose import it would make slower

    if where == MACHINE:
        from .machine import open_machine_store

        in_memory = _process.stores.known.get(name)
        if in_memory is not None and in_memory.replaces_file and not in_memory.is_idle():
            return in_memory  # a file that can be made by now knows nothing of its slots
        try:
            return OutageStore(open_machine_store(name, report_within=report_within(per)))
        except StoreUnavailableError as error:
            _warn_once(
                f"{error}; the API key's budget is shared within this process only: set "
                'DEVSKIN_BUDGET to "process" to accept that, or to the address of a Valkey server'
            )
            in_memory = _process.stores.get(name, per, own_clock=False)
            in_memory.replaces_file = True
            return in_memory
    from .valkey import ValkeyStore

    return OutageStore(ValkeyStore(where, name, report_within=report_within(per)))


def _warn_once(text: str) -> None:
    if text not in _process.warned:
        _process.warned.add(text)
        log.warning("%s", text)
