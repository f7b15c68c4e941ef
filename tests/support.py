"""What tests of several parts of the package share."""

from __future__ import annotations

import gc

import aiohttp


def open_sessions() -> set[aiohttp.ClientSession]:
    """Find this process's sessions that are not closed."""
    found = (each for each in gc.get_objects() if type(each) is aiohttp.ClientSession)
    return {session for session in found if not session.closed}
