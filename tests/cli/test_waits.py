"""Somebody who looks on is told what a command waits for."""

from __future__ import annotations

import asyncio

import pytest

from devskin_async import DevSkinClient, RateLimit
from devskin_async.cli import waits
from devskin_async.sandbox import Sandbox


async def test_a_wait_for_the_rate_limit_is_told_while_it_lasts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(waits, "_EVERY", 0.01)
    told: asyncio.Queue[str] = asyncio.Queue()
    async with (
        Sandbox(orders=9, limiter="none") as box,
        DevSkinClient(box.api_key, base_url=box.base_url, rate_limit=RateLimit(1, 0.3)) as store,
        waits.telling_waits(store, told.put_nowait),
    ):
        await store.orders.page(1)
        reading = asyncio.create_task(store.orders.page(2))
        while await told.get() != "waiting for the rate limit":
            pass
        await reading
        while await told.get() != "":
            pass
        assert store.budget.waiting == 0
