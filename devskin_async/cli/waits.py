"""Telling somebody who looks on what a command is waiting for."""

from __future__ import annotations

import asyncio
import logging
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TypeAlias

from rich.console import Console
from rich.text import Text

from ..client import DevSkinClient
from ..ratelimit import Budget, Degraded, Event, Lane, Paused, Refused, Restored, Retried
from ..ratelimit.events import WAYS_OUT, log
from .drawing import Drawing
from .render import counted, lasting, printable, show

Show: TypeAlias = Callable[[str], object]

_ID = re.compile(r"/\d+")
_EVERY = 0.25
_WORTH_A_LINE = 1.0


class _Warnings(logging.Handler):
    """Tells of what was logged when a budget was opened: its file can't be kept."""

    def __init__(self, tell: Callable[[str], object]) -> None:
        super().__init__(logging.WARNING)
        self._tell = tell

    def filter(self, record: logging.LogRecord) -> bool:
        """Leave out what happens to requests, which events tell of."""
        return record.module == "sharing"

    def emit(self, record: logging.LogRecord) -> None:
        """Tell it as a line."""
        self._tell(printable(record.getMessage()))


class Waits:
    """What a command's requests wait for, told on stderr while they wait.

    A terminal shows one line that counts the seconds down. Elsewhere there is a line for what
    each refusal, pause and retry waits for.

    Args:
        console: Where to tell it.
        own_limit: Whether a line also tells of a wait that no refusal has begun.
        lane: The lane that the requests wait in.

    Attributes:
        outage: what makes the shared budget unreachable; None where nothing does.
    """

    def __init__(
        self, console: Console, *, own_limit: bool = True, lane: Lane = Lane.INTERACTIVE
    ) -> None:
        self._console = console
        self._lane = lane
        self.outage: Degraded | None = None
        self._own_limit = own_limit
        self._drawing = Drawing(console)
        self._show: Show = self._draw
        self._doing = ""
        self._events: list[Event] = []
        self._until = 0.0
        self._reason = ("", "")  # what is said before and after the seconds
        self._foretold = 0.0  # until when a line has said that the own limit holds

    def heard(self, event: Event) -> None:
        """Take in what happened to a request; a client's `on_event`."""
        if isinstance(event, Degraded | Restored):
            self.outage = event if isinstance(event, Degraded) else None
        if isinstance(event, Refused | Paused | Retried | Degraded | Restored):
            self._events.append(event)

    @contextmanager
    def warning(self) -> Iterator[None]:
        """Tell of what makes a budget another one than was asked for."""
        handler = _Warnings(lambda text: show(self._console, f"Warning: {text}."))
        log.addHandler(handler)
        try:
            yield
        finally:
            log.removeHandler(handler)

    @asynccontextmanager
    async def telling(self, store: DevSkinClient) -> AsyncIterator[None]:
        """Tell, four times a second, what a store's requests wait for."""
        watching = asyncio.create_task(self._watch(store))
        try:
            yield
        finally:
            watching.cancel()
            # What a request that is not sent again was refused with, its error says.
            self._take_in([each for each in self._events if isinstance(each, Retried)], 0.0)
            self.clear()

    @contextmanager
    def shown_by(self, show: Show) -> Iterator[None]:
        """Let something else show the wait meanwhile: a few words, or an empty string."""
        self._show = show
        try:
            yield
        finally:
            self._show = self._draw

    def doing(self, what: str) -> None:
        """Say what the command does, for the terminal's line."""
        self._doing = what
        self._draw("")

    def clear(self) -> None:
        """Free the terminal's last line, for something that is printed there."""
        self._drawing.clear()

    async def _watch(self, store: DevSkinClient) -> None:
        while True:
            budget = store.budget
            events, self._events = self._events, []
            self._take_in(events, budget.paused_for)
            outage = "" if self.outage is None else f"shared budget {_outage(self.outage)}"
            self._show("; ".join(filter(None, (self._waiting(budget), outage))))
            await asyncio.sleep(_EVERY)

    def _take_in(self, events: Collection[Event], paused: float) -> None:
        now = asyncio.get_running_loop().time()
        for each in events:
            if isinstance(each, Degraded | Restored):
                self._line(_outage_line(each))
        for before, seconds, after in _reasons(events, paused):
            if now + seconds > self._until:
                self._until, self._reason = now + seconds, (before, after)
            self._line(f"{before} {lasting(seconds)}{after}.")

    def _waiting(self, budget: Budget) -> str:
        now = asyncio.get_running_loop().time()
        if now < self._until:
            before, after = self._reason
            return f"{before} {lasting(self._until - now)}{after}"
        if not budget.waiting:
            return ""
        seconds = budget.paused_for or budget.forecast(lane=self._lane)
        if budget.available and seconds < _EVERY:  # it goes before anybody has read of it
            return ""
        told = f"waiting for the rate limit{_shared(budget)}: {lasting(seconds)}"
        if self._own_limit and seconds > _WORTH_A_LINE and now > self._foretold:
            self._foretold = now + seconds
            self._line(f"{told[0].upper()}{told[1:]}.")
        return told

    def _line(self, text: str) -> None:
        if not self._drawing.is_possible:
            show(self._console, text)

    def _draw(self, wait: str) -> None:
        if text := ": ".join(filter(None, (self._doing, wait))):
            self._drawing.draw(Text(text))
        else:
            self._drawing.clear()


def _outage(outage: Degraded) -> str:
    reason = printable(outage.reason).rstrip(".")
    if outage.share:
        return f"unreachable, going on with {counted(outage.share, 'request')} a minute: {reason}"
    return f"unreachable, waiting until it is back: {reason}; {_way_out(outage.where)}"


def _outage_line(event: Degraded | Restored) -> str:
    if isinstance(event, Restored):
        return "The shared budget is reachable again."
    return f"The shared budget is {_outage(event)}."


def _way_out(where: str) -> str:
    place, how = WAYS_OUT[where]
    return f"--budget {place} {how}"


def _shared(budget: Budget) -> str:
    """Say how many other processes share it, as `devskin budget` counts them."""
    match budget.processes - 1:
        case 1:
            return ", which another process shares"
        case others if others > 1:
            return f", which {others:,} other processes share"
        case _:
            return ""


def _reasons(events: Collection[Event], paused: float) -> Iterator[tuple[str, float, str]]:
    """Say what is waited for, how long, and what else; once for requests that came back alike.

    A refusal, the pause that it begins and the retry that it leads to are one wait.
    """
    paused = max((each.seconds for each in events if isinstance(each, Paused)), default=paused)
    retried = Counter[str]()
    longest: dict[str, float] = {}
    texts: dict[str, str] = {}
    for each in events:
        if isinstance(each, Retried):
            # Details of orders, each by its own request, are refused alike.
            alike = f"{_ID.sub('/…', each.request)}: {each.reason}"
            retried[alike] += 1
            texts[alike] = f"{each.request}: {each.reason}" if retried[alike] == 1 else alike
            longest[alike] = max(longest.get(alike, 0.0), each.wait)
    for alike, count in retried.items():
        times = f" ({count:,} times)" if count > 1 else ""
        wait = max(longest[alike], paused)
        yield f"{printable(texts[alike])}{times}; trying again in", wait, ""
    if not retried and any(isinstance(each, Refused | Paused) for each in events):
        refused = sum(isinstance(each, Refused) for each in events)
        who = f"The API refused {counted(refused, 'request')} (429); pausing"
        why = "".join(
            f": {each.reason}" for each in events if isinstance(each, Paused) and each.reason
        )
        yield f"{who if refused else 'Pausing'} for", paused, why and f"{why}; {_way_out('valkey')}"
