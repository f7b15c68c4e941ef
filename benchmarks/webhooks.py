"""What a webhook costs, and whether each is handled once: `python -m benchmarks.webhooks`.

First the CPU of a request in one process, beside a bare hmac and json.loads; they take turns.
Then 10,000 events, each sent 3 times over 50 connections, to a receiver on a core of its own.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import random
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
from attrs import frozen

from benchmarks.measuring import cpu_seconds, in_turn, prepare, rounds_asked, serving
from benchmarks.report import (
    Figure,
    Spread,
    fail,
    figure,
    keep,
    print_costs,
    print_figures,
    quartiles,
    ratios,
    yes_or_no,
)
from devskin_async.webhooks import SQLiteSeen, WebhookEvent, WebhookReceiver, parse, sign, verify

SECRET = "whsec_of_the_benchmark"
BODY_BYTES = 300
REQUESTS, ROUNDS = 5_000, 15
MOST_TIMES_BARE = 3.0
EVENTS, COPIES, CONNECTIONS = 10_000, 3, 50
NEAR = 200
"""The copies of an event are at most about so many requests apart: some arrive together."""
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


WAYS: dict[str, tuple[Callable[[list[Request]], Awaitable[None]], int]] = {
    BARE: (bare, REQUESTS),
    "verify alone": (verifying, REQUESTS),
    "parse alone": (parsing, REQUESTS),
    HANDLE: (handling, REQUESTS),
    "the same, remembered in SQLite": (handling_durably, 500),
}


def cost(rounds: int) -> dict[str, Any]:
    """Print what a request costs, and give it as plain data."""
    requests = [request(number) for number in range(1, REQUESTS + 1)]

    def microseconds(name: str) -> float:
        way, count = WAYS[name]
        return cpu_seconds(lambda: way(requests)) / count * 1e6

    found = in_turn({name: partial(microseconds, name) for name in WAYS}, rounds)
    print(f"CPU of a request of {BODY_BYTES} bytes, {rounds} rounds")
    print_costs(found, BARE)
    told = {
        name: {
            "microseconds": quartiles(values),
            "times_bare": quartiles(ratios(found, name, BARE)),
        }
        for name, values in found.items()
    }
    print(f"{1e6 / told[HANDLE]['microseconds'].median:,.0f} events a second")
    return told


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


def deliver(*, durable: bool) -> dict[str, Any]:
    """Send all copies, and tell how often each event was handled."""
    requests = shuffled()
    with tempfile.TemporaryDirectory() as folder:
        seen = ["--seen", str(Path(folder) / "seen.db")] if durable else []
        with serving("webhook_server", SECRET, *seen) as server:
            start = time.perf_counter()
            statuses = asyncio.run(send(f"http://127.0.0.1:{server.port}/webhooks", requests))
            seconds = time.perf_counter() - start
            handled = json.loads(server.end())
    once = handled == {"orders": EVENTS, "most": 1} and set(statuses) == {200}
    name = "SQLiteSeen" if durable else "MemorySeen"
    print(
        f"{name}: {len(requests):,} requests, answers {statuses}, {handled['orders']:,} events "
        f"handled, none more than {handled['most']} time: {yes_or_no(once)} "
        f"({len(requests) / seconds:,.0f} requests a second)"
    )
    return {**handled, "requests": len(requests), "seconds": seconds, "met": once}


def figures(cost: Mapping[str, Any], delivery: Mapping[str, Any]) -> list[Figure]:
    """Give the figures of what is kept."""
    seen = list(delivery.values())
    # Those that were not handled, and, where one was handled again, all: it isn't known how many.
    wrong = [EVENTS - each["orders"] if each["most"] == 1 else EVENTS for each in seen]
    return [
        figure(
            "CPU of a webhook, verified, parsed, dispatched and remembered",
            BARE,
            Spread(*cost[HANDLE]["times_bare"]),
            at_most=MOST_TIMES_BARE,
        ),
        figure(
            f"events of {EVENTS:,}, each sent {COPIES} times, that were not handled exactly once",
            "none",
            [max(wrong)],
            "",
            at_most=0,
        ),
    ]


def main() -> None:
    """Measure, print, keep, and fail if an event was not handled exactly once."""
    rounds = rounds_asked("webhooks", __doc__, ROUNDS)
    prepare()
    costs = cost(rounds)
    print(f"\n{EVENTS:,} events, each sent {COPIES} times over {CONNECTIONS} connections")
    ways = {"MemorySeen": False, "SQLiteSeen": True}
    delivery = {name: deliver(durable=durable) for name, durable in ways.items()}
    print()
    print_figures(made := figures(costs, delivery))
    if rounds == ROUNDS:
        keep("webhooks", made, cost=costs, delivery=delivery)
    if not all(each["met"] for each in delivery.values()):
        fail("an event was not handled exactly once")


if __name__ == "__main__":
    main()
