"""The command as a process: signals, closed pipes and terminals."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

import devskin_async
from devskin_async.sandbox import Sandbox

from .support import PATIENCE, command, in_terminal, in_thread, plain, store_options, until


def test_a_reader_that_has_enough_ends_a_listing_quietly(box: Sandbox) -> None:
    argv = command("orders", "--json", *store_options(box))
    with subprocess.Popen(
        argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith('{"id":')
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 128 + signal.SIGPIPE


@pytest.mark.parametrize("in_background", [False, True])
def test_sigterm_ends_a_sandbox_well(in_background: bool) -> None:
    argv = command("sandbox", "--port", "0", "--orders", "1", "--products", "1", "--customers", "1")
    if in_background:
        # A shell lets what a script starts with & ignore Ctrl-C.
        argv = ["sh", "-c", 'trap "" INT; exec "$@"', "sh", *argv]
    with subprocess.Popen(
        argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("Sandbox store at http://127.0.0.1:")
        process.terminate()
        _, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, err) == (0, "Stopped after 0 requests, 0 refused.\n")


def test_a_terminal_gets_colours_and_tables_that_fit(box: Sandbox) -> None:
    ran = in_terminal("orders", "--max", "150", *store_options(box), columns=70)
    drawn = plain(ran.out)
    assert "\x1b[3" in ran.out
    assert "Reading orders, 150 of 150" in drawn
    rows = [line for line in drawn.splitlines() if "ORD-" in line]
    assert len(rows) == 150
    assert max(map(len, rows)) <= 70


def test_revenue_bars_fill_a_narrow_terminal_and_no_more(box: Sandbox) -> None:
    ran = in_terminal("revenue", *store_options(box), columns=50)
    drawn = plain(ran.out)
    assert "█" in drawn
    assert max(map(len, drawn.splitlines())) <= 50


def test_a_name_that_the_output_can_not_show_is_no_error(box: Sandbox) -> None:
    ran = subprocess.run(
        command("customers", "--max", "0", *store_options(box)),
        env={"PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "?" in ran.stdout
    assert len(ran.stdout.splitlines()) == 343


@pytest.mark.parametrize(
    ("number", "told", "code"),
    [
        (signal.SIGINT, "interrupted", 130),
        (signal.SIGTERM, "terminated", 143),
        (signal.SIGHUP, "hung up", 129),
    ],
)
def test_a_signal_ends_a_process_with_its_exit_code(
    number: signal.Signals, told: str, code: int
) -> None:
    with in_thread(lambda: Sandbox(limiter="none", latency=0.2)) as slow:
        argv = command("orders", "--json", *store_options(slow))
        with subprocess.Popen(
            argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        ) as process:
            until(lambda: slow.counts.requests)
            process.send_signal(number)
            _, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, err) == (code, f"devskin: {told}\n")


def test_the_package_runs_as_a_module() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "devskin_async", "-V"], capture_output=True, text=True, check=True
    )
    assert ran.stdout == f"devskin {devskin_async.__version__}\n"
