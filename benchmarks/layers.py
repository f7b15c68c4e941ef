"""Where a page's CPU goes, layer by layer: `python -m benchmarks.layers`.

The same pages as in `benchmarks.pages`, read through more and more of the library: each line has
what the line above it has, and one thing more.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

import aiohttp

from benchmarks.measuring import in_turn, prepare, rounds_asked, serving
from benchmarks.pages import BY_HAND, BY_PAGES, PAGES, cpu_a_page
from benchmarks.readers import (
    HEADERS,
    ROWS,
    by_workers,
    pages_by_hand,
    pages_by_us,
    this_library,
)
from benchmarks.report import keep, print_costs, quartiles
from devskin_async import Lane
from devskin_async.protocol import calls, told
from devskin_async.records import OrderSummary, Page

ROUNDS = 11


async def undecoded(base_url: str, pages: int) -> None:
    """Read pages by hand, and do nothing with them."""
    async with aiohttp.ClientSession(headers=HEADERS, raise_for_status=True) as session:

        async def fetch(number: int) -> int:
            async with session.get(f"{base_url}/orders?page={number}&limit={ROWS}") as response:
                await response.read()
            return ROWS

        await by_workers(fetch, pages)


async def exchanged(base_url: str, pages: int) -> None:
    """Make the call, send it, take the answer: bounded, without redirects or resends."""
    async with this_library(base_url) as store:
        exchange = store.reader.transport.exchange

        async def fetch(number: int) -> int:
            await exchange.send(calls.orders(number, ROWS))
            return ROWS

        await by_workers(fetch, pages)


async def read(base_url: str, pages: int) -> None:
    """And read it, checked against what was asked."""
    async with this_library(base_url) as store:
        exchange = store.reader.transport.exchange

        async def fetch(number: int) -> int:
            call = calls.orders(number, ROWS)
            return len(exchange.read(call, await exchange.send(call)).items)

        await by_workers(fetch, pages)


async def slotted(base_url: str, pages: int) -> None:
    """And through the budget, which learns from the answer's headers."""
    async with this_library(base_url) as store:
        transport = store.reader.transport
        exchange, job = transport.exchange, store.reader.queueing().job

        async def fetch(number: int) -> int:
            call = calls.orders(number, ROWS)
            async with transport.scheduler.slot(Lane.BULK, job) as slot:
                answer = await exchange.send(call)
                slot.answered(told(answer))
            return len(exchange.read(call, answer).items)

        await by_workers(fetch, pages)


async def sent(base_url: str, pages: int) -> None:
    """And shared by whoever asks for the same, retried, timed."""
    async with this_library(base_url) as store:
        queueing = store.reader.queueing()

        async def fetch(number: int) -> int:
            page: Page[OrderSummary] = await store.reader.transport.send(
                calls.orders(number, ROWS), queueing
            )
            return len(page.items)

        await by_workers(fetch, pages)


LAYERS: dict[str, Callable[[str, int], Awaitable[None]]] = {
    "aiohttp by hand, not decoded": undecoded,
    BY_HAND: pages_by_hand,
    "exchange: send": exchanged,
    "exchange: send and read": read,
    "ratelimit: and a slot": slotted,
    "transport: and a task, shared": sent,
    BY_PAGES: pages_by_us,
}


def main() -> None:
    """Measure, print the table and keep it."""
    rounds = rounds_asked("layers", __doc__, ROUNDS)
    prepare()
    with serving("page_server", str(PAGES * ROWS)) as server:
        found = in_turn(
            {name: partial(cpu_a_page, way, server.base_url) for name, way in LAYERS.items()},
            rounds,
        )
    print(f"CPU of a page, of {PAGES:,} with 10 at once; {rounds} rounds")
    print_costs(found, BY_HAND)
    if rounds == ROUNDS:
        costs = {name: quartiles(values) for name, values in found.items()}
        keep("layers", [], microseconds=costs)


if __name__ == "__main__":
    main()
