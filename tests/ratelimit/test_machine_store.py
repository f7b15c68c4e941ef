"""The budget of a machine is one file for every process, and survives what happens to files."""

from __future__ import annotations

import os
import sqlite3
import stat
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from devskin_async.ratelimit.machine import MachineStore, open_machine_store
from devskin_async.ratelimit.machine_file import FILES, MOST_OPEN, BudgetFile
from devskin_async.ratelimit.state import dumps, loads
from devskin_async.ratelimit.store import StoreBusyError, StoreUnavailableError

from .reporting import LEASE, PER, Clock, Participant, slots_held

HOUR = 3600.0
DESCRIPTORS = Path("/proc/self/fd")


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return tmp_path / "devskin-async"


@pytest.fixture
def clock() -> Clock:
    return Clock()


def opened(clock: Clock, name: str = "budget") -> MachineStore:
    return open_machine_store(name, report_within=0.5, clock=clock)


def the_file(directory: Path) -> Path:
    (path,) = directory.glob("*.sqlite")
    return path


def test_stores_of_one_budget_share_its_slots(clock: Clock) -> None:
    one, other = Participant(opened(clock), "one"), Participant(opened(clock), "other")
    assert one.take(7) == 7
    assert other.take(7) == 3


def test_another_budget_has_slots_of_its_own(clock: Clock) -> None:
    assert Participant(opened(clock)).take(7) == 7
    assert Participant(opened(clock, "another")).take(7) == 7


def test_a_process_that_starts_again_finds_the_slots_of_the_one_before(clock: Clock) -> None:
    before = Participant(opened(clock), "before")
    before.take(10)
    before.answer_all()
    clock.now += PER - 1
    assert Participant(opened(clock), "after").take(1) == 0
    clock.now += 1
    assert Participant(opened(clock), "after").take(1) == 1


def test_a_store_shows_the_budget_as_soon_as_it_is_open(clock: Clock) -> None:
    Participant(opened(clock)).take(4)
    assert slots_held(opened(clock)) == 4


def test_a_file_that_another_process_uses_is_busy_at_once(clock: Clock, directory: Path) -> None:
    participant = Participant(opened(clock))
    other = sqlite3.connect(the_file(directory), isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StoreBusyError):
        participant.take(1)
    assert participant.store.steps == 0
    other.execute("ROLLBACK")
    other.close()
    assert participant.take(1) == 1
    assert participant.store.steps == 1


def test_a_budget_can_be_opened_while_another_process_uses_it(
    clock: Clock, directory: Path
) -> None:
    Participant(opened(clock)).take(4)
    other = sqlite3.connect(the_file(directory), isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    store = opened(clock)
    other.close()
    assert Participant(store, "other").take(10) == 6


def test_the_grants_of_a_step_that_takes_a_second_are_released(
    clock: Clock,
) -> None:
    def slow() -> float:
        clock.now += 2
        return clock.now

    other = Participant(opened(clock), "other")
    stopped = Participant(open_machine_store("budget", report_within=0.5, clock=slow), "stopped")
    with pytest.raises(StoreBusyError):
        stopped.take(4)
    other.exchange()
    assert slots_held(other.store) == 4
    stopped.store = opened(clock)
    assert stopped.take(2) == 2
    assert slots_held(stopped.store) == 2


def test_a_state_from_before_a_reboot_delays_nobody_longer_than_a_window(
    clock: Clock,
) -> None:
    before = Participant(opened(clock), "before")
    clock.now = 90 * 24 * HOUR
    before.take(10)
    clock.now = 5.0  # the machine has started again
    after = Participant(opened(clock), "after")
    reply = after.exchange(wants=(1, 0))
    assert not reply.granted
    assert reply.wait <= PER
    clock.now += PER
    assert after.take(10) == 10


# A file that is removed


def test_participants_whose_file_is_removed_share_a_new_one_with_all_that_they_hold(
    clock: Clock, directory: Path
) -> None:
    one, other = Participant(opened(clock), "one"), Participant(opened(clock), "other")
    one.take(4)
    other.take(4)
    the_file(directory).unlink()
    one.exchange()
    other.exchange()
    assert one.epoch == other.epoch
    assert slots_held(other.store) == 8
    assert the_file(directory).exists()


def test_a_removed_file_is_noticed_even_if_another_took_its_place(
    clock: Clock, directory: Path
) -> None:
    one = Participant(opened(clock), "one")
    one.take(4)
    (directory / "another").touch()
    (directory / "another").rename(the_file(directory))
    one.exchange()
    other = Participant(opened(clock), "other")
    assert slots_held(other.store) == 4


def test_slots_that_others_held_in_a_removed_file_are_waited_out(
    clock: Clock, directory: Path
) -> None:
    one = Participant(opened(clock), "one")
    one.take(1)
    the_file(directory).unlink()
    clock.now += 1
    assert one.take(1) == 0
    clock.now += LEASE + PER - 1.5
    assert one.take(1) == 0
    clock.now += 1.5
    assert one.take(1) == 1


def test_removing_a_file_without_held_slots_delays_nobody(clock: Clock, directory: Path) -> None:
    one = Participant(opened(clock), "one")
    one.take(10)
    the_file(directory).unlink()
    one.in_flight.clear()
    clock.now += PER + LEASE
    assert one.take(10) == 10


def test_a_directory_that_is_removed_is_made_again(clock: Clock, directory: Path) -> None:
    one = Participant(opened(clock), "one")
    one.take(4)
    for path in directory.iterdir():
        path.unlink()
    directory.rmdir()
    one.exchange()
    assert slots_held(opened(clock)) == 4


# A file that can't be used


def test_a_damaged_file_is_replaced_and_its_held_slots_are_waited_out(
    clock: Clock, directory: Path
) -> None:
    Participant(opened(clock), "before").take(10)
    the_file(directory).write_bytes(b"no database" * 1000)
    after = Participant(opened(clock), "after")
    assert after.take(1) == 0
    clock.now += LEASE + PER
    assert after.take(10) == 10


def test_a_file_that_is_damaged_later_is_replaced_too(clock: Clock, directory: Path) -> None:
    participant = Participant(opened(clock))
    participant.take(4)
    the_file(directory).write_bytes(b"no database" * 1000)
    participant.exchange()
    assert slots_held(participant.store) == 4


def test_the_state_of_another_release_is_left_alone(clock: Clock, directory: Path) -> None:
    Participant(opened(clock)).take(1)
    other = sqlite3.connect(the_file(directory))
    with other:
        other.execute("UPDATE budget SET state = ?", (b"\x91\xa5other",))
    with pytest.raises(StoreUnavailableError, match="was written by another release"):
        opened(clock)
    assert other.execute("SELECT state FROM budget").fetchone() == (b"\x91\xa5other",)
    other.close()


@pytest.mark.parametrize("link", [os.symlink, os.link])
async def test_a_file_is_never_reached_through_a_link(
    link: Callable[[Path, Path], None], clock: Clock, directory: Path, tmp_path: Path
) -> None:
    await opened(clock).aclose()
    path = the_file(directory)
    elsewhere = tmp_path / "elsewhere"
    path.rename(elsewhere)
    before = elsewhere.read_bytes()
    link(elsewhere, path)
    with pytest.raises(StoreUnavailableError):
        opened(clock)
    assert elsewhere.read_bytes() == before


def test_a_file_is_for_its_user_alone(clock: Clock, directory: Path) -> None:
    Participant(opened(clock)).take(1)
    modes = {stat.S_IMODE(each.stat().st_mode) for each in directory.iterdir()}
    assert modes == {0o600}


# Files that nobody uses


def aged(path: Path) -> None:
    then = time.time() - HOUR - 60
    os.utime(path, (then, then))


def swept(directory: Path, clock: Clock) -> None:
    FILES._swept_at.clear()
    FILES.sweep(str(directory), clock)


async def test_a_file_unused_for_an_hour_is_removed_when_another_is_opened(
    clock: Clock, directory: Path
) -> None:
    unused = opened(clock, "unused")
    Participant(unused).take(1)
    await unused.aclose()
    aged(the_file(directory))
    clock.now += HOUR + 60
    FILES._swept_at.clear()
    opened(clock, "other")
    assert not list(directory.glob("unused*"))
    assert list(directory.glob("other*"))


def test_many_unused_files_are_removed_in_several_turns(clock: Clock, directory: Path) -> None:
    for number in range(20):
        opened(clock, f"unused{number}")
    for path in directory.glob("*.sqlite"):
        aged(path)
    FILES._swept_at.clear()
    for number in range(3):
        opened(clock, f"other{number}")
    assert not list(directory.glob("unused*"))


def test_a_file_in_use_is_kept_even_if_the_wall_clock_was_set(
    clock: Clock, directory: Path
) -> None:
    Participant(opened(clock)).take(1)
    aged(the_file(directory))
    clock.now += 1
    swept(directory, clock)
    assert the_file(directory).exists()


def test_a_file_that_another_process_is_using_is_kept(clock: Clock, directory: Path) -> None:
    Participant(opened(clock)).take(1)
    other = sqlite3.connect(the_file(directory), isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    aged(the_file(directory))
    clock.now += HOUR + 60
    swept(directory, clock)
    other.close()
    assert the_file(directory).exists()


def test_files_of_others_are_not_swept(clock: Clock, directory: Path) -> None:
    opened(clock)
    others = directory / "notes.txt"
    others.touch()
    aged(others)
    swept(directory, clock)
    assert others.exists()


def test_a_file_opened_just_before_it_was_swept_is_replaced_by_a_new_one(
    clock: Clock, directory: Path
) -> None:
    Participant(opened(clock), "before").take(1)
    path = the_file(directory)
    late = BudgetFile(str(path))
    aged(path)
    clock.now += HOUR + 60
    swept(directory, clock)
    assert not path.exists()
    assert late.update(lambda _: b"lost") is False
    late.close()
    Participant(opened(clock), "after").take(1)
    assert path.exists()


# Connections


def open_descriptors(directory: Path) -> list[str]:
    found = [str(each.readlink()) for each in DESCRIPTORS.iterdir() if each.is_symlink()]
    return [path for path in found if path.startswith(str(directory))]


@pytest.mark.skipif(not DESCRIPTORS.exists(), reason="descriptors can't be listed here")
def test_many_budgets_need_few_descriptors(clock: Clock, directory: Path) -> None:
    participants = [Participant(opened(clock, f"budget{number}")) for number in range(400)]
    for _ in range(2):
        for participant in participants:
            assert participant.take(1) == 1
    assert len(open_descriptors(directory)) == MOST_OPEN


@pytest.mark.skipif(not DESCRIPTORS.exists(), reason="descriptors can't be listed here")
async def test_a_store_that_is_closed_keeps_no_descriptor(clock: Clock, directory: Path) -> None:
    store = opened(clock)
    assert open_descriptors(directory)
    await store.aclose()
    assert not open_descriptors(directory)


async def test_a_store_that_another_loop_has_closed_can_still_be_used(clock: Clock) -> None:
    one, other = Participant(opened(clock), "one"), opened(clock)
    one.take(4)
    await other.aclose()
    assert one.take(6) == 6


def test_threads_share_a_budget_and_find_it_busy_at_worst(clock: Clock) -> None:
    taken = []

    def take(number: int) -> None:
        participant = Participant(opened(clock), f"thread{number}")
        for _ in range(200):
            try:
                taken.append(participant.take(1))
            except StoreBusyError:
                time.sleep(0)

    threads = [threading.Thread(target=take, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(taken) == slots_held(opened(clock)) == 10


def test_the_state_in_the_file_is_the_state_that_is_shown(clock: Clock, directory: Path) -> None:
    participant = Participant(opened(clock))
    participant.take(3)
    reader = sqlite3.connect(the_file(directory))
    ((data,),) = reader.execute("SELECT state FROM budget")
    reader.close()
    assert dumps(loads(data)) == dumps(participant.store.view()[0])
