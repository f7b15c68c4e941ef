"""One event loop's part in a budget: the slots it holds, and what it has to report."""

from __future__ import annotations

import asyncio
import math
from collections import deque

import msgspec
from msgspec.structs import replace

from .policy import RateLimit
from .reports import Held, Limit, Quota, Reply, Report, Slot
from .shaping import Shaping
from .state import BudgetState
from .store import Store

_LEASE = 30.0  # seconds, where nobody has said how long an attempt can be under way


class MySlot(msgspec.Struct, gc=False):
    """A slot of this event loop's.

    Args:
        number: Which one.
        lane: For which lane: 0 is interactive, 1 is bulk.
        at: In flight, when its lease ends; answered, when it is free. By the loop's clock.
        in_flight: Whether its request is not answered yet.
    """

    number: int
    lane: int
    at: float
    in_flight: bool = True


class _News(msgspec.Struct):
    """What is not reported yet; moments are by the loop's clock."""

    answered: list[tuple[int, float]] = []
    cancelled: list[int] = []
    accepted: bool = False
    pause_until: float = -math.inf
    quota: Quota | None = None
    shaping: Shaping | None = None
    refused: tuple[float, float] | None = None  # now and granted_at, by the budget's clock

    def __bool__(self) -> bool:
        told = self.answered or self.cancelled or self.accepted or self.quota or self.shaping
        return bool(told) or self.pause_until > -math.inf

    def after(self, older: _News) -> _News:
        """Put it together with older news that could not be reported."""
        return _News(
            older.answered + self.answered,
            older.cancelled + self.cancelled,
            older.accepted or self.accepted,
            max(older.pause_until, self.pause_until),
            self.quota or older.quota,
            self.shaping or older.shaping,
            self.refused or older.refused,
        )


class Participation:
    """Reports to a budget what one event loop does, and numbers the slots that it is granted.

    Args:
        store: Where the budget is kept.
        name: Of this participant; no other has the same.
        limit: The limit to keep.

    Attributes:
        lease: Seconds that an attempt can be under way at the most; 0 where nobody has said.
        wait: Seconds until it is worth asking again, by the last reply.
        is_waiting: Whether the budget takes it for waiting.
    """

    def __init__(self, store: Store, name: str, limit: RateLimit) -> None:
        self.store = store
        self.lease: float = 0.0
        self.wait: float = math.inf
        self.is_waiting: bool = False
        self.name = name
        self._limit = limit
        self._told_limit = Limit.of(limit)
        self._next = 1
        self._epoch = 0
        self._shaping = Shaping()
        self._paused_until = -math.inf  # by the budget's clock
        self._offset = 0.0  # from the loop's clock to the budget's
        self._news = _News()
        self._mine: deque[MySlot] = deque()

    @property
    def has_news(self) -> bool:
        """Whether there is something to report."""
        return bool(self._news)

    @property
    def has_urgent_news(self) -> bool:
        """Whether there is something to report that changes what may go now."""
        news = self._news
        return bool(news.cancelled or news.shaping) or news.pause_until > -math.inf

    @property
    def shaping(self) -> Shaping:
        """What refusals taught, as far as it is known here."""
        return self._news.shaping or self._shaping

    @property
    def paused_until(self) -> float:
        """Nothing goes before this, by the loop's clock."""
        return max(self._paused_until - self._offset, self._news.pause_until)

    async def exchange(self, wants: tuple[int, int], *, leaves: bool = False) -> list[MySlot]:
        """Report what there is, ask for slots, and return those that were granted.

        Args:
            wants: How many requests wait, in each lane.
            leaves: Whether this loop takes part no more.

        Raises:
            StoreBusyError, StoreUnavailableError: The budget was not reached.
        """
        granted = None
        while granted is None:
            news, self._news = self._news, _News()
            try:
                reply = self.store.exchange(self._report(news, wants, leaves))
                if not isinstance(reply, Reply):
                    reply = await reply
            except BaseException:
                self._keep(news)
                raise
            granted = self._take_in(reply, news, wants)
        return granted

    def exchange_now(self, wants: tuple[int, int]) -> list[MySlot]:
        """Do the same where the store is immediate; see `exchange`."""
        granted = None
        while granted is None:
            news, self._news = self._news, _News()
            try:
                reply = self.store.exchange(self._report(news, wants, leaves=False))
                assert isinstance(reply, Reply)  # noqa: S101  # an immediate store's
            except BaseException:
                self._keep(news)
                raise
            granted = self._take_in(reply, news, wants)
        return granted

    def _keep(self, news: _News) -> None:
        """Keep what could not be reported."""
        self._news = self._news.after(news)

    def answered(self, slot: MySlot) -> None:
        """Note that a slot's request was answered, or given up."""
        now = asyncio.get_running_loop().time()
        slot.at, slot.in_flight = now + self._limit.per, False
        self._news.answered.append((slot.number, now))

    def cancelled(self, slot: MySlot) -> None:
        """Note that a slot was not used, or its request not counted: it is free at once."""
        slot.at, slot.in_flight = -math.inf, False
        self._news.cancelled.append(slot.number)

    def accepted(self, granted_at: float) -> None:
        """Note that a request was answered, and not with 429.

        Args:
            granted_at: When it got its slot, by the loop's clock.
        """
        self._news.accepted = True
        known = self.shaping
        if known.is_in_force:
            learned = known.accepted(self._limit, self._now(), granted_at + self._offset)
            if learned is not known:
                self._news.shaping = learned

    def refused(self, granted_at: float, retry_after: float | None) -> None:
        """Note that a request was answered with 429.

        Args:
            granted_at: When it got its slot, by the loop's clock.
            retry_after: Seconds that the server asked for; None or 0 where it did not say.
        """
        pause = self._learn_refusal((self._now(), granted_at + self._offset))
        # "At once" is no answer to a refusal.
        if seconds := retry_after or pause:
            until = asyncio.get_running_loop().time() + seconds
            self._news.pause_until = max(self._news.pause_until, until)

    def quota(self, remaining: int, reset_after: float, granted_at: float) -> None:
        """Note what a response said of the requests left; see `Quota`."""
        self._news.quota = Quota(remaining, reset_after, granted_at + self._offset)

    def view(self, wants: tuple[int, int]) -> BudgetState:
        """Return a copy of the budget as it stands, what is not reported yet included."""
        state, now = self.store.view()
        state.advance(now)
        if state.epoch == self._epoch or not self._epoch:
            state.take_in(self.report(wants))
        return state

    def report(self, wants: tuple[int, int]) -> Report:
        """Return what would be reported now."""
        return self._report(self._news, wants, leaves=False)

    def _now(self) -> float:
        """Return the present by the budget's clock, as far as it is known here."""
        return asyncio.get_running_loop().time() + self._offset

    def _learn_refusal(self, refused: tuple[float, float]) -> float:
        state = self.view((0, 0))
        known = self.shaping
        learned = known.refused(self._limit, *refused, (len(state.answered), state.accepted_at))
        if learned is known:  # one more of the same burst
            return 0.0
        self._news.shaping, self._news.refused = learned, refused
        return learned.pause

    def _report(self, news: _News, wants: tuple[int, int], leaves: bool) -> Report:
        now = asyncio.get_running_loop().time()
        return Report(
            participant=self.name,
            limit=self._told_limit,
            lease=self.lease or _LEASE,
            epoch=self._epoch,
            next_number=self._next,
            answered=tuple([(number, now - at) for number, at in news.answered]),
            cancelled=tuple(news.cancelled),
            accepted=news.accepted,
            wants=wants,
            pause=max(0.0, news.pause_until - now),
            quota=news.quota,
            shaping=news.shaping,
            held=None if self._epoch or not self._mine else self._held(now),
            leaves=leaves,
        )

    def _held(self, now: float) -> Held:
        mine = [each for each in self._mine if each.at > now]

        def held(*, in_flight: bool) -> tuple[Slot, ...]:
            return tuple(
                Slot(self.name, each.number, each.lane, each.at - now)
                for each in mine
                if each.in_flight is in_flight
            )

        return Held(held(in_flight=True), held(in_flight=False))

    def _take_in(self, reply: Reply, news: _News, wants: tuple[int, int]) -> list[MySlot] | None:
        """Return the slots that were granted; None where all that is held has to be reported."""
        if self._epoch not in (0, reply.epoch):
            self._keep(news)
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
            MySlot(number, lane, now + (self.lease or _LEASE))
            for number, lane in enumerate(reply.granted, self._next)
        ]
        self._next += len(granted)
        self._mine += granted
        if news.refused and news.shaping:
            known = replace(news.shaping, version=news.shaping.version + 1)
            if reply.shaping != known:  # somebody else has taught something meanwhile
                self._learn_refusal(news.refused)
        return granted
