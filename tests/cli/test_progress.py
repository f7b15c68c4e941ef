"""What is shown of an export while it runs: on a terminal, and elsewhere."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from devskin_async.cli import render
from devskin_async.sandbox import Sandbox

from .support import (
    PATIENCE,
    Devskin,
    command,
    in_terminal,
    in_thread,
    plain,
    resizable,
    store_options,
)

# Details are one request an order: it waits after the first hundred.
LONG = ("export", "orders", "--details")
WAITING = r"1,\d{3} requests left, about 1\d min \(waiting for the rate limit: \d+ s\)"


def test_a_terminal_gets_bars_and_figures_and_then_the_closing_table(tmp_path: Path) -> None:
    ran = in_terminal("export", "all", "--sandbox", "--out", str(tmp_path / "out"))
    drawn = plain(ran.out)
    assert ran.code == 0
    assert "━" in drawn
    assert "of 100 in use, 0 refused" in drawn
    assert "resource    rows  proof" in drawn
    assert "5 files in " in drawn


def test_bars_tell_rows_of_the_total(devskin: Devskin, tmp_path: Path) -> None:
    with in_thread(lambda: Sandbox(latency=0.3, limiter="none")) as box:
        options = ("--out", str(tmp_path), *store_options(box))
        ran = in_terminal("export", "customers", *options)
    assert ran.code == 0
    assert "342 of 342 rows" in plain(ran.out)
    assert "checking" in plain(ran.out)


def test_a_wait_for_the_rate_limit_is_told_with_the_time_left(box: Sandbox, tmp_path: Path) -> None:
    argv = (*LONG, "--out", str(tmp_path), *store_options(box))
    ran = in_terminal(*argv, ended_at=WAITING)
    drawn = plain(ran.out)
    assert ran.code == 130
    assert "budget 100 of 100 in use, 0 refused" in drawn
    assert drawn.splitlines()[-2:] == [
        "devskin: interrupted",
        "What was read is kept: the same command goes on from there.",
    ]


def test_a_narrow_terminal_gets_it_all_within_its_width(box: Sandbox, tmp_path: Path) -> None:
    argv = (*LONG, "--out", str(tmp_path), *store_options(box))
    ran = in_terminal(*argv, columns=44, ended_at=r"of 1,563 details[^@]*requests left")
    assert max(len(line) for line in plain(ran.out).replace("\r", "\n").splitlines()) <= 60


@pytest.mark.parametrize("widths", [(100, 45), (100, 61, 40), (60, 100, 50)])
def test_a_terminal_that_changes_its_width_keeps_no_stale_bars(
    widths: tuple[int, ...], box: Sandbox, tmp_path: Path
) -> None:
    argv = (*LONG, "--out", str(tmp_path), *store_options(box))
    with resizable(*argv, columns=widths[0]) as shown:
        shown.until("waiting")
        for columns in widths[1:]:
            shown.resize(columns)
            shown.until("refused")
            shown.until("refused")
            lines = shown.screen.lines
            assert [bool(re.match("orders +[━╸╺]", line)) for line in lines].count(True) == 1
            assert lines[0].startswith("orders ")
            assert sum("requests left" in line for line in lines) == 1
            assert max(map(len, lines)) <= columns


@pytest.mark.parametrize("term", ["dumb", "none"])
def test_elsewhere_one_line_tells_of_a_long_export(term: str, box: Sandbox, tmp_path: Path) -> None:
    argv = (*LONG, "--out", str(tmp_path), *store_options(box))
    told = r"requests left: about 1\d min at this rate limit\."
    if term == "dumb":
        ran = in_terminal(*argv, term=term, ended_at=told)
        assert "━" not in ran.out
        return
    with subprocess.Popen(command(*argv), stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert re.search(told, process.stderr.readline())
        process.terminate()
        rest = process.stderr.read()
        process.wait(PATIENCE)
    assert rest.startswith("devskin: terminated\n")


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (0.2, "1 s"),
        (59, "59 s"),
        (60, "1 min 00 s"),
        (125.1, "2 min 06 s"),
        (600, "10 min"),
        (3541, "1 h 00 min"),
        (666_660, "185 h 11 min"),
    ],
)
def test_a_time_is_as_exact_as_somebody_who_waits_needs_it(seconds: float, told: str) -> None:
    assert render.lasting(seconds) == told


@pytest.mark.parametrize(
    ("count", "told"),
    [
        (999, "999 B"),
        (1000, "1.0 kB"),
        (318_291, "318.3 kB"),
        (2_500_000_000_000_000, "2,500.0 TB"),
    ],
)
def test_a_size_has_a_unit_that_suits_it(count: int, told: str) -> None:
    assert render.size(count) == told
