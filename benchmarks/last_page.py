"""How long it takes to the last of N pages under the real rule: `python -m benchmarks.last_page`.

The server accepts 100 requests in each window of its clock and refuses others by a bare 429, over
HTTP with a round trip of 50 ms. Only the window is 3 s in place of 60, a twentieth; so are the
peers' pace and their waits after a refusal. Every run has a new server, on a core of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Coroutine
from statistics import median
from typing import Any, TypeAlias
from urllib.request import urlopen

import aiohttp
import msgspec
from aiolimiter import AsyncLimiter
from attrs import asdict, frozen

from benchmarks.measuring import prepare, serving
from benchmarks.report import Figure, figure, keep, print_figures, quartiles, shown
from devskin_async import DevSkinClient, OrderSummary, Page, RateLimit
from devskin_async.api.endpoints import Envelope

LIMIT, PER, ROUND_TRIP, ROWS = 100, 3.0, 0.05, 100
SCALE = PER / 60
HEADERS = {"X-API-Key": "key"}
# Pages, and how often each client reads so many.
ROUNDS = {10: 5, 100: 5, 250: 3, 1000: 1}
MOST_OVER, MOST_ROUND_TRIPS_MORE = 1.03, 2
OURS = "this library"
ONE_BY_ONE = "one by one, AsyncLimiter(1, 0.6)"
AT_ONCE = "all at once, AsyncLimiter(100, 60), retried"
Read: TypeAlias = Callable[[str], Coroutine[Any, Any, int]]

decode = msgspec.json.Decoder(Envelope[Page[OrderSummary]]).decode


@frozen(kw_only=True)
class Run:
    """One reading.

    Args:
        client: Who read.
        pages: How many pages there were.
        seconds: How long it took to the last of them.
        requests: How many requests the server had.
        refused: How many of them it refused.
    """

    client: str
    pages: int
    seconds: float
    requests: int
    refused: int

    @property
    def over(self) -> float:
        """How many times as long as the bound it took."""
        return self.seconds / bound(self.pages)


def bound(pages: int) -> float:
    """Give the shortest time in seconds for a client that can't see where a window begins.

    100 at once, 100 more after each window; and two round trips, because only page 1 tells how
    many pages there are.
    """
    return (-(-pages // LIMIT) - 1) * PER + 2 * ROUND_TRIP


def most(pages: int) -> float:
    """Give the seconds that this library may take."""
    return bound(pages) * MOST_OVER + MOST_ROUND_TRIPS_MORE * ROUND_TRIP


async def by_us(base_url: str) -> int:
    """Read by `pages()`, with nothing kept for interactive calls: nobody makes any."""
    limit = RateLimit(LIMIT, PER, reserve=0)
    rows = 0
    async with DevSkinClient(
        "key", base_url=base_url, rate_limit=limit, concurrency=LIMIT
    ) as store:
        async for page in store.orders.list().pages():
            rows += len(page.items)
    return rows


async def fetch(session: aiohttp.ClientSession, url: str, limiter: AsyncLimiter) -> Page[Any]:
    """Read a page in the limiter's turn, again after a refusal, in another turn."""
    wait = 1.0
    while True:
        async with limiter, session.get(url) as response:
            if response.status != 429:
                response.raise_for_status()
                return decode(await response.read()).data
            asked = response.headers.get("Retry-After")
        await asyncio.sleep(float(asked) if asked else wait * SCALE)
        wait *= 2


async def one_by_one(base_url: str) -> int:
    """Read page after page, each at its time."""
    limiter = AsyncLimiter(1, PER / LIMIT)
    rows, total, number = 0, 1, 0
    async with aiohttp.ClientSession(headers=HEADERS) as session:
        while rows < total:
            number += 1
            page = await fetch(session, f"{base_url}/orders?page={number}&limit={ROWS}", limiter)
            rows, total = rows + len(page.items), page.total
    return rows


async def all_at_once(base_url: str) -> int:
    """Read page 1, then all others at once, as the limiter lets them go."""
    limiter = AsyncLimiter(LIMIT, PER)
    async with aiohttp.ClientSession(headers=HEADERS) as session:

        def page(number: int) -> Awaitable[Page[Any]]:
            return fetch(session, f"{base_url}/orders?page={number}&limit={ROWS}", limiter)

        first = await page(1)
        last = -(-first.total // ROWS)
        others = await asyncio.gather(*(page(number) for number in range(2, last + 1)))
    return sum(len(each.items) for each in (first, *others))


CLIENTS: dict[str, Read] = {
    OURS: by_us,
    ONE_BY_ONE: one_by_one,
    AT_ONCE: all_at_once,
}


def run(client: str, pages: int) -> Run:
    """Read so many pages once, from a new server."""
    rule = ("--limit", str(LIMIT), "--per", str(PER), "--latency", str(ROUND_TRIP))
    with serving("page_server", str(pages * ROWS), *rule) as server:
        start = time.perf_counter()
        rows = asyncio.run(CLIENTS[client](server.base_url))
        seconds = time.perf_counter() - start
        with urlopen(f"http://127.0.0.1:{server.port}/counts") as answer:
            counts = json.load(answer)
    assert rows == pages * ROWS, rows
    return Run(client=client, pages=pages, seconds=seconds, **counts)


def measure(rounds: dict[int, int]) -> list[Run]:
    """Run every client for every number of pages, in turn, and print a line for each."""
    print(f"{LIMIT} requests in {PER:g} s, round trip {ROUND_TRIP * 1000:.0f} ms")
    print(f"{'pages':>6} {'bound':>6}  {'client':45}{'seconds (quartiles)':24}times it   refusals")
    runs = []
    for pages, times in rounds.items():
        found = [run(client, pages) for _ in range(times) for client in CLIENTS]
        runs += found
        for client in CLIENTS:
            own = [each for each in found if each.client == client]
            seconds = shown(quartiles([each.seconds for each in own]))
            print(
                f"{pages:6,} {bound(pages):6.2f}  {client:45}{seconds:24}"
                f"{median(each.over for each in own):9.3f}"
                f"{median(each.refused for each in own):11.0f}",
                flush=True,
            )
    return runs


def figures(runs: list[Run]) -> list[Figure]:
    """Give this library's time beside the bound, and at last beside the others; and refusals."""

    def seconds(client: str, pages: int) -> list[float]:
        return [each.seconds for each in runs if (each.client, each.pages) == (client, pages)]

    def refused(client: str) -> int:
        return max(each.refused for each in runs if each.client == client)

    made = []
    numbers = sorted({each.pages for each in runs})
    for pages in numbers:
        beside = f"the bound, {bound(pages):.2f} s"
        target = round(most(pages), 3)
        made.append(figure(last_of(pages), beside, seconds(OURS, pages), "s", at_most=target))
    for peer in (ONE_BY_ONE, AT_ONCE):
        pairs = zip(seconds(OURS, numbers[-1]), seconds(peer, numbers[-1]), strict=True)
        made.append(figure(last_of(numbers[-1]), peer, [ours / other for ours, other in pairs]))
    beside = f"{AT_ONCE}: {refused(AT_ONCE)}"
    what = "refusals on the way to the last page, the most of a run"
    return [*made, figure(what, beside, [refused(OURS)], "", at_most=0)]


def last_of(pages: int) -> str:
    return f"time to the last of {pages:,} pages"


def main() -> None:
    """Measure, print the table and keep it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.last_page", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="once each, up to 250 pages; nothing is kept"
    )
    quick = parser.parse_args().quick
    prepare()
    rounds = {pages: 1 for pages in ROUNDS if pages <= 250} if quick else ROUNDS
    begin = time.perf_counter()
    runs = measure(rounds)
    print()
    print_figures(made := figures(runs))
    if not quick:
        keep("last_page", made, runs=[asdict(each) for each in runs])
    print(f"\n{time.perf_counter() - begin:.1f} s in all")


if __name__ == "__main__":
    main()
