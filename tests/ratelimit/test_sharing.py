"""All clients of a key share one budget, wherever `budget` says that it is kept."""

from __future__ import annotations

import asyncio
import gc
import os
import tempfile
import weakref
from pathlib import Path
from typing import Any

import pytest

from devskin_async import BudgetExceededError, ConfigurationError, DevSkinClient, RateLimit
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


async def test_clients_of_one_key_each_keep_their_own_limit_and_count_everybodys_slots(
    box: Sandbox,
) -> None:
    high = DevSkinClient(box.api_key, base_url=box.base_url, rate_limit=RateLimit(10, reserve=0))
    low = DevSkinClient(box.api_key, base_url=box.base_url, rate_limit=RateLimit(4, reserve=0))
    async with high, low:
        for _ in range(3):
            await high.analytics.overview()
        await low.analytics.overview()
        assert (high.budget.available, low.budget.available) == (6, 0)
        assert (high.budget.held_here, low.budget.held_here) == (3, 1)
        with pytest.raises(BudgetExceededError):
            await low.with_options(max_wait=1).analytics.overview()
        await high.with_options(max_wait=1).analytics.overview()


def test_another_event_loop_shares_the_budget() -> None:
    async def take() -> int:
        scheduler = shared_scheduler("process", "host key", RateLimit(10))
        async with scheduler.slot():
            return scheduler.budget().available

    assert [asyncio.run(take()) for _ in range(3)] == [9, 8, 7]


def test_a_closed_loop_is_forgotten() -> None:
    async def take() -> weakref.ref[object]:
        scheduler = shared_scheduler("process", "another key", RateLimit())
        async with scheduler.slot():
            assert scheduler.budget().sent == 1
        return weakref.ref(scheduler)

    first = asyncio.run(take())
    asyncio.run(take())
    gc.collect()
    assert first() is None


@pytest.mark.parametrize(
    "budget",
    [
        "",
        "shared",
        "valkey://",
        "http://host:6379",
        "machine ",
        "valkey",
        "MACHINE",
        "file:///tmp/x",
    ],
)
def test_an_unknown_place_is_a_configuration_error_that_says_which_there_are(budget: str) -> None:
    with pytest.raises(ConfigurationError, match='budget must be "machine", "process" or an addr'):
        DevSkinClient("key", budget=budget)


@pytest.mark.parametrize(
    "url", ["valkey://host", "valkeys://host:1/2", "redis://h", "rediss://h", "VALKEY://Host"]
)
def test_a_budget_may_be_the_address_of_a_valkey_server(url: str) -> None:
    DevSkinClient("key", budget=url)


def test_the_budgets_place_is_taken_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEVSKIN_BUDGET", "nowhere")
    with pytest.raises(ConfigurationError, match="budget must be"):
        DevSkinClient("key")
    DevSkinClient("key", budget="process")


async def test_the_argument_takes_precedence_over_the_environment(
    box: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEVSKIN_BUDGET", "machine")
    async with DevSkinClient(box.api_key, base_url=box.base_url, budget="process") as store:
        assert store.budget.where == "process"


@pytest.mark.parametrize("budget", [42, False, b"machine"])
def test_a_place_that_is_not_a_string_is_an_error_that_shows_no_key(budget: Any) -> None:
    with pytest.raises(ConfigurationError, match="budget must be") as caught:
        DevSkinClient("dsk_secret", budget=budget)
    assert "dsk_secret" not in str(caught.value)


def test_a_file_that_can_be_made_later_waits_until_the_slots_in_memory_are_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    directories = [tmp_path / name for name in ("devskin-async", f"devskin-async-{os.getuid()}")]
    for each in directories:
        each.touch()  # where a directory should be

    async def available() -> tuple[str, int]:
        scheduler = shared_scheduler("machine", "a budget", RateLimit(10, 60))
        async with scheduler.slot():
            pass
        return scheduler.budget().where, scheduler.budget().available

    assert asyncio.run(available()) == ("process", 9)
    for each in directories:
        each.unlink()
    assert asyncio.run(available()) == ("process", 8)
