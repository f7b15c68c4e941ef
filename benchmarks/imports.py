"""What `import devskin_async` costs beside its own dependencies: `python -m benchmarks.imports`."""

from __future__ import annotations

import compileall
import subprocess
import sys
from functools import partial
from pathlib import Path

import devskin_async
from benchmarks.measuring import in_turn, prepare, rounds_asked
from benchmarks.report import fail, figure, keep, print_costs, print_figures, quartiles, ratios

DEPENDENCIES = "import aiohttp, attrs, cattrs, msgspec, aiolimiter"
ALONE = "import of its dependencies"
PACKAGE = "import devskin_async"
ROUNDS = 31
MOST_TIMES = 1.15


def seconds(statement: str) -> float:
    """Time one import in a fresh interpreter, without the interpreter's own start."""
    script = (
        f"import time; start = time.perf_counter(); {statement}; print(time.perf_counter() - start)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return float(done.stdout)


def main() -> None:
    """Print the medians of both and their ratio, keep it, and fail if it is surely too much."""
    rounds = rounds_asked("imports", __doc__, ROUNDS)
    prepare()
    # pip compiles what it installs; an editable install or an environment variable may not.
    compileall.compile_dir(Path(devskin_async.__file__).parent, quiet=2)
    imports = {ALONE: DEPENDENCIES, PACKAGE: PACKAGE}
    found = in_turn({name: partial(seconds, what) for name, what in imports.items()}, rounds)
    milliseconds = {name: [each * 1e3 for each in values] for name, values in found.items()}
    print_costs(milliseconds, ALONE, "ms")
    made = figure(PACKAGE, ALONE, ratios(found, PACKAGE, ALONE), at_most=MOST_TIMES)
    print_figures([made])
    if rounds == ROUNDS:
        costs = {name: quartiles(values) for name, values in milliseconds.items()}
        keep("imports", [made], milliseconds=costs)
    if made.quartiles.low > MOST_TIMES:
        fail("importing the package costs too much")


if __name__ == "__main__":
    main()
