"""Options that were typed wrongly: what is said of them, and which are suggested."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from .support import Devskin

COMMANDS = (
    ("overview",), ("revenue",), ("orders",), ("order", "1"), ("products",), ("customers",),
    ("export", "all"), ("sync",), ("webhooks", "listen"), ("webhooks", "send"),
    ("webhooks", "verify"), ("sandbox",),
)  # fmt: skip


def options(devskin: Devskin, command: tuple[str, ...]) -> list[str]:
    """Read a command's options off its help."""
    shown = devskin(*command, "--help").out
    return sorted(set(re.findall(r"^│ [* ]*(--[a-z][a-z-]+)", shown, re.MULTILINE)))


def suggested(devskin: Devskin, *argv: str) -> str | None:
    """What is suggested in place of the last word."""
    ran = devskin(*argv)
    assert (ran.code, ran.out, len(ran.err.splitlines())) == (2, "", 1)
    assert ran.err.startswith(f"devskin: Unknown option: {argv[-1]}.")
    found = re.search(r"Did you mean (\S+)\?", ran.err)
    return found and found[1]


@pytest.mark.parametrize(
    ("command", "typed", "meant"),
    [
        ("orders", "--limit", "--max"),
        ("orders", "-n", "--max"),
        ("orders", "--since", "--date-from"),
        ("orders", "--from", "--date-from"),
        ("orders", "--until", "--date-to"),
        ("orders", "--to", "--date-to"),
        ("orders", "--state", "--status"),
        ("orders", "--key", "--api-key"),
        ("orders", "--token", "--api-key"),
        ("orders", "--url", "--base-url"),
        ("orders", "--output", "--json"),
        ("orders", "--format", "--json"),
        ("export all", "--output", "--out"),
        ("export all", "-o", "--out"),
        ("export all", "--type", "--format"),
        ("export all", "--delimiter", "--separator"),
        ("export all", "--dry-run", "--plan"),
        ("revenue", "--days", "--period"),
        ("webhooks send", "--url", "--to"),
        ("webhooks send", "--key", "--secret"),
        ("webhooks listen", "--forward", "--forward-to"),
        ("overview", "--demo", "--sandbox"),
    ],
)
def test_what_other_programs_call_an_option_is_known(
    command: str, typed: str, meant: str, devskin: Devskin
) -> None:
    assert suggested(devskin, *command.split(), typed) == meant


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_slip_of_the_finger_is_known_for_what_it_is(
    command: tuple[str, ...], devskin: Devskin
) -> None:
    known = options(devskin, command)
    assert known
    for option in known:
        if len(option) < len("--period"):  # of a short name one letter is too much of it
            continue
        for typed in (option[:-1], option[:4] + option[5:], f"{option}s"):
            if typed not in known:
                assert suggested(devskin, *command, typed) == option


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("typed", ["--verbose", "--colour", "--quux", "-q", "--yes", "--sort-by"])
def test_what_is_far_from_every_option_has_no_suggestion(
    typed: str, command: tuple[str, ...], devskin: Devskin
) -> None:
    assert suggested(devskin, *command, typed) is None


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.parametrize(
    "typed", ["--limit", "--since", "--until", "--output", "--key", "--url", "--type", "--count"]
)
def test_only_an_option_of_the_command_itself_is_suggested(
    typed: str, command: tuple[str, ...], devskin: Devskin
) -> None:
    known = options(devskin, command)
    if typed not in known:
        assert suggested(devskin, *command, typed) in {None, *known}


def test_the_value_of_an_unknown_option_is_not_repeated(devskin: Devskin) -> None:
    ran = devskin("overview", "--api-kee=dsk_a-secret")
    assert ran.err == (
        "devskin: Unknown option: --api-kee. Did you mean --api-key? See devskin overview --help.\n"
    )


@pytest.mark.parametrize("command", [("orders",), ("export", "orders")], ids=" ".join)
@pytest.mark.parametrize("option", ["--date-from", "--date-to"])
@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("2026-02-30", "2026-02-30 is not a date; that month ends on 2026-02-28."),
        ("2024-02-30", "2024-02-30 is not a date; that month ends on 2024-02-29."),
        ("2026-04-00", "2026-04-00 is not a date; that month begins on 2026-04-01."),
        ("2026-13-01", "2026-13-01 is not a date; months are 01 to 12, for example 2026-12-31."),
        ("0000-01-01", "0000-01-01 is not a date; a year is needed such as 2026."),
        ("yesterday", '"yesterday" is not a date; expected one in UTC, such as 2026-01-31.'),
        ("", '"" is not a date; expected one in UTC, such as 2026-01-31.'),
        ("7d", '"7d" is not a date; expected one in UTC, such as 2026-01-31.'),
        (
            "2026-02-03T10:00",
            'expected a date without a time, such as 2026-02-03, not "2026-02-03T10:00".',
        ),
        (
            "2026-02-03 10:00:00Z",
            'expected a date without a time, such as 2026-02-03, not "2026-02-03 10:00:00Z".',
        ),
        ("2026-2-3", '"2026-2-3" is not written as YYYY-MM-DD, for example 2026-01-31.'),
        ("03/02/2026", '"03/02/2026" is not written as YYYY-MM-DD, for example 2026-01-31.'),
        ("20260203", '"20260203" is not written as YYYY-MM-DD, for example 2026-01-31.'),
    ],
)
def test_each_way_to_miss_a_day_has_its_own_line(
    typed: str, told: str, option: str, command: tuple[str, ...], devskin: Devskin
) -> None:
    ran = devskin(*command, option, typed, "--sandbox")
    assert ran == (2, "", f"devskin: {option}: {told} See devskin {command[0]} --help.\n")


@pytest.mark.parametrize("command", [("orders",), ("export", "all")], ids=" ".join)
def test_days_in_the_wrong_order_are_named_as_they_were_typed(
    command: tuple[str, ...], devskin: Devskin
) -> None:
    span = ("--date-from", "2026-02-02", "--date-to", "2026-02-01")
    ran = devskin(*command, *span, "--sandbox")
    assert ran == (2, "", "devskin: --date-from 2026-02-02 is after --date-to 2026-02-01\n")


@pytest.mark.parametrize("command", [("orders",), ("export",)], ids=" ".join)
def test_the_help_says_in_which_time_zone_a_day_is(
    command: tuple[str, ...], devskin: Devskin
) -> None:
    shown = devskin(*command, "--help").out
    for option in ("--date-from", "--date-to"):
        assert re.search(rf"{option} .*\n?.*UTC", shown)


PLACES = {
    "s3://bucket/x": "s3:// is not supported; give a path on this machine.",
    "gs://bucket/x": "gs:// is not supported; give a path on this machine.",
    "file:///tmp/x": "file:// is not supported; give a path on this machine.",
    "-": "files are written to a folder, not to stdout; for one called -, give ./-.",
    "": 'the path is empty; give "." for the current folder.',
    "  ": 'the path is empty; give "." for the current folder.',
}


@pytest.mark.parametrize(
    "argv",
    [
        ("export", "all", "--sandbox", "--out"),
        ("export", "all", "--sandbox", "--rejects"),
        ("sync", "--sandbox", "--out"),
        ("export", "verify"),
        ("sandbox", "keys", "list", "--db"),
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("typed", PLACES)
def test_a_place_that_is_no_path_makes_no_folder(
    typed: str,
    argv: tuple[str, ...],
    devskin: Devskin,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = devskin(*argv, typed)
    option = argv[-1] if argv[-1].startswith("--") else "DIR"
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith(f"devskin: {option}: {PLACES[typed]} See devskin ")
    assert len(ran.err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_folder_may_be_called_a_hyphen(
    devskin: Devskin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert devskin("export", "overview", "--sandbox", "--out", "./-").code == 0
    assert (tmp_path / "-" / "overview.jsonl").exists()
