"""Participants of one budget, the server that counts their requests, and time, as a simulation."""

from __future__ import annotations

import asyncio
import heapq
import math
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from itertools import count
from typing import Protocol, cast

from attrs import define, field

from devskin_async import RateLimit
from devskin_async.ratelimit.grants import step
from devskin_async.ratelimit.reports import HeldSlot, HeldSlots, Limit, Quota, Reply, Report
from devskin_async.ratelimit.shaping import Shaping
from devskin_async.ratelimit.state import BudgetState
from devskin_async.ratelimit.store import Store

from .reporting import Clock

LEASE = 30.0
SOON = 1e-3  # seconds
ROUNDING = 1e-6  # seconds; what differently set clocks may differ by


class Place(Protocol):
    """Where a budget is kept.

    Attributes:
        clock: The budget's clock.
    """

    clock: Clock

    def open(self) -> Store:
        """Return a store for one more participant."""
        ...

    def lose(self) -> None:
        """Lose the state."""
        ...

    def close(self) -> None:
        """Close all that was opened."""
        ...


class StrictServer:
    """Counts what reaches it, and notes every request over the limit in any span.

    Args:
        requests: The limit.
        per: The span in seconds.
    """

    def __init__(self, requests: int, per: float) -> None:
        self._requests, self._per = requests, per
        self._counted: deque[float] = deque()
        self.over = 0

    def count(self, now: float) -> None:
        """Count a request."""
        while self._counted and self._counted[0] <= now - self._per + ROUNDING:
            self._counted.popleft()
        self._counted.append(now)
        self.over += len(self._counted) > self._requests


@define(eq=False)
class Request:
    """A request under way."""

    number: int
    lane: int
    granted_at: float  # by the budget's clock
    lease_ends_at: float
    is_counted: bool = False
    is_over: bool = False


@define(kw_only=True)
class Delays:
    """What happens to a request: seconds there and back, and its response."""

    there: float
    back: float
    refused: bool = False
    remaining: int | None = None


@define(eq=False)
class Member:
    """A participant, which does what the scheduler of an event loop does."""

    name: str
    limit: RateLimit
    store: Store
    report_within: float
    epoch: int = 0
    number: int = 1
    waiting: list[Delays] = field(factory=list)
    waiting_bulk: list[Delays] = field(factory=list)
    under_way: dict[int, Request] = field(factory=dict)
    over: dict[int, tuple[int, float]] = field(factory=dict)  # lane, and when it was answered
    answered: dict[int, float] = field(factory=dict)
    cancelled: list[int] = field(factory=list)
    accepted: bool = False
    pause: float = 0.0
    quota: Quota | None = None
    shaping: Shaping = field(factory=Shaping)
    lesson: Shaping | None = None
    asks_at: float = math.inf

    @property
    def wants(self) -> tuple[int, int]:
        """How many requests wait, in each lane."""
        return len(self.waiting), len(self.waiting_bulk)

    def held(self, now: float) -> HeldSlots:
        """Return what it holds."""
        flying = [
            HeldSlot(self.name, each.number, each.lane, each.lease_ends_at - now)
            for each in self.under_way.values()
        ]
        over = [
            HeldSlot(self.name, number, lane, at + self.limit.per - now)
            for number, (lane, at) in self.over.items()
            if at + self.limit.per > now
        ]
        return HeldSlots(tuple(flying), tuple(over))


class World:
    """The simulated participants, server and time.

    Args:
        place: Where the budget is kept.
        requests: The server's limit.
        per: Its span in seconds.
        compares: Whether the state must be the same that the pure code makes.
    """

    def __init__(self, place: Place, requests: int, per: float, *, compares: bool = True) -> None:
        self.place, self.per = place, per
        self.server = StrictServer(requests, per)
        self.members: list[Member] = []
        self.now = 0.0
        self.reports = 0
        self._model: BudgetState | None = BudgetState(epoch=1) if compares else None
        self._ahead = place.clock.now  # of the clock
        self._names = count(1)
        self._order = count()
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._loop = asyncio.new_event_loop()

    def join(self, limit: RateLimit, report_within: float) -> Member:
        """Let one more take part."""
        store = self.place.open()
        member = Member(f"host:{next(self._names)}.1", limit, store, report_within)
        self.members.append(member)
        return member

    def want(self, member: Member, lane: int, requests: list[Delays]) -> None:
        """Let requests of a member wait, and ask for them."""
        (member.waiting_bulk if lane else member.waiting).extend(requests)
        self.ask(member)

    def ask(self, member: Member, *, loses_reply: bool = False) -> None:
        """Report, ask for slots, and send what is granted."""
        if member not in self.members:
            return
        reply = self._exchange(member)
        if member.epoch not in (0, reply.epoch):
            member.epoch = 0
            reply = self._exchange(member)
        if loses_reply:  # whatever it was, nothing is known to have happened
            member.asks_at = self.now
            return
        member.epoch, member.shaping = reply.epoch, reply.shaping
        member.answered, member.cancelled, member.accepted = {}, [], False
        member.pause, member.quota, member.lesson = 0.0, None, None
        for lane in reply.granted:
            fate = (member.waiting_bulk if lane else member.waiting).pop(0)
            self._send(member, lane, reply.now, fate)
        # While the clock is behind the state, a wait can be next to nothing again and again.
        member.asks_at = self.now + max(reply.wait, SOON)

    def run(self, until: float) -> None:
        """Let time pass, with all that happens meanwhile."""
        while True:
            asks = min((each.asks_at for each in self.members), default=math.inf)
            at = min(asks, self._events[0][0] if self._events else math.inf)
            if at > until:
                break
            self._set_time(at)
            if self._events and self._events[0][0] <= at:
                heapq.heappop(self._events)[2]()
            else:
                self.ask(next(each for each in self.members if each.asks_at == asks))
        if until < math.inf:
            self._set_time(until)

    def give_up(self, member: Member, request: Request) -> None:
        """Let a request be cancelled, or time out."""
        if not request.is_over:
            self._count(request)
            self._answer(member, request, Delays(there=0, back=0))

    def crash(self, member: Member) -> None:
        """Let a member be killed; what it has sent is counted all the same."""
        self.members.remove(member)

    def restart(self, clock: float) -> None:
        """Let the machine start again, and with it the clock."""
        self.members.clear()
        self._events.clear()
        self._ahead = clock - self.now
        self._set_time(self.now)

    def adjust_clock(self, seconds: float) -> None:
        """Set the clock back a little; the state's own time stands meanwhile."""
        self._ahead -= seconds
        self._set_time(self.now)

    def close(self) -> None:
        """Close everything."""
        for member in self.members:
            self._loop.run_until_complete(member.store.aclose())
        self.place.close()
        self._loop.close()

    def _set_time(self, now: float) -> None:
        self.now = max(now, self.now)
        self.place.clock.now = self.now + self._ahead

    def _later(self, seconds: float, what: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self.now + seconds, next(self._order), what))

    def _report(self, member: Member) -> Report:
        return Report(
            participant=member.name,
            limit=Limit.of(member.limit),
            lease=LEASE,
            epoch=member.epoch,
            next_number=member.number,
            answered=tuple((number, self.now - at) for number, at in member.answered.items()),
            cancelled=tuple(member.cancelled),
            accepted=member.accepted,
            wants=member.wants,
            pause=member.pause,
            quota=member.quota,
            shaping=member.lesson,
            held=None if member.epoch else member.held(self.now),
        )

    def _exchange(self, member: Member) -> Reply:
        report = self._report(member)
        reply = member.store.exchange(report)
        if not isinstance(reply, Reply):
            reply = self._loop.run_until_complete(_awaited(reply))
        self.reports += 1
        if self._model is not None:
            if not self._model.participants:
                self._model.epoch = reply.epoch
            assert reply == step(self._model, self.place.clock.now, report)
            assert member.store.view()[0] == self._model
        check_counts(member.store.view()[0])
        return reply

    def _send(self, member: Member, lane: int, granted_at: float, fate: Delays) -> None:
        request = Request(member.number, lane, granted_at, self.now + LEASE)
        member.under_way[member.number] = request
        member.number += 1
        if not fate.refused:
            self._later(fate.there, lambda: self._count(request))
        self._later(fate.there + fate.back, lambda: self._answer(member, request, fate))

    def _count(self, request: Request) -> None:
        if not request.is_counted:
            request.is_counted = True
            self.server.count(self.now)

    def _answer(self, member: Member, request: Request, fate: Delays) -> None:
        if request.is_over or member not in self.members:
            return
        request.is_over = True
        del member.under_way[request.number]
        if fate.refused and not request.is_counted:
            self._learn_refusal(member, request)
        else:
            member.over[request.number] = (request.lane, self.now)
            member.answered[request.number] = self.now
            member.accepted = True
            known = member.lesson or member.shaping
            learned = known.accepted(member.limit, self.place.clock.now, request.granted_at)
            member.lesson = learned if learned is not known else member.lesson
            if fate.remaining is not None:
                member.quota = Quota(fate.remaining, self.per, request.granted_at)
        # A lesson, or a slot that another waits for, is reported at once.
        within = 0.0 if member.cancelled or member.lesson else member.report_within
        member.asks_at = min(member.asks_at, self.now + within)

    def _learn_refusal(self, member: Member, request: Request) -> None:
        member.cancelled.append(request.number)
        state, now = member.store.view()
        known = member.lesson or member.shaping
        accepted = (len(state.answered), state.accepted_at)
        learned = known.refused(member.limit, now, request.granted_at, accepted)
        if learned is not known:
            member.lesson, member.pause = learned, learned.pause


async def _awaited(reply: Awaitable[Reply]) -> Reply:
    return await cast("Coroutine[None, None, Reply]", reply)


def check_counts(state: BudgetState) -> None:
    """Check that what is counted for each participant are its slots."""
    slots = [*state.in_flight, *state.answered]
    for name, each in state.participants.items():
        held = [sum(s.participant == name and s.lane == lane for s in slots) for lane in (0, 1)]
        assert each.held == held
    assert {slot.participant for slot in slots} <= state.participants.keys()
    assert sorted(slot.at for slot in state.answered) == [slot.at for slot in state.answered]
