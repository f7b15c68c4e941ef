"""What a newcomer's pytest prints, and what the project's own command adds to it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_a_part_of_the_tests_runs_alone_without_workers_and_coverage() -> None:
    environment = {
        name: at for name, at in os.environ.items() if not name.startswith(("PYTEST", "COV"))
    }
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "tests/testing"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout
    assert len(ran.stdout.splitlines()) <= 5
    for word in ("coverage", "workers", "gw0"):
        assert word not in ran.stdout


def test_the_command_for_all_tests_has_workers_and_coverage_and_is_what_ci_runs() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (command,) = [
        line for line in readme.splitlines() if line.startswith("python -m pip install -e")
    ]
    assert command.endswith(" && python -m pytest -n auto --cov=devskin_async")
    assert "grep -m1 '^python -m pip install -e' README.md" in (ROOT / ".ci/run").read_text("utf-8")
