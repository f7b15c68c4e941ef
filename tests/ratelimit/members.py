"""Participants of a budget as the tests of the pure state need them, and a strict server."""

from __future__ import annotations

from collections import deque
from typing import Any

from attrs import define, field

from devskin_async import RateLimit
from devskin_async.ratelimit.grants import step
from devskin_async.ratelimit.reports import Limit, Reply, Report
from devskin_async.ratelimit.state import BudgetState


def new_state() -> BudgetState:
    return BudgetState(epoch=1)


@define
class Member:
    """One that takes part, and numbers its slots as `LocalParticipant` does."""

    state: BudgetState
    name: str = "one.1"
    limit: RateLimit = field(factory=lambda: RateLimit(10, 60, burst=1000, reserve=0))
    lease: float = 30.0
    next_number: int = 1

    def ask(self, now: float, interactive: int = 0, bulk: int = 0, **news: Any) -> Reply:
        """Report what there is, ask for so many slots, and number those that were granted."""
        reply = step(self.state, now, self.report(interactive, bulk, **news))
        self.next_number += len(reply.granted)
        return reply

    def take(self, now: float, interactive: int = 0, bulk: int = 0) -> int:
        """Ask, and count what was granted."""
        return len(self.ask(now, interactive, bulk).granted)

    def answer(self, now: float, *numbers: int, ago: float = 0.0) -> Reply:
        """Report that requests were answered."""
        return self.ask(now, answered=tuple((number, ago) for number in numbers))

    def report(self, interactive: int = 0, bulk: int = 0, **news: Any) -> Report:
        return Report(
            participant=self.name,
            limit=Limit.of(self.limit),
            lease=self.lease,
            next_number=self.next_number,
            wants=(interactive, bulk),
            **news,
        )


@define
class StrictServer:
    """Counts what reaches it, and notes every request over the limit in any span."""

    limit: RateLimit
    over: int = 0
    _counted: deque[float] = field(factory=deque)

    def count(self, now: float) -> None:
        while self._counted and self._counted[0] <= now - self.limit.per:
            self._counted.popleft()
        self._counted.append(now)
        self.over += len(self._counted) > self.limit.requests
