"""Workers of a web app with one key are refused nothing, though they do not know each other."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from itertools import repeat
from pathlib import Path

import aiohttp
import pytest

from devskin_async.sandbox import Sandbox

from .support import PATIENCE
from .worker_app import PER, REQUESTS

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="gunicorn, and workers that are given a socket, are for POSIX"
)

WORKERS = 4
UVICORN = ("uvicorn", "tests.worker_app:asgi", "--factory", f"--workers={WORKERS}", "--fd={}")
GUNICORN = (
    *("gunicorn", "tests.worker_app:wsgi()", "--preload", f"--workers={WORKERS}"),
    *("--threads=16", "--bind=fd://{}"),
)
QUIET = "--log-level=warning"


@asynccontextmanager
async def app_of(server: tuple[str, ...], box: Sandbox, directory: Path) -> AsyncIterator[str]:
    """Serve the web app; a client that connects before a worker is ready waits for it."""
    environment = os.environ | {
        "DEVSKIN_API_KEY": box.api_key,
        "DEVSKIN_BASE_URL": box.base_url,
        "DEVSKIN_BUDGET": "machine",
        "XDG_RUNTIME_DIR": str(directory),
    }
    with socket.create_server(("127.0.0.1", 0), backlog=1000) as listening:
        fd = listening.fileno()
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", *(word.format(fd) for word in server), QUIET,
            env=environment, pass_fds=[fd], start_new_session=True,
        )  # fmt: skip
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()


async def ask(url: str, paths: Iterable[str]) -> Counter[str]:
    """Send all requests, some at a time, and count the responses of each worker."""
    answered: Counter[str] = Counter()
    left = iter(paths)
    # A connection for each request, so that every worker gets some.
    connector = aiohttp.TCPConnector(force_close=True)

    async def work() -> None:
        for path in left:
            async with session.get(path, raise_for_status=True) as response:
                answered[await response.text()] += 1

    async with aiohttp.ClientSession(url, connector=connector) as session, asyncio.TaskGroup() as g:
        for _ in range(50):
            g.create_task(work())
    return answered


@pytest.mark.parametrize("server", [UVICORN, GUNICORN], ids=["uvicorn", "gunicorn --preload"])
async def test_workers_share_the_limit(server: tuple[str, ...], tmp_path: Path) -> None:
    box = Sandbox(orders=REQUESTS, limiter="sliding-log", limit=REQUESTS, per=PER)
    async with asyncio.timeout(3 * PATIENCE), box, app_of(server, box, tmp_path) as url:
        workers: set[str] = set()
        while len(workers) < WORKERS:
            workers |= set(await ask(url, repeat("/worker", 100)))
        before = box.counts.requests
        answered: Counter[str] = Counter()
        while answered.total() < 2.5 * REQUESTS or answered.keys() != workers:
            numbers = range(1, REQUESTS // 2 + 1)
            answered += await ask(url, (f"/orders/{number}" for number in numbers))
        assert box.counts.requests == before + answered.total()
        assert box.counts.refused == 0
