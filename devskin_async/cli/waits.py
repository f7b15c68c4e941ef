"""Telling somebody who looks on what a command is waiting for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from ..client import DevSkinClient

_EVERY = 0.25


@asynccontextmanager
async def telling_waits(store: DevSkinClient, tell: Callable[[str], object]) -> AsyncIterator[None]:
    """Tell, four times a second, whether requests wait for the rate limit.

    Args:
        store: Whose requests.
        tell: Called with a few words, or with an empty string where nothing waits.
    """

    async def watch() -> None:
        while True:
            budget = store.budget
            held = budget.paused_for > 0 or not budget.available
            tell("waiting for the rate limit" if budget.waiting and held else "")
            await asyncio.sleep(_EVERY)

    watching = asyncio.create_task(watch())
    try:
        yield
    finally:
        watching.cancel()
