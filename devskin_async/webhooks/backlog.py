"""Events that were acknowledged and wait to be handled."""

from __future__ import annotations

import asyncio
import logging

from .events import WebhookEvent
from .once import Once

_BUSY_SECONDS = 1.0

_log = logging.getLogger(__package__)


class Backlog:
    """A bounded queue of events, and the tasks that have them handled.

    Args:
        once: Has them handled.
        size: How many events may wait or be under way.
        workers: How many are handled at once.
    """

    def __init__(self, once: Once, size: int, workers: int) -> None:
        if size < 1 or workers < 1:
            raise ValueError("backlog and workers must be greater than 0")
        self._once = once
        self._size = size
        self._queue: asyncio.Queue[tuple[WebhookEvent, str]] = asyncio.Queue()
        self._keys: set[str] = set()
        self._workers = workers
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    def put(self, event: WebhookEvent, key: str) -> bool:
        """Take an event in, unless it is in already.

        Args:
            event: The event.
            key: The digest of its request.

        Returns:
            Whether it is in.
        """
        if key in self._keys:
            return True
        if self._closed or len(self._keys) >= self._size:
            return False
        self._keys.add(key)
        self._queue.put_nowait((event, key))
        if len(self._tasks) < self._workers:
            self._tasks.add(asyncio.create_task(self._work()))
        return True

    async def aclose(self) -> None:
        """Take no more in, and wait until what is in was handled.

        Whoever cancels this, or bounds it with a timeout, leaves the rest unhandled.
        """
        self._closed = True
        try:
            await self._queue.join()
        finally:
            if self._keys:
                _log.error("%d acknowledged events were not handled", len(self._keys))
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            self._tasks.clear()

    async def _work(self) -> None:
        while True:
            event, key = await self._queue.get()
            try:
                while await self._once.hand(event, key) == "busy":  # noqa: ASYNC110 - see below
                    # Another process is at this order, and can't tell when it has ended.
                    await asyncio.sleep(_BUSY_SECONDS)
            except Exception:  # noqa: BLE001 - whatever it is, the next one's turn has come
                _log.exception("a handler failed on %s, which was acknowledged", event.event)
            finally:
                self._keys.discard(key)
                self._queue.task_done()
