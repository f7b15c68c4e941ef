"""The command as a process: signals, closed pipes and terminals."""

from __future__ import annotations

import re
import signal
import subprocess
from pathlib import Path

import pytest

from devskin_async.sandbox import Sandbox

from .support import PATIENCE, command, in_terminal, in_thread, store_options, until


@pytest.mark.parametrize(
    ("number", "told"), [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "terminated")]
)
def test_a_signal_in_the_middle_of_an_export_leaves_no_half_file(
    number: signal.Signals, told: str, tmp_path: Path
) -> None:
    (tmp_path / "orders.jsonl").write_text("the last export")
    with in_thread(lambda: Sandbox(latency=0.3)) as box:
        argv = command("export", "all", "--out", str(tmp_path), *store_options(box))
        with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True) as process:
            until(lambda: box.counts.requests > 3 and len(list(tmp_path.iterdir())) == 2)
            process.send_signal(number)
            _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 128 + number
    assert err == f"devskin: {told}\n"
    assert [path.name for path in tmp_path.iterdir()] == ["orders.jsonl"]
    assert (tmp_path / "orders.jsonl").read_text() == "the last export"


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


def test_a_terminal_gets_a_bar_for_each_resource_and_the_closing_table(tmp_path: Path) -> None:
    ran = in_terminal("export", "all", "--sandbox", "--out", str(tmp_path / "out"))
    assert ran.code == 0
    for resource, rows in (("orders", "1,563"), ("products", "87"), ("customers", "342")):
        assert re.search(rf"{resource} +\x1b.*━.* {rows} of {rows} rows", ran.out)
    assert re.search(r"5 files in .* in 23 requests, none refused\.", ran.out)


def test_a_terminal_gets_colours_and_tables_that_fit(box: Sandbox) -> None:
    ran = in_terminal("orders", "--max", "150", *store_options(box), columns=70)
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", ran.out)
    assert "\x1b[3" in ran.out
    assert "Reading orders: 150 of 150" in plain
    rows = [line for line in plain.splitlines() if "ORD-" in line]
    assert len(rows) == 150
    assert max(map(len, rows)) <= 70


def test_revenue_bars_fill_a_narrow_terminal_and_no_more(box: Sandbox) -> None:
    ran = in_terminal("revenue", *store_options(box), columns=50)
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", ran.out)
    assert "█" in plain
    assert max(map(len, plain.splitlines())) <= 50


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
