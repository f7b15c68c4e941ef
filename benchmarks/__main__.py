"""Run the benchmarks one after the other and make the table of their figures.

Each runs as a process of its own, as `python -m benchmarks.NAME`, and keeps what it found in
benchmarks/results. The table in benchmarks/README.md is made of all that is kept there, so that
running some leaves the rows of the others as they were.
"""

from __future__ import annotations

import argparse
import ast
import subprocess
import sys
from pathlib import Path

from benchmarks.report import MISSED, table, write_table

ROOT = Path(__file__).parents[1]
TAKES = {
    "decode": "15 s",
    "pages": "1.5 minutes",
    "layers": "1 minute",
    "single": "half a minute",
    "waiters": "half a minute",
    "memory": "half a minute",
    "imports": "half a minute",
    "last_page": "4 minutes",
    "limits": "half a minute",
    "processes": "6 minutes",
    "drift": "4 minutes",
    "export": "8 minutes",
    "webhooks": "half a minute",
}
"""The benchmarks in the table's order, and about how long each runs."""


def measures(name: str) -> str:
    """Give the first sentence of what a benchmark says of itself, without importing it."""
    source = (Path(__file__).parent / f"{name}.py").read_text(encoding="utf-8")
    return (ast.get_docstring(ast.parse(source)) or "").partition(":")[0]


def run(name: str) -> bool:
    """Run a benchmark, and say whether it measured what it should."""
    print(f"== python -m benchmarks.{name}", flush=True)
    command = [sys.executable, "-m", f"benchmarks.{name}"]
    status = subprocess.run(command, cwd=ROOT, check=False).returncode
    print(flush=True)
    return status in (0, MISSED)


def main() -> None:
    """Run those asked for, make the table, and fail if one of them could not be run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these; all")
    parser.add_argument("--list", action="store_true", help="tell what there is, and run nothing")
    parser.add_argument("--table", action="store_true", help="make the table alone, run nothing")
    asked = parser.parse_args()
    if unknown := set(asked.names) - set(TAKES):
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}; see --list")
    if asked.list:
        for name, takes in TAKES.items():
            print(f"{name:11}{takes:15}{measures(name)}")
        return
    names = [name for name in TAKES if name in asked.names or not asked.names]
    failed = [] if asked.table else [name for name in names if not run(name)]
    print(made := table(TAKES))
    write_table(made)
    if failed:
        sys.exit(f"could not be run: {', '.join(failed)}")


if __name__ == "__main__":
    main()
