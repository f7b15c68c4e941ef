"""What a page of 100 orders costs the client in CPU: `python -m benchmarks.pages`.

2,000 pages, ten at once, the budget lifted, from a server on a core of its own. The clients take
turns in one process; each time is with new connections, on a new event loop.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import TypeAlias

from benchmarks.measuring import cpu_seconds, in_turn, prepare, rounds_asked, serving
from benchmarks.readers import (
    CONCURRENCY,
    ROWS,
    pages_by_hand,
    pages_by_httpx,
    pages_by_json,
    pages_by_us,
    rows_by_us,
)
from benchmarks.report import (
    Figure,
    figure,
    keep,
    print_costs,
    print_figures,
    quartiles,
    ratios,
)

PAGES, ROUNDS = 2_000, 11
MOST_BY_PAGES, MOST_BY_ROWS, LEAST_TIMES_LESS = 1.25, 1.35, 4.0
BY_HAND, BY_JSON, BY_HTTPX = "aiohttp and msgspec by hand", "aiohttp and json", "httpx and pydantic"
BY_PAGES, BY_ROWS = "this library, pages()", "this library, row by row"
LIBRARIES = ("httpx", "pydantic")
Read: TypeAlias = Callable[[str, int], Awaitable[None]]
CLIENTS: dict[str, Read] = {
    BY_HAND: pages_by_hand,
    BY_PAGES: pages_by_us,
    BY_ROWS: rows_by_us,
    BY_JSON: pages_by_json,
    BY_HTTPX: pages_by_httpx,
}


def cpu_a_page(read: Read, base_url: str) -> float:
    """Give the CPU of a page in microseconds."""
    return cpu_seconds(lambda: read(base_url, PAGES)) / PAGES * 1e6


def figures(found: Mapping[str, Sequence[float]]) -> list[Figure]:
    """Give the figures of the microseconds that each client took in each round."""
    what = "CPU of a page of 100 orders, 10 at once"
    by_pages, by_rows = f"{what}: pages()", f"{what}: row by row"
    less = f"{what}: how many times less pages() takes"
    return [
        figure(by_pages, BY_HAND, ratios(found, BY_PAGES, BY_HAND), at_most=MOST_BY_PAGES),
        figure(by_rows, BY_HAND, ratios(found, BY_ROWS, BY_HAND), at_most=MOST_BY_ROWS),
        figure(by_pages, BY_JSON, ratios(found, BY_PAGES, BY_JSON)),
        figure(less, BY_HTTPX, ratios(found, BY_HTTPX, BY_PAGES), at_least=LEAST_TIMES_LESS),
    ]


def main() -> None:
    """Measure, print the table and keep it."""
    rounds = rounds_asked("pages", __doc__, ROUNDS)
    prepare()
    with serving("page_server", str(PAGES * ROWS)) as server:
        measures = {
            name: partial(cpu_a_page, read, server.base_url) for name, read in CLIENTS.items()
        }
        found = in_turn(measures, rounds)
    print(f"CPU of a page, of {PAGES:,} with {CONCURRENCY} at once; {rounds} rounds")
    print_costs(found, BY_HAND)
    print()
    print_figures(made := figures(found))
    if rounds == ROUNDS:
        costs = {name: quartiles(values) for name, values in found.items()}
        keep("pages", made, LIBRARIES, microseconds=costs)


if __name__ == "__main__":
    main()
