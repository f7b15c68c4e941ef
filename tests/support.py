"""What tests of several parts of the package share."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable

import aiohttp

PATIENCE = 20.0
"""Seconds after which a test that waits in vain fails."""


def open_sessions() -> set[aiohttp.ClientSession]:
    """Find this process's sessions that are not closed."""
    found = (each for each in gc.get_objects() if type(each) is aiohttp.ClientSession)
    return {session for session in found if not session.closed}


async def until(true: Callable[[], object]) -> None:
    """Wait until a condition is true that no event announces."""
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, "waited in vain"
        await asyncio.sleep(0.001)


def now() -> float:
    """Return the running loop's time, in seconds."""
    return asyncio.get_running_loop().time()
