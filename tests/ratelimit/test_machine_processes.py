"""Processes that share the machine's budget are killed, stopped and forked, and harm nobody."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

from devskin_async.ratelimit.store import StoreBusyError, StoreUnavailableError

from ..support import PATIENCE
from .machine_child import SHORT, opened
from .reporting import LEASE, PER, Clock, Participant, slots_held

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals and forks")


@pytest.fixture(autouse=True)
def _directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))


@contextmanager
def child(what: str, number: int = 0) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.ratelimit.machine_child", what, str(number)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def line(process: subprocess.Popen[str]) -> str:
    output: IO[str] | None = process.stdout
    assert output is not None
    return output.readline().strip()


def patiently(participant: Participant, wanted: int) -> int:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        try:
            return participant.take(wanted)
        except StoreBusyError:
            time.sleep(0.001)
    raise AssertionError("busy without end")


def test_processes_share_the_slots() -> None:
    with child("take", 7) as one:
        assert line(one) == "took 7"
        with child("take", 7) as other:
            assert line(other) == "took 3"
    assert Participant(opened()).take(1) == 0


def test_a_process_killed_within_a_step_leaves_the_state_as_it_was() -> None:
    with child("in-step", signal.SIGKILL) as killed:
        assert line(killed) == "in the step"
        killed.wait()
    store = opened()
    assert slots_held(store) == 1
    assert Participant(store).take(10) == 9


def test_the_slots_of_a_killed_process_come_back_after_its_lease_and_a_window() -> None:
    with child("take", 10) as killed:
        assert line(killed) == "took 10"
    clock = Clock(time.monotonic())
    participant = Participant(opened(clock))
    clock.now += PER + LEASE - 1
    assert participant.take(1) == 0
    clock.now += 1
    assert participant.take(10) == 10


def test_processes_killed_at_any_moment_leave_a_sound_state() -> None:
    participant = Participant(opened(), "survivor", SHORT, lease=0.2)
    for number in range(5):
        with child("hammer") as one, child("hammer") as other:
            assert line(one) == line(other) == "begins"
            end = time.monotonic() + 0.02 * number
            while time.monotonic() < end:
                patiently(participant, 1)
    participant.in_flight.clear()
    end = time.monotonic() + PATIENCE
    while patiently(participant, 0) == 0 and slots_held(participant.store):
        assert time.monotonic() < end, "slots were lost"


def test_the_file_is_busy_for_others_while_a_process_is_stopped_within_a_step() -> None:
    participant = Participant(opened())
    with child("in-step", signal.SIGSTOP) as stopped:
        assert line(stopped) == "in the step"
        os.waitpid(stopped.pid, os.WUNTRACED)
        for _ in range(100):
            with pytest.raises(StoreBusyError):
                participant.take(1)
        os.kill(stopped.pid, signal.SIGCONT)
        assert patiently(participant, 1) == 1


def test_a_process_that_was_stopped_within_a_step_does_not_use_what_it_was_granted() -> None:
    with child("in-step", signal.SIGSTOP) as stopped:
        assert line(stopped) == "in the step"
        os.waitpid(stopped.pid, os.WUNTRACED)
        os.kill(stopped.pid, signal.SIGCONT)
        assert line(stopped) == "busy"


def test_killing_a_process_that_is_stopped_within_a_step_frees_the_file() -> None:
    participant = Participant(opened())
    with child("in-step", signal.SIGSTOP) as stopped:
        assert line(stopped) == "in the step"
        os.waitpid(stopped.pid, os.WUNTRACED)
        stopped.kill()
        stopped.wait()
        assert participant.take(10) == 9


def test_no_space_makes_the_store_unavailable_and_keeps_the_state() -> None:
    with child("run-out-of-space") as process:
        assert line(process) == "unavailable"
    store = opened()
    assert slots_held(store) == 1


def test_hundreds_of_budgets_need_few_descriptors() -> None:
    with child("open-many", 100) as process:
        assert line(process) == "took 800"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_fork_opens_its_own_connection_and_shares_the_budget() -> None:
    with child("fork", 6) as process:
        assert line(process) == "forked 6 then 3"
    assert Participant(opened()).take(1) == 0


def test_a_forked_child_that_ends_closes_nothing_of_its_parent() -> None:
    parent = Participant(opened(), "parent")
    assert parent.take(2) == 2
    pid = os.fork()
    if not pid:
        code = Participant(parent.store, "child").take(3)
        os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 3
    assert parent.take(10) == 5


@pytest.mark.parametrize("missing", ["_sqlite3", "sqlite3"])
def test_without_sqlite_the_store_is_unavailable(missing: str) -> None:
    script = (
        f"import sys; sys.modules[{missing!r}] = None\n"
        "from devskin_async.ratelimit.machine import open_machine_store\n"
        "open_machine_store('budget', report_within=0.0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], check=False, capture_output=True, text=True
    )
    assert f"{StoreUnavailableError.__name__}: this Python has no sqlite3 module" in done.stderr


def test_a_process_out_of_descriptors_at_first_uses_the_budget_once_it_has_some() -> None:
    script = (
        "import os, resource\n"
        "from devskin_async.ratelimit.machine import open_machine_store\n"
        "open_machine_store('other', report_within=0.0)\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))\n"
        "held = []\n"
        "try:\n"
        "    while True: held.append(os.open(os.devnull, os.O_RDONLY))\n"
        "except OSError: pass\n"
        "store = open_machine_store('budget', report_within=0.0)\n"
        "for each in held: os.close(each)\n"
        "store.look()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], check=False, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
