"""How `--help` looks on terminals of the usual widths."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from itertools import pairwise

import pytest
from cyclopts import App
from rich.console import Console

from devskin_async.cli.app import make_app

FRAME = "╭╰"


def commands(app: App, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """All commands of an app, as they are typed."""
    yield words
    for name in app:
        if not name.startswith("-"):
            yield from commands(app[name], (*words, name))


def help_lines(words: tuple[str, ...], columns: int) -> list[str]:
    """The help of a command, without the frames around its lists."""
    shown = io.StringIO()
    make_app().help_print(words, console=Console(file=shown, width=columns))
    lines = shown.getvalue().splitlines()
    return [line.strip("│").rstrip() for line in lines if not line.startswith(tuple(FRAME))]


COMMANDS = tuple(commands(make_app()))


@pytest.mark.parametrize("columns", [80, 100])
@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_no_line_has_only_the_last_word_of_a_sentence(words: tuple[str, ...], columns: int) -> None:
    lines = help_lines(words, columns)
    for before, line in pairwise(lines):
        assert not before or not re.fullmatch(r"( {5,}|\b)\S+", line), f"{before}\n{line}"


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_what_is_said_of_an_option_is_broken_only_where_the_terminal_ends(
    words: tuple[str, ...],
) -> None:
    lines = [line for line in help_lines(words, 300) if line.startswith(" " * 5)]
    assert [line for line in lines if not line.lstrip().startswith("devskin ")] == []
