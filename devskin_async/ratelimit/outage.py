"""A budget whose store can be out of reach: a participant goes on alone with a share of the slots.

The store promises each participant a share: slots that it may hold while the store is away.
Together the shares are never more than there are, also where a participant has not heard yet that
its share is smaller now (`Participant.promised`). But when the store is lost, others may hold more
than their shares, from before. So, from when a participant finds the store away:

- It takes a slot only while it holds fewer than its share, and than it held at that moment. What
  it holds never grows then, so all together hold at most what they did when the store went away.
- Two leases and windows later it takes its whole share. What was held when the store went away is
  free again by then, everywhere: after a lease, a slot counts as answered, and after a window more
  it is free. So all that is held was taken alone, within shares.

It is assumed that the store is away for all. Were it in reach for others all the while, they would
take the slots of this participant once their leases are over. For a short time that does no harm:
a participant that uses a slot again held it until then. It is assumed too that leases differ by no
more than a factor of two and a window.

A server that is stricter than the limit has taught its pace, and quota headers tell what is left:
of both, too, a participant takes its share.

The store is tried again all the time. When it is back, it is told first what is held here, and
whatever may be granted here until it has answered; then all goes through it again.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

from msgspec.structs import replace

from ..errors import ConfigurationError
from .events import Degraded, Event, Restored, log
from .grants import RESERVE, step
from .reports import BULK, INTERACTIVE, Held, Reply, Report, Slot
from .shaping import Shaping
from .state import FORGOTTEN_AFTER, BudgetState, Participant
from .store import Store, StoreBusyError, StoreUnavailableError

_BUSY_FOR = 3.0  # seconds after which a store that is in use counts as out of reach
_ASK_AGAIN = 0.5  # seconds after which who waits asks again, since the store may be back
_FIRST_RETRY, _LAST_RETRY = 0.1, 1.0  # seconds
_ELSEWHERE = "other processes:.0"

_Failure = (StoreBusyError, StoreUnavailableError, ConfigurationError)


class OutageStore:
    """A store, and what takes its place while it is out of reach; see `store.Store`.

    Args:
        store: The store.
        clock: A clock in seconds, for what happens without the store.

    Attributes:
        tell: Is called with each `Degraded` and `Restored`, and the level to log it with.
    """

    def __init__(self, store: Store, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.immediate = store.immediate
        self.report_within = store.report_within
        self.tell: Callable[[Event, int], None] = lambda event, level: log.log(level, "%s", event)
        self._store = store
        self._clock = clock
        self._alone: _Alone | None = None
        self._rejoins = False
        self._retrying: asyncio.Task[None] | None = None
        self._busy_since: float | None = None
        self._alone_steps = 0
        self._share = 0
        self._offset = 0.0  # from the clock here to the store's
        self._replied_at = -math.inf

    @property
    def where(self) -> str:
        """Where the budget is kept at the moment."""
        return self._store.where if self._alone is None else "degraded"

    @property
    def steps(self) -> int:
        """How many calls were made."""
        return self._store.steps + self._alone_steps

    def exchange(self, report: Report) -> Reply | Awaitable[Reply]:
        """Hand in a report; see `Store.exchange`.

        Raises:
            StoreBusyError: It is in use, and not for long yet.
            ConfigurationError: It can't be used, and never could.
        """
        if self._alone is not None:
            return self._step_alone(self._alone, report)
        if self._rejoins and report.epoch:
            # Not the state that the participant knows: it reports all that it holds.
            return Reply(self._present(), (), 0.0, 0, -math.inf, Shaping())
        report = replace(report, share=self._share)
        if not self.immediate:
            return self._exchange_later(report)
        try:
            reply = self._store.exchange(report)
        except _Failure as error:
            return self._go_on(report, error)
        assert isinstance(reply, Reply)  # noqa: S101  # an immediate store's
        return self._take_in(reply, report)

    def view(self) -> tuple[BudgetState, float]:
        """Return the budget as it is known here; see `Store.view`."""
        if self._alone is None or not self._alone.share:
            return self._store.view()  # how long it will wait is not known
        return self._alone.state.copy(), self._present()

    async def aclose(self) -> None:
        """Let go of connections, and try no more."""
        if self._retrying is not None:
            self._retrying.cancel()
            with suppress(asyncio.CancelledError):
                await self._retrying
        await self._store.aclose()

    async def _exchange_later(self, report: Report) -> Reply:
        try:
            reply = self._store.exchange(report)
            if not isinstance(reply, Reply):
                reply = await reply
        except _Failure as error:
            return self._go_on(report, error)
        return self._take_in(reply, report)

    def _take_in(self, reply: Reply, report: Report) -> Reply:
        self._busy_since = None
        self._replied_at = self._clock()
        self._offset = reply.now - self._replied_at
        self._share = reply.share
        if report.epoch == 0:
            self._rejoins = False
        return reply

    def _go_on(self, report: Report, error: Exception) -> Reply:
        """Go on alone, unless the store is only busy, or was never of use."""
        now = self._clock()
        reason = str(error)
        if isinstance(error, StoreBusyError):
            self._busy_since = now if self._busy_since is None else self._busy_since
            if now - self._busy_since < _BUSY_FOR:
                raise error
            reason = f"it has been in use by another process for {now - self._busy_since:.0f} s"
        if isinstance(error, ConfigurationError) and self._never_replied:
            raise error
        self._busy_since = None
        # After so long the others may have been promised this participant's share.
        share = self._share if now - self._replied_at < FORGOTTEN_AFTER else 0
        state, _ = self._store.view()
        self._alone = alone = _Alone(state, report, share, self._present())
        self.tell(
            Degraded(where=self._store.where, reason=reason, share=alone.share), logging.WARNING
        )
        self._retrying = asyncio.get_running_loop().create_task(self._retry(alone))
        return self._step_alone(alone, report)

    def _step_alone(self, alone: _Alone, report: Report) -> Reply:
        self._alone_steps += 1
        return alone.step(self._present(), report)

    @property
    def _never_replied(self) -> bool:
        return self._replied_at == -math.inf

    def _present(self) -> float:
        """Return the present by the store's clock."""
        return self._clock() + self._offset

    async def _retry(self, alone: _Alone) -> None:
        """Try the store until it answers, and tell it what is held here."""
        pause = _FIRST_RETRY
        while True:
            await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311  # no secret
            pause = min(2 * pause, _LAST_RETRY)
            report = replace(alone.report(self._present()), share=self._share)
            try:
                reply = self._store.exchange(report)
                if not isinstance(reply, Reply):
                    reply = await reply
            except _Failure as error:
                alone.was_not_told()
                if isinstance(error, ConfigurationError) and self._never_replied:
                    self._alone = None  # the next report raises it
                    return
                continue
            self._take_in(reply, report)
            self._alone, self._rejoins = None, True
            self.tell(Restored(where=self._store.where), logging.WARNING)
            return


class _Alone:
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
        self._bound = math.inf  # the first number of which the store does not know
        state.advance(now)
        state.in_flight = [slot for slot in state.in_flight if slot.participant == name]
        state.answered = [slot for slot in state.answered if slot.participant == name]
        for other in (each for key, each in state.participants.items() if key != name):
            other.waiting, other.held, other.waits_until = [0, 0], [0, 0], -math.inf
        self.share = self._share_of_pace(share, limit.requests, limit.per)
        if state.quota_left < math.inf:
            state.quota_left = state.quota_left * self.share // limit.requests
        state.take_in(replace(self._for_share(report), wants=(0, 0), leaves=False))
        held = min(self.share, len(state.in_flight) + len(state.answered))
        self._block(self.share - held, now + 2 * (report.lease + state.per))
        self._block(limit.requests - self.share, math.inf)

    def step(self, now: float, report: Report) -> Reply:
        """Take in a report, and grant what may go."""
        interactive, bulk = report.wants
        room = self._bound - report.next_number
        if interactive + bulk > room:
            interactive = min(interactive, int(room))
            bulk = min(bulk, int(room) - interactive)
        wanted = replace(self._for_share(report), wants=(interactive, bulk))
        reply = step(self.state, now, wanted)
        self._report = report
        self._next = report.next_number + len(reply.granted)
        waits = sum(report.wants) > len(reply.granted)
        return replace(reply, wait=min(reply.wait, _ASK_AGAIN)) if waits else reply

    def report(self, now: float) -> Report:
        """Return what the store has to know, were it back: what is held, and may be until then."""
        state, name = self.state, self._report.participant
        state.advance(now)
        free = self._report.limit.requests - len(state.in_flight) - len(state.answered)
        self._bound = self._next + max(0, free)
        may_go = [
            Slot(name, number, BULK, self._report.lease)
            for number in range(self._next, int(self._bound))
        ]
        in_flight = [replace(slot, at=slot.at - now) for slot in state.in_flight]
        answered = [
            replace(slot, at=slot.at - now) for slot in state.answered if slot.participant == name
        ]
        return Report(
            participant=name,
            limit=self._report.limit,
            lease=self._report.lease,
            next_number=int(self._bound),
            pause=max(0.0, state.paused_until - now),
            held=Held((*in_flight, *may_go), tuple(answered)),
        )

    def was_not_told(self) -> None:
        """Note that the store did not take in the report."""
        self._bound = math.inf

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
        """Let slots be taken until some time, by both lanes as far as each may hold them."""
        if count <= 0:
            return
        limit = self._report.limit
        reserve = min(RESERVE if limit.reserve < 0 else limit.reserve, limit.requests - 1)
        others = self.state.participants.setdefault(_ELSEWHERE, Participant(limit.requests))
        for number in range(count):
            lane = INTERACTIVE if number * reserve % limit.requests < reserve else BULK
            self.state.answered.append(Slot(_ELSEWHERE, number, lane, until))
            others.held[lane] += 1
        self.state.answered.sort(key=lambda slot: slot.at)
