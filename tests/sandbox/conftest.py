from __future__ import annotations

from collections.abc import AsyncIterator
from types import SimpleNamespace

import pytest

from devskin_async.sandbox import Sandbox
from tests.sandbox.support import TODAY, Api, calling


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    """The default store on the day of the reference's examples, without a limit."""
    async with Sandbox(limiter="none", today=TODAY) as box, calling(box) as caller:
        yield caller


class Clock:
    """The time the limiters see: it stands, but for the microsecond a look at it takes."""

    def __init__(self) -> None:
        self.now = 1_770_990_000.0

    def __call__(self) -> float:
        self.now += 1e-6
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Takes the clock of the limiters, and of the libraries they are made with, into the hand."""
    clock = Clock()
    stand_in = SimpleNamespace(time=clock, monotonic=clock)
    for module in (
        "limits.storage.memory",
        "limits.strategies",
        "throttled.utils",
        "devskin_async.sandbox.answers",
        "devskin_async.sandbox.limiter",
        "devskin_async.sandbox.other_program",
        "devskin_async.sandbox.quota",
    ):
        monkeypatch.setattr(f"{module}.time", stand_in)
    return clock
