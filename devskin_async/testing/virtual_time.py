"""An event loop whose clock jumps to the next timer, so that an hour passes in a millisecond."""

from __future__ import annotations

import asyncio
import functools
import math
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

# What one turn of the loop takes at the least; a clock that stood still would let a timer that is
# late by a rounding error be set anew for ever.
TICK = 1e-9


class _JumpingSelector(selectors.DefaultSelector):
    """Waits for nothing: it looks once and reports how long it was asked to wait."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if timeout is None and not ready:
            raise RuntimeError("nothing is left that could ever wake this loop")
        step = TICK if ready or not timeout else max(timeout, TICK)
        # After some months a tick is less than the clock's floats can tell apart.
        self.now = max(self.now + step, math.nextafter(self.now, math.inf))
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """A selector loop on a clock of its own, which starts at 0."""

    def __init__(self) -> None:
        self._selector_clock = _JumpingSelector()
        super().__init__(self._selector_clock)

    def time(self) -> float:
        """Give the seconds that have passed."""
        return self._selector_clock.now


def virtual_time(test: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, T]:
    """Run an async test on a `VirtualTimeLoop`."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
            return runner.run(test(*args, **kwargs))

    return run
