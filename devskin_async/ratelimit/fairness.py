"""The order in which a lane's waiters go: jobs take turns, each job's own are first come.

Start-time fair queueing: a job's next turn is one after its last, but never before the turn that
is on now. A job that comes with one request therefore waits for one turn of each other job, not
for all that they have queued.

Source: P. Goyal, H. M. Vin, H. Cheng, «Start-time fair queuing», SIGCOMM 1996.
"""

from __future__ import annotations

from collections import deque
from heapq import heappop, heappush
from itertools import count
from typing import Generic, Protocol, TypeVar


class Waiter(Protocol):
    """Something that waits until it is done, or has given up."""

    def done(self) -> bool:
        """Say whether it waits no more."""
        ...


W = TypeVar("W", bound=Waiter)


class Job(Generic[W]):
    """A piece of work that shares a lane with others: one listing, one call."""

    __slots__ = ("queue", "turn", "waiters")

    def __init__(self) -> None:
        self.queue: FairQueue[W] | None = None
        self.turn: int = 0
        self.waiters: deque[W] = deque()


class FairQueue(Generic[W]):
    """The waiters of one lane."""

    def __init__(self) -> None:
        self._turns: list[tuple[int, int, Job[W]]] = []
        self._order = count()
        self._now = 0

    def push(self, job: Job[W], waiter: W) -> None:
        """Let a waiter queue, as the last of its job.

        Raises:
            ValueError: The job queues in another lane.
        """
        if job.queue is None:
            job.queue = self
        elif job.queue is not self:
            raise ValueError("a job waits in one lane only")
        if not job.waiters:
            job.turn = max(job.turn, self._now)
            heappush(self._turns, (job.turn, next(self._order), job))
        job.waiters.append(waiter)

    def first(self) -> W | None:
        """Give the waiter whose turn is next; None where nobody waits.

        Those who gave up are dropped on the way.
        """
        while self._turns:
            job = self._turns[0][2]
            while job.waiters and job.waiters[0].done():
                job.waiters.popleft()
            if job.waiters:
                return job.waiters[0]
            heappop(self._turns)
        return None

    def pop(self) -> W:
        """Take the waiter whose turn is next.

        Raises:
            LookupError: Nobody waits.
        """
        waiter = self.first()
        if waiter is None:
            raise LookupError("nobody waits")
        turn, _, job = heappop(self._turns)
        job.waiters.popleft()
        self._now = turn
        job.turn = turn + 1
        if job.waiters:
            heappush(self._turns, (job.turn, next(self._order), job))
        return waiter

    def ahead_of_new_job(self, requests: int) -> int:
        """Count the waiters that would go before the last of a new job's requests."""
        return sum(
            min(requests, sum(not waiter.done() for waiter in job.waiters))
            for _, _, job in self._turns
        )
