"""A client that was not closed: one warning, whatever happened to it and its event loop."""

from __future__ import annotations

import asyncio
import sys

import pytest

from devskin_async import DevSkinClient
from devskin_async.sandbox import Sandbox

from .support import open_sessions

PROGRAM = """
import asyncio, sys
from devskin_async import DevSkinClient

kept = []

async def main(address, key, how):
    store = DevSkinClient(key, base_url=address)
    await asyncio.gather(store.analytics.overview(), store.revenue())
    match how:
        case "kept":
            kept.append(store)
        case "view":
            store = store.with_options(deadline=3)
        case "cycle":
            store.itself = store
        case "failed":
            raise KeyError(how)
        case "closed":
            await store.aclose()
        case "kept and closed":
            kept.append(store)
            await store.aclose()

try:
    asyncio.run(main(*sys.argv[1:]))
except KeyError:
    pass
"""


async def said(box: Sandbox, how: str, *options: str) -> list[str]:
    """The lines with warnings that the program prints."""
    command = [sys.executable, *options, "-c", PROGRAM, box.base_url, box.api_key, how]
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
    _, stderr = await process.communicate()
    assert process.returncode == 0
    return [line for line in stderr.decode().splitlines() if not line.startswith(" ")]


@pytest.mark.parametrize("how", ["forgotten", "kept", "view", "cycle", "failed"])
async def test_a_client_that_was_not_closed_warns_exactly_once(box: Sandbox, how: str) -> None:
    warning, hint = await said(box, how, "-X", "dev")
    assert warning.endswith(
        "ResourceWarning: a DevSkinClient was not closed: use `async with`, or await its aclose()"
    )
    assert hint == "ResourceWarning: Enable tracemalloc to get the object allocation traceback"


@pytest.mark.parametrize("how", ["closed", "kept and closed"])
async def test_a_client_that_was_closed_gives_no_warning(box: Sandbox, how: str) -> None:
    assert await said(box, how, "-X", "dev") == []


@pytest.mark.parametrize("how", ["forgotten", "kept"])
async def test_with_resource_warnings_off_nothing_is_printed(box: Sandbox, how: str) -> None:
    assert await said(box, how) == []


def test_a_client_that_is_dropped_in_another_thread_is_closed_in_its_own(
    caplog: pytest.LogCaptureFixture,
) -> None:
    held: list[DevSkinClient] = []

    def drop() -> None:
        with pytest.warns(ResourceWarning, match="was not closed"):
            held.clear()

    async def main() -> None:
        async with Sandbox(orders=1, products=1, customers=1, limiter="none") as box:
            held.append(DevSkinClient(box.api_key, base_url=box.base_url))
            others = open_sessions()
            await held[0].analytics.overview()
            sessions = open_sessions() - others  # the sandbox may have made one too
            await asyncio.to_thread(drop)
            assert [session.closed for session in sessions].count(True) == 1

    asyncio.run(main())
    assert caplog.text == ""
