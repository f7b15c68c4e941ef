"""What is shown of an export while it runs."""

from __future__ import annotations

import time
from collections.abc import Iterable
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bars
from rich.text import Text

from ..client import DevSkinClient
from ..export import Progress, Resource
from .drawing import Drawing
from .render import counted, lasting, show

_WORTH_A_LINE = 60.0
_LONGEST_BAR = 40
_SHORTEST_BAR = 4
_BESIDE_BARS = 50
_DEAREST = 0.05  # the share of the time that forecasts may take: one of 100,000 requests is slow


class Screen:
    """Bars and figures on a terminal; elsewhere one line, if the export takes long.

    Args:
        store: What is read with.
        resources: What is read.
        console: Where to show it.
    """

    def __init__(
        self, store: DevSkinClient, resources: Iterable[Resource], console: Console
    ) -> None:
        self._store = store
        self._console = console
        self._drawing = Drawing(console)
        self._last: Progress | None = None
        self._said = False
        self._forecast = _Forecast(store)
        self._bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(
                max(_SHORTEST_BAR, min(_LONGEST_BAR, console.width - _BESIDE_BARS)),
                pulse_style="bar.back",  # a resource that waits for its turn stands still
            ),
            TextColumn("{task.fields[rows]}", justify="right"),
            TextColumn("{task.fields[note]}"),
            console=console,
        )
        self._tasks = {
            name: self._bars.add_task(name, start=False, rows="", note="") for name in resources
        }

    def update(self, progress: Progress) -> None:
        """Take in how far the export is."""
        self._last = progress
        if not progress.total:
            return
        task = self._bars.tasks[self._tasks[progress.resource]]
        detailed = progress.counted == "details"
        # A list that is read again does not begin at nothing: only details do.
        done = progress.rows if detailed else max(progress.rows, int(task.completed))
        self._bars.start_task(task.id)
        self._bars.update(
            task.id,
            total=progress.total,
            completed=min(done, progress.total),
            rows=f"{done:,} of {progress.total:,} {progress.counted}",
            note="checking" if progress.rows < done else "",
        )

    def tick(self, wait: str) -> None:
        """Show how it stands now, also when nothing has come since the last time.

        Args:
            wait: What it waits for; an empty string where it does not.
        """
        if self._drawing.is_possible:
            self._drawing.draw(self._bars, *self._figures(wait))
        elif wait and not self._said and self._left:
            seconds = self._forecast.of(self._left)
            self._said = seconds > _WORTH_A_LINE
            if self._said:
                left = counted(self._left, "request")
                show(self._console, f"{left} left: about {lasting(seconds)} at this rate limit.")

    @property
    def _left(self) -> int:
        return self._last.requests_left if self._last is not None else 1

    def _figures(self, wait: str) -> tuple[Text, ...]:
        budget = self._store.budget
        if self._last is None:
            doing = "asking how much there is"
        elif not self._left:
            doing = "writing the files"
        else:
            seconds = self._forecast.of(self._left)
            time_left = f"about {lasting(seconds)}" if seconds else "no wait for the rate limit"
            doing = f"{counted(self._left, 'request')} left, {time_left}"
        used = budget.limit - budget.available
        others = used - budget.held_here
        by_others = f" ({others:,} by other processes)" if others > 0 else ""
        return (
            Text(f"{doing}{f' ({wait})' if wait else ''}"),
            Text(
                f"budget {used:,} of {budget.limit:,} in use{by_others}, {budget.refused:,} refused"
            ),
        )

    def __enter__(self) -> Self:
        if self._drawing.is_possible:
            self.tick("")
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # Where all went well the closing table says it; else this is how far it came.
        if exc is None:
            self._drawing.clear()
        else:
            self._drawing.draw(self._bars)
            self._drawing.keep()


class _Forecast:
    """The time left, asked of the scheduler no more often than is cheap.

    Args:
        store: Whose scheduler.
    """

    def __init__(self, store: DevSkinClient) -> None:
        self._store = store
        self._end = 0.0
        self._good_until = 0.0

    def of(self, requests: int) -> float:
        """Predict how long requests will wait, in seconds."""
        now = time.monotonic()
        if now >= self._good_until:
            self._end = now + self._store.budget.forecast(requests)
            after = time.monotonic()
            self._good_until = now + (after - now) / _DEAREST
        return max(0.0, self._end - now)
