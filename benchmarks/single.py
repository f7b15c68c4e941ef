"""What one awaited `orders.get` costs the client in CPU: `python -m benchmarks.single`.

2,000 orders, one after the other, from a server on a core of its own, beside aiohttp and msgspec
by hand. They take turns in one process; each time is with a new connection, on a new event loop.
"""

from __future__ import annotations

from functools import partial

from benchmarks.measuring import cpu_seconds, in_turn, prepare, rounds_asked, serving
from benchmarks.readers import orders_by_hand, orders_by_us
from benchmarks.report import figure, keep, print_costs, print_figures, quartiles, ratios

ORDERS, ROUNDS = 2_000, 21
MOST_TIMES = 1.5
BY_HAND, OURS = "aiohttp and msgspec by hand", "this library, orders.get"
CLIENTS = {BY_HAND: orders_by_hand, OURS: orders_by_us}


def main() -> None:
    """Measure, print the table and keep it."""
    rounds = rounds_asked("single", __doc__, ROUNDS)
    prepare()
    with serving("page_server", "1") as server:

        def cpu_an_order(name: str) -> float:
            read = CLIENTS[name]
            return cpu_seconds(lambda: read(server.base_url, ORDERS)) / ORDERS * 1e6

        found = in_turn({name: partial(cpu_an_order, name) for name in CLIENTS}, rounds)
    print(f"CPU of an order, of {ORDERS:,} one after the other; {rounds} rounds")
    print_costs(found, BY_HAND)
    print()
    times = ratios(found, OURS, BY_HAND)
    made = figure("CPU of one awaited orders.get", BY_HAND, times, at_most=MOST_TIMES)
    print_figures([made])
    if rounds == ROUNDS:
        costs = {name: quartiles(values) for name, values in found.items()}
        keep("single", [made], microseconds=costs)


if __name__ == "__main__":
    main()
