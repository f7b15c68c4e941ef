"""Lines that are drawn anew in their place, on a terminal that may change its width."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import termios
from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console
from rich.text import Text

from devskin_async.cli.drawing import Drawing

from .support import Screen

WIDTHS = st.integers(20, 120)
FRAMES = st.lists(st.lists(st.integers(0, 130), max_size=5), min_size=1, max_size=6)


class Terminal:
    """A terminal of this process's own, and what it shows."""

    def __init__(self) -> None:
        self._main, other = pty.openpty()
        self.file = os.fdopen(other, "w")

    def console(self, columns: int) -> Console:
        self.resize(columns)
        self.screen = Screen(columns)
        return Console(file=self.file, force_terminal=True, width=200, _environ={"TERM": "xterm"})

    def resize(self, columns: int) -> None:
        fcntl.ioctl(self._main, termios.TIOCSWINSZ, struct.pack("HHHH", 60, columns, 0, 0))

    def shown(self) -> list[str]:
        self.file.write("\0")
        self.file.flush()
        drawn = ""
        while not drawn.endswith("\0"):
            drawn += os.read(self._main, 65_536).decode()
        self.screen.write(drawn.removesuffix("\0"))
        return self.screen.lines

    def close(self) -> None:
        self.file.close()
        os.close(self._main)


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    made = Terminal()
    yield made
    made.close()


def frame(widths: list[int]) -> list[Text]:
    return [Text("x" * width, no_wrap=True, overflow="crop") for width in widths]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(frames=FRAMES, widths=st.lists(WIDTHS, min_size=6, max_size=6))
def test_the_last_frame_alone_is_shown_whatever_the_widths_were(
    frames: list[list[int]], widths: list[int], terminal: Terminal
) -> None:
    drawing = Drawing(terminal.console(widths[0]))
    terminal.screen.write("before\n")
    for lines, columns in zip(frames, widths, strict=False):
        terminal.shown()
        terminal.resize(columns)
        terminal.screen.resize(columns)
        drawing.draw(*frame(lines))
        expected = ["x" * min(width, columns - 1) for width in lines]
        assert terminal.shown() == ["before", *(expected or [""])]
    drawing.clear()
    assert terminal.shown() == ["before", ""]


def test_what_is_kept_stays_and_the_next_line_is_below_it(terminal: Terminal) -> None:
    drawing = Drawing(terminal.console(80))
    drawing.draw(Text("half"), Text("done"))
    drawing.keep()
    terminal.file.write("devskin: interrupted")
    assert terminal.shown() == ["half", "done", "devskin: interrupted"]


@pytest.mark.parametrize("call", [Drawing.draw, Drawing.clear, Drawing.keep])
def test_a_file_is_not_drawn_on(
    call: Callable[[Drawing], None], capsys: pytest.CaptureFixture[str]
) -> None:
    call(Drawing(Console(force_terminal=True)))
    assert capsys.readouterr().out == ""
