"""A server that keeps the rule refuses nothing, whatever the network and the callers do."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from devskin_async import Lane, RateLimit
from devskin_async.ratelimit import Flow, RequestFlow, Scheduler
from devskin_async.testing import VirtualTimeLoop

from ..support import now


class StrictServer:
    """Counts what reaches it, and notes every request over the limit in any span."""

    def __init__(self, limit: RateLimit) -> None:
        self._limit = limit
        self._counted: deque[float] = deque()
        self.over = 0

    def count(self, now: float) -> None:
        while self._counted and self._counted[0] <= now - self._limit.per:
            self._counted.popleft()
        self._counted.append(now)
        self.over += len(self._counted) > self._limit.requests


class Traffic(RuleBasedStateMachine):
    """Callers come in both lanes, are cancelled anywhere, and are answered late or never."""

    @initialize(
        limit=st.integers(1, 6).flatmap(
            lambda requests: st.builds(
                RateLimit,
                requests=st.just(requests),
                per=st.floats(0.05, 60),
                burst=st.integers(1, 6),
                reserve=st.integers(0, requests - 1),
            )
        )
    )
    def start(self, limit: RateLimit) -> None:
        self.runner = asyncio.Runner(loop_factory=VirtualTimeLoop)
        self.limit = limit
        self.scheduler = Scheduler(limit)
        self.server = StrictServer(limit)
        self.flows: dict[Lane, list[RequestFlow]] = {
            lane: [Flow() for _ in range(3)] for lane in Lane
        }
        self.tasks: list[asyncio.Task[None]] = []
        self.sent = 0

    async def _request(self, lane: Lane, flow: int, there: float, back: float, fails: bool) -> None:
        with suppress(ConnectionError):
            async with self.scheduler.slot(lane, self.flows[lane][flow]):
                self.sent += 1
                await asyncio.sleep(there)
                self.server.count(now())
                await asyncio.sleep(back)
                if fails:
                    raise ConnectionError

    def _run(self, seconds: float) -> None:
        self.runner.run(asyncio.sleep(seconds))

    @rule(
        lane=st.sampled_from(Lane),
        flow=st.integers(0, 2),
        there=st.floats(0, 20),
        back=st.floats(0, 20),
        fails=st.booleans(),
        callers=st.integers(1, 5),
    )
    def callers_come(  # noqa: PLR0917  # one for each thing that matters
        self, lane: Lane, flow: int, there: float, back: float, fails: bool, callers: int
    ) -> None:
        loop = self.runner.get_loop()
        self.tasks += [
            loop.create_task(self._request(lane, flow, there, back, fails)) for _ in range(callers)
        ]
        self._run(0)

    @rule(seconds=st.floats(0, 30))
    def time_passes(self, seconds: float) -> None:
        self._run(seconds)

    @rule(position=st.integers(0, 200))
    def a_caller_is_cancelled(self, position: int) -> None:
        under_way = [task for task in self.tasks if not task.done()]
        if under_way:
            # One that has sent may reach the server after it gave up, which no window can cover.
            waiting = under_way[position % len(under_way)]
            waiting.cancel()
            self._run(0)

    @rule()
    def the_window_is_waited_out(self) -> None:
        self._run(self.limit.per)

    @invariant()
    def nothing_is_over_the_limit(self) -> None:
        if hasattr(self, "server"):
            assert self.server.over == 0

    def teardown(self) -> None:
        if not hasattr(self, "runner"):
            return
        try:
            self._run(60 * (len(self.tasks) + 1) * max(self.limit.per, 1))
            assert all(task.done() for task in self.tasks), "somebody was forgotten"
            assert self.server.over == 0
            assert all(task.cancelled() or task.exception() is None for task in self.tasks)

            async def budget() -> tuple[int, int, int]:
                state = self.scheduler.budget()
                return state.in_flight, state.waiting, state.sent

            assert self.runner.run(budget()) == (0, 0, self.sent)
        finally:
            self.runner.close()


TestTraffic = Traffic.TestCase
TestTraffic.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
