"""What a participant may take now, and when it is worth asking again: decided from the state.

An interactive request goes before bulk work, whosever it is; bulk work leaves a reserve of slots
to interactive requests, and these leave as many to bulk work that waits.

Within a lane, slots go to whoever holds the fewest: a participant takes one only while more are
free than the others who wait there need to catch up with it. When a slot will be free is known
ahead, and so is whose turn it is; so each is told to come back when its own is, and nobody has
to be woken.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from .reports import BULK, INTERACTIVE, Reply, Report, Slot
from .shaping import Shape
from .state import BudgetState

RESERVE = 10
"""The reserve where it depends on the others: while somebody else is interactive."""

_LATELY = 5.0  # windows for which an interactive request of somebody else counts
# Parts of a window: how late one that waits may ask again, how long a slot is left to the one
# that goes first, and how soon to look again where the moment can't be known.
_LATE = 1 / 10
_LEFT_ALONE = 1 / 20
_POLL = 1 / 10
_AT_LEAST = 1 / 500  # so that one step takes several slots that become free together
_LEAST_LATE = 0.2  # seconds


def step(state: BudgetState, now: float, report: Report) -> Reply:
    """Take in a report, and grant what may go.

    Args:
        state: The budget, which is changed.
        now: The present by the budget's clock, in seconds.
        report: What a participant tells and wants.
    """
    state.advance(now)
    granted: tuple[int, ...] = ()
    wait = 0.0
    if report.epoch in (0, state.epoch):
        state.take_in(report)
        turn = _Turn(state, report)
        granted = tuple(turn.grant())
        wait = turn.wait()
    return Reply(state.now, granted, wait, state.epoch, state.paused_until, state.shaping)


class _Turn:
    """One participant's step."""

    def __init__(self, state: BudgetState, report: Report) -> None:
        self._state = state
        self._report = report
        self._now = state.now
        self._me = state.participants[report.participant]
        self._shape = Shape(report.limit.burst, report.limit.requests / report.limit.per)
        self._others = [
            each
            for name, each in state.participants.items()
            if name != report.participant and each.waits_until > state.now
        ]
        # Who goes first among those who hold as many: whoever was last granted one longest ago.
        self._before = self._others and {
            id(each)
            for name, each in state.participants.items()
            if (each.granted_at, name) < (self._me.granted_at, report.participant)
        }
        reserve = report.limit.reserve
        if reserve < 0:
            lately = state.now - _LATELY * state.per
            reserve = RESERVE if self._is_interactive_elsewhere(lately) else 0
        self._reserve = min(reserve, report.limit.requests - 1)

    def grant(self) -> Iterator[int]:
        """Take what may be taken, and yield the lanes."""
        state, me, report = self._state, self._me, self._report
        number = report.next_number
        while (lane := self._lane()) is not None:
            state.in_flight.append(Slot(report.participant, number, lane, self._now + report.lease))
            me.held[lane] += 1
            me.waiting[lane] -= 1
            me.granted_at = self._now
            me.bucket.tokens -= 1
            state.bucket.tokens -= 1
            state.quota_left -= 1
            if state.shaping.probing:
                state.probe = (report.participant, number)
            number += 1
            yield lane

    def wait(self) -> float:
        """Return the seconds until it is worth asking again, and note until when it waits."""
        me, per = self._me, self._state.per
        if not any(me.waiting):
            return math.inf
        wait = min(self._slot_wait(lane) for lane in (INTERACTIVE, BULK) if me.waiting[lane])
        wait = max(wait, self._gate())
        if wait == math.inf and len(self._state.participants) > 1:
            wait = _POLL * per
        if self._others:
            wait = max(wait, _AT_LEAST * per)
        late = max(_LATE * per, _LEAST_LATE)
        me.waits_until = self._now + min(wait, per) + late
        return wait

    def _lane(self) -> int | None:
        """Return the lane of the next request that may go; None for none."""
        if any(self._me.waiting) and self._gate() <= 0:
            for lane in (INTERACTIVE, BULK):
                if self._me.waiting[lane] and max(self._missing(lane, self._claims(lane))) <= 0:
                    return lane
        return None

    def _gate(self) -> float:
        """Return the seconds until anything may go, the slots aside."""
        state, me, now = self._state, self._me, self._now
        if state.shaping.probing and self._is_probing():
            return math.inf
        wait = max(0.0, state.paused_until - now)
        if state.quota_left <= 0:
            wait = max(wait, state.quota_until - now)
        me.bucket.fill(self._shape, now)
        wait = max(wait, me.bucket.wait(self._shape, now))
        if (shape := state.shaping.shape) is not None:
            state.bucket.fill(shape, now)
            wait = max(wait, state.bucket.wait(shape, now))
        return wait

    def _is_probing(self) -> bool:
        probe = self._state.probe
        return any((slot.participant, slot.number) == probe for slot in self._state.in_flight)

    def _slot_wait(self, lane: int) -> float:
        """Return the seconds until a slot is free for a lane."""
        claims = self._claims(lane)
        at = self._freed(lane, self._missing(lane, claims))
        if claims:
            # Whoever goes first may be gone; its slot is not left alone for long.
            free_at = self._freed(lane, self._missing(lane, 0))
            at = min(at, max(free_at, self._now) + _LEFT_ALONE * self._state.per)
        return max(0.0, at - self._now)

    def _missing(self, lane: int, claims: int) -> tuple[int, int]:
        """Return how many slots must become free first: of all, and of the lane's."""
        free, free_in_lane = self._free(lane)
        if lane == BULK:  # interactive requests go first, wherever they wait
            waiting = self._waiting(INTERACTIVE)
            free -= min(waiting, max(0, min(self._free(INTERACTIVE)))) if waiting else 0
        return claims + 1 - free, claims + 1 - free_in_lane

    def _free(self, lane: int) -> tuple[int, int]:
        """Return how many slots are free: of all, and of those that a lane may hold."""
        requests = self._report.limit.requests
        held = len(self._state.in_flight) + len(self._state.answered)
        in_lane = sum(each.held[lane] for each in self._state.participants.values())
        most = requests - self._reserve
        if lane == INTERACTIVE:
            contested = self._waiting(BULK) > 0
            most = requests - min(self._reserve, most) if contested else requests
        return requests - held, most - in_lane

    def _waiting(self, lane: int) -> int:
        return self._me.waiting[lane] + sum(each.waiting[lane] for each in self._others)

    def _claims(self, lane: int) -> int:
        """Return how many slots the others get before this participant's next one."""
        state, me = self._state, self._me
        held = len(state.in_flight) + len(state.answered)
        claims = 0
        for each in self._others:
            # One with a lower limit gets nothing while the others hold as many.
            if each.waiting[lane] and (each.requests >= me.requests or each.requests > held):
                behind = me.held[lane] - each.held[lane] + (id(each) in self._before)
                claims += min(each.waiting[lane], max(0, behind))
        return claims

    def _freed(self, lane: int, missing: tuple[int, int]) -> float:
        """Return when so many slots will have become free, of all and of the lane's."""
        answered = self._state.answered
        of_all, of_lane = missing
        at = -math.inf
        if of_all > 0:
            at = answered[of_all - 1].at if of_all <= len(answered) else math.inf
        if of_lane > 0:
            in_lane = [slot.at for slot in answered if slot.lane == lane]
            at = max(at, in_lane[of_lane - 1] if of_lane <= len(in_lane) else math.inf)
        return at

    def _is_interactive_elsewhere(self, since: float) -> bool:
        return any(
            each.interactive_at > since
            for name, each in self._state.participants.items()
            if name != self._report.participant
        )
