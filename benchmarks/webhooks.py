"""What a webhook costs, and whether each is handled once: `python -m benchmarks.webhooks`.

First the CPU of a request in one process, beside a bare hmac and json.loads; they take turns.
Then 10,000 events, each sent 3 times over 50 connections, to a receiver on a core of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import hashlib
import hmac
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
from attrs import frozen

from devskin_async.webhooks import SQLiteSeen, WebhookEvent, WebhookReceiver, parse, sign, verify

SECRET = "whsec_of_the_benchmark"
BODY_BYTES = 300
REQUESTS, ROUNDS = 5_000, 15
MOST_TIMES_BARE = 3.0
EVENTS, COPIES, CONNECTIONS = 10_000, 3, 50
NEAR = 200
"""The copies of an event are at most about so many requests apart: some arrive together."""
CLIENT_CORE, SERVER_CORE = 0, 1
RESULTS = Path(__file__).parent / "results" / "webhooks.json"
BARE = "hmac and json.loads"
HANDLE = "receiver.handle: verify, parse, dispatch, remember"


@frozen
class Request:
    """A webhook request: the raw body, and its headers."""

    body: bytes
    headers: dict[str, str]


def request(order_id: int) -> Request:
    """Make a signed request of `BODY_BYTES`."""
    event = {
        "event": "order.paid",
        "store_id": 15,
        "timestamp": "2026-02-13T14:30:00.000Z",
        "data": {
            "id": order_id,
            "order_number": f"ORD-2026-{order_id:06}",
            "total": 199.90,
            "status": "paid",
            "note": "",
        },
    }
    event["data"]["note"] = "x" * (BODY_BYTES - len(json.dumps(event)))  # type: ignore[index]  # a dict
    body = json.dumps(event).encode()
    headers = {"Content-Type": "application/json", "X-Webhook-Signature": sign(body, SECRET)}
    return Request(body, headers)


async def bare(requests: list[Request]) -> None:
    """Do what the reference's own Python example does."""
    for each in requests:
        digest = hmac.new(SECRET.encode("utf-8"), each.body, hashlib.sha256).hexdigest()
        if hmac.compare_digest(f"sha256={digest}", each.headers["X-Webhook-Signature"]):
            json.loads(each.body)


async def verifying(requests: list[Request]) -> None:
    for each in requests:
        verify(each.body, each.headers["X-Webhook-Signature"], SECRET)


async def parsing(requests: list[Request]) -> None:
    for each in requests:
        parse(each.body)


async def handling(requests: list[Request]) -> None:
    receiver = receiving()
    for each in requests:
        await receiver.handle(each.body, each.headers)


async def handling_durably(requests: list[Request]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with SQLiteSeen(Path(folder) / "seen.db") as seen:
            receiver = receiving(seen)
            for each in requests[:500]:
                await receiver.handle(each.body, each.headers)


def receiving(seen: SQLiteSeen | None = None) -> WebhookReceiver:
    """Make a receiver with one handler that does nothing."""
    receiver = WebhookReceiver(SECRET, seen=seen)

    @receiver.on("order.paid")
    async def handle(_: WebhookEvent) -> None:
        pass

    return receiver


WAYS: dict[str, tuple[Callable[[list[Request]], Any], int]] = {
    BARE: (bare, REQUESTS),
    "verify alone": (verifying, REQUESTS),
    "parse alone": (parsing, REQUESTS),
    HANDLE: (handling, REQUESTS),
    "the same, remembered in SQLite": (handling_durably, 500),
}


def microseconds(requests: list[Request]) -> dict[str, list[float]]:
    """Measure the CPU of a request in each way, in turn, after a round that does not count."""
    found: dict[str, list[float]] = {name: [] for name in WAYS}
    for again in range(ROUNDS + 1):
        for name, (way, count) in WAYS.items():
            gc.collect()
            start = time.process_time()
            asyncio.run(way(requests))
            if again:
                found[name].append((time.process_time() - start) / count * 1e6)
    return found


def quartiles(values: list[float]) -> str:
    """Show a median and its quartiles."""
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def cost() -> dict[str, Any]:
    """Print what a request costs, and give it as plain data."""
    found = microseconds([request(number) for number in range(1, REQUESTS + 1)])
    print(f"CPU of a request of {BODY_BYTES} bytes in µs, {ROUNDS} rounds (quartiles)")
    told = {}
    for name, values in found.items():
        times = [ours / plain for ours, plain in zip(values, found[BARE], strict=True)]
        print(f"{name:52}{quartiles(values):>26}{quartiles(times):>24} times".rstrip())
        told[name] = {
            "microseconds": statistics.quantiles(values, n=4),
            "times_bare": statistics.quantiles(times, n=4),
        }
    median = told[HANDLE]["times_bare"][1]
    a_second = 1e6 / told[HANDLE]["microseconds"][1]
    print(
        f"{a_second:,.0f} events a second; {median:.2f} times the bare cost, target at most "
        f"{MOST_TIMES_BARE:g}: {'yes' if median <= MOST_TIMES_BARE else 'NO'}"
    )
    return told


@contextmanager
def serving(core: int | None, seen: Path | None) -> Iterator[subprocess.Popen[str]]:
    """Have a receiver run meanwhile."""
    command = [sys.executable, "-m", "benchmarks.webhook_server", SECRET]
    command += [] if core is None else ["--core", str(core)]
    command += [] if seen is None else ["--seen", str(seen)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        try:
            yield process
        finally:
            process.stdin.close()


def shuffled() -> list[Request]:
    """Give each event's copies, some of them side by side, none far apart."""
    rng = random.Random(5)
    several = [request(number) for number in range(1, EVENTS + 1)] * COPIES
    places = [index % EVENTS + rng.uniform(0, NEAR / COPIES) for index in range(len(several))]
    return [each for _, each in sorted(zip(places, several, strict=True), key=lambda two: two[0])]


async def send(url: str, requests: list[Request]) -> dict[int, int]:
    """Send all over so many connections, and count the statuses."""
    waiting = iter(requests)
    statuses: dict[int, int] = {}
    connector = aiohttp.TCPConnector(limit=CONNECTIONS)

    async with aiohttp.ClientSession(connector=connector) as session:

        async def worker() -> None:
            for each in waiting:
                async with session.post(url, data=each.body, headers=each.headers) as answer:
                    statuses[answer.status] = statuses.get(answer.status, 0) + 1
                    await answer.read()

        await asyncio.gather(*(worker() for _ in range(CONNECTIONS)))
    return statuses


def deliver(core: int | None, *, durable: bool) -> dict[str, Any]:
    """Send all copies, and tell how often each event was handled."""
    requests = shuffled()
    with tempfile.TemporaryDirectory() as folder:
        seen = Path(folder) / "seen.db" if durable else None
        with serving(core, seen) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            url = f"http://127.0.0.1:{int(process.stdout.readline())}/webhooks"
            start = time.perf_counter()
            statuses = asyncio.run(send(url, requests))
            seconds = time.perf_counter() - start
            process.stdin.close()
            handled = json.loads(process.stdout.readline())
    once = handled == {"orders": EVENTS, "most": 1} and set(statuses) == {200}
    name = "SQLiteSeen" if durable else "MemorySeen"
    print(
        f"{name}: {len(requests):,} requests, answers {statuses}, {handled['orders']:,} events "
        f"handled, none more than {handled['most']} time: {'yes' if once else 'NO'} "
        f"({len(requests) / seconds:,.0f} requests a second)"
    )
    return {**handled, "requests": len(requests), "seconds": seconds, "met": once}


def main() -> None:
    """Measure, print, keep, and fail if an event was not handled exactly once."""
    argparse.ArgumentParser(prog="python -m benchmarks.webhooks", description=__doc__).parse_args()
    cores = (os.cpu_count() or 1) > 1 and hasattr(os, "sched_setaffinity")
    core = SERVER_CORE if cores else None
    if cores:
        os.sched_setaffinity(0, {CLIENT_CORE})
    told: dict[str, Any] = {"cost": cost()}
    print(f"\n{EVENTS:,} events, each sent {COPIES} times over {CONNECTIONS} connections")
    told["delivery"] = {
        name: deliver(core, durable=durable)
        for name, durable in (("MemorySeen", False), ("SQLiteSeen", True))
    }
    RESULTS.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    if not all(each["met"] for each in told["delivery"].values()):
        sys.exit("an event was not handled exactly once")


if __name__ == "__main__":
    main()
