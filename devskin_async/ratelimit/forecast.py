"""How long requests would wait: a simulation of the budget without I/O."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable
from typing import NamedTuple

from msgspec.structs import replace

from .grants import step
from .policy import Lane
from .reports import BULK, INTERACTIVE, Report
from .state import BudgetState

_MAX_AGE = 0.1  # seconds for which a forecast is recent
_TICK = 1e-3  # by which two readings of one pause differ at the most
_WINDOWS = 3  # are simulated; all later windows are taken to be like the last of them
_FURTHER = 2**40  # the number of another participant's next slot; the real one is not known


class Forecast:
    """When the requests that a participant wants in a lane will be sent.

    It is assumed that every participant asks again when its last reply says, that each response
    comes after one round trip, and that other participants that wait now, or have bulk work in
    flight, continue.

    Args:
        state: The budget now; the simulation changes it.
        report: The participant's report; its `wants` include these requests and all before them.
        lane: The lane of the requests.
        round_trip: Seconds from a request to its response, as measured recently.

    Attributes:
        began: The time at which it was made, by the budget's clock.
    """

    def __init__(self, state: BudgetState, report: Report, lane: Lane, round_trip: float) -> None:
        self.began: float = state.now
        self._state = state
        self._round_trip = round_trip
        self._window = state.per + round_trip
        self._lane = BULK if lane is Lane.BULK else INTERACTIVE
        self._sent: list[float] = []
        self._repeats_at = math.inf
        plain = Report(
            participant=report.participant,
            limit=report.limit,
            lease=math.inf,
            next_number=report.next_number,
            wants=report.wants,
        )
        self._me = _Participant(plain, state, round_trip)
        self._all = [self._me]
        for name, each in state.participants.items():
            waits = each.waits_until > state.now
            interactive, bulk = each.waiting if waits else (0, 0)
            # Between a response and its next request, bulk work has no waiting request.
            bulk = bulk or sum(s.participant == name and s.lane == BULK for s in state.in_flight)
            if name != report.participant and (waits or any(each.held)):
                other = replace(
                    plain,
                    participant=name,
                    limit=replace(plain.limit, requests=each.requests),
                    next_number=_FURTHER,
                    wants=(interactive, bulk),
                )
                self._all.append(_Participant(other, state, round_trip))

    def sent_at(self, number: int) -> float:
        """Return when a request is sent, by the budget's clock; infinite if that is unknown.

        Args:
            number: The number of the request in its lane, from 1.
        """
        me = self._me
        further = number - len(self._sent) - me.left[self._lane]
        if further > 0:
            me.left[self._lane] += further
            me.asks_at = min(me.asks_at, max(self._state.now, 0.0))
        while len(self._sent) < number:
            soonest = min(self._all, key=_asks_at)
            if soonest.asks_at == math.inf:
                return math.inf
            if soonest.asks_at >= self._repeats_at:
                return self._extrapolated(number, soonest.asks_at)
            self._step(soonest)
        return self._sent[number - 1]

    def _step(self, participant: _Participant) -> None:
        state, now = self._state, max(participant.asks_at, self._state.now)
        report = replace(
            participant.report,
            answered=participant.take_answered(now),
            wants=(participant.left[0], participant.left[1]),
        )
        reply = step(state, now, report)
        for number, lane in enumerate(reply.granted, report.next_number):
            participant.in_flight[number] = now + self._round_trip
            if participant is self._me:
                participant.left[lane] -= 1
                if lane == self._lane:
                    self._sent.append(now)
        participant.report = replace(
            participant.report, next_number=report.next_number + len(reply.granted)
        )
        if self._sent and self._repeats_at == math.inf:
            self._repeats_at = now + _WINDOWS * self._window
        participant.asks_at = max(now + reply.wait, math.nextafter(now, math.inf))
        if reply.wait == math.inf or len(self._all) > 1:  # the others may wait for its responses
            participant.asks_at = min(
                participant.asks_at, *participant.in_flight.values(), math.inf
            )

    def _extrapolated(self, number: int, now: float) -> float:
        """Return when a request is sent, if each window is like the one before `now`."""
        end = now - self._window / 1000  # requests sent at `now` may not be simulated yet
        begin = end - self._window
        sent = [at for at in self._sent if begin <= at < end]
        if not sent:
            return math.inf
        windows, position = divmod(number - 1 - bisect_left(self._sent, begin), len(sent))
        return sent[position] + windows * self._window


class _Participant:
    """A simulated participant: what it still wants, and when it asks next."""

    def __init__(self, report: Report, state: BudgetState, round_trip: float) -> None:
        self.report = report
        self.left = list(report.wants)
        answered_at = state.now + round_trip
        self.in_flight = {
            slot.number: answered_at
            for slot in state.in_flight
            if slot.participant == report.participant
        }
        self.asks_at = state.now if any(self.left) or self.in_flight else math.inf

    def take_answered(self, now: float) -> tuple[tuple[int, float], ...]:
        """Remove the slots whose response has come, and return each with the seconds since."""
        answered = tuple((number, now - at) for number, at in self.in_flight.items() if at <= now)
        for number, _ in answered:
            del self.in_flight[number]
        return answered


class _Recent(NamedTuple):
    at: float  # when the forecast was made
    forecast: Forecast
    granted: int  # how many requests of the lane had been granted by then
    paused_until: float


class RecentForecasts:
    """The last forecast of each lane, used again while it is recent.

    Args:
        start: Starts a forecast from now, with so many requests of a lane.
    """

    def __init__(self, start: Callable[[int, Lane], Forecast]) -> None:
        self._start = start
        self._recent: dict[Lane, _Recent] = {}

    def wait(self, now: float, number: int, lane: Lane, granted: int, paused_until: float) -> float:
        """Return the seconds until a waiting request is sent.

        Args:
            now: The present, by any clock.
            number: The request's number among those that wait in its lane, from 1.
            lane: The lane.
            granted: How many requests of the lane have been granted a slot so far.
            paused_until: Nothing goes before this; a forecast with an earlier pause is no use.
        """
        recent = self._recent.get(lane)
        if (
            recent is None
            or now - recent.at > _MAX_AGE
            or paused_until > recent.paused_until + _TICK
        ):
            recent = _Recent(now, self._start(number, lane), granted, paused_until)
            self._recent[lane] = recent
        sent_at = recent.forecast.sent_at(granted - recent.granted + number)
        return max(0.0, sent_at - recent.forecast.began + recent.at - now)


def _asks_at(participant: _Participant) -> float:
    return participant.asks_at
