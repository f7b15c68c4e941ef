"""The order of a lane's waiters: flows take turns; within a flow, first come, first served.

Start-time fair queueing: a flow's next turn is one after its last turn, but never before the
present one. A flow with one request therefore waits for one turn of each other flow, not for all
that they have queued.

Source: P. Goyal, H. M. Vin, H. Cheng, «Start-time fair queuing», SIGCOMM 1996.
"""

from __future__ import annotations

from collections import deque
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Generic, Protocol, TypeVar


class Cancellable(Protocol):
    """Something that waits until it is done or cancelled."""

    def done(self) -> bool:
        """Return whether it no longer waits."""
        ...


W = TypeVar("W", bound=Cancellable)


class Flow(Generic[W]):
    """Requests that share a lane's turns with others: one listing, one call."""

    __slots__ = ("queue", "start_tag", "waiters")

    def __init__(self) -> None:
        self.queue: FairQueue[W] | None = None
        self.start_tag: int = 0
        self.waiters: deque[W] = deque()


class FairQueue(Generic[W]):
    """The waiters of one lane; cancelled ones are removed once they outnumber the others.

    Attributes:
        waiting: How many wait.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Flow[W]]] = []
        self._order = count()
        self._virtual_time = 0
        self.waiting: int = 0
        self._cancelled = 0  # of the queued

    def push(self, flow: Flow[W], waiter: W) -> None:
        """Add a waiter at the end of its flow.

        Raises:
            ValueError: The flow queues in another lane.
        """
        if flow.queue is None:
            flow.queue = self
        elif flow.queue is not self:
            raise ValueError("a flow waits in one lane only")
        if not flow.waiters:
            flow.start_tag = max(flow.start_tag, self._virtual_time)
            heappush(self._heap, (flow.start_tag, next(self._order), flow))
        flow.waiters.append(waiter)
        self.waiting += 1

    def note_cancelled(self) -> None:
        """Note that a queued waiter was cancelled; `pop` skips it."""
        self.waiting -= 1
        self._cancelled += 1
        if self._cancelled > self.waiting:
            self._remove_cancelled()

    def pop(self) -> W | None:
        """Remove and return the next waiter; None if the queue is empty."""
        while self._heap:
            start_tag, _, flow = heappop(self._heap)
            while flow.waiters:
                waiter = flow.waiters.popleft()
                if waiter.done():
                    self._cancelled -= 1
                    continue
                self.waiting -= 1
                self._virtual_time = start_tag
                flow.start_tag = start_tag + 1
                if flow.waiters:
                    heappush(self._heap, (flow.start_tag, next(self._order), flow))
                return waiter
        return None

    def _remove_cancelled(self) -> None:
        for _, _, flow in self._heap:
            queued = len(flow.waiters)
            flow.waiters = deque(waiter for waiter in flow.waiters if not waiter.done())
            self._cancelled -= queued - len(flow.waiters)  # some may not be noted yet
        self._heap = [entry for entry in self._heap if entry[2].waiters]
        heapify(self._heap)

    def ahead_of_new_flow(self, requests: int) -> int:
        """Return how many waiters would be popped before the last of a new flow's requests."""
        return sum(
            min(requests, sum(not waiter.done() for waiter in flow.waiters))
            for _, _, flow in self._heap
        )
