"""Participants of a budget for tests, which hold and report slots through a store."""

from __future__ import annotations

from attrs import define, field

from devskin_async.ratelimit.reports import HeldSlot, HeldSlots, Limit, Reply, Report
from devskin_async.ratelimit.store import Store

PER, LEASE = 60.0, 30.0
TEN = Limit(10, PER, 10, 0)


@define
class Participant:
    """Takes slots from a store, and releases them; it does what a scheduler does."""

    store: Store
    name: str = "host:1:a.1"
    limit: Limit = TEN
    lease: float = LEASE
    epoch: int = 0
    number: int = 1
    in_flight: list[HeldSlot] = field(factory=list)

    def exchange(self, *, wants: tuple[int, int] = (0, 0), answered: tuple[int, ...] = ()) -> Reply:
        """Report once, again where the state was lost, and keep what is granted."""
        reply = self._report(wants, answered, None)
        if self.epoch not in (0, reply.epoch):
            self.epoch = reply.epoch
            reply = self._report(wants, answered, HeldSlots(tuple(self.in_flight), ()))
        self.epoch = reply.epoch
        self.in_flight = [slot for slot in self.in_flight if slot.number not in answered]
        for lane in reply.granted:
            self.in_flight.append(HeldSlot(self.name, self.number, lane, self.lease))
            self.number += 1
        return reply

    def _report(
        self, wants: tuple[int, int], answered: tuple[int, ...], held: HeldSlots | None
    ) -> Reply:
        reply = self.store.exchange(
            Report(
                participant=self.name,
                limit=self.limit,
                lease=self.lease,
                epoch=self.epoch,
                next_number=self.number,
                answered=tuple((number, 0.0) for number in answered),
                wants=wants,
                held=held,
            )
        )
        assert isinstance(reply, Reply)
        return reply

    def take(self, wanted: int) -> int:
        """Ask for interactive slots, and return how many are granted."""
        return len(self.exchange(wants=(wanted, 0)).granted)

    def answer_all(self) -> None:
        """Report that all responses have come."""
        self.exchange(answered=tuple(slot.number for slot in self.in_flight))


@define
class Clock:
    """A clock that is set by hand."""

    now: float = 1000.0

    def __call__(self) -> float:
        """Return what it says."""
        return self.now


def slots_held(store: Store) -> int:
    """Return how many slots are held, as far as the store has seen."""
    state, _ = store.view()
    return len(state.in_flight) + len(state.answered)
