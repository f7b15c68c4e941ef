"""The command line as a whole: help, errors, exit codes, and the key that is never shown."""

from __future__ import annotations

import asyncio
import io
import logging
import os
import re
import runpy
import signal
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

import devskin_async
from devskin_async._extras import how_to_install
from devskin_async.cli import failures, main, options, read
from devskin_async.sandbox import Sandbox

from .support import Devskin, answering, in_thread, store_options

COMMANDS = (
    (), ("overview",), ("revenue",), ("orders",), ("order",), ("products",), ("customers",),
    ("export",), ("export", "verify"), ("sync",), ("webhooks",), ("webhooks", "listen"),
    ("webhooks", "send"), ("webhooks", "verify"), ("budget",), ("sandbox",), ("sandbox", "keys"),
    ("sandbox", "keys", "create"), ("sandbox", "keys", "list"), ("sandbox", "keys", "revoke"),
)  # fmt: skip
KEY = "dsk_a-secret"


def test_the_help_and_the_readme_list_every_exit_code(devskin: Devskin) -> None:
    listed = devskin("--help").out.partition("Exit codes:")[2]
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    (said,) = [line for line in readme.splitlines() if "The exit code is 0" in line]
    said = said.partition("The exit code is 0")[2]
    for code in (1, 2, 3, 129, 130, 141, 143):
        assert re.search(rf"^ *{code}  ", listed, re.MULTILINE), code
        assert re.search(rf"\b{code}\b", said), code


def test_version_is_the_packages(devskin: Devskin) -> None:
    assert devskin("--version").out == f"devskin {devskin_async.__version__}\n"


@pytest.mark.parametrize("argv", COMMANDS, ids=" ".join)
def test_every_command_has_a_help_with_an_example(argv: tuple[str, ...], devskin: Devskin) -> None:
    ran = devskin(*argv, "--help")
    assert (ran.code, ran.err) == (0, "")
    if argv != ("sandbox", "keys"):
        assert re.search(rf"^(Example: |  )devskin {' '.join(argv)}", ran.out, re.MULTILINE)


@pytest.mark.parametrize("module", ["devskin_async", "devskin_async.cli"])
def test_the_package_can_be_run(
    module: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["devskin", "--version"])
    with pytest.raises(SystemExit) as info:
        runpy.run_module(module, run_name="__main__")
    assert info.value.code == 0
    assert capsys.readouterr().out.startswith("devskin ")


@pytest.mark.parametrize("argv", COMMANDS, ids=" ".join)
def test_help_before_a_command_is_the_commands_own(argv: tuple[str, ...], devskin: Devskin) -> None:
    assert devskin("help", *argv) == devskin(*argv, "--help")


@pytest.mark.parametrize("word", ["-V", "version"])
def test_other_words_for_the_version_are_known(word: str, devskin: Devskin) -> None:
    assert devskin(word) == devskin("--version")


def test_no_command_at_all_shows_the_help(devskin: Devskin) -> None:
    ran = devskin()
    assert (ran.code, ran.out) == (0, devskin("--help").out)


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (("invoices",), 'Unknown command "invoices". The commands are overview, revenue, orders'),
        (("overviev",), 'Unknown command "overviev". Did you mean "overview"?'),
        (("orders", "--stat", "paid"), "Unknown option: --stat. Did you mean --status?"),
        (("orders", "--status", "new"), '--status: "new" is not one of pending, paid, '),
        (("orders", "--status", "Paid"), 'Did you mean "paid"?'),
        (("orders", "--max", "many"), '--max: "many" is not a whole number.'),
        (("orders", "--max", "9" * 5000), "--max: 999999999… is too large a number."),
        (("orders", "--max"), "--max needs a value."),
        (("orders", "--json=perhaps"), "--json is a flag and takes no value."),
        (("orders", "--json", "--json"), "--json is given more than once."),
        (("revenue", "--period", "2d"), '--period: "2d" is not one of 7d, 30d, 90d, 1y.'),
        (("order",), "ID is missing."),
        (("order", "0", "--sandbox"), 'ID: "0" is not an id; ids are positive whole numbers.'),
        (("order", "-1", "--sandbox"), 'ID: "-1" is not an id'),
        (("order", "9" * 19), f'ID: "{"9" * 19}" is not an id'),
        (("order", "1", "--", "--json"), "--json comes after --, so it is not read as an option."),
        (("order", "1", "2"), "Unexpected argument: devskin order takes only ID."),
        (("overview", "all"), "Unexpected argument: devskin overview takes options only."),
        (("export",), "name what to export: all, orders, products, customers, revenue, overview"),
        (("export", "invoices"), 'RESOURCE: "invoices" is not one of all, orders, '),
        (("export", "all", "--sandbox", "--max-age=-1"), "--max-age must be a number of hours"),
        (("export", "all", "--sandbox", "--max-age=nan"), "--max-age must be a number of hours"),
        (("export", "all", "--sandbox", "--max-age=inf"), "--max-age must be a number of hours"),
        (("export", "all", "--sandbox", "--max-age=x"), '--max-age: "x" is not a number.'),
        (("export", "all", "--sandbox", "--excel"), "--excel is for --format csv, not for jsonl"),
        (("export", "all", "--separator", ";"), "--separator is for --format csv, not for jsonl"),
        (("export", "all", "--separator", "x"), '--separator: "x" is not one of comma, semicolon.'),
        (
            ("export", "all", "--compress", "--format", "parquet"),
            "--compress is for --format jsonl and csv, not for parquet",
        ),
        (("export", "all", "--sandbox", "--filter-on-server"), "--filter-on-server needs --status"),
        (("export", "products", "--details"), "--details is for orders, which this does not"),
        (("export", "products", "--status", "paid"), "--status is for orders, which"),
        (("export", "products", "--date-to", "2026-01-31"), "--date-to is for orders, which"),
        (("export", "verify"), "DIR is missing."),
        (("export", "verify", "a", "b"), "Unexpected argument: devskin export verify takes only"),
        (("sync", "--format", "csv"), '--format: "csv" is not one of parquet, duckdb, sqlite.'),
        (("sync", "--lookback", "-1"), "--lookback must be 0 to 36,500 days, not -1"),
        (("webhooks", "send"), "--to is required."),
        (("overview", "--timeout", "0"), '--timeout: "0" is not a positive number of seconds.'),
        (("overview", "--timeout", "nan"), '--timeout: "nan" is not a positive number of seconds.'),
        (("overview", "--timeout", "soon"), '--timeout: "soon" is not a positive number of'),
        (("overview", "--api-key", ""), "--api-key must not be empty"),
        (("overview", "--api-key", "a b"), "--api-key must be printable ASCII without spaces"),
        (
            ("orders", "--rate-limit", "5", "--reserve", "10", "--api-key", KEY),
            "--reserve 10 leaves bulk work none of the 5 requests a minute; give less than 5",
        ),
        (("overview", "--api-key", KEY, "--base-url", "ftp://x"), "--base-url must be an address"),
        (("overview", "--api-key", KEY, "--base-url", "http://x.test"), "--base-url must be https"),
        (("overview", "--api-key", KEY, "--proxy", "socks5://x"), "--proxy must be an address"),
        (("overview", "--sandbox", "--api-key", KEY), "--sandbox brings its own"),
        (("overview", "--rate-limit", "0"), '--rate-limit: "0" is not a number of requests'),
        (("overview", "--rate-limit", "1.5"), '--rate-limit: "1.5" is not a whole number.'),
        (("overview", "--reserve", "-1"), '--reserve: "-1" is not a number of requests to leave'),
        (("overview", "--api-key", KEY, "--budget", "x"), '--budget must be "machine", "process"'),
        (("overview", "--api-key", KEY, "--budget", "valkey:///0"), "--budget can't be"),
        (("overview", "--api-key", KEY, "--budget", ""), '--budget must be "machine", "process"'),
        (("overview", "--sandbox", "--budget", ""), '--budget must be "machine", "process"'),
        (("overview", "--api-key", KEY, "--base-url", ""), "--base-url must be an address"),
        (("overview", "--sandbox", "--base-url", "http://localhost"), "--sandbox brings its own"),
    ],
)
def test_a_wrong_use_is_one_line_and_exit_code_2(
    argv: tuple[str, ...], told: str, devskin: Devskin
) -> None:
    ran = devskin(*argv)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("devskin: ")
    assert told in ran.err
    assert len(ran.err.splitlines()) == 1


@pytest.mark.parametrize("debug", ["", "1"])
@pytest.mark.parametrize(
    "argv",
    [
        ("overview", "--api-key", KEY, "--proxy", "http://me:a#pass@proxy.test"),
        ("overview", "http://me:a#pass@proxy.test", "--proxy=http://me:a#pass@proxy.test"),
        ("overview", "--proxy", "http://me:a#pass@proxy.test", "--timeout", "a#pass"),
        ("--proxy", "me:a#pass@proxy.test", "overview"),
    ],
)
def test_a_proxys_password_is_shown_in_no_error(
    argv: tuple[str, ...], debug: str, devskin: Devskin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEVSKIN_DEBUG", debug)
    ran = devskin(*argv)
    assert ran.code == 2
    assert "a#pass" not in ran.out + ran.err


def test_the_sandbox_is_reached_without_the_proxy(devskin: Devskin) -> None:
    assert devskin("overview", "--sandbox", "--proxy", "http://127.0.0.1:1").code == 0


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("DEVSKIN_API_KEY", "a b", " must be printable ASCII without spaces"),
        ("DEVSKIN_BASE_URL", "ftp://x", " must be an address such as https://"),
        ("DEVSKIN_BUDGET", "everywhere", ' must be "machine", "process" or an address such as'),
        ("DEVSKIN_BUDGET", "valkey://:pw@:1/0", " can't be used: it names no host; "),
        ("DEVSKIN_RATE_LIMIT", "many", ': "many" is not a whole number; set it to the requests a'),
        ("DEVSKIN_RATE_LIMIT", "0", ': "0" is not a number of requests; 1 is the least; set it'),
        ("HTTPS_PROXY", "socks5://x", " must be an address such as http://proxy.example:3128"),
        ("all_proxy", "socks5://x", " must be an address such as http://proxy.example:3128"),
    ],
)
def test_a_wrong_value_in_the_environment_is_a_wrong_use_of_its_variable_and_says_what_is_right(
    variable: str, value: str, told: str, devskin: Devskin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEVSKIN_API_KEY", KEY)
    monkeypatch.setenv(variable, value)
    ran = devskin("overview")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith(f"devskin: {variable}{told}")


def test_a_low_limit_needs_no_reserve_of_its_own(devskin: Devskin, box: Sandbox) -> None:
    assert devskin("overview", "--rate-limit", "5", *store_options(box)).code == 0


def test_a_wrong_use_names_the_help_that_would_explain(devskin: Devskin) -> None:
    assert devskin("orders", "--max").err.endswith(" See devskin orders --help.\n")


def test_without_a_key_the_way_to_try_it_is_told(devskin: Devskin) -> None:
    ran = devskin("overview")
    assert ran.code == 1
    assert ran.err == (
        "devskin: no API key: set DEVSKIN_API_KEY, or try it without one: --sandbox\n"
    )


def test_key_and_address_come_from_the_environment(
    devskin: Devskin, box: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEVSKIN_API_KEY", box.api_key)
    monkeypatch.setenv("DEVSKIN_BASE_URL", box.base_url)
    assert devskin("overview").code == 0


def test_an_error_of_the_api_is_one_line_and_exit_code_1(devskin: Devskin, box: Sandbox) -> None:
    ran = devskin("order", "999999", *store_options(box))
    assert (ran.code, ran.out) == (1, "")
    assert ran.err == "devskin: GET /orders/999999: 404 Order not found\n"


@pytest.mark.usefixtures("no_waiting")
def test_an_address_where_nobody_listens_is_one_line(devskin: Devskin) -> None:
    with in_thread(lambda: answering(b"")) as url:
        pass
    ran = devskin("overview", "--base-url", url, "--api-key", KEY)
    assert ran.code == 1
    retry, error = ran.err.splitlines()
    assert "can't connect to 127.0.0.1 port" in retry
    assert retry.endswith("; trying again in 0 s.")
    assert error.startswith("devskin: GET /analytics/overview: can't connect to 127.0.0.1 port")


def test_an_error_can_not_steer_the_terminal(devskin: Devskin) -> None:
    body = b'{"success": true, "data": {"total_orders": "\\u009b2J\\u202e"}}'
    with in_thread(lambda: answering(body)) as url:
        ran = devskin("overview", "--base-url", url, "--api-key", KEY)
    assert ran.code == 1
    assert ran.err.rstrip("\n").isprintable()


@pytest.mark.parametrize("debug", ["", "1"])
@pytest.mark.parametrize(
    "argv",
    [
        ("overview", KEY),
        ("overview", "--api-key", KEY, KEY),
        ("overview", f"--api-key={KEY}", "--base-url", f"http://{KEY}.test"),
        ("--api-key", KEY, "overview"),
        (KEY,),
        ("overview", "--base-url", "http://127.0.0.1:1", "--timeout", KEY),
    ],
)
def test_the_key_is_shown_in_no_error_wherever_it_was_put(
    argv: tuple[str, ...], debug: str, devskin: Devskin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEVSKIN_DEBUG", debug)
    if "--api-key" not in " ".join(argv):
        monkeypatch.setenv("DEVSKIN_API_KEY", KEY)
    ran = devskin(*argv)
    assert ran.code in (1, 2)
    assert KEY not in ran.out + ran.err


@pytest.mark.parametrize("debug", ["", "1"])
@pytest.mark.parametrize(
    "argv",
    [
        ("overview", "--budget", "valkey://user:s3cret@[::1/0"),
        ("overview", "--budget=valkey://:s3cret@host:s3cret/0"),
        ("overview", "--budget", "http://user:s3cret@host/0"),
        ("overview", "--budget", "valkey://user:s3cret#@host/0"),
        ("overview", "--budget", "valkeys://host/0?s3cret=1"),
        ("overview", "--budget", "valkey://u:s%33cret@127.0.0.1:1/0", "s3cret"),
        ("budget", "--budget", "valkey://u:s3cret@127.0.0.1:1/0"),
    ],
)
def test_a_password_in_the_address_of_a_budget_is_shown_in_no_error(
    argv: tuple[str, ...], debug: str, devskin: Devskin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEVSKIN_DEBUG", debug)
    monkeypatch.setenv("DEVSKIN_BUDGET", "valkey://:s3cret@host/0")
    ran = devskin(*argv, "--api-key", KEY)
    assert ran.code in (1, 2)
    assert "s3cret" not in ran.out + ran.err
    assert "s%33cret" not in ran.out + ran.err


def test_an_error_nobody_expected_is_one_line_too(
    devskin: Devskin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read, "open_store", lambda _: 1 / 0)
    ran = devskin("overview")
    assert ran.code == 1
    assert ran.err == (
        "devskin: unexpected ZeroDivisionError: division by zero (DEVSKIN_DEBUG=1 shows where)\n"
    )


def test_an_error_that_says_nothing_is_told_by_its_name(
    devskin: Devskin, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(read, "open_store", fail)
    assert devskin("overview").err == (
        "devskin: unexpected AssertionError (DEVSKIN_DEBUG=1 shows where)\n"
    )


def test_devskin_debug_shows_where_an_error_comes_from(
    devskin: Devskin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEVSKIN_DEBUG", "1")
    monkeypatch.setattr(read, "open_store", lambda _: 1 / 0)
    ran = devskin("overview")
    assert ran.code == 1
    assert "Traceback" in ran.err
    assert "in overview" in ran.err


@pytest.mark.parametrize(
    ("number", "told", "code"),
    [
        (signal.SIGINT, "interrupted", 130),
        (signal.SIGTERM, "terminated", 143),
        (signal.SIGHUP, "hung up", 129),
    ],
)
def test_a_signal_ends_a_command_in_one_line(
    number: signal.Signals,
    told: str,
    code: int,
    devskin: Devskin,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    closed = []

    @asynccontextmanager
    async def waiting_for_ever(*_: object, **__: object) -> AsyncIterator[None]:
        os.kill(os.getpid(), number)
        try:
            await asyncio.Event().wait()
        finally:
            closed.append(True)
        yield

    monkeypatch.setattr(options, "DevSkinClient", waiting_for_ever)
    before = signal.getsignal(signal.SIGTERM)
    ran = devskin("overview", "--api-key", KEY)
    assert ran == (code, "", f"devskin: {told}\n")
    assert closed
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("argv", [("orders", "--json"), ("orders",), ("orders", "--help")])
def test_a_closed_pipe_ends_a_command_without_a_word(
    argv: tuple[str, ...],
    box: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as closed_pipe:
        monkeypatch.setattr(sys, "stdout", closed_pipe)
        assert main([*argv, *store_options(box)]) == 128 + signal.SIGPIPE
    assert "devskin: " not in capsys.readouterr().err


@pytest.mark.parametrize(
    "argv",
    [
        ("order", "5.7"),
        ("order", "0x10"),
        ("order", "1_0"),
        ("orders", "--max", "1.5"),
        ("sandbox", "--port", "80.5"),
    ],
)
def test_a_number_that_is_not_whole_is_a_wrong_use(devskin: Devskin, argv: tuple[str, ...]) -> None:
    ran = devskin(*argv)
    assert ran.code == 2
    assert f'"{argv[-1]}" is not a whole number' in ran.err


def test_words_too_many_are_not_repeated(devskin: Devskin) -> None:
    ran = devskin("overview", KEY)
    told = "Unexpected argument: devskin overview takes options only. See devskin overview --help."
    assert ran == (2, "", f"devskin: {told}\n")


def test_streams_that_were_closed_before_are_no_error(
    box: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    assert main(["overview", *store_options(box)]) == 0
    for stream in (sys.stdout, sys.stderr):
        stream.close()


def test_ctrl_c_while_the_command_is_still_loading_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Interrupted:
        def find_spec(self, name: str, *_: object) -> None:
            if name == "devskin_async.cli.app":
                raise KeyboardInterrupt

    monkeypatch.delitem(sys.modules, "devskin_async.cli.app")
    monkeypatch.setattr(sys, "meta_path", [Interrupted(), *sys.meta_path])
    assert main(["overview"]) == 130
    assert capsys.readouterr().err == "devskin: interrupted\n"


@pytest.mark.parametrize("columns", ["0", "1", "20"])
def test_a_width_that_is_too_small_for_a_table_is_not_taken_at_its_word(
    box: Sandbox, devskin: Devskin, monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    ran = devskin("overview", *store_options(box))
    assert "Revenue" in ran.out


def test_a_cancellation_by_someone_else_is_no_signal() -> None:
    async def command() -> None:
        with failures.ended_by_signals():
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(command())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is the full disk")
def test_a_full_disk_behind_stdout_is_one_line(
    box: Sandbox, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with Path("/dev/full").open("wb", buffering=0) as full:
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(full, write_through=True))
        assert main(["overview", "--json", *store_options(box)]) == 1
    assert capsys.readouterr().err == "devskin: No space left on device\n"


def test_a_command_runs_in_another_thread_too(devskin: Devskin, box: Sandbox) -> None:
    codes = []
    thread = threading.Thread(target=lambda: codes.append(main(["overview", *store_options(box)])))
    thread.start()
    thread.join()
    assert codes == [0]


@pytest.mark.usefixtures("no_waiting")
def test_a_retry_is_told_in_one_line_and_not_logged_to_the_terminal(devskin: Devskin) -> None:
    with in_thread(lambda: answering(b"{}", status=503)) as url:
        ran = devskin("overview", "--base-url", url, "--api-key", KEY)
    assert ran.code == 1
    assert len(ran.err.splitlines()) == 2
    assert logging.getLogger().handlers


@pytest.mark.parametrize("library", ["cyclopts", "rich"])
def test_without_the_cli_extra_one_line_says_what_to_install(
    library: str, devskin: Devskin, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith("devskin_async.cli.")]:
        monkeypatch.delitem(sys.modules, name)
    for name in [name for name in sys.modules if name.partition(".")[0] == library]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, library, None)
    ran = devskin("overview")
    assert ran == (1, "", f"devskin: the command needs {library}: {how_to_install('cli')}\n")


def test_another_missing_module_is_not_called_the_cli_extra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "devskin_async.cli.app", None)
    with pytest.raises(ModuleNotFoundError):
        main(["--version"])


@pytest.mark.parametrize(
    "argv", [("overview", "--sandbox"), ("sandbox", "--port", "0")], ids=" ".join
)
def test_without_the_sandbox_extra_one_line_says_what_to_install(
    argv: tuple[str, ...], devskin: Devskin, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith("devskin_async.sandbox")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "limits", None)
    ran = devskin(*argv)
    assert ran.code == 1
    assert ran.err == (
        f"devskin: this needs limits, which is not installed: {how_to_install('sandbox')}\n"
    )


def test_a_bug_is_told_also_where_the_sandbox_extra_is_missing(
    devskin: Devskin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "devskin_async.sandbox", None)
    monkeypatch.setattr(read, "open_store", lambda _: 1 / 0)
    assert devskin("overview").err.startswith("devskin: unexpected ZeroDivisionError")


def test_output_that_is_taken_as_text_is_given_as_text(
    box: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = io.StringIO()
    monkeypatch.setattr(sys, "stdout", taken)
    assert main(["overview", *store_options(box)]) == 0
    assert taken.getvalue().startswith("Orders ")
