"""`devskin budget`, and commands that share a key's budget with other processes."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from devskin_async import RateLimit
from devskin_async.cli import budget as cli_budget
from devskin_async.ratelimit import MemoryStore, Scheduler
from devskin_async.sandbox import Sandbox

from ..ratelimit.valkey_server import ValkeyProcess, find_server
from .support import PATIENCE, Devskin, command, in_terminal, in_thread, plain, store_options, until

Shop = tuple[Sandbox, tuple[str, ...]]


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Shop]:
    """A store whose budget this machine's processes share, and the options that lead to it."""
    monkeypatch.setenv("DEVSKIN_BUDGET", "machine")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    with in_thread(lambda: Sandbox(limiter="none", orders=450, products=250)) as box:
        yield box, store_options(box)


@contextmanager
def running(*argv: str) -> Iterator[subprocess.Popen[str]]:
    """Run a command in a process of its own, and end it."""
    with subprocess.Popen(
        command(*argv), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.terminate()


def read_to_the_end(*argv: str) -> None:
    """Run a command in a process of its own, which ends well."""
    subprocess.run(command(*argv), check=True, capture_output=True, timeout=PATIENCE)


def look(devskin: Devskin, *argv: str) -> dict[str, Any]:
    """Return what `devskin budget --json` prints."""
    ran = devskin("budget", "--json", *argv)
    assert (ran.code, ran.err) == (0, "")
    seen: dict[str, Any] = json.loads(ran.out)
    return seen


def figures(table: str) -> dict[str, str]:
    """Read the lines of a name and a value that come first."""
    lines = table.partition("\n\n")[0].splitlines()
    return dict(re.split(r"  +", line, maxsplit=1) for line in lines)


def test_an_unused_budget_is_all_free(devskin: Devskin, shop: Shop) -> None:
    _, options = shop
    ran = devskin("budget", *options)
    assert (ran.code, ran.err) == (0, "")
    assert figures(ran.out) == {
        "Limit": "100 requests in 60 s",
        "In flight": "0",
        "Answered, not free yet": "0",
        "Free": "100",
        "Waiting": "0",
        "Next slot free": "all are free",
        "Pause": "none",
        "Kept": "on this machine, for all processes of this user",
        "Shared by": "0 processes",
    }


def test_what_a_process_has_sent_is_still_counted_after_its_end(
    devskin: Devskin, shop: Shop
) -> None:
    box, options = shop
    read_to_the_end("orders", "--max", "300", *options)
    ran = devskin("budget", *options)
    told = figures(ran.out)
    assert (told["Free"], told["Answered, not free yet"]) == ("97", "3")
    assert re.fullmatch(r"in (\d+ s|1 min 00 s)", told["Next slot free"])
    assert told["Shared by"] == "1 process"
    assert re.search(rf"^{socket.gethostname()}:\d+ +bulk +0 +3 +0$", ran.out, re.MULTILINE)
    assert box.counts.requests == 3


def test_what_each_process_holds_and_waits_for_is_shown_by_lane(
    devskin: Devskin, shop: Shop
) -> None:
    box, options = shop
    limited = ("--rate-limit", "3", *options)
    with running("orders", "--max", "0", *limited) as one:
        until(lambda: look(devskin, *limited)["waiting"] == 2)
        with running("order", "1", *limited) as other:
            # What was answered is reported within half a second.
            until(lambda: (now := look(devskin, *limited))["waiting"] == 3 and now["answered"] == 3)
            seen = look(devskin, *limited)
    host = socket.gethostname()
    assert seen["uses"] == sorted(
        (
            {"process": f"{host}:{one.pid}", "lane": "bulk", "in_flight": 0, "answered": 3}
            | {"waiting": 2},
            {"process": f"{host}:{other.pid}", "lane": "interactive", "in_flight": 0}
            | {"answered": 0, "waiting": 1},
        ),
        key=lambda use: str(use["process"]),
    )
    assert (seen["limit"], seen["available"], seen["answered"]) == (3, 0, 3)
    assert (seen["processes"], seen["where"], seen["paused_for"]) == (2, "machine", 0)
    assert 0 < seen["next_free_in"] <= 60
    assert box.counts.requests == 3  # to look sends nothing


def test_a_terminal_shows_it_until_ctrl_c(shop: Shop) -> None:
    _, options = shop
    ran = in_terminal("budget", "--watch", *options, ended_at=r"Free +100[^\x1b]*Free +100")
    assert ran.code == 0
    assert "interrupted" not in plain(ran.out)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_watched_json_is_one_line_each_time_until_it_is_stopped(
    shop: Shop, number: signal.Signals
) -> None:
    _, options = shop
    argv = command("budget", "--watch", "--json", *options)
    with subprocess.Popen(
        argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert [json.loads(process.stdout.readline())["available"] for _ in range(2)] == [100, 100]
        process.send_signal(number)
        _, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, err) == (0, "")


@pytest.mark.parametrize(
    ("argv", "environment", "told"),
    [
        (("--watch",), {}, "--watch draws on a terminal; for a file or a pipe add --json"),
        (("--sandbox",), {}, "--sandbox starts a store that no other process uses"),
        ((), {"DEVSKIN_API_KEY": ""}, "no API key: set DEVSKIN_API_KEY to the key whose budget"),
        (("--budget", "process"), {}, "--budget process: the slots are in the memory of each"),
        ((), {"DEVSKIN_BUDGET": "process"}, "DEVSKIN_BUDGET=process: the slots are in the memory"),
    ],
)
def test_the_error_of_a_budget_that_can_not_be_shown_is_one_line(
    argv: tuple[str, ...],
    environment: dict[str, str],
    told: str,
    devskin: Devskin,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in {"DEVSKIN_API_KEY": "key", **environment}.items():
        monkeypatch.setenv(name, value)
    ran = devskin("budget", *argv)
    assert (ran.code, ran.out) == (1 if told.startswith("no API key") else 2, "")
    assert ran.err.startswith(f"devskin: {told}")


def test_a_file_that_another_process_has_locked_is_reported(
    devskin: Devskin, shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, options = shop
    read_to_the_end("overview", *options)
    monkeypatch.setattr(cli_budget, "_BUSY_TIMEOUT", 0.1)
    (file,) = tmp_path.rglob("*.sqlite")
    with closing(sqlite3.connect(file, isolation_level=None)) as stopped:
        stopped.execute("BEGIN EXCLUSIVE")
        ran = devskin("budget", *options)
        stopped.execute("ROLLBACK")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith("devskin: another process has held the budget's file for")


def test_an_unreachable_server_is_reported(devskin: Devskin) -> None:
    ran = devskin("budget", "--api-key", "key", "--budget", "valkey://:pw@127.0.0.1:1/0")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith("devskin: the budget is unreachable: valkey://127.0.0.1:1/0: ")


@pytest.fixture
def new_server(tmp_path: Path) -> Iterator[str]:
    """The address of a server, with a password, that was started a moment ago."""
    program = find_server()
    if program is None:
        pytest.skip("there is no Valkey server")
    server = ValkeyProcess(program, tmp_path, "--requirepass", "s3cret")
    server.start()
    try:
        yield f"valkey://:s3cret@127.0.0.1:{server.port}/0"
    finally:
        server.close()


def test_a_server_and_what_it_waits_for_are_shown_without_the_password(
    devskin: Devskin, new_server: str
) -> None:
    ran = devskin("budget", "--api-key", "key", "--budget", new_server)
    told = figures(ran.out)
    assert told["Kept"] == f"on {new_server.replace(':s3cret@', '')}, for all who use it"
    assert re.match(r"1 min \d\d s: the Valkey server was started or emptied a", told["Pause"])
    assert "s3cret" not in ran.out + ran.err


NO_SERVER = "--budget machine needs no server, and shares with this machine's programs alone"


def test_the_wait_for_a_server_that_has_just_started_says_why_how_long_and_the_way_out(
    new_server: str, shop: Shop
) -> None:
    _, options = shop
    with running("overview", "--budget", new_server, *options) as process:
        assert process.stderr is not None
        line = process.stderr.readline()
    assert re.fullmatch(
        r"Pausing for 1 min \d\d s: the Valkey server was started or emptied a moment ago, so it "
        rf"can't know what was sent just before; {NO_SERVER}\.\n",
        line,
    )


def test_the_wait_for_a_server_that_is_away_says_why_and_the_way_out(shop: Shop) -> None:
    _, options = shop
    with running("overview", "--budget", "valkey://127.0.0.1:1/0", *options) as process:
        assert process.stderr is not None
        line = process.stderr.readline()
    away = "The shared budget is unreachable, waiting until it is back: valkey://127.0.0.1:1/0: "
    assert line.startswith(away)
    assert line.endswith(f"; {NO_SERVER}.\n")


def test_a_narrow_terminal_shows_all_that_is_said_of_the_wait(shop: Shop) -> None:
    _, options = shop
    argv = ("overview", "--budget", "valkey://127.0.0.1:1/0", *options)
    drawn = plain(in_terminal(*argv, columns=60, ended_at=r"programs\s+alone").out)
    assert NO_SERVER in " ".join(drawn.split())


def test_a_machine_that_can_keep_no_file_gives_one_warning(shop: Shop, tmp_path: Path) -> None:
    _, options = shop
    for name in (f"runtime-{os.getuid()}", f"devskin-async-{os.getuid()}", "devskin-async"):
        (tmp_path / name).touch()
    ran = subprocess.run(
        command("orders", "--max", "1", *options),
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    warning, count = ran.stderr.splitlines()
    assert warning.startswith("Warning: ")
    assert 'shared within this process only: set DEVSKIN_BUDGET to "process" to accept' in warning
    assert count.startswith("1 of 450 orders")


async def test_showing_a_budget_takes_no_part_in_it() -> None:
    store = MemoryStore(lambda: 0.0, report_within=0.0)
    one, looking = (Scheduler(RateLimit(), store, name) for name in ("one.1", "other.1"))
    async with one.slot():
        looking.listeners.add(store, None)
        await looking.refresh()
        assert looking.budget().in_flight == 1
        assert one.budget().processes == 1


def test_a_commands_own_sandbox_shares_no_budget(
    devskin: Devskin, shop: Shop, tmp_path: Path
) -> None:
    assert devskin("overview", "--sandbox").code == 0
    assert not any(tmp_path.iterdir())


def test_a_higher_limit_than_the_apis_may_be_set(
    devskin: Devskin, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, options = shop
    monkeypatch.setenv("DEVSKIN_RATE_LIMIT", "200")
    assert look(devskin, *options)["available"] == 200
    assert look(devskin, "--rate-limit", "50", *options)["available"] == 50


def test_an_export_leaves_the_reserve_to_interactive_calls(
    devskin: Devskin, shop: Shop, tmp_path: Path
) -> None:
    box, options = shop
    argv = ("export", "orders", "--out", str(tmp_path / "out"), "--reserve", "98")
    with running(*argv, *options):
        until(lambda: look(devskin, *options)["waiting"])
        assert look(devskin, *options)["available"] == 98
        assert devskin("order", "1", *options).code == 0
    assert box.counts.requests == 3


def test_an_export_leaves_a_reserve_by_itself_where_another_process_made_interactive_calls(
    devskin: Devskin, shop: Shop, tmp_path: Path
) -> None:
    _, options = shop
    read_to_the_end("order", "1", *options)
    argv = ("export", "orders", "--out", str(tmp_path / "out"), "--rate-limit", "12")
    with running(*argv, *options):
        until(lambda: look(devskin, *options)["waiting"])
        assert look(devskin, *options)["available"] == 97


@pytest.mark.parametrize(
    ("pages", "told"), [((3,), "another process shares"), ((1, 2), "2 other processes share")]
)
def test_a_wait_that_other_processes_cause_says_how_many_there_are_as_the_table_does(
    pages: tuple[int, ...], told: str, devskin: Devskin, shop: Shop
) -> None:
    _, options = shop
    for count in pages:
        read_to_the_end("orders", "--max", str(count * 100), *options)
    assert look(devskin, *options)["processes"] == len(pages)
    with running("overview", "--rate-limit", "3", *options) as process:
        assert process.stderr is not None
        line = process.stderr.readline()
    wait = r"(\d+ s|1 min 00 s)"
    assert re.fullmatch(rf"Waiting for the rate limit, which {told}: {wait}\.\n", line)


def test_a_plan_counts_what_other_processes_have_sent(devskin: Devskin, shop: Shop) -> None:
    _, options = shop
    limited = ("--rate-limit", "5", *options)
    argv = ("export", "overview", "--plan", *limited)
    assert "1 request: no wait at the present budget" in devskin(*argv).out
    read_to_the_end("orders", "--max", "0", *limited)
    ran = devskin(*argv)
    assert re.search(r"1 request: about (\d+ s|1 min 00 s) at the present budget", ran.out)


def test_an_export_shows_how_much_of_the_budget_other_processes_use(
    shop: Shop, tmp_path: Path
) -> None:
    _, options = shop
    read_to_the_end("orders", "--max", "300", *options)
    argv = ("export", "overview", "--out", str(tmp_path / "out"), *options)
    drawn = plain(in_terminal(*argv, columns=120).out)
    assert "budget 3 of 100 in use (3 by other processes), 0 refused" in drawn
