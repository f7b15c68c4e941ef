"""What many tests need: a store in the sandbox, and a client that retries without waiting."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Generator

import pytest
from hypothesis import settings

from devskin_async import DevSkinClient, RateLimit, Retry
from devskin_async.sandbox import Sandbox
from devskin_async.testing import forget_budgets

# A noisy machine is no failure.
settings.register_profile("patient", deadline=None, max_examples=50)
settings.register_profile("thorough", deadline=None, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "patient"))

# No test leaves a file in the user's runtime directory, nor does a process that one starts.
os.environ["DEVSKIN_BUDGET"] = "process"

_REQUIRE_ALL = bool(os.environ.get("DEVSKIN_REQUIRE_ALL"))

AT_ONCE = Retry(wait_initial=0, wait_jitter=0)
UNLIMITED = RateLimit(1_000_000, 1, burst=1_000_000)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where `DEVSKIN_REQUIRE_ALL` is set, let a test fail that is skipped for want of something."""
    report = yield
    if _REQUIRE_ALL and report.skipped and isinstance(report.longrepr, tuple):
        reason = report.longrepr[2]
        if reason.startswith("Skipped: there is no "):
            report.outcome, report.longrepr = "failed", reason
    return report


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name in ("DEVSKIN_API_KEY", "DEVSKIN_BASE_URL") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    forget_budgets()  # the sandbox of another test may have had this one's port and key


@pytest.fixture
async def box() -> AsyncIterator[Sandbox]:
    """A small store without a limit."""
    async with Sandbox(orders=450, products=120, customers=30, limiter="none") as running:
        yield running


@pytest.fixture
async def store(box: Sandbox) -> AsyncIterator[DevSkinClient]:
    """A client of that store."""
    async with DevSkinClient(
        box.api_key, base_url=box.base_url, rate_limit=UNLIMITED, retry=AT_ONCE
    ) as client:
        yield client
