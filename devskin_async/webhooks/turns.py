"""One at a time for each key, in the order in which they came."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress


class Turns:
    """Lets one at a time go on for each key; it keeps no key that nobody uses."""

    def __init__(self) -> None:
        self._queues: dict[str, deque[asyncio.Future[None]]] = {}

    async def take(self, key: str) -> None:
        """Wait for the key's turn; who has it must `give` it back."""
        queue = self._queues.get(key)
        if queue is None:
            self._queues[key] = deque()
            return
        turn = asyncio.get_running_loop().create_future()
        queue.append(turn)
        try:
            await turn
        except BaseException:  # cancelled, or closed with its coroutine
            if turn.done() and not turn.cancelled():  # it was handed over at the same moment
                self.give(key)
            else:
                with suppress(ValueError):  # `give` has passed it over already
                    queue.remove(turn)
            raise

    def give(self, key: str) -> None:
        """Hand the key to the next who waits for it."""
        queue = self._queues[key]
        while queue:
            turn = queue.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        del self._queues[key]
