"""One event loop's part in a budget: the slots it holds, and what it has to report."""

from __future__ import annotations

import asyncio
import math
from collections import deque

import msgspec
from msgspec.structs import replace

from .policy import RateLimit
from .reports import HeldSlot, HeldSlots, Limit, Quota, Reply, Report
from .shaping import Shaping
from .state import BudgetState
from .store import Store

_LEASE = 30.0  # seconds, until it is known how long an attempt can take


class LocalSlot(msgspec.Struct, gc=False):
    """A slot of this event loop.

    Args:
        number: Its number.
        lane: Its lane: 0 is interactive, 1 is bulk.
        at: When its lease ends, or after the response, when it is free. By the loop's clock.
        in_flight: Whether its response has not come yet.
    """

    number: int
    lane: int
    at: float
    in_flight: bool = True


class _Unreported(msgspec.Struct):
    """What is not reported yet; moments are by the loop's clock."""

    answered: list[tuple[int, float]] = []
    cancelled: list[int] = []
    accepted: bool = False
    pause_until: float = -math.inf
    quota: Quota | None = None
    shaping: Shaping | None = None
    refused: tuple[float, float] | None = None  # now and granted_at, by the budget's clock

    def __bool__(self) -> bool:
        content = self.answered or self.cancelled or self.accepted or self.quota or self.shaping
        return bool(content) or self.pause_until > -math.inf

    def after(self, older: _Unreported) -> _Unreported:
        """Return it merged with older news that could not be reported."""
        return _Unreported(
            older.answered + self.answered,
            older.cancelled + self.cancelled,
            older.accepted or self.accepted,
            max(older.pause_until, self.pause_until),
            self.quota or older.quota,
            self.shaping or older.shaping,
            self.refused or older.refused,
        )


class LocalParticipant:
    """Reports to a budget what one event loop does, and numbers the slots that it is granted.

    Args:
        store: Where the budget is kept.
        name: The participant's name; no other has the same.
        limit: The limit to keep.

    Attributes:
        lease: Seconds that an attempt can take at the most; 0 if not known yet.
        wait: Seconds until it should ask again, by the last reply.
        is_waiting: Whether the budget counts it as waiting.
    """

    def __init__(self, store: Store, name: str, limit: RateLimit) -> None:
        self.store = store
        self.lease: float = 0.0
        self.wait: float = math.inf
        self.is_waiting: bool = False
        self.name = name
        self._limit = limit
        self._reported_limit = Limit.of(limit)
        self._next = 1
        self._epoch = 0
        self._shaping = Shaping()
        self._paused_until = -math.inf  # by the budget's clock
        self._offset = 0.0  # from the loop's clock to the budget's
        self._unreported = _Unreported()
        self._mine: deque[LocalSlot] = deque()

    @property
    def has_report(self) -> bool:
        """Whether there is something to report."""
        return bool(self._unreported)

    @property
    def has_urgent_report(self) -> bool:
        """Whether there is something to report that changes which requests may be sent now."""
        unreported = self._unreported
        return (
            bool(unreported.cancelled or unreported.shaping) or unreported.pause_until > -math.inf
        )

    @property
    def shaping(self) -> Shaping:
        """What refusals taught, as far as this event loop knows."""
        return self._unreported.shaping or self._shaping

    @property
    def paused_until(self) -> float:
        """When requests may be sent again, by the loop's clock."""
        return max(self._paused_until - self._offset, self._unreported.pause_until)

    async def exchange(self, wants: tuple[int, int], *, leaves: bool = False) -> list[LocalSlot]:
        """Report what there is, ask for slots, and return those that were granted.

        With an immediate store it does not suspend.

        Args:
            wants: How many requests wait, in each lane.
            leaves: Whether this loop no longer takes part.

        Raises:
            StoreBusyError, StoreUnavailableError: The budget was not reached.
        """
        granted = None
        while granted is None:
            unreported, self._unreported = self._unreported, _Unreported()
            try:
                reply = self.store.exchange(self._report(unreported, wants, leaves))
                if not isinstance(reply, Reply):
                    reply = await reply
            except BaseException:
                self._put_back(unreported)
                raise
            granted = self._apply(reply, unreported, wants)
        return granted

    def _put_back(self, unreported: _Unreported) -> None:
        """Keep what could not be reported."""
        self._unreported = self._unreported.after(unreported)

    def answered(self, slot: LocalSlot, now: float) -> None:
        """Note that a slot's response came, or its request was given up, by the loop's clock."""
        slot.at, slot.in_flight = now + self._limit.per, False
        self._unreported.answered.append((slot.number, now))

    def cancelled(self, slot: LocalSlot) -> None:
        """Note that a slot was not used, or its request not counted; it is free at once."""
        slot.at, slot.in_flight = -math.inf, False
        self._unreported.cancelled.append(slot.number)

    def accepted(self, granted_at: float) -> None:
        """Note a response other than 429.

        Args:
            granted_at: When it got its slot, by the loop's clock.
        """
        self._unreported.accepted = True
        known = self.shaping
        if known.is_in_force:
            learned = known.accepted(self._limit, self._now(), granted_at + self._offset)
            if learned is not known:
                self._unreported.shaping = learned

    def refused(self, granted_at: float, retry_after: float | None) -> None:
        """Note a 429.

        Args:
            granted_at: When it got its slot, by the loop's clock.
            retry_after: Seconds that the server asked for; None or 0 if it asked for none.
        """
        pause = self._learn_refusal((self._now(), granted_at + self._offset))
        # A `Retry-After` of 0 still pauses.
        if seconds := retry_after or pause:
            until = asyncio.get_running_loop().time() + seconds
            self._unreported.pause_until = max(self._unreported.pause_until, until)

    def quota(self, remaining: int, reset_after: float, granted_at: float) -> None:
        """Note the quota that a response gave; see `Quota`."""
        self._unreported.quota = Quota(remaining, reset_after, granted_at + self._offset)

    def view(self, wants: tuple[int, int]) -> BudgetState:
        """Return a copy of the budget, with what is not reported yet applied."""
        state, now = self.store.view()
        state.advance(now)
        if state.epoch == self._epoch or not self._epoch:
            state.apply(self.report(wants))
        return state

    def report(self, wants: tuple[int, int]) -> Report:
        """Return what would be reported now."""
        return self._report(self._unreported, wants, leaves=False)

    def _now(self) -> float:
        """Return the time by the budget's clock, as far as it is known here."""
        return asyncio.get_running_loop().time() + self._offset

    def _learn_refusal(self, refused: tuple[float, float]) -> float:
        state = self.view((0, 0))
        known = self.shaping
        learned = known.refused(self._limit, *refused, (len(state.answered), state.accepted_at))
        if learned is known:  # one more of the same burst
            return 0.0
        self._unreported.shaping, self._unreported.refused = learned, refused
        return learned.pause

    def _report(self, unreported: _Unreported, wants: tuple[int, int], leaves: bool) -> Report:
        now = asyncio.get_running_loop().time()
        return Report(
            participant=self.name,
            limit=self._reported_limit,
            lease=self.lease or _LEASE,
            epoch=self._epoch,
            next_number=self._next,
            answered=tuple([(number, now - at) for number, at in unreported.answered]),
            cancelled=tuple(unreported.cancelled),
            accepted=unreported.accepted,
            wants=wants,
            pause=max(0.0, unreported.pause_until - now),
            quota=unreported.quota,
            shaping=unreported.shaping,
            held=None if self._epoch or not self._mine else self._held(now),
            leaves=leaves,
        )

    def _held(self, now: float) -> HeldSlots:
        mine = [each for each in self._mine if each.at > now]

        def held(*, in_flight: bool) -> tuple[HeldSlot, ...]:
            return tuple(
                HeldSlot(self.name, each.number, each.lane, each.at - now)
                for each in mine
                if each.in_flight is in_flight
            )

        return HeldSlots(held(in_flight=True), held(in_flight=False))

    def _apply(
        self, reply: Reply, unreported: _Unreported, wants: tuple[int, int]
    ) -> list[LocalSlot] | None:
        """Return the granted slots; None if all held slots have to be reported first."""
        if self._epoch not in (0, reply.epoch):
            self._put_back(unreported)
            self._epoch = 0
            return None
        now = asyncio.get_running_loop().time()
        self._offset = reply.now - now
        self._epoch = reply.epoch
        self.wait = reply.wait
        self.is_waiting = sum(wants) > len(reply.granted)
        self._shaping = reply.shaping
        self._paused_until = reply.paused_until
        while self._mine and not self._mine[0].in_flight and self._mine[0].at <= now:
            self._mine.popleft()
        granted = [
            LocalSlot(number, lane, now + (self.lease or _LEASE))
            for number, lane in enumerate(reply.granted, self._next)
        ]
        self._next += len(granted)
        self._mine += granted
        if unreported.refused and unreported.shaping:
            known = replace(unreported.shaping, version=unreported.shaping.version + 1)
            if reply.shaping != known:  # another participant learned something meanwhile
                self._learn_refusal(unreported.refused)
        return granted
