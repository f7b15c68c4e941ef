"""A participant in a process of its own: `python -m tests.ratelimit.machine_child WHAT [N]`.

It says what it has done, a line each, and ends with its input.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable

from devskin_async.ratelimit.machine import MachineStore, open_machine_store
from devskin_async.ratelimit.reports import Limit
from devskin_async.ratelimit.store import StoreBusyError, StoreUnavailableError

from .reporting import Participant

BUDGET = "budget"
SHORT = Limit(10, 0.2, 10, 0)  # for those that really wait


def say(*words: object) -> None:
    """Write a line for the process that started this one."""
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


class SignalledClock:
    """Once armed, sends its process a signal when it is next read within a step."""

    def __init__(self) -> None:
        self._calls = -1
        self._signal = 0
        self._ahead = 0.0

    def arm(self, number: int) -> None:
        """Send this signal in the next step."""
        self._calls, self._signal = 0, number

    def __call__(self) -> float:
        """Return the present; after the signal, two seconds more, however short it was stopped."""
        self._calls += 1
        if self._signal and self._calls == 2:  # the first time is before the step
            say("in the step")
            now = time.monotonic()
            os.kill(os.getpid(), self._signal)
            self._ahead = 2.0
            return now
        return time.monotonic() + self._ahead


def opened(clock: Callable[[], float] = time.monotonic) -> MachineStore:
    """Open the budget."""
    return open_machine_store(BUDGET, report_within=0.0, clock=clock)


def patiently(participant: Participant, wanted: int) -> int:
    """Ask until the file is not busy."""
    while True:
        try:
            return participant.take(wanted)
        except StoreBusyError:
            time.sleep(0.001)


def take(wanted: int) -> None:
    """Take slots, and keep them."""
    say("took", patiently(Participant(opened(), f"child{os.getpid()}"), wanted))


def hammer(_: int) -> None:
    """Take slots and release them until killed."""
    participant = Participant(opened(), f"child{os.getpid()}", SHORT, lease=0.2)
    say("begins")
    while True:
        try:
            participant.take(5)
            participant.answer_all()
        except StoreBusyError:
            time.sleep(0.001)


def in_step(number: int) -> None:
    """Get a signal within a step; then report what came of it."""
    clock = SignalledClock()
    participant = Participant(opened(clock), "child")
    participant.take(1)
    clock.arm(number)
    try:
        participant.take(3)
    except StoreBusyError:
        say("busy")


def run_out_of_space(_: int) -> None:
    """Find no space for the state any more."""
    participant = Participant(opened(), "child")
    participant.take(1)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    try:
        participant.take(3)
    except StoreUnavailableError:
        say("unavailable")


def open_many(descriptors: int) -> None:
    """Use many budgets with few descriptors."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))
    stores = [open_machine_store(f"budget{n}", report_within=0.0) for n in range(400)]
    say("took", sum(Participant(store, "child").take(1) for store in stores * 2))


def fork(forks: int) -> None:
    """Fork while threads are within steps, and let each child take a slot."""
    ended = threading.Event()

    def work(name: str) -> None:
        participant = Participant(opened(), name)
        while not ended.is_set():
            patiently(participant, 0)
            time.sleep(0.0005)  # as an event loop would, else nobody else gets a turn

    threads = [threading.Thread(target=work, args=(f"thread{number}",)) for number in range(3)]
    for thread in threads:
        thread.start()
    inherited = Participant(opened(), "parent")
    patiently(inherited, 1)
    codes = []
    for number in range(forks):
        pid = os.fork()
        if not pid:
            signal.alarm(20)
            os._exit(patiently(Participant(inherited.store, f"forked{number}"), 1))
        codes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    ended.set()
    for thread in threads:
        thread.join()
    say("forked", sum(codes), "then", patiently(inherited, 10))


WHAT = {
    "take": take,
    "hammer": hammer,
    "in-step": in_step,
    "run-out-of-space": run_out_of_space,
    "open-many": open_many,
    "fork": fork,
}

if __name__ == "__main__":
    WHAT[sys.argv[1]](int(sys.argv[2]))
    sys.stdin.read()
