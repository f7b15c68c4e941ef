"""What is shown where, and how values become cells."""

from __future__ import annotations

from decimal import Decimal

import pytest

from devskin_async.cli import render
from devskin_async.sandbox import Sandbox

from .support import Devskin, store_options


def test_a_value_that_is_missing_is_blank() -> None:
    for blank in (render.words(None), render.number(None), render.instant(None)):
        assert blank.plain == ""


@pytest.mark.parametrize(
    ("value", "shown"),
    [(1563, "1,563"), (Decimal("185420.50"), "185,420.50"), (Decimal("2E+3"), "2,000")],
)
def test_a_number_keeps_its_digits(value: int | Decimal, shown: str) -> None:
    assert render.number(value).plain == shown


@pytest.mark.parametrize("name", ["\x1b[31mred\x07", "a\tb\r\nc", "\u202egnp.exe", "\x9b2J"])
def test_a_text_from_outside_becomes_one_harmless_line(name: str) -> None:
    assert render.printable(name).isprintable()


def test_colours_can_be_asked_for_in_a_pipe(
    devskin: Devskin, box: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    ran = devskin("orders", "--max", "1", *store_options(box))
    assert "\x1b[1m" in ran.out


def test_columns_bounds_the_width_of_what_is_piped(
    devskin: Devskin, box: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    ran = devskin("customers", *store_options(box))
    assert max(map(len, ran.out.splitlines())) <= 60


def test_bars_are_plain_signs_where_the_output_has_no_others(
    devskin: Devskin, box: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rich.console.Console.encoding", "ascii")
    ran = devskin("revenue", *store_options(box))
    assert "#" * 40 in ran.out
    assert "█" not in ran.out
