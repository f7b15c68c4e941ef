"""A program that shares its key with others: for `benchmarks.processes`.

It prints a line when it could begin, and begins when it reads one. At the end it prints, as JSON,
what it did. The key and the budget are in its environment.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Coroutine

from attrs import asdict, define, evolve, field

from devskin_async import DevSkinClient, DevSkinError, RateLimit
from devskin_async.ratelimit import Event, Granted

LIMIT, PER = 100, 3.0
TIMEOUT = 1.5  # of an attempt; at the same scale, 30 s
logging.getLogger("devskin_async").addHandler(logging.NullHandler())  # refusals are counted


@define
class Report:
    """What a program did.

    Args:
        granted: How many requests were sent.
        steps: How many calls of the budget's store that took; None where it does not count them.
        failed: How many calls failed, by the name of the error.
        where: Where the slots were kept at the end, as `Budget.where` tells it.
        queued: Seconds that each interactive request waited for its slot.
    """

    granted: int = 0
    steps: int | None = None
    failed: Counter[str] = field(factory=Counter)
    where: str | None = None
    queued: list[float] = field(factory=list)

    def see(self, store: DevSkinClient) -> None:
        """Take over what a client's budget tells."""
        budget = store.budget
        self.granted, self.steps = budget.sent, store_steps(store)
        self.where = getattr(budget, "where", None)

    def count(self, error: DevSkinError) -> None:
        self.failed[type(error).__name__] += 1


def store_steps(store: DevSkinClient) -> int | None:
    """Give the calls that a client's budget made of the place where its slots are kept."""
    # Nothing public tells it. It was the reader's `transport` before it was its `sender`.
    sender = getattr(store.reader, "sender", None) or getattr(store.reader, "transport", None)
    return getattr(sender.scheduler._store, "steps", None) if sender else None  # noqa: SLF001


def client(
    asked: argparse.Namespace, on_event: Callable[[Event], object] | None = None
) -> DevSkinClient:
    limit = RateLimit(LIMIT, PER, reserve=asked.reserve)
    return DevSkinClient(
        base_url=asked.base_url, rate_limit=limit, timeout=TIMEOUT, on_event=on_event
    )


async def calls(asked: argparse.Namespace) -> Report:
    """Read so many orders, as many at once as it may."""
    report = Report()
    numbers = iter(range(1, asked.requests + 1))
    async with client(asked) as store:

        async def work() -> None:
            for number in numbers:
                try:
                    await store.orders.get(number)
                except DevSkinError as error:
                    report.count(error)

        await asyncio.gather(*(work() for _ in range(min(asked.at_once, asked.requests))))
        report.see(store)
    return report


async def pages(asked: argparse.Namespace) -> Report:
    """Read so many pages of a listing."""
    report = Report()
    async with client(asked) as store:
        try:
            number = 0
            async for _ in store.orders.list().pages():
                number += 1
                if number == asked.requests:
                    break
        except DevSkinError as error:
            report.count(error)
        report.see(store)
    return report


async def paced(asked: argparse.Namespace) -> Report:
    """Ask for an order every so many seconds, until another line is read."""
    report = Report()

    def note(event: Event) -> None:
        if isinstance(event, Granted):
            report.queued.append(event.queued)

    async def one(number: int) -> None:
        try:
            await store.orders.get(number)
        except DevSkinError as error:
            report.count(error)

    loop, tasks = asyncio.get_running_loop(), list[asyncio.Task[None]]()
    async with client(asked, note) as store:
        begin, ended = loop.time(), loop.run_in_executor(None, sys.stdin.readline)
        while not ended.done():
            tasks.append(asyncio.create_task(one(len(tasks) + 1)))
            await asyncio.wait([ended], timeout=begin + len(tasks) * asked.every - loop.time())
        report.see(store)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return report


def runs(asked: argparse.Namespace) -> Report:
    """Read each order in an event loop of its own, one after the other."""
    each = argparse.Namespace(**vars(asked) | {"requests": 1})
    return _together([asyncio.run(calls(each)) for _ in range(asked.requests)])


def threads(asked: argparse.Namespace) -> Report:
    """Read orders in four threads, each with an event loop."""
    reports: list[Report] = []
    each = argparse.Namespace(**vars(asked) | {"requests": asked.requests // 4})
    started = [
        threading.Thread(target=lambda: reports.append(asyncio.run(calls(each)))) for _ in range(4)
    ]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join()
    return _together(reports)


def _together(reports: list[Report]) -> Report:
    failed: Counter[str] = Counter()
    for report in reports:
        failed.update(report.failed)
    return evolve(reports[-1], granted=sum(each.granted for each in reports), failed=failed)


WAYS: dict[str, Callable[[argparse.Namespace], Report | Coroutine[None, None, Report]]] = {
    "calls": calls,
    "pages": pages,
    "paced": paced,
    "runs": runs,
    "threads": threads,
}


def shift_wall_clock(offset: float, step: float, step_after: float) -> None:
    """Have `time.time` and `time.time_ns` be wrong by so many seconds, and at a time by more."""
    real, begin = time.time_ns, time.monotonic()

    def shifted_ns() -> int:
        stepped = step if time.monotonic() - begin >= step_after else 0.0
        return real() + round((offset + stepped) * 1e9)

    time.time_ns = shifted_ns
    time.time = lambda: shifted_ns() / 1e9


def main() -> None:
    """Wait for the start, work, and report."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.process_client")
    parser.add_argument("way", choices=WAYS)
    parser.add_argument("base_url")
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--at-once", type=int, default=LIMIT)
    parser.add_argument("--every", type=float, default=1.0, help="seconds between calls")
    parser.add_argument("--reserve", type=int, default=0)
    parser.add_argument("--offset", type=float, default=0.0, help="error of the wall clock")
    parser.add_argument("--step", type=float, default=0.0, help="and of how much it steps")
    parser.add_argument("--step-after", type=float, default=0.0, help="so many seconds after")
    asked = parser.parse_args()
    print("ready", flush=True)
    sys.stdin.readline()
    if asked.offset or asked.step:
        shift_wall_clock(asked.offset, asked.step, asked.step_after)
    found = WAYS[asked.way](asked)
    report = found if isinstance(found, Report) else asyncio.run(found)
    print(json.dumps(asdict(report)), flush=True)


if __name__ == "__main__":
    main()
