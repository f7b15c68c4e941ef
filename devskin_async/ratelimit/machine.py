"""A budget for all processes of this user on this machine, kept in a file."""

from __future__ import annotations

import errno
import math
import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from .grants import step
from .reports import Reply, Report
from .runtime_dir import budget_directory
from .state import BudgetState, dumps, loads
from .store import StoreBusyError, StoreUnavailableError

if TYPE_CHECKING:
    from .machine_file import BudgetFiles, Change

_NO_DESCRIPTORS = (errno.EMFILE, errno.ENFILE)  # nothing can be sent meanwhile either
_STOPPED = 1.0
"""Seconds that no step takes: after so many its process was stopped, and its grants are late."""


def open_machine_store(
    name: str, *, report_within: float, clock: Callable[[], float] = time.monotonic
) -> MachineStore:
    """Open a budget's file.

    Args:
        name: The budget's name.
        report_within: Seconds for which an answered request may remain unreported.
        clock: A clock that all processes share.

    Raises:
        StoreUnavailableError: No file can be used. The text says why and what to do.
    """
    try:
        from .machine_file import FILES
    except ImportError as error:
        raise StoreUnavailableError("this Python has no sqlite3 module") from error
    store = MachineStore(FILES, name, report_within=report_within, clock=clock)
    try:
        store.look()
    except StoreBusyError:
        pass
    except StoreUnavailableError as error:
        if getattr(error.__cause__, "errno", None) not in _NO_DESCRIPTORS:
            raise
    return store


class MachineStore:
    """A budget in a file, which every process of this user shares.

    A process that is killed within a step does no harm: the next one finds the state from before
    the step. While a process is stopped within a step, the others get `StoreBusyError` at once,
    each time. When it continues, it gets that error too, so that it uses no slots that were granted
    to it long ago.

    Args:
        files: This process's files.
        name: The budget's name.
        report_within: Seconds for which an answered request may remain unreported.
        clock: A clock that all processes share.

    Raises:
        StoreUnavailableError: There is no directory for it.
    """

    where = "machine"
    immediate: bool = True

    def __init__(
        self, files: BudgetFiles, name: str, *, report_within: float, clock: Callable[[], float]
    ) -> None:
        self.report_within: float = report_within
        self.steps: int = 0
        self._files = files
        self._name = name
        self._clock = clock
        self._path = self._find_path()
        self._state = _new_state()
        self._data: bytes | None = None  # the same, encoded; None after a failure
        self._used_at = -math.inf
        self._was_damaged = False

    def exchange(self, report: Report) -> Reply:
        """Apply a report; see `Store.exchange`."""
        began = self._clock()
        reply: Reply
        written: bytes

        def change(data: bytes | None) -> bytes:
            nonlocal reply, written
            now = self._clock()
            if data is None:
                self._state = self._first_state(now, report)
            elif data != self._data:
                self._state = self._load(data)
            self._data = None  # what follows may fail
            reply = step(self._state, now, report)
            written = dumps(self._state)
            return written

        self._update(change)
        self._data = written
        self.steps += 1
        self._was_damaged = False
        self._used_at = self._clock()
        if self._used_at - began > _STOPPED:
            raise StoreBusyError
        return reply

    def look(self) -> None:
        """Read the state for `view`.

        Raises:
            StoreBusyError: The file is in use.
            StoreUnavailableError: The file can't be read.
        """

        def read(data: bytes | None) -> None:
            if data is not None:
                self._state = self._load(data)
                self._data = data

        self._update(read)

    def view(self) -> tuple[BudgetState, float]:
        """Return the budget; see `Store.view`."""
        return self._state.copy(), self._clock()

    async def aclose(self) -> None:
        """Close the file; if it is still used in this process, it is opened again."""
        self._files.close(self._path)

    def _update(self, change: Change) -> None:
        from .machine_file import DamagedFileError

        try:
            self._files.update(self._path, change)
        except StoreUnavailableError as error:
            self._was_damaged |= isinstance(error, DamagedFileError)
            self._path = self._find_path()  # its directory may be gone, as after a logout
            self._files.update(self._path, change)

    def _find_path(self) -> str:
        directory = str(budget_directory())
        self._files.sweep(directory, self._clock)
        return self._files.path(directory, self._name)

    def _load(self, data: bytes) -> BudgetState:
        try:
            return loads(data)
        except msgspec.MsgspecError as error:
            reason = "was written by another release of devskin-async: use one release for this key"
            raise StoreUnavailableError(f"{self._path} {reason}") from error

    def _first_state(self, now: float, report: Report) -> BudgetState:
        """Return the state of a new file; slots that a lost file may have held are waited out."""
        state = _new_state()
        held_for = report.lease + max(report.limit.per, self._state.per)
        if self._was_damaged or now < self._used_at + held_for:
            state.paused_until = now + held_for
        return state


def _new_state() -> BudgetState:
    return BudgetState(epoch=int.from_bytes(os.urandom(6)) or 1)
