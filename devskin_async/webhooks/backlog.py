"""Events that were acknowledged and wait to be handled."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections import deque

from attrs import frozen

from .events import WebhookEvent, label
from .once import Once, turn_of

_BUSY_SECONDS = 1.0

_log = logging.getLogger(__package__)


@frozen
class _Waiting:
    event: WebhookEvent
    key: str
    context: contextvars.Context  # of its request, for its handlers


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
        self._workers = workers
        self._keys: set[str] = set()
        # The events of each turn, in the order in which they came, and the turns that no worker
        # is at: those of one order take up one worker at the most.
        self._events: dict[str, deque[_Waiting]] = {}
        self._turns: deque[str] = deque()
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
        if self._closed:
            return False
        if key in self._keys:
            return True
        if len(self._keys) >= self._size:
            return False
        self._keys.add(key)
        turn = turn_of(event, key)
        if turn not in self._events:
            self._events[turn] = deque()
            self._turns.append(turn)
        self._events[turn].append(_Waiting(event, key, contextvars.copy_context()))
        if len(self._tasks) < self._workers and self._turns:
            task = asyncio.create_task(self._work())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return True

    async def aclose(self) -> None:
        """Take no more in, and wait until what is in was handled.

        Whoever cancels this, or bounds it with a timeout, leaves the rest unhandled.
        """
        self._closed = True
        try:
            while self._tasks:
                await asyncio.wait(self._tasks)
        finally:
            if self._keys:
                _log.error("%d acknowledged events were not handled", len(self._keys))
            tasks = tuple(self._tasks)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._keys.clear()
            self._events.clear()
            self._turns.clear()

    async def _work(self) -> None:
        """Handle events until no turn is left."""
        while self._turns:
            turn = self._turns.popleft()
            waiting = self._events[turn].popleft()
            try:
                await asyncio.create_task(self._handle(waiting), context=waiting.context)
            finally:
                self._keys.discard(waiting.key)
                if self._events[turn]:
                    self._turns.append(turn)
                else:
                    del self._events[turn]

    async def _handle(self, waiting: _Waiting) -> None:
        event, key = waiting.event, waiting.key
        try:
            while await self._once.hand(event, key) == "busy":  # noqa: ASYNC110 - see below
                # Another receiver is at this order, and can't tell when it has ended.
                await asyncio.sleep(_BUSY_SECONDS)
        except Exception:  # noqa: BLE001 - whatever it is, the next one's turn has come
            _log.exception("a handler failed on %s, which was acknowledged", label(event))
