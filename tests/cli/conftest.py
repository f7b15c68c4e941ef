from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from devskin_async import DevSkinClient, Retry
from devskin_async.cli import main
from devskin_async.cli import options as cli_options
from devskin_async.sandbox import Sandbox

from .support import Devskin, Ran, in_thread


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the caller's environment decides what is drawn or read."""
    for name in os.environ:
        if name.startswith("DEVSKIN_") or name in ("COLUMNS", "FORCE_COLOR", "TTY_COMPATIBLE"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("DEVSKIN_BUDGET", "process")


@pytest.fixture
def devskin(capsys: pytest.CaptureFixture[str]) -> Devskin:
    """Runs a command in this process."""

    def run(*argv: str) -> Ran:
        code = main(argv)
        return Ran(code, *capsys.readouterr())

    return run


@pytest.fixture(autouse=True)
def _heeding_ctrl_c() -> Iterator[None]:
    """A shell lets what it starts in the background ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="package")
def box() -> Iterator[Sandbox]:
    """A store without a limit, for whoever only reads."""
    with in_thread(lambda: Sandbox(limiter="none")) as box:
        yield box


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """What failed is tried again once, and at once."""

    def client(*args: str | None, **options: Any) -> DevSkinClient:
        retry = Retry(attempts=2, wait_initial=0, wait_jitter=0)
        return DevSkinClient(*args, **{**options, "retry": retry})

    monkeypatch.setattr(cli_options, "DevSkinClient", client)
