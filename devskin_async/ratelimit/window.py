"""When a request may go, decided from the time alone.

A request holds a slot from before it is sent until `per` seconds after its answer was seen. The
server counted it before it answered, so whatever span of `per` seconds the server looks at, the
requests it counts there all hold slots at one moment: never more than there are.

The argument. Take any span of `per` seconds at the server and the last request counted in it.
Every other request that the server counted in the span was counted less than `per` seconds before,
so its answer was seen less than `per` seconds before, or not yet: it still held its slot when the
last request took one. There are `requests` slots, so the span counts at most as many.

It rests on the answer. A request that was given up (timed out, cancelled, its connection broken)
keeps its slot from that moment; a server that counts it later still is not covered.

The lanes share the slots: each may hold so many at the most (`RateLimit.most`). That only ever
keeps a request back, so the argument stands.
"""

from __future__ import annotations

from collections import deque

from attrs import define, field

from .policy import Lane, RateLimit


@define
class _Use:
    """A lane's slots: those in flight, and when each of the others is free."""

    in_flight: int = 0
    frees_at: deque[float] = field(factory=deque)


class Window:
    """The slots of a limit of `requests` in every `per` seconds.

    Args:
        limit: How many slots there are, how long one stays taken, how the lanes share them.
    """

    def __init__(self, limit: RateLimit) -> None:
        self._limit = limit
        self._uses = {lane: _Use() for lane in Lane}
        self._most = {
            (lane, contested): limit.most(lane, contested=contested)
            for lane in Lane
            for contested in (False, True)
        }

    @property
    def in_flight(self) -> int:
        """Requests that hold a slot and are not answered yet."""
        return sum(use.in_flight for use in self._uses.values())

    def in_flight_of(self, lane: Lane) -> int:
        """Count a lane's requests that are not answered yet."""
        return self._uses[lane].in_flight

    def available(self, now: float) -> int:
        """Count the free slots at `now`."""
        held = 0
        for use in self._uses.values():
            frees_at = use.frees_at
            while frees_at and frees_at[0] <= now:
                frees_at.popleft()
            held += use.in_flight + len(frees_at)
        return self._limit.requests - held

    def room(self, lane: Lane, now: float, *, contested: bool) -> int:
        """Count the slots that a lane may take at `now`.

        Args:
            lane: The lane.
            now: The present, in seconds.
            contested: Whether the other lane has requests waiting.
        """
        free = self.available(now)
        own = self._uses[lane]
        return min(free, self._most[lane, contested] - own.in_flight - len(own.frees_at))

    def next_room(self, lane: Lane, now: float, *, contested: bool) -> float | None:
        """Say when a lane may take a slot: `now` or later, or None where an answer must come first.

        Args:
            lane: The lane.
            now: The present, in seconds.
            contested: Whether the other lane has requests waiting.
        """
        if self.room(lane, now, contested=contested) > 0:
            return now
        own = self._uses[lane]
        capped = own.in_flight + len(own.frees_at) >= self._most[lane, contested]
        uses = (own,) if capped else self._uses.values()
        heads = [use.frees_at[0] for use in uses if use.frees_at]
        return min(heads) if heads else None

    def take_if_room(self, lane: Lane, now: float, *, contested: bool) -> bool:
        """Take a free slot for a request that goes at `now`, if the lane may; see `room`."""
        own = self._uses[lane]
        free = self.available(now) > 0
        if free and own.in_flight + len(own.frees_at) < self._most[lane, contested]:
            own.in_flight += 1
            return True
        return False

    def take(self, lane: Lane, now: float) -> None:
        """Take a free slot for a request that goes at `now`."""
        if self.available(now) <= 0:
            raise RuntimeError("no slot is free")
        self._uses[lane].in_flight += 1

    def answered(self, lane: Lane, now: float) -> None:
        """Let a slot that was taken become free `per` seconds from `now`."""
        use = self._uses[lane]
        use.in_flight -= 1
        latest = use.frees_at[-1] if use.frees_at else now
        use.frees_at.append(max(latest, now + self._limit.per))

    def unused(self, lane: Lane) -> None:
        """Give back at once a slot that was taken for a request that was never sent."""
        self._uses[lane].in_flight -= 1

    def copy(self) -> Window:
        """Make a window in the same state, to try things on."""
        twin = Window(self._limit)
        for lane, use in self._uses.items():
            twin._uses[lane] = _Use(use.in_flight, deque(use.frees_at))
        return twin
