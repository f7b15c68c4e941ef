"""An event loop whose clock jumps to the next timer."""

from __future__ import annotations

import asyncio

import pytest

from devskin_async.testing import VirtualTimeLoop, virtual_time


@virtual_time
async def test_a_year_passes_at_once() -> None:
    loop = asyncio.get_running_loop()
    start = loop.time()
    await asyncio.sleep(365 * 86_400)
    assert loop.time() - start == pytest.approx(365 * 86_400)


@virtual_time
async def test_timeouts_come_in_their_order() -> None:
    order: list[int] = []

    async def after(seconds: int) -> None:
        await asyncio.sleep(seconds)
        order.append(seconds)

    await asyncio.gather(*map(after, (30, 10, 20)))
    assert order == [10, 20, 30]


def test_a_loop_that_nothing_could_ever_wake_says_so() -> None:
    loop = VirtualTimeLoop()
    with pytest.raises(RuntimeError, match="nothing is left that could ever wake this loop"):
        loop.run_until_complete(loop.create_future())
    loop.close()
