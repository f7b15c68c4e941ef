"""What a newcomer's pytest prints."""

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
    for word in ("coverage", "workers", "gw0"):
        assert word not in ran.stdout
