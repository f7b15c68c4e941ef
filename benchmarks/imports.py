"""What `import devskin_async` costs beside its own dependencies: `python -m benchmarks.imports`."""

from __future__ import annotations

import compileall
import statistics
import subprocess
import sys
from pathlib import Path

import devskin_async

DEPENDENCIES = "import aiohttp, attrs, cattrs, msgspec, stamina, aiolimiter"
PACKAGE = "import devskin_async"
ROUNDS = 31
TARGET = 1.15


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
    """Print the medians of both and their ratio."""
    # pip compiles what it installs; an editable install or an environment variable may not.
    compileall.compile_dir(Path(devskin_async.__file__).parent, quiet=2)
    pairs = [(seconds(DEPENDENCIES), seconds(PACKAGE)) for _ in range(ROUNDS)]
    alone, package = (statistics.median(column) for column in zip(*pairs, strict=True))
    low, ratio, high = statistics.quantiles([b / a for a, b in pairs], n=4)
    print(f"dependencies {alone * 1e3:.1f} ms, devskin_async {package * 1e3:.1f} ms")
    print(f"ratio {ratio:.3f} (quartiles {low:.3f} to {high:.3f}); target {TARGET}")
    if low > TARGET:
        sys.exit("importing the package costs too much")


if __name__ == "__main__":
    main()
