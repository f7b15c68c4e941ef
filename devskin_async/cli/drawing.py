"""Lines at the end of a terminal that are drawn anew in their place."""

from __future__ import annotations

import math
import os

from rich.console import Console, Group, RenderableType
from rich.text import Text


class Drawing:
    """A few lines that change; nothing is drawn where the console is no such terminal.

    rich's own `Live` goes up by the lines that it has drawn. A terminal that was made narrower
    since has folded them to more, and those would stay behind.

    Args:
        console: The terminal.
    """

    def __init__(self, console: Console) -> None:
        # Colours may be asked for in a file too, where nothing can be drawn over.
        self.is_possible: bool = console.file.isatty() and not console.is_dumb_terminal
        self._console = console
        self._widths: list[int] = []  # of the lines that stand there

    def draw(self, *parts: RenderableType) -> None:
        """Draw parts, one below the other, in place of what was drawn before."""
        if not self.is_possible:
            return
        columns = self._columns()
        with self._console.capture() as capture:
            # In the last column the cursor would be in two places.
            self._console.print(Group(*parts), width=min(self._console.width, columns - 1))
        lines = capture.get().splitlines()[-max(1, self._console.height - 1) :] if parts else []
        self._write(self._erasing(columns) + "\n".join(lines))
        if bool(self._widths) != bool(lines):
            self._console.show_cursor(not lines)
        self._widths = [Text.from_ansi(line).cell_len for line in lines]

    def clear(self) -> None:
        """Leave nothing of what was drawn."""
        if self._widths:
            self.draw()

    def keep(self) -> None:
        """Leave what was drawn where it is, and go on below it."""
        if self._widths:
            self._write("\n")
            self._console.show_cursor()
            self._widths = []

    def _erasing(self, columns: int) -> str:
        rows = sum(max(1, math.ceil(width / columns)) for width in self._widths)
        if not rows:
            return ""
        up = f"\x1b[{rows - 1}A" if rows > 1 else ""
        return f"\r{up}\x1b[J"

    def _columns(self) -> int:
        try:
            return os.get_terminal_size(self._console.file.fileno()).columns or self._console.width
        except (OSError, ValueError):
            return self._console.width

    def _write(self, text: str) -> None:
        self._console.file.write(text)
        self._console.file.flush()
