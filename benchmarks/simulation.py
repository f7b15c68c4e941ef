"""One request over the simulated network, and a load of them, in virtual time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from attrs import frozen

from benchmarks.clients import Turn
from benchmarks.servers import Server
from devskin_async.testing import VirtualTimeLoop

T = TypeVar("T")


@frozen
class Sent:
    """One request: whether it was accepted, and when it got its turn.

    Args:
        accepted: Whether the server counted it.
        queued: Seconds that it waited for its turn.
        retry_after: Seconds that the refusal asked for; None where it did not say.
    """

    accepted: bool
    queued: float
    retry_after: float | None


def one_way(rng: random.Random) -> float:
    """Draw the seconds that a request or an answer is on its way."""
    return 0.02 + rng.expovariate(1 / 0.04)


async def send(server: Server, turn: Turn, rng: random.Random) -> Sent:
    """Wait for a turn, send one request and take in its answer."""
    loop = asyncio.get_running_loop()
    asked = loop.time()
    async with turn() as answered:
        queued = loop.time() - asked
        await asyncio.sleep(one_way(rng))
        accepted = server.hit(loop.time())
        wait = None if accepted else server.retry_after(loop.time())
        await asyncio.sleep(one_way(rng))
        answered(not accepted, wait)
    return Sent(accepted, queued, wait)


async def deliver(server: Server, turn: Turn, rng: random.Random) -> list[Sent]:
    """Send one request until it is accepted; the retry is the same for every client."""
    tries: list[Sent] = []
    while True:
        tries.append(sent := await send(server, turn, rng))
        if sent.accepted:
            return tries
        backoff = min(30, 0.5 * 2 ** (len(tries) - 1)) + rng.uniform(0, 1)
        await asyncio.sleep(sent.retry_after or backoff)


async def work(
    server: Server,
    turn: Turn,
    rng: random.Random,
    *,
    total: int,
    callers: int,
) -> int:
    """Let callers send so many requests between them, and give how many times one was refused."""
    left, refusals = total, 0

    async def caller() -> None:
        nonlocal left, refusals
        while left:
            left -= 1
            tries = await deliver(server, turn, rng)
            refusals += len(tries) - 1  # on its own line: `+=` reads before it would await

    await asyncio.gather(*(caller() for _ in range(callers)))
    return refusals


def simulate(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine on a clock that jumps."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main())
