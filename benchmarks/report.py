"""What a benchmark found: figures beside their targets, kept as JSON, and one table of them all."""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from attrs import asdict, frozen

RESULTS = Path(__file__).parent / "results"
README = Path(__file__).parent / "README.md"
BEGIN = "<!-- The table is made of results/*.json by `python -m benchmarks`. -->"
END = "<!-- The end of the table. -->"
LIBRARIES = ("devskin-async", "aiohttp", "aiolimiter", "attrs", "cattrs", "msgspec")
MISSED = 3
"""The exit status of a benchmark that measured all, and found that something is not as it must."""


class Spread(NamedTuple):
    """A median between its quartiles."""

    low: float
    median: float
    high: float


def quartiles(values: Sequence[float]) -> Spread:
    """Give the median and the quartiles, which are the ends where there are two or three values."""
    if len(values) == 1:
        return Spread(values[0], values[0], values[0])
    low, median, high = statistics.quantiles(values, n=4)
    return Spread(max(low, min(values)), median, min(high, max(values)))


def shown(spread: Spread, digits: str = ".2f") -> str:
    """Show a median and its quartiles."""
    low, median, high = (f"{value:{digits}}" for value in spread)
    return median if low == high else f"{median} ({low} to {high})"


def yes_or_no(met: bool | None) -> str:
    """Say whether a target is met; nothing where there is none."""
    return "" if met is None else "yes" if met else "NO"


@frozen(kw_only=True)
class Figure:
    """One figure, and whether it is what it should be.

    Args:
        what: What was measured.
        beside: What it was compared with.
        unit: What it is counted in.
        quartiles: Its lower quartile, median and upper quartile.
        target: What the median should be; empty where it is only compared.
        met: Whether it is; None where there is no target.
    """

    what: str
    beside: str
    unit: str
    quartiles: Spread
    target: str = ""
    met: bool | None = None

    @property
    def shown(self) -> str:
        """The median with its quartiles and the unit."""
        median = self.quartiles.median
        whole = all(value == int(value) for value in self.quartiles)
        digits = ",.0f" if whole or median >= 1000 else ".3f" if median < 2 else ".2f"
        return f"{shown(self.quartiles, digits)} {self.unit}".rstrip()


def figure(
    what: str,
    beside: str,
    values: Sequence[float] | Spread,
    unit: str = "times",
    *,
    at_most: float | None = None,
    at_least: float | None = None,
) -> Figure:
    """Make a figure of what was measured, and judge its median.

    Args:
        what: What was measured.
        beside: What it was compared with.
        values: One for each round, or their quartiles.
        unit: What it is counted in.
        at_most: The most that it may be.
        at_least: The least that it may be.
    """
    spread = values if isinstance(values, Spread) else quartiles(values)
    target, met = "", None
    if at_most is not None:
        target, met = f"at most {at_most:g}", spread.median <= at_most
    elif at_least is not None:
        target, met = f"at least {at_least:g}", spread.median >= at_least
    return Figure(what=what, beside=beside, unit=unit, quartiles=spread, target=target, met=met)


def print_costs(found: Mapping[str, Sequence[float]], base: str, unit: str = "µs") -> None:
    """Print what each thing costs, and how many times as much as the base within a round."""
    width = max(map(len, found)) + 2
    print(f"{'':{width}}{f'{unit} (quartiles)':30}times the {base}")
    for name, values in found.items():
        times = "" if name == base else shown(quartiles(ratios(found, name, base)))
        print(f"{name:{width}}{shown(quartiles(values)):30}{times}".rstrip())


def ratios(found: Mapping[str, Sequence[float]], name: str, base: str) -> list[float]:
    """Give how many times as much as the base a thing costs, within each round."""
    return [ours / plain for ours, plain in zip(found[name], found[base], strict=True)]


def print_figures(figures: Iterable[Figure]) -> None:
    """Print each figure with its target, and whether it is met."""
    for each in figures:
        target = f"; target {each.target}: {yes_or_no(each.met)}" if each.target else ""
        print(f"{each.what} | {each.beside} | {each.shown}{target}", flush=True)


def keep(
    name: str, figures: Iterable[Figure], libraries: Iterable[str] = (), **found: object
) -> None:
    """Keep what a benchmark found in `results`.

    Args:
        name: The benchmark.
        figures: Its figures.
        libraries: Other libraries than this one's own that took part.
        found: Whatever else is worth keeping, as plain data.
    """
    how = {
        "command": f"python -m benchmarks.{name}",
        "machine": f"{platform.system()}, {_processor()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
        "versions": {library: version(library) for library in (*LIBRARIES, *libraries)},
        "figures": [asdict(each, value_serializer=_plain) for each in figures],
    }
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps(rounded(how | found), indent=1, ensure_ascii=False)
    (RESULTS / f"{name}.json").write_text(text + "\n", encoding="utf-8")


def fail(message: str) -> NoReturn:
    """End a benchmark that measured all, and found that something is not as it must be."""
    print(message, file=sys.stderr)
    sys.exit(MISSED)


def rounded(value: object) -> object:
    """Round the numbers in plain data to what is worth keeping."""
    match value:
        case float():
            return round(value, 4)
        case dict():
            return {key: rounded(item) for key, item in value.items()}
        case list() | tuple():
            return [rounded(item) for item in value]
    return value


def table(names: Iterable[str]) -> str:
    """Make the table of the figures that are kept, as Markdown."""
    lines = ["| what | beside | figure (quartiles) | target | met | command |", "|---" * 6 + "|"]
    for name in names:
        path = RESULTS / f"{name}.json"
        if path.exists():
            lines += _rows(json.loads(path.read_text(encoding="utf-8")))
    return "\n".join(lines)


def write_table(made: str) -> None:
    """Put the table between its markers in the README."""
    text = README.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{README} has no place for the table: {BEGIN} … {END}")
    README.write_text(f"{before}{begin}\n{made}\n{end}{after}", encoding="utf-8")


def _rows(kept: Mapping[str, Any]) -> list[str]:
    figures = [
        Figure(**each | {"quartiles": Spread(*each["quartiles"])})
        for each in kept.get("figures", ())
    ]
    return [
        f"| {each.what} | {each.beside} | {each.shown} | {each.target} | {yes_or_no(each.met)} "
        f"| `{kept['command']}` |"
        for each in figures
    ]


def _plain(_: object, __: object, value: object) -> object:
    return list(value) if isinstance(value, Spread) else value


def _processor() -> str:
    try:
        info = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.machine()
    return info.partition("model name")[2].partition("\n")[0].strip("\t :") or platform.machine()
