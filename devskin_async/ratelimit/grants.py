"""Which slots a participant gets now, and when it should ask again: decided from the state alone.

An interactive request of any participant goes before all bulk work. Bulk work leaves a reserve of
slots to interactive requests, which leave as many to bulk work that waits.

Within a lane, the participant that holds the fewest slots is next: a participant gets one only
while more are free than the others that wait there need to hold as many as it does. It is known
ahead when a slot will be free, and which participant will get it. So the reply says when to ask
again, and no participant has to be woken.
"""

from __future__ import annotations

import math

from .participant import Participant
from .reports import BULK, INTERACTIVE, HeldSlot, Reply, Report
from .shaping import Shape
from .state import BudgetState, insert

RESERVE = 10
"""The automatic reserve while another participant makes interactive requests."""

_LATELY = 5.0  # windows for which an interactive request of another participant counts
# In windows: how late a waiting participant may ask again, how long a slot is left to the
# participant that is next, and when to ask again if no time is known.
_LATE = 1 / 10
_LEFT_ALONE = 1 / 20
_POLL = 1 / 10
_LEAST_LATE = 0.2  # seconds
# The shortest wait in seconds, so that one step takes several slots that become free together. It
# is less than a round trip: within one, a participant with few callers would run out of requests.
_AT_LEAST = 0.005


def step(state: BudgetState, now: float, report: Report) -> Reply:
    """Apply a report, and grant slots.

    Args:
        state: The budget, which is changed.
        now: The present by the budget's clock, in seconds.
        report: What a participant reports and requests.
    """
    state.advance(now)
    granted: tuple[int, ...] = ()
    wait, share = 0.0, 0
    if report.epoch in (0, state.epoch):
        me = state.apply(report)
        wait, share = math.inf, me.share
        if any(me.waiting):
            current = _Step(state, report, me)
            granted = tuple(current.grant())
            wait = current.wait() + (state.now - now)  # until a clock that went back has caught up
    return Reply(state.now, granted, wait, state.epoch, state.paused_until, state.shaping, share)


class _Step:
    """The step of a participant that wants slots."""

    def __init__(self, state: BudgetState, report: Report, me: Participant) -> None:
        self._state = state
        self._report = report
        self._now = state.now
        self._me = me
        self._shape = Shape(report.limit.burst, report.limit.requests / report.limit.per)
        self._learned = state.shaping.shape
        self._others: list[tuple[str, Participant, bool]] = []
        self._waiting = [*me.waiting]
        self._in_lane = [*me.held]  # the slots that all participants hold in each lane
        self._freed: dict[tuple[str, int], int] = {}  # by holder and lane, when looking ahead
        reserve = report.limit.reserve
        if len(state.participants) > 1:
            lately = self._look_at_others()
            reserve = RESERVE if reserve < 0 and lately else reserve
        self._reserve = min(max(0, reserve), report.limit.requests - 1)

    def _look_at_others(self) -> bool:
        """Count what others hold and want; return whether one was interactive lately."""
        now, me, lately = self._now, self._me, False
        mine = (me.granted_at, self._report.participant)
        for name, each in self._state.participants.items():
            if each is me:
                continue
            waits = each.waits_until > now
            for lane in (INTERACTIVE, BULK):
                self._in_lane[lane] += each.held[lane]
                self._waiting[lane] += each.waiting[lane] if waits else 0
            if waits:
                # Of those that hold as many, the one whose last grant is the oldest goes first.
                self._others.append((name, each, (each.granted_at, name) < mine))
            lately |= each.interactive_at > now - _LATELY * self._state.per
        return lately

    def grant(self) -> list[int]:
        """Grant all slots that are available now, and return their lanes."""
        state, me, name = self._state, self._me, self._report.participant
        lease_ends = self._now + self._report.lease
        number = self._report.next_number
        lanes: list[int] = []
        allowed = min(sum(me.waiting), self._allowed())
        while len(lanes) < allowed and (lane := self._lane()) is not None:
            insert(state.in_flight, HeldSlot(name, number + len(lanes), lane, lease_ends))
            lanes.append(lane)
            me.held[lane] += 1
            self._in_lane[lane] += 1
            me.waiting[lane] -= 1
            self._waiting[lane] -= 1
        if lanes:
            me.granted_at = self._now
            me.bucket.tokens -= len(lanes)
            state.bucket.tokens -= len(lanes)
            state.quota_left -= len(lanes)
            if state.shaping.probing:
                state.probe = (name, number)
        return lanes

    def wait(self) -> float:
        """Return the seconds until it is worth asking again, and note until when it waits."""
        me, per = self._me, self._state.per
        if not any(me.waiting):
            return math.inf
        wait = max(self._slot_wait(), self._pace_wait())
        if wait == math.inf and len(self._state.participants) > 1:
            wait = _POLL * per
        if self._others:
            wait = max(wait, min(_AT_LEAST, per / 100))
        late = max(_LATE * per, _LEAST_LATE)
        me.waits_until = self._now + min(wait, per) + late
        return wait

    def _lane(self) -> int | None:
        """Return the lane of the next request that can be granted a slot; None if none can."""
        for lane in (INTERACTIVE, BULK):
            if self._me.waiting[lane] and self._is_free(lane, self._claims(lane)):
                return lane
        return None

    def _allowed(self) -> float:
        """Return how many requests pause, quota and token buckets allow now."""
        state, allowed = self._state, 0.0
        if self._pace_wait() <= 0:
            allowed = min(self._me.bucket.tokens // 1, state.quota_left)
            if self._learned is not None:
                allowed = min(allowed, state.bucket.tokens // 1)
            if state.shaping.probing:
                allowed = min(allowed, 1)
        return allowed

    def _pace_wait(self) -> float:
        """Return the seconds until pause, quota and token buckets allow a request."""
        state, me, now = self._state, self._me, self._now
        if state.shaping.probing and self._is_probing():
            return math.inf
        wait = max(0.0, state.paused_until - now)
        if state.quota_left <= 0:
            wait = max(wait, state.quota_until - now)
        wait = max(wait, me.bucket.fill(self._shape, now))
        if self._learned is not None:
            wait = max(wait, state.bucket.fill(self._learned, now))
        return wait

    def _is_probing(self) -> bool:
        probe = self._state.probe
        return any((slot.participant, slot.number) == probe for slot in self._state.in_flight)

    def _slot_wait(self) -> float:
        """Return the seconds until a slot is free that this participant gets.

        This looks ahead, and changes the counts of this step: it comes last.
        """
        lanes = [lane for lane in (INTERACTIVE, BULK) if self._me.waiting[lane]]
        at, deadline = self._now, math.inf
        for slot in (None, *self._state.answered):
            if slot is not None:
                at = slot.at
                self._in_lane[slot.lane] -= 1
                holder = (slot.participant, slot.lane)
                self._freed[holder] = self._freed.get(holder, 0) + 1
            if at >= deadline:
                break
            for lane in lanes:
                if self._is_free(lane, self._claims(lane)):
                    return max(0.0, at - self._now)
                if deadline == math.inf and self._is_free(lane, 0):
                    # The participant that is next may be gone: do not leave it the slot for long.
                    deadline = max(at, self._now) + _LEFT_ALONE * self._state.per
        return deadline - self._now

    def _is_free(self, lane: int, claims: int) -> bool:
        """Return whether a slot of a lane is free after the others got so many."""
        free, free_in_lane = self._free(lane)
        if lane == BULK and (waiting := self._waiting[INTERACTIVE]):
            # Interactive requests go first, wherever they wait.
            free -= min(waiting, max(0, min(self._free(INTERACTIVE))))
        return claims < free and claims < free_in_lane

    def _free(self, lane: int) -> tuple[int, int]:
        """Return how many slots are free in all, and how many more a lane may hold."""
        requests = self._report.limit.requests
        max_slots = requests - self._reserve
        if lane == INTERACTIVE:
            max_slots = (
                requests - min(self._reserve, max_slots) if self._waiting[BULK] else requests
            )
        return requests - sum(self._in_lane), max_slots - self._in_lane[lane]

    def _claims(self, lane: int) -> int:
        """Return how many slots the others get before this participant's next one."""
        if not self._others:
            return 0
        me, held, claims = self._me, sum(self._in_lane), 0
        for name, each, is_before in self._others:
            # One with a lower limit gets nothing while the others hold as many.
            if each.waiting[lane] and (each.requests >= me.requests or each.requests > held):
                behind = self._holds(self._report.participant, me, lane)
                behind += is_before - self._holds(name, each, lane)
                claims += min(each.waiting[lane], max(0, behind))
        return claims

    def _holds(self, name: str, participant: Participant, lane: int) -> int:
        return participant.held[lane] - self._freed.get((name, lane), 0)
