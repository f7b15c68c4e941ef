"""What was handled already: by a request's digest, and by an order's status."""

from __future__ import annotations

import datetime as dt
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Literal, Protocol, TypeAlias

from attrs import evolve, frozen

from .events import Source, WebhookEvent

Begun: TypeAlias = Literal["new", "done", "busy"]

WEEK = dt.timedelta(days=7)


@frozen(kw_only=True)
class Told:
    """A status of an order that was handled.

    Args:
        order_id: Which order.
        store_id: Of which store; None where that is not known.
        status: The status.
        at: When it was so, in seconds since 1970; the latest time that was told.
        source: Who told of it last: `poll` as long as its event is still to come.
    """

    order_id: int
    store_id: int | None
    status: str
    at: float
    source: Source

    @classmethod
    def by(cls, event: WebhookEvent, clock: Callable[[], float] = time.time) -> Told | None:
        """Give what an event tells of its order; None if it tells of none, or no status.

        Args:
            event: The event.
            clock: Gives the seconds since 1970, for an event that does not say when it happened.
        """
        if event.order_id is None or event.order_status is None:
            return None
        return cls(
            order_id=event.order_id,
            store_id=event.store_id,
            status=event.order_status,
            at=clock() if event.timestamp is None else event.timestamp.timestamp(),
            source=event.source,
        )


def merged(known: Told | None, told: Told) -> Told:
    """Give what is to be remembered when a status is told again."""
    return told if known is None else evolve(told, at=max(known.at, told.at))


class Seen(Protocol):
    """Remembers what was handled, so that nothing is handled twice.

    A turn is what can't be handled by two at the same moment: an order, or an event of something
    else. Whoever begins one ends it with `finish` or `give_up`. A receiver never begins the
    same turn twice, so `busy` means another receiver has it, in this process or another.
    """

    async def begin(self, turn: str, key: str | None) -> Begun:
        """Begin a turn, unless the key was handled before.

        Args:
            turn: The turn.
            key: The request's digest; None begins a turn without a request.

        Returns:
            `new` if the turn is ours now, `done` if the key was handled before, `busy` if another
            receiver has the turn, or if that can't be found out just now.
        """
        ...

    async def finish(self, turn: str, key: str | None, told: Told | None) -> None:
        """End a turn that was handled, and remember it.

        Args:
            turn: The turn.
            key: The request's digest.
            told: The status of an order that was handled; see `merged`.
        """
        ...

    async def give_up(self, turn: str) -> None:
        """End a turn that was not handled: it may be begun again."""
        ...

    async def told(self, order_id: int, store_id: int | None) -> Sequence[Told]:
        """Give the statuses of an order that were handled, each as it was last told.

        Args:
            order_id: The order.
            store_id: Of which store. None is any store's, and what is known without a store is
                known of any.
        """
        ...


class MemorySeen:
    """Remembers in this process alone, and not for ever.

    Args:
        age: How long it remembers a request; longer than a sender tries again.
        count: How many requests it remembers, and of how many orders the status.
        clock: Gives seconds that never run backwards.

    Raises:
        ValueError: `age` or `count` is not greater than 0.
    """

    def __init__(
        self,
        age: dt.timedelta = WEEK,
        count: int = 100_000,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if age <= dt.timedelta(0) or count < 1:
            raise ValueError("age and count must be greater than 0")
        self._age = age.total_seconds()
        self._count = count
        self._clock = clock
        # Both have the oldest first.
        self._keys: OrderedDict[str, float] = OrderedDict()
        self._told: OrderedDict[int, dict[tuple[int | None, str], Told]] = OrderedDict()
        self._turns: set[str] = set()

    async def begin(self, turn: str, key: str | None) -> Begun:
        """Begin a turn; `busy` tells of another receiver with the same memory."""
        if key in self._keys:
            self._forget()
        if key in self._keys:
            return "done"
        if turn in self._turns:
            return "busy"
        self._turns.add(turn)
        return "new"

    async def finish(self, turn: str, key: str | None, told: Told | None) -> None:
        """End a turn that was handled, and remember it."""
        self._turns.discard(turn)
        if key is not None:
            self._keys[key] = self._clock()
            self._keys.move_to_end(key)
        if told is not None:
            order = self._told.setdefault(told.order_id, {})
            status = (told.store_id, told.status)
            order[status] = merged(order.get(status), told)
            self._told.move_to_end(told.order_id)
        self._forget()

    async def give_up(self, turn: str) -> None:
        """End a turn that was not handled."""
        self._turns.discard(turn)

    async def told(self, order_id: int, store_id: int | None) -> Sequence[Told]:
        """Give the statuses of an order that were handled."""
        order = self._told.get(order_id)
        if order is None:
            return ()
        stores = (None, store_id)
        return [told for told in order.values() if store_id is None or told.store_id in stores]

    def _forget(self) -> None:
        oldest = self._clock() - self._age
        keys = self._keys
        while keys and (len(keys) > self._count or next(iter(keys.values())) < oldest):
            keys.popitem(last=False)
        while len(self._told) > self._count:
            self._told.popitem(last=False)
