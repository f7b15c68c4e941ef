"""How long requests would wait: the budget is played on, without I/O."""

from __future__ import annotations

import math
from bisect import bisect_left

from msgspec.structs import replace

from .grants import step
from .policy import Lane
from .reports import BULK, INTERACTIVE, Report
from .state import BudgetState

_WINDOWS = 3  # are played before the rest is taken for more of the same
_FURTHER = 2**40  # further slots of another participant, whose numbers are not known here


def forecast(state: BudgetState, report: Report, lane: Lane, round_trip: float) -> float:
    """Predict when the last of the requests that a participant wants in a lane is sent.

    Other participants that wait now are taken to go on waiting.

    Args:
        state: The present; it is used up.
        report: The participant's, with all that waits before them and with them.
        lane: Their lane.
        round_trip: Seconds from a request to its response, as seen lately.

    Returns:
        Seconds from the present.
    """
    return _Play(state, report, lane, round_trip).run()


class _Play:
    """One prediction: every participant asks when it was told to, and is answered in time."""

    def __init__(self, state: BudgetState, report: Report, lane: Lane, round_trip: float) -> None:
        self._state = state
        self._round_trip = round_trip
        self._lane = BULK if lane is Lane.BULK else INTERACTIVE
        self._wanted = report.wants[self._lane]
        self._sent: list[float] = []
        plain = Report(
            participant=report.participant,
            limit=report.limit,
            lease=math.inf,
            next_number=report.next_number,
            wants=report.wants,
        )
        self._me = self._asking(plain)
        flying = tuple(state.in_flight)
        self._others = [
            self._asking(
                replace(
                    plain,
                    participant=name,
                    limit=replace(report.limit, requests=each.requests),
                    next_number=_FURTHER,
                    wants=(each.waiting[INTERACTIVE], each.waiting[BULK])
                    if each.waits_until > state.now
                    else (0, 0),
                )
            )
            for name, each in state.participants.items()
            if name != report.participant
            and (each.waits_until > state.now or any(s.participant == name for s in flying))
        ]

    def _asking(self, report: Report) -> _Asking:
        answered_at = self._state.now + self._round_trip
        mine = (s for s in self._state.in_flight if s.participant == report.participant)
        return _Asking(report, {slot.number: answered_at for slot in mine})

    def run(self) -> float:
        """Play until the last request is sent, or until the rest is more of the same."""
        now = start = self._state.now
        window = self._state.per + self._round_trip
        enough = math.inf
        while len(self._sent) < self._wanted:
            if now >= enough:
                return self._extrapolated(now, window) - start
            wait = min(self._step(each, now) for each in (self._me, *self._others))
            if self._sent and enough == math.inf:
                enough = now + _WINDOWS * window
            if wait == math.inf and len(self._sent) < self._wanted:
                return math.inf
            now = max(now + wait, math.nextafter(now, math.inf))
        return self._sent[self._wanted - 1] - start

    def _step(self, asking: _Asking, now: float) -> float:
        """Let a participant report and ask, and return when it will again, in seconds."""
        answered = tuple((number, now - at) for number, at in asking.in_flight.items() if at <= now)
        for number, _ in answered:
            del asking.in_flight[number]
        report = replace(asking.report, answered=answered, wants=(asking.left[0], asking.left[1]))
        reply = step(self._state, now, report)
        for number, lane in enumerate(reply.granted, report.next_number):
            asking.in_flight[number] = now + self._round_trip
            if asking is self._me:
                asking.left[lane] -= 1
                if lane == self._lane:
                    self._sent.append(now)
        asking.report = replace(asking.report, next_number=report.next_number + len(reply.granted))
        if self._others or reply.wait == math.inf:
            return min(reply.wait, *(at - now for at in asking.in_flight.values()), math.inf)
        return reply.wait

    def _extrapolated(self, now: float, window: float) -> float:
        """Return when the last request goes, if each window is like the one before `now`."""
        end = now - window / 1000  # what goes at the very end may not have been played yet
        sent = [at for at in self._sent if end - window <= at < end]
        if not sent:
            return math.inf
        first = bisect_left(self._sent, end - window)
        windows, position = divmod(self._wanted - 1 - first, len(sent))
        return sent[position] + windows * window


class _Asking:
    """A participant that plays on."""

    def __init__(self, report: Report, in_flight: dict[int, float]) -> None:
        self.report = report
        self.left = list(report.wants)
        self.in_flight = in_flight
