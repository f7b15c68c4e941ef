"""What `import devskin_async` provides, and what it does not import."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys

import pytest

import devskin_async
from devskin_async._extras import how_to_install

EXTRAS = {
    "cyclopts",
    "rich",
    "pyarrow",
    "duckdb",
    "limits",
    "throttled",
    "mimesis",
    "faker",
    "pytest",
}


def test_the_public_names_are_sorted_and_exist() -> None:
    names = [name for name in devskin_async.__all__ if not name.startswith("_")]
    assert names == sorted(names)
    assert all(hasattr(devskin_async, name) for name in devskin_async.__all__)


def test_importing_the_package_loads_no_extra_and_no_outer_part() -> None:
    script = "import sys, devskin_async; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not EXTRAS & {name.partition(".")[0] for name in loaded}
    parts = {name.split(".")[1] for name in loaded if name.startswith("devskin_async.")}
    assert "client" in parts
    assert not parts & {"sandbox", "testing", "cli", "export"}


def last_line(script: str) -> str:
    """Return the last line that a failing script prints."""
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stderr.splitlines()[-1]


@pytest.mark.parametrize("missing", ["limits", "mimesis", "throttled.rate_limiter"])
def test_the_sandbox_without_its_extra_says_what_to_install(missing: str) -> None:
    script = f"import sys; sys.modules[{missing!r}] = None; import devskin_async.sandbox"
    package = missing.partition(".")[0]
    line = last_line(script)
    assert line.endswith(f"the sandbox needs {package}: {how_to_install('sandbox')}")


def test_a_fault_inside_the_sandbox_is_not_taken_for_a_missing_extra() -> None:
    script = "import sys; sys.modules['sqlite3'] = None; import devskin_async.sandbox"
    assert "sqlite3" in last_line(script)
    assert "pip install" not in last_line(script)


def test_the_version_is_the_installed_one() -> None:
    assert devskin_async.__version__ == importlib.metadata.version("devskin-async")
