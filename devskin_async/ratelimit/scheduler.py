"""The budget's asyncio shell: callers queue here, first come first served.

The window decides (`window`); the token bucket beneath it shapes how fast the free slots are
used. Only the caller at the head of the queue looks at either, so the bucket never has more than
one waiter and its own order does not matter.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiolimiter import AsyncLimiter
from attrs import define

from .policy import Budget, RateLimit
from .window import Window


@define
class Slot:
    """A caller's turn to send one request.

    Args:
        queued: Seconds that the caller waited for it.
    """

    queued: float


class Scheduler:
    """Hands out the slots of one key's budget, in one event loop.

    Args:
        limit: The budget to keep.
    """

    def __init__(self, limit: RateLimit) -> None:
        self._limit = limit
        self._window = Window(limit.requests, limit.per)
        self._bucket = AsyncLimiter(limit.burst, limit.burst * limit.per / limit.requests)
        self._head = asyncio.Lock()
        self._changed = asyncio.Event()
        self._waiting = 0
        self._paused_until = -math.inf
        self._pause = 0.0
        self._sent = 0
        self._refused = 0

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[Slot]:
        """Wait for a turn, and hold its slot until the request is over.

        The slot is free again `per` seconds after the block ends, however it ends: a request
        that was cancelled may have been counted all the same. A caller cancelled while it waits
        costs nothing.
        """
        loop = asyncio.get_running_loop()
        asked = loop.time()
        self._waiting += 1
        try:
            async with self._head:
                await self._until_free(loop)
                self._window.take(loop.time())
        finally:
            self._waiting -= 1
        self._sent += 1
        try:
            yield Slot(queued=loop.time() - asked)
        finally:
            self._window.answered(loop.time())
            self._changed.set()

    def refuse(self, retry_after: float | None) -> None:
        """Hold every caller back after a 429; an earlier, longer pause is not shortened.

        Args:
            retry_after: Seconds to wait. None is as long as `per` / 30 at first, and twice as
                long each time that it did not help, up to `per`.
        """
        self._refused += 1
        now = asyncio.get_running_loop().time()
        if retry_after is None:
            retry_after = self._grown_pause(now)
        self._paused_until = max(self._paused_until, now + retry_after)

    def _grown_pause(self, now: float) -> float:
        per = self._limit.per
        if now < self._paused_until:
            return 0.0  # one burst of refusals is one lesson
        if now > self._paused_until + per:
            self._pause = per / 60
        self._pause = min(2 * self._pause, per)
        return self._pause

    def budget(self) -> Budget:
        """Take a snapshot; outside a running event loop there is no time to tell."""
        now = asyncio.get_running_loop().time()
        return Budget(
            limit=self._limit.requests,
            per=self._limit.per,
            available=self._window.available(now),
            in_flight=self._window.in_flight,
            waiting=self._waiting,
            paused_for=max(0.0, self._paused_until - now),
            sent=self._sent,
            refused=self._refused,
        )

    async def _until_free(self, loop: asyncio.AbstractEventLoop) -> None:
        await self._until_open(loop)
        await self._bucket.acquire()
        while self._paused_until > loop.time():
            await self._until_open(loop)

    async def _until_open(self, loop: asyncio.AbstractEventLoop) -> None:
        while True:
            now = loop.time()
            free = self._window.next_free(now)
            opens = None if free is None else max(free, self._paused_until)
            if opens is not None and opens <= now:
                return
            self._changed.clear()
            try:
                async with asyncio.timeout_at(opens):
                    await self._changed.wait()
            except TimeoutError:
                pass
