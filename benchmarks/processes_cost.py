"""What an uncontended call costs by where its slots are kept: for `benchmarks.processes`.

90 calls, one after the other, with a new key and a new client each time, within the limit; all
places take turns in one process.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from functools import partial
from statistics import median

import valkey.asyncio as aio
from attrs import define, field

from benchmarks.measuring import SERVER_CORE, in_turn, prepare, serving
from benchmarks.process_client import LIMIT, PER, store_steps
from benchmarks.processes_run import Valkey, client_here, new_key
from devskin_async import RateLimit

CALLS, ROUNDS, PINGS = 90, 21, 500
PING = "a PING of Valkey"


@define
class Costs:
    """Microseconds of a call for each round, by place.

    Args:
        wall: By the clock.
        cpu: Of this process.
        trips: How many round trips to Valkey each call took.
    """

    wall: dict[str, list[float]]
    cpu: dict[str, list[float]] = field(factory=dict)
    trips: list[float] = field(factory=list)


async def timed(call: Callable[[int], Awaitable[object]], times: int) -> tuple[float, float]:
    """Give the microseconds of a call: the median by the clock, and the mean of CPU."""
    walls, cpu = [], time.process_time()
    for number in range(1, times + 1):
        start = time.perf_counter()
        await call(number)
        walls.append(time.perf_counter() - start)
    return median(walls) * 1e6, (time.process_time() - cpu) / times * 1e6


async def calls(base_url: str, budget: str) -> tuple[float, float, float]:
    """Give the same, and how often the budget's store was called for each."""
    async with client_here(base_url, new_key(), budget, RateLimit(LIMIT, PER)) as store:
        await store.orders.get(CALLS + 1)  # connects
        before = store_steps(store) or 0
        wall, cpu = await timed(store.orders.get, CALLS)
        return wall, cpu, ((store_steps(store) or 0) - before) / CALLS


async def pings(port: int) -> tuple[float, float, float]:
    async with aio.Valkey(port=port) as server:
        await server.ping()
        return *await timed(lambda _: server.ping(), PINGS), 1.0


def measure(slots: Valkey) -> Costs:
    """Measure a call by each place, and a PING, in turn."""
    prepare()
    costs = Costs({})
    budgets = {"process": "process", "machine": "machine", "valkey": slots.budget}

    def one(name: str, base_url: str) -> float:
        found = pings(slots.port) if name == PING else calls(base_url, budgets[name])
        wall, cpu, trips = asyncio.run(found)
        costs.cpu.setdefault(name, []).append(cpu)
        if name == "valkey":
            costs.trips.append(trips)
        return wall

    with serving("page_server", "1") as server:
        if SERVER_CORE is not None:
            os.sched_setaffinity(slots.pid, {SERVER_CORE})
        asyncio.run(calls(server.base_url, slots.budget))  # when it is used at last
        measures = {name: partial(one, name, server.base_url) for name in (*budgets, PING)}
        costs.wall = in_turn(measures, ROUNDS)
    costs.cpu = {name: values[1:] for name, values in costs.cpu.items()}  # as `in_turn` does
    return costs
