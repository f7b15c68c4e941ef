"""Web apps with several workers, and the demand that they meet: for `benchmarks.processes`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
from attrs import frozen

from benchmarks.processes_run import Server, environment, free_port, running


@frozen
class App:
    """How a web app is served.

    Args:
        command: What serves it, up to its port.
        workers: How many processes.
    """

    command: tuple[str, ...]
    workers: int


def uvicorn(workers: int) -> App:
    command = ("uvicorn", "benchmarks.process_app:asgi", "--factory", "--log-level", "warning")
    return App((*command, "--workers", str(workers), "--port"), workers)


def gunicorn(workers: int) -> App:
    command = ("gunicorn", "benchmarks.process_app:wsgi()", "--preload", "--log-level", "warning")
    size = ("--workers", str(workers), "--threads", "16")
    return App((*command, *size, "--bind"), workers)


@frozen
class Response:
    """What a web app answered with.

    Args:
        status: Its status.
        seconds: How long it took.
    """

    status: int
    seconds: float


@asynccontextmanager
async def serving_app(app: App, server: Server, budget: str) -> AsyncIterator[str]:
    """Have a web app meanwhile, all of whose workers serve; give its address."""
    port = free_port()
    where = str(port) if "--port" in app.command else f"127.0.0.1:{port}"
    env = environment(server.key, budget)
    env["BENCHMARK_SERVER"] = f"http://127.0.0.1:{server.port}"
    async with running(*app.command, where, env=env) as process:
        url, seen = f"http://127.0.0.1:{port}", set[str]()
        async with asyncio.timeout(60), _session() as session:
            while len(seen) < app.workers and process.returncode is None:
                seen.update(await _workers(session, url, 2 * app.workers))
        yield url


async def _workers(session: aiohttp.ClientSession, url: str, times: int) -> list[str]:
    """Ask for the worker several times; where nobody listens yet, none answers."""
    try:
        return await asyncio.gather(*(_worker(session, url) for _ in range(times)))
    except aiohttp.ClientError:
        await asyncio.sleep(0.05)
        return []


async def _worker(session: aiohttp.ClientSession, url: str) -> str:
    async with session.get(f"{url}/worker") as response:
        return await response.text()


async def demand(url: str, rate: float, seconds: float, first: int = 1) -> list[Response]:
    """Ask for orders evenly, and give what came.

    Args:
        url: The web app.
        rate: Requests a second.
        seconds: For how long.
        first: The first order's number.
    """
    begin = time.monotonic()
    async with _session() as session:

        async def one(number: int) -> Response:
            start = time.monotonic()
            async with session.get(f"{url}/orders/{first + number}") as response:
                await response.read()
                return Response(response.status, time.monotonic() - start)

        asked = []
        for number in range(round(rate * seconds)):
            await asyncio.sleep(begin + number / rate - time.monotonic())
            asked.append(asyncio.create_task(one(number)))
        return await asyncio.gather(*asked)


def _session() -> aiohttp.ClientSession:
    # A connection for each request, so that they spread over the workers.
    connector = aiohttp.TCPConnector(force_close=True, limit=0)
    return aiohttp.ClientSession(connector=connector)
