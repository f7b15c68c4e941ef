"""Where a page's CPU goes, layer by layer: `python -m benchmarks.layers`.

The same pages as in `benchmarks.pages`, read through more and more of the library: each line has
what the line above it has, and one thing more.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

import aiohttp

from benchmarks.measuring import in_turn, prepare, rounds_asked, serving
from benchmarks.pages import BY_HAND, BY_PAGES, PAGES, Read, cpu_a_page
from benchmarks.readers import (
    HEADERS,
    ROWS,
    by_workers,
    pages_by_hand,
    pages_by_us,
    this_library,
)
from benchmarks.report import keep, print_costs, quartiles
from devskin_async.api import decode, endpoints, parse_rate_limit_headers
from devskin_async.transport import RequestOptions, Sender

ROUNDS = 11


async def undecoded(base_url: str, pages: int) -> None:
    """Read pages by hand, and do nothing with them."""
    async with aiohttp.ClientSession(headers=HEADERS, raise_for_status=True) as session:

        async def fetch(number: int) -> int:
            async with session.get(f"{base_url}/orders?page={number}&limit={ROWS}") as response:
                await response.read()
            return ROWS

        await by_workers(fetch, pages)


async def exchanged(sender: Sender, _: RequestOptions, number: int) -> int:
    """Make the request, send it, take the response: without redirects or resends."""
    await sender.transport.send(endpoints.orders(number, ROWS))
    return ROWS


async def read(sender: Sender, _: RequestOptions, number: int) -> int:
    """And read it, checked against what was asked."""
    request = endpoints.orders(number, ROWS)
    return len(decode(request, await sender.transport.send(request)).items)


async def slotted(sender: Sender, options: RequestOptions, number: int) -> int:
    """And through the budget, which learns from the response's headers."""
    request = endpoints.orders(number, ROWS)
    async with sender.scheduler.slot(options.lane, options.flow) as slot:
        response = await sender.transport.send(request)
        slot.observe(parse_rate_limit_headers(response.status, response.headers, response.at))
    return len(decode(request, response).items)


async def sent(sender: Sender, options: RequestOptions, number: int) -> int:
    """And shared by whoever asks for the same, retried, timed."""
    return len((await sender.send(endpoints.orders(number, ROWS), options)).items)


def by(fetch: Callable[[Sender, RequestOptions, int], Awaitable[int]]) -> Read:
    """Have workers fetch pages by a part of the library."""

    async def pages_by_it(base_url: str, pages: int) -> None:
        async with this_library(base_url) as store:
            await by_workers(
                partial(fetch, store.reader.sender, store.reader.flow_options()), pages
            )

    return pages_by_it


LAYERS: dict[str, Read] = {
    "aiohttp by hand, not decoded": undecoded,
    BY_HAND: pages_by_hand,
    "transport: send": by(exchanged),
    "api: and decode": by(read),
    "ratelimit: and a slot": by(slotted),
    "sender: and a task, shared": by(sent),
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
