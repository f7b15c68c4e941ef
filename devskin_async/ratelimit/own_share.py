"""The share of a budget that a participant uses while the store is unreachable; see `outage`."""

from __future__ import annotations

import math

from msgspec.structs import replace

from .grants import RESERVE, step
from .participant import Participant
from .reports import BULK, INTERACTIVE, HeldSlot, HeldSlots, Reply, Report
from .state import BudgetState

ASK_AGAIN = 0.5
"""Seconds after which a waiting participant asks again, since the store may be back."""

_ELSEWHERE = "other processes:.0"


class FallbackBudget:
    """A participant's own budget: its slots, and those that others may hold.

    Args:
        state: The budget as last seen; it is changed.
        report: What the participant could not report.
        share: The share that it was promised.
        now: The present, by the state's clock.
    """

    def __init__(self, state: BudgetState, report: Report, share: int, now: float) -> None:
        name, limit = report.participant, report.limit
        self.state = state
        self._report = report
        self._next = report.next_number
        self.is_frozen: bool = False
        self.per: float = limit.per
        state.advance(now)
        state.in_flight = [slot for slot in state.in_flight if slot.participant == name]
        state.answered = [slot for slot in state.answered if slot.participant == name]
        for other in (each for key, each in state.participants.items() if key != name):
            other.waiting, other.held, other.waits_until = [0, 0], [0, 0], -math.inf
        self.share: int = self._share_of_pace(share, limit.requests, limit.per)
        if state.quota_left < math.inf:
            state.quota_left = state.quota_left * self.share // limit.requests
        state.apply(replace(self._for_share(report), wants=(0, 0), leaves=False))
        held = min(self.share, len(state.in_flight) + len(state.answered))
        self._block(self.share - held, now + 2 * (report.lease + state.per))
        self._block(limit.requests - self.share, math.inf)

    def step(self, now: float, report: Report, *, grants: bool = True) -> Reply:
        """Apply a report; grant slots if `grants` is true."""
        wanted = self._for_share(report)
        if self.is_frozen or not grants:
            wanted = replace(wanted, wants=(0, 0))
        reply = step(self.state, now, wanted)
        self._report = report
        self._next = report.next_number + len(reply.granted)
        waits = sum(report.wants) > len(reply.granted)
        return replace(reply, wait=min(reply.wait, ASK_AGAIN)) if waits else reply

    def freeze(self, now: float) -> Report:
        """Grant no more slots, and return a report of all that are held."""
        self.is_frozen = True
        state, name = self.state, self._report.participant
        state.advance(now)
        in_flight, answered = (
            tuple(replace(slot, at=slot.at - now) for slot in slots if slot.participant == name)
            for slots in (state.in_flight, state.answered)
        )
        return Report(
            participant=name,
            limit=self._report.limit,
            lease=self._report.lease,
            epoch=state.epoch,
            next_number=self._next,
            pause=max(0.0, state.paused_until - now),
            held=HeldSlots(in_flight, answered),
        )

    def _for_share(self, report: Report) -> Report:
        quota = report.quota
        if quota is not None:
            remaining = quota.remaining * self.share // report.limit.requests
            quota = replace(quota, remaining=remaining)
        return replace(report, epoch=0, quota=quota)

    def _share_of_pace(self, share: int, requests: int, per: float) -> int:
        shape = self.state.shaping.shape
        return share if shape is None else min(share, int(share * shape.rate * per / requests))

    def _block(self, count: int, until: float) -> None:
        """Mark slots as held by others until some time, divided between lanes by the reserve."""
        if count <= 0:
            return
        limit = self._report.limit
        reserve = min(RESERVE if limit.reserve < 0 else limit.reserve, limit.requests - 1)
        others = self.state.participants.setdefault(_ELSEWHERE, Participant(limit.requests))
        for number in range(count):
            lane = INTERACTIVE if number * reserve % limit.requests < reserve else BULK
            self.state.answered.append(HeldSlot(_ELSEWHERE, number, lane, until))
            others.held[lane] += 1
        self.state.answered.sort(key=lambda slot: slot.at)
