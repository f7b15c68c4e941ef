"""The cases of `benchmarks.processes`: each gives what it found as plain data.

Each case has a new key, so that several can run side by side. It awaits `begin` when its programs
are ready.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from functools import partial
from statistics import quantiles
from typing import Any, TypeAlias

from benchmarks.process_client import LIMIT, PER
from benchmarks.processes_run import (
    Seen,
    Server,
    Valkey,
    accepted_between,
    client_here,
    makespan,
    program,
    programs,
    refusals,
    shares,
    work,
)
from benchmarks.processes_web import App, demand, serving_app
from devskin_async import RateLimit

Found: TypeAlias = dict[str, Any]
Begin: TypeAlias = Callable[[], Awaitable[None]]
Case: TypeAlias = Callable[[Begin], Coroutine[None, None, Found]]

REQUESTS, WINDOWS = 1000, 6
MOMENTS, APART = 20, 0.3
RESERVE, INTERACTIVE_A_WINDOW = 10, 8
AWAY, AFTER = 1.5 * PER, 4 * PER
TOO_MUCH = 1.2  # times the limit
LONGEST = 150.0  # seconds of cases side by side; nothing takes that long unless it hangs


async def side_by_side(cases: Mapping[str, Case]) -> dict[str, Found]:
    """Run cases at once: they begin when all are ready, at even parts of a window."""
    barrier = asyncio.Barrier(len(cases))

    async def begin(after: float) -> None:
        await barrier.wait()
        await asyncio.sleep(after)

    async with asyncio.timeout(LONGEST), asyncio.TaskGroup() as tasks:
        running = {
            name: tasks.create_task(case(partial(begin, PER * index / len(cases))))
            for index, (name, case) in enumerate(cases.items())
        }
    return {name: task.result() for name, task in running.items()}


def told(requests: Sequence[Seen], reports: Iterable[Mapping[str, Any]] = ()) -> Found:
    """Give what all cases tell: requests, refusals, failed calls, where slots were kept."""
    failed: Counter[str] = Counter()
    where = set()
    for report in reports:
        failed.update(report["failed"])
        where.add(report.get("where"))
    return {
        "requests": len(requests),
        "refusals": refusals(requests),
        "failed": dict(failed),
        "where": sorted(where - {None}),
    }


async def together(port: int, budget: str, processes: int, begin: Begin) -> Found:
    """Have programs read `REQUESTS` orders between them, each as fast as it can."""
    server = Server(port)
    each = [("--requests", REQUESTS // processes)] * processes
    async with programs(server, budget, "calls", each) as found:
        await begin()
        reports = await work(found)
    requests = await server.requests()
    steps = [report["steps"] for report in reports]
    return {
        **told(requests, reports),
        "makespan": makespan(requests),
        "granted": sum(report["granted"] for report in reports),
        "steps": None if None in steps else sum(steps),
    }


async def greedy(port: int, budget: str, processes: int, begin: Begin) -> Found:
    """Have equal programs read orders as fast as they can, and end them after `WINDOWS` + 1."""
    server = Server(port)
    async with programs(server, budget, "calls", [()] * processes) as found:
        await begin()
        for each in found:
            each.go()
        await asyncio.sleep((WINDOWS + 1) * PER + 0.5)
        requests = await server.requests()
    return {**told(requests), "shares": shares(requests, WINDOWS)}


async def again(port: int, budget: str, times: int, requests: int, begin: Begin) -> Found:
    """Run a program several times, each as soon as the last has ended."""
    server, reports = Server(port), []
    for number in range(times):
        options = ("--requests", requests)
        async with program(server, f"p{number}", budget, "calls", *options) as one:
            await one.ready()
            if not number:
                await begin()
            reports += await work([one])
    return told(await server.requests(), reports)


async def in_one(port: int, budget: str, way: str, requests: int, begin: Begin) -> Found:
    """Have one program read orders in several event loops."""
    server = Server(port)
    async with programs(server, budget, way, [("--requests", requests)]) as found:
        await begin()
        reports = await work(found)
    return told(await server.requests(), reports)


async def web(port: int, budget: str, app: App, parts: Sequence[float], begin: Begin) -> Found:
    """Ask a web app for orders, evenly, at parts of what the limit allows."""
    server, demands, failed = Server(port), {}, Counter[str]()
    async with serving_app(app, server, budget) as url:
        await begin()
        for number, part in enumerate(parts):
            if number:
                await asyncio.sleep(PER)
            rate, first = part * LIMIT / PER, 2 + number * 100_000
            found = await demand(url, rate, 4 * PER, first)
            statuses = Counter(response.status for response in found)
            answered = [each.seconds for each in found if each.status == 200]
            failed.update(
                f"status {each}" for each in statuses.elements() if each not in (200, 503)
            )
            demands[f"{part:.0%}"] = {
                "statuses": {str(status): count for status, count in sorted(statuses.items())},
                "unavailable": statuses[503] / len(found),
                "p99": p99(answered),
            }
    return {**told(await server.requests(), [{"failed": failed}]), "demands": demands}


async def beside_pages(port: int, budget: str, listings: int, begin: Begin) -> Found:
    """Read an order now and then, fewer than the reserve, while other programs list orders."""
    server, reserve = Server(port), ("--reserve", RESERVE)
    pages = (*reserve, "--requests", REQUESTS // listings)
    every = ("--every", PER / INTERACTIVE_A_WINDOW)
    async with (
        programs(server, budget, "pages", [pages] * listings) as listing,
        program(server, "calls", budget, "paced", *reserve, *every) as calling,
    ):
        await calling.ready()
        await begin()
        calling.go()
        listed = await work(listing)
        calling.go()
        called = await calling.report()
    queued = called["queued"]
    return {
        **told(await server.requests(), (*listed, called)),
        "calls": len(queued),
        "p99": p99(queued),
    }


async def killed(port: int, budget: str, begin: Begin) -> Found:
    """Kill a program at many moments, each with a key of its own, while requests are in flight.

    *back* is how long after the kill all slots of the key have been taken again.
    """
    servers = [Server(port) for _ in range(MOMENTS)]
    reports: list[Found] = []
    options = ("--at-once", 25)

    async def one(number: int) -> float:
        server = servers[number]
        async with program(server, "victim", budget, "calls", *options) as victim:
            await victim.ready()
            await barrier.wait()
            await asyncio.sleep(number * APART)
            victim.go()
            await asyncio.sleep(0.05 * (number + 1))
            killed_at = time.monotonic()
            await victim.kill()
        limit = RateLimit(LIMIT, PER, reserve=0)
        base_url = server.base_url("survivor")
        async with client_here(base_url, server.key, budget, limit) as store:
            done = await asyncio.gather(
                *(store.orders.get(order) for order in range(1, LIMIT + 1)), return_exceptions=True
            )
            failed = Counter(type(each).__name__ for each in done if isinstance(each, Exception))
            reports.append({"failed": failed, "where": getattr(store.budget, "where", None)})
        return makespan(await server.requests(), killed_at)

    barrier = asyncio.Barrier(MOMENTS)
    await begin()
    back = await asyncio.gather(*(one(number) for number in range(MOMENTS)))
    requests = [seen for server in servers for seen in await server.requests()]
    return {**told(requests, reports), "back": back}


async def away(port: int, slots: Valkey, how: str, begin: Begin) -> Found:
    """Have a Valkey go and come back while 4 programs ask for more than they may.

    They ask evenly, so that slots become free evenly, and any span tells the pace.
    """
    server = Server(port)
    options = ("--every", 4 * PER / LIMIT / TOO_MUCH)
    await until_used(slots, port)
    async with programs(server, slots.budget, "paced", [options] * 4) as found:
        await begin()
        working = asyncio.ensure_future(work(found))
        await asyncio.sleep(AWAY)
        gone_at = time.monotonic()
        await _go_away(slots, how)
        back_at = time.monotonic()
        await asyncio.sleep(AFTER)
        for each in found:
            each.go()
        reports = await working
    requests = await server.requests()
    accepted = accepted_between(requests, gone_at, back_at)
    return {
        **told(requests, reports),
        "pace": accepted / (back_at - gone_at) / (LIMIT / PER),
        "after": accepted_between(requests, back_at, back_at + AFTER),
    }


async def until_used(slots: Valkey, port: int) -> None:
    """Wait until a Valkey is used that was started lately: it may have forgotten what it knew."""
    server = Server(port)
    limit, base_url = RateLimit(LIMIT, PER), server.base_url("first")
    async with client_here(base_url, server.key, slots.budget, limit) as store:
        await store.orders.get(1)


async def _go_away(slots: Valkey, how: str) -> None:
    if "stopped" in how:
        pid = slots.pid
        os.kill(pid, signal.SIGSTOP)
        await asyncio.sleep(AWAY)
        os.kill(pid, signal.SIGCONT)
    else:
        slots.kill()
        await asyncio.sleep(AWAY)
        await asyncio.to_thread(slots.start)


async def clocks(port: int, budget: str, begin: Begin) -> Found:
    """Have 4 programs of which 3 have wall clocks that are wrong, or step by an hour."""
    server = Server(port)
    errors = ((), ("--offset", -0.5), ("--offset", 0.5), ("--step", 3600, "--step-after", 4.5))
    each = [("--requests", LIMIT, *error) for error in errors]
    async with programs(server, budget, "calls", each) as found:
        await begin()
        reports = await work(found)
    return told(await server.requests(), reports)


def p99(values: Sequence[float]) -> float:
    """Give the 99th percentile; 0 where there are too few."""
    return quantiles(values, n=100, method="inclusive")[-1] if len(values) > 1 else 0.0
