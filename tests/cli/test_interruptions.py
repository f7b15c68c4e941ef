"""Exports that are interrupted, and go on where they ended."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest

from devskin_async.cli import main
from devskin_async.sandbox import Faults, Sandbox

from .support import PATIENCE, Devskin, command, in_thread, store_options, until

GOES_ON = "What was read is kept: the same command goes on from there.\n"
RESUMED = "Resumed an earlier run; "
JOURNAL = ".devskin-export"
# Whoever asks for more than the survey's four answers and ten slices has kept some of them.
ENOUGH = 16


def data_in(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out.glob("*.jsonl")}


@pytest.mark.parametrize(
    ("number", "told"), [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "terminated")]
)
def test_after_a_signal_the_same_command_goes_on_and_makes_the_same_files(
    number: signal.Signals, told: str, devskin: Devskin, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "orders.jsonl").write_text("the last export")
    with in_thread(lambda: Sandbox(latency=0.1, limiter="none")) as box:
        words = ("export", "all", "--out", str(out), *store_options(box))
        with subprocess.Popen(command(*words), stderr=subprocess.PIPE, text=True) as process:
            until(lambda: box.counts.requests > ENOUGH)
            process.send_signal(number)
            _, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == 128 + number
        assert err == f"devskin: {told}\n{GOES_ON}"
        assert data_in(out) == {"orders.jsonl": b"the last export"}
        ran = devskin(*words)
        assert devskin(*words[:3], str(tmp_path / "at-once"), *store_options(box)).code == 0
    assert ran.code == 0
    assert RESUMED in ran.err
    assert data_in(out) == data_in(tmp_path / "at-once")
    assert not (out / JOURNAL).exists()


def test_a_killed_export_goes_on_too(devskin: Devskin, tmp_path: Path) -> None:
    with in_thread(lambda: Sandbox(latency=0.1, limiter="none")) as box:
        words = ("export", "orders", "--out", str(tmp_path), *store_options(box))
        with subprocess.Popen(command(*words), stderr=subprocess.DEVNULL) as process:
            until(lambda: box.counts.requests > ENOUGH)
            process.kill()
        ran = devskin(*words)
    assert ran.code == 0
    assert RESUMED in ran.err
    assert len((tmp_path / "orders.jsonl").read_bytes().splitlines()) == 1563


def test_a_key_revoked_midway_is_one_line_and_another_key_goes_on(
    devskin: Devskin, tmp_path: Path
) -> None:
    db = tmp_path / "shop.db"
    out = tmp_path / "out"
    with in_thread(lambda: Sandbox(db=db, latency=0.1, limiter="none")) as box:
        port = box.port
        words = ("export", "all", "--out", str(out))
        with subprocess.Popen(
            command(*words, *store_options(box)), stderr=subprocess.PIPE, text=True
        ) as process:
            until(lambda: box.counts.requests > ENOUGH)
            devskin("sandbox", "keys", "revoke", "sandbox", "--db", str(db))
            _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    error, hint = err.splitlines(keepends=True)
    assert ": 401 " in error
    assert hint == GOES_ON
    with in_thread(lambda: Sandbox(db=db, limiter="none", port=port)) as box:
        ran = devskin(*words, *store_options(box))
    assert ran.code == 0
    assert RESUMED in ran.err


@pytest.mark.usefixtures("no_waiting")
def test_a_server_that_fails_midway_leaves_what_was_read(devskin: Devskin, tmp_path: Path) -> None:
    faults = Faults(script=("ok", *("500",) * 10))
    with in_thread(lambda: Sandbox(orders=9, limiter="none", faults=faults)) as box:
        words = ("export", "all", "--out", str(tmp_path), *store_options(box))
        failed = devskin(*words)
        until(lambda: devskin(*words).code == 0)
    assert failed.code == 1
    assert "500" in failed.err.splitlines()[0]
    assert failed.err.endswith(GOES_ON)
    assert len(data_in(tmp_path)) == 5


def test_two_exports_into_one_folder_are_one_too_many(devskin: Devskin, tmp_path: Path) -> None:
    with in_thread(lambda: Sandbox(latency=0.1, limiter="none")) as box:
        words = ("export", "orders", "--out", str(tmp_path), *store_options(box))
        with subprocess.Popen(command(*words), stderr=subprocess.PIPE, text=True) as process:
            until(lambda: box.counts.requests > ENOUGH)
            second = devskin(*words)
            _, err = process.communicate(timeout=PATIENCE)
    told = f"devskin: another export is writing to {tmp_path}: let it end, or give this one another"
    assert (second.code, second.out) == (1, "")
    assert second.err == f"{told} folder\n"
    assert process.returncode == 0, err


def test_a_folder_that_can_not_be_made_is_one_line(
    devskin: Devskin, box: Sandbox, tmp_path: Path
) -> None:
    out = tmp_path / "file"
    out.touch()
    ran = devskin("export", "all", "--out", str(out), *store_options(box))
    assert (ran.code, ran.out) == (1, "")
    assert ran.err == f"devskin: {out}: Not a directory\n"


def test_a_disk_that_takes_no_more_midway_is_told_and_the_work_is_kept(
    devskin: Devskin, box: Sandbox, tmp_path: Path
) -> None:
    words = ("export", "orders", "--out", str(tmp_path), *store_options(box))
    limited = ["sh", "-c", 'ulimit -f 400; exec "$@"', "sh", *command(*words)]
    failed = subprocess.run(limited, capture_output=True, text=True, check=False)
    assert failed.returncode == 1
    error, hint = failed.stderr.splitlines(keepends=True)
    assert error.startswith(f"devskin: {tmp_path}")
    assert hint == GOES_ON
    ran = devskin(*words)
    assert ran.code == 0
    assert RESUMED in ran.err


def test_fresh_says_that_it_is_to_be_left_out(tmp_path: Path) -> None:
    with in_thread(lambda: Sandbox(latency=0.1, limiter="none")) as box:
        words = ("export", "orders", "--fresh", "--out", str(tmp_path), *store_options(box))
        with subprocess.Popen(command(*words), stderr=subprocess.PIPE, text=True) as process:
            until(lambda: box.counts.requests > ENOUGH)
            process.terminate()
            _, err = process.communicate(timeout=PATIENCE)
        assert err.endswith("without --fresh, the same command goes on from there.\n")
        assert main([word for word in words if word != "--fresh"]) == 0


def test_an_interrupted_export_of_a_sandbox_of_its_own_promises_nothing(tmp_path: Path) -> None:
    words = ("export", "orders", "--details", "--sandbox", "--out", str(tmp_path))
    with subprocess.Popen(command(*words), stderr=subprocess.PIPE, text=True) as process:
        until((tmp_path / JOURNAL).exists)
        process.terminate()
        _, err = process.communicate(timeout=PATIENCE)
    assert err.endswith("devskin: terminated\n")
