"""Clients in several processes, with one key at one strict server."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from devskin_async import BudgetExceededError, DevSkinClient, RateLimit
from devskin_async.sandbox import Faults, Sandbox

from ..support import PATIENCE, until
from .valkey_server import ValkeyProcess

LIMIT, PER, TIMEOUT = 20, 0.5, 2.0


@pytest.fixture(params=["machine", "valkey"])
def budget(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    if request.param == "machine":
        return "machine"
    server: ValkeyProcess = request.getfixturevalue("valkey")
    return server.url


@pytest.fixture
async def box() -> AsyncIterator[Sandbox]:
    faults = Faults(slow=4 * PATIENCE)  # for tests that need responses that never come
    async with Sandbox(
        orders=1000, limiter="sliding-log", limit=LIMIT, per=PER, faults=faults
    ) as running:
        yield running


@asynccontextmanager
async def bulk_reader(box: Sandbox, budget: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Have another process read pages meanwhile, which is killed at the end."""
    settings = {
        "DEVSKIN_API_KEY": box.api_key,
        "DEVSKIN_BASE_URL": box.base_url,
        "DEVSKIN_BUDGET": budget,
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.ratelimit.client_child", str(LIMIT), str(PER), str(TIMEOUT),
        env=os.environ | settings,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        await process.wait()


def client(box: Sandbox, budget: str) -> DevSkinClient:
    limit = RateLimit(LIMIT, PER, reserve=0)
    return DevSkinClient(
        box.api_key, base_url=box.base_url, budget=budget, rate_limit=limit, timeout=TIMEOUT
    )


async def test_interactive_calls_of_a_process_pass_the_bulk_work_of_another(
    box: Sandbox, budget: str
) -> None:
    async with (
        asyncio.timeout(3 * PATIENCE),
        bulk_reader(box, budget),
        client(box, budget) as store,
    ):
        await until(lambda: box.counts.requests > 2 * LIMIT)
        await asyncio.gather(*(store.orders.get(number) for number in range(1, 3 * LIMIT + 1)))
    seen = [request.path_qs.startswith("/api/v1/orders/") for request in box.requests]
    calls = [place for place, is_call in enumerate(seen) if is_call]
    # While the first and the last of them are sent, not all wait or not everybody knows it yet.
    others = seen[calls[LIMIT] : calls[2 * LIMIT]].count(False)
    assert others <= LIMIT / 4, "alike, both would have had as many"
    assert box.counts.refused == 0


async def test_slots_that_a_killed_process_had_in_flight_come_back(
    box: Sandbox, budget: str
) -> None:
    for _ in range(LIMIT):
        box.fail_next("slow")
    async with asyncio.timeout(3 * PATIENCE), client(box, budget) as store:
        async with bulk_reader(box, budget):
            await until(lambda: box.counts.requests == LIMIT)
        with pytest.raises(BudgetExceededError):
            await store.with_options(max_wait=PER / 10).orders.get(1)
        await store.with_options(max_wait=TIMEOUT + PER).orders.get(1)
    assert box.counts.requests == LIMIT + 1
    assert box.counts.refused == 0
