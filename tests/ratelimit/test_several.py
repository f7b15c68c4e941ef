"""Several participants of one budget: whatever they do, the server never counts too many."""

from __future__ import annotations

from typing import Any

from attrs import define, field
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from devskin_async import RateLimit
from devskin_async.ratelimit.grants import step
from devskin_async.ratelimit.state import BudgetState, dumps, loads

from .members import Member, StrictServer

PER, LEASE = 8, 4
# Sums of such times have no rounding errors.
moments = st.integers(0, 3 * 64).map(lambda ticks: ticks / 64)
positions = st.integers(0, 50)


@define(eq=False)
class Request:
    """A request with a slot: when it reaches the server, is answered, and is reported."""

    number: int
    ends_at: float
    arrived: bool = False
    answered_at: float | None = None


@define(eq=False)
class Process:
    """A participant, and its requests that are not over."""

    member: Member
    requests: list[Request] = field(factory=list)
    waiting: list[int] = field(factory=lambda: [0, 0])
    asks_at: float = 0.0


class Several(RuleBasedStateMachine):
    """Processes ask, lose replies, are killed; requests are late, cancelled, answered."""

    @initialize(
        requests=st.integers(1, 6), reserve=st.sampled_from([None, 0, 2]), burst=st.integers(1, 8)
    )
    def start(self, requests: int, reserve: int | None, burst: int) -> None:
        reserve = min(reserve, requests - 1) if reserve else reserve
        self.limit = RateLimit(requests, PER, burst=burst, reserve=reserve)
        self.state = BudgetState(epoch=1)
        self.server = StrictServer(self.limit)
        self.now = 100.0
        self.names = 0
        self.dead: list[Request] = []
        self.processes = [self._begin() for _ in range(3)]

    def _begin(self) -> Process:
        self.names += 1
        return Process(Member(self.state, f"host:{self.names}.1", self.limit, LEASE))

    def _exchange(self, process: Process, **news: Any) -> None:
        answered = [each for each in process.requests if each.answered_at is not None]
        process.requests = [each for each in process.requests if each.answered_at is None]
        responses = tuple((r.number, self.now - (r.answered_at or 0.0)) for r in answered)
        first = process.member.next_number
        reply = process.member.ask(self.now, *process.waiting, answered=responses, **news)
        for number, lane in enumerate(reply.granted, first):
            process.requests.append(Request(number, self.now + LEASE))
            process.waiting[lane] -= 1
        process.asks_at = self.now + reply.wait

    @rule(position=positions, lane=st.integers(0, 1), callers=st.integers(1, 4))
    def callers_come(self, position: int, lane: int, callers: int) -> None:
        process = self.processes[position % 3]
        process.waiting[lane] += callers
        self._exchange(process)

    @rule(position=positions)
    def one_reports(self, position: int) -> None:
        self._exchange(self.processes[position % 3])

    @rule(position=positions)
    def a_reply_is_lost(self, position: int) -> None:
        process = self.processes[position % 3]
        answered = [each for each in process.requests if each.answered_at is not None]
        responses = tuple((r.number, self.now - (r.answered_at or 0.0)) for r in answered)
        step(self.state, self.now, process.member.report(*process.waiting, answered=responses))

    @rule(position=positions)
    def one_is_killed(self, position: int) -> None:
        self.dead += self.processes[position % 3].requests
        self.processes[position % 3] = self._begin()

    @rule(position=positions)
    def one_leaves_when_it_has_nothing_to_do(self, position: int) -> None:
        process = self.processes[position % 3]
        if not any(process.waiting) and not process.requests:
            self._exchange(process, leaves=True)

    @rule(position=positions)
    def all_who_wait_in_one_give_up(self, position: int) -> None:
        self.processes[position % 3].waiting = [0, 0]
        self._exchange(self.processes[position % 3])

    @rule(position=positions)
    def a_request_is_cancelled_before_it_is_sent(self, position: int) -> None:
        process = self.processes[position % 3]
        unsent = [each for each in process.requests if not each.arrived and not each.answered_at]
        if unsent:
            process.requests.remove(unsent[0])
            self._exchange(process, cancelled=(unsent[0].number,))

    @rule(position=positions)
    def a_request_arrives(self, position: int) -> None:
        if under_way := [each for each in self._requests() if not each.arrived]:
            self._arrive(under_way[position % len(under_way)])

    @rule(position=positions)
    def a_request_is_answered(self, position: int) -> None:
        if under_way := [each for each in self._requests() if not each.answered_at]:
            self._answer(under_way[position % len(under_way)])

    @rule()
    def the_state_is_kept_as_bytes(self) -> None:
        self.state = loads(dumps(self.state))
        for process in self.processes:
            process.member.state = self.state

    @rule(seconds=moments)
    def time_passes(self, seconds: float) -> None:
        self._pass(seconds)

    @precondition(lambda self: hasattr(self, "processes"))
    @rule()
    def a_window_passes(self) -> None:
        self._pass(float(PER))

    def _requests(self) -> list[Request]:
        return [each for process in self.processes for each in process.requests] + self.dead

    def _arrive(self, request: Request) -> None:
        request.arrived = True
        self.server.count(self.now)
        assert self.server.over == 0

    def _answer(self, request: Request) -> None:
        if not request.arrived:
            self._arrive(request)
        request.answered_at = self.now

    def _pass(self, seconds: float) -> None:
        """Let time pass; no request takes longer than its lease."""
        until = self.now + seconds
        due = [each for each in self._requests() if not each.answered_at and each.ends_at <= until]
        for request in sorted(due, key=lambda each: each.ends_at):
            self.now = max(self.now, request.ends_at)
            self._answer(request)
        self.now = until

    def teardown(self) -> None:
        if not hasattr(self, "processes"):
            return
        # A participant that asks when its reply says is granted all in the end.
        turns = 0
        while any(any(process.waiting) for process in self.processes):
            turns += 1
            assert turns < 3000, "somebody is not served"
            for process in self.processes:
                for request in [each for each in process.requests if not each.answered_at]:
                    self._answer(request)
                due = any(process.waiting) and self.now >= process.asks_at
                if due or process.requests:
                    self._exchange(process)
            waiting = [p.asks_at for p in self.processes if any(p.waiting)]
            wait = min([1.0, *(max(at - self.now, 1 / 64) for at in waiting)])
            self._pass(-(-wait * 64 // 1) / 64)
        assert self.server.over == 0


TestSeveral = Several.TestCase
TestSeveral.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
