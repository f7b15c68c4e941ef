"""Several event loops of one budget: equal shares, no pace lost, and few calls to the store."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import pytest

from devskin_async import Lane, RateLimit
from devskin_async.ratelimit import Flow, MemoryStore, RequestFlow, Scheduler
from devskin_async.testing import virtual_time

from ..support import now
from .members import StrictServer

CALLERS = 25
near = partial(pytest.approx, abs=1e-3)


class Sent(NamedTuple):
    at: float
    by: int


class Sharing:
    """Schedulers of one budget, as several loops have them, and the server they send to."""

    def __init__(self, limits: list[RateLimit], seed: int) -> None:
        per = limits[0].per
        self.store = MemoryStore(now, report_within=min(per / 100, 0.5))
        self.schedulers = [
            Scheduler(limit, self.store, f"p{number}.1") for number, limit in enumerate(limits)
        ]
        self.server = StrictServer(max(limits, key=lambda limit: limit.requests))
        self.sent: list[Sent] = []
        self._rng = random.Random(seed)

    async def request(self, number: int, lane: Lane, flow: RequestFlow) -> None:
        async with self.schedulers[number].slot(lane, flow):
            self.sent.append(Sent(now(), number))
            await asyncio.sleep(self._rng.uniform(0.005, 0.02))
            self.server.count(now())
            await asyncio.sleep(self._rng.uniform(0.005, 0.02))

    async def work(
        self,
        number: int,
        goes_on: Callable[[], bool],
        lane: Lane = Lane.BULK,
        callers: int = CALLERS,
    ) -> None:
        """Let callers of one participant send requests, as many at once as it has callers."""
        flow: RequestFlow = Flow()
        await asyncio.sleep(self._rng.uniform(0, 0.01))

        async def caller() -> None:
            while goes_on():
                await self.request(number, lane, flow)

        await asyncio.gather(*(caller() for _ in range(callers)))

    async def greedy(self, windows: float) -> None:
        """Let everybody send all that may go, for so many windows."""
        end = windows * self.server.limit.per
        tasks = [
            asyncio.create_task(self.work(number, lambda: True))
            for number in range(len(self.schedulers))
        ]
        await asyncio.sleep(end - now())
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

    def shares(self, since: float) -> Counter[int]:
        return Counter(sent.by for sent in self.sent if sent.at >= since)


def equal(participants: int, per: float, seed: int) -> Sharing:
    return Sharing([RateLimit(100, per, reserve=0)] * participants, seed)


everybody = pytest.mark.parametrize("participants", [2, 4, 8])
windows_of = pytest.mark.parametrize("per", [3.0, 60.0])
seeds = pytest.mark.parametrize("seed", range(3))


@everybody
@windows_of
@seeds
@virtual_time
async def test_greedy_participants_get_equal_shares_after_the_first_window(
    participants: int, per: float, seed: int
) -> None:
    sharing = equal(participants, per, seed)
    await sharing.greedy(windows=7)
    shares = sharing.shares(since=per)
    assert sharing.server.over == 0
    assert len(shares) == participants
    assert max(shares.values()) / min(shares.values()) <= 1.15, shares


@everybody
@windows_of
@seeds
@virtual_time
async def test_a_shared_budget_is_used_as_fast_as_by_one_participant(
    participants: int, per: float, seed: int
) -> None:
    sharing = equal(participants, per, seed)
    left = [1000 // participants] * participants

    def goes_on(number: int) -> bool:
        left[number] -= 1
        return left[number] >= 0

    await asyncio.gather(
        *(sharing.work(number, partial(goes_on, number)) for number in range(participants))
    )
    assert len(sharing.sent) == 1000
    assert sharing.server.over == 0
    assert now() <= 1.03 * 9 * (per + 0.02)


@everybody
@windows_of
@seeds
@virtual_time
async def test_a_grant_takes_less_than_two_calls_to_the_store(
    participants: int, per: float, seed: int
) -> None:
    sharing = equal(participants, per, seed)
    await sharing.greedy(windows=7)
    assert sharing.store.steps / len(sharing.sent) <= 1.8


@virtual_time
async def test_a_participant_that_joins_later_has_its_share_within_a_window() -> None:
    sharing = equal(2, 60, seed=1)
    first = asyncio.create_task(sharing.work(0, lambda: True))
    await asyncio.sleep(90)
    second = asyncio.create_task(sharing.work(1, lambda: True))
    await asyncio.sleep(300)
    first.cancel()
    second.cancel()
    await asyncio.wait([first, second])
    shares = sharing.shares(since=150)
    assert 1 / 1.15 <= shares[0] / shares[1] <= 1.15


@virtual_time
async def test_a_participant_that_is_done_leaves_its_share_to_the_others_at_once() -> None:
    sharing = equal(2, 60, seed=1)
    few = iter(range(50))
    await asyncio.gather(
        sharing.work(0, lambda: now() < 170), sharing.work(1, lambda: next(few, None) is not None)
    )
    in_third_window = [sent for sent in sharing.sent if 118 < sent.at < 178]
    assert len(in_third_window) == 100


@virtual_time
async def test_an_interactive_request_passes_the_bulk_work_of_another_participant() -> None:
    sharing = Sharing([RateLimit(100, 60, reserve=10)] * 2, seed=1)
    bulk = asyncio.create_task(sharing.work(0, lambda: True))
    queued = []
    for _ in range(60):
        await asyncio.sleep(7)
        async with sharing.schedulers[1].slot(Lane.INTERACTIVE) as slot:
            queued.append(slot.queued)
    bulk.cancel()
    await asyncio.wait([bulk])
    assert max(queued) <= 0.05


@virtual_time
async def test_each_participant_keeps_its_own_limit_and_counts_everybodys_slots() -> None:
    sharing = Sharing([RateLimit(100, 60, reserve=0), RateLimit(30, 60, reserve=0)], seed=1)
    low = asyncio.create_task(sharing.work(1, lambda: True))
    await asyncio.sleep(30)
    assert len(sharing.sent) == 30
    high = asyncio.create_task(sharing.work(0, lambda: True))
    await asyncio.sleep(300)
    low.cancel()
    high.cancel()
    await asyncio.wait([low, high])
    assert sharing.server.over == 0
    # The higher limit holds 70 at least at any moment, and more than the lower one's 30 in all.
    assert sharing.shares(since=120)[1] == 0
