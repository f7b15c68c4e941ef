"""The order in which a lane's waiters go: flows take turns, each flow's own are first come.

Start-time fair queueing: a flow's next turn is one after its last, but never before the turn that
is on now. A flow that comes with one request therefore waits for one turn of each other flow, not
for all that they have queued.

Source: P. Goyal, H. M. Vin, H. Cheng, «Start-time fair queuing», SIGCOMM 1996.
"""

from __future__ import annotations

from collections import deque
from heapq import heappop, heappush
from itertools import count
from typing import Generic, Protocol, TypeVar


class Cancellable(Protocol):
    """Something that waits until it is done, or has given up."""

    def done(self) -> bool:
        """Say whether it waits no more."""
        ...


W = TypeVar("W", bound=Cancellable)


class Flow(Generic[W]):
    """Requests that share a lane's turns with others: one listing, one call."""

    __slots__ = ("queue", "turn", "waiters")

    def __init__(self) -> None:
        self.queue: FairQueue[W] | None = None
        self.turn: int = 0
        self.waiters: deque[W] = deque()


class FairQueue(Generic[W]):
    """The waiters of one lane; those who gave up are counted until their turn would come."""

    def __init__(self) -> None:
        self._turns: list[tuple[int, int, Flow[W]]] = []
        self._order = count()
        self._now = 0
        self._waiting = 0

    def __len__(self) -> int:
        return self._waiting

    def push(self, flow: Flow[W], waiter: W) -> None:
        """Let a waiter queue, as the last of its flow.

        Raises:
            ValueError: The flow queues in another lane.
        """
        if flow.queue is None:
            flow.queue = self
        elif flow.queue is not self:
            raise ValueError("a flow waits in one lane only")
        if not flow.waiters:
            flow.turn = max(flow.turn, self._now)
            heappush(self._turns, (flow.turn, next(self._order), flow))
        flow.waiters.append(waiter)
        self._waiting += 1

    def gave_up(self) -> None:
        """Count one waiter less, who is done and is passed over."""
        self._waiting -= 1

    def pop(self) -> W | None:
        """Take the waiter whose turn is next; None where nobody waits."""
        while self._turns:
            turn, _, flow = heappop(self._turns)
            while flow.waiters:
                waiter = flow.waiters.popleft()
                if waiter.done():
                    continue
                self._waiting -= 1
                self._now = turn
                flow.turn = turn + 1
                if flow.waiters:
                    heappush(self._turns, (flow.turn, next(self._order), flow))
                return waiter
        return None

    def ahead_of_new_flow(self, requests: int) -> int:
        """Count the waiters that would go before the last of a new flow's requests."""
        return sum(
            min(requests, sum(not waiter.done() for waiter in flow.waiters))
            for _, _, flow in self._turns
        )
