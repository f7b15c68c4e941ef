"""All clients of a key in one event loop share one budget."""

from __future__ import annotations

import asyncio
import gc
import weakref

import pytest

from devskin_async import ConfigurationError, DevSkinClient, RateLimit
from devskin_async.ratelimit import shared_scheduler
from devskin_async.sandbox import Sandbox


async def test_two_clients_of_one_key_share_one_budget(box: Sandbox) -> None:
    limit = RateLimit(50, 60)
    async with (
        DevSkinClient(box.api_key, base_url=box.base_url, rate_limit=limit) as one,
        DevSkinClient(box.api_key, base_url=f"{box.base_url}/", rate_limit=limit) as other,
    ):
        await one.orders.page(1)
        await other.orders.page(2)
        assert one.budget.sent == other.budget.sent == 2


async def test_the_budget_outlives_its_clients(box: Sandbox) -> None:
    for sent in (1, 2, 3):
        async with DevSkinClient(box.api_key, base_url=box.base_url) as store:
            await store.analytics.overview()
            assert store.budget.sent == sent


async def test_another_key_has_a_budget_of_its_own(box: Sandbox) -> None:
    async with (
        DevSkinClient(box.api_key, base_url=box.base_url) as one,
        DevSkinClient(box.create_key("other"), base_url=box.base_url) as other,
    ):
        await one.analytics.overview()
        await other.analytics.overview()
        assert one.budget.sent == other.budget.sent == 1


async def test_clients_of_one_key_must_agree_on_the_limit(box: Sandbox) -> None:
    async with (
        DevSkinClient(box.api_key, base_url=box.base_url) as one,
        DevSkinClient(box.api_key, base_url=box.base_url, rate_limit=RateLimit(50)) as other,
    ):
        await one.analytics.overview()
        with pytest.raises(ConfigurationError, match="give both the same rate_limit") as caught:
            await other.analytics.overview()
    assert box.api_key not in str(caught.value)


def test_another_event_loop_has_a_budget_of_its_own_and_a_closed_one_is_forgotten() -> None:
    async def take() -> weakref.ref[object]:
        scheduler = shared_scheduler("host key", RateLimit())
        async with scheduler.slot():
            assert scheduler.budget().sent == 1
        return weakref.ref(scheduler)

    first = asyncio.run(take())
    asyncio.run(take())
    gc.collect()
    assert first() is None
