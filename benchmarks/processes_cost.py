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

import valkey.asyncio as aio
from attrs import define, field

from benchmarks.measuring import SERVER_CORE, in_turn, prepare, serving
from benchmarks.processes_run import Valkey, client_here, new_key
from devskin_async import RateLimit

CALLS, ROUNDS, PINGS = 90, 31, 500
PING = "a PING of Valkey"


@define
class Costs:
    """Microseconds of a call for each round, by place.

    Args:
        wall: By the clock.
        cpu: Of this process.
    """

    wall: dict[str, list[float]]
    cpu: dict[str, list[float]] = field(factory=dict)


async def timed(calls: Callable[[], Awaitable[None]], count: int) -> tuple[float, float]:
    """Give the microseconds of one of so many calls: by the clock, and of CPU."""
    wall, cpu = time.perf_counter(), time.process_time()
    await calls()
    return (
        (time.perf_counter() - wall) / count * 1e6,
        (time.process_time() - cpu) / count * 1e6,
    )


async def calls(base_url: str, budget: str) -> tuple[float, float]:
    async with client_here(base_url, new_key(), budget, RateLimit()) as store:
        await store.orders.get(CALLS + 1)  # connects

        async def work() -> None:
            for number in range(1, CALLS + 1):
                await store.orders.get(number)

        return await timed(work, CALLS)


async def pings(port: int) -> tuple[float, float]:
    async with aio.Valkey(port=port) as server:
        await server.ping()

        async def work() -> None:
            for _ in range(PINGS):
                await server.ping()

        return await timed(work, PINGS)


def measure(slots: Valkey) -> Costs:
    """Measure a call by each place, and a PING, in turn."""
    prepare()
    costs = Costs({})
    budgets = {"process": "process", "machine": "machine", "valkey": slots.budget}

    def one(name: str, base_url: str) -> float:
        found = pings(slots.port) if name == PING else calls(base_url, budgets[name])
        wall, cpu = asyncio.run(found)
        costs.cpu.setdefault(name, []).append(cpu)
        return wall

    with serving("page_server", "1") as server:
        if SERVER_CORE is not None:
            os.sched_setaffinity(slots.pid, {SERVER_CORE})
        asyncio.run(calls(server.base_url, slots.budget))  # when it is used at last
        measures = {name: partial(one, name, server.base_url) for name in (*budgets, PING)}
        costs.wall = in_turn(measures, ROUNDS)
    costs.cpu = {name: values[1:] for name, values in costs.cpu.items()}  # as `in_turn` does
    return costs
