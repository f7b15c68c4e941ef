"""The state of a key's budget: who holds slots, who waits, what was learned. Time is an argument.

A request holds a slot from before it is sent until `per` seconds after its response was seen. The
server counted it before it responded. So in any span of `per` seconds at the server, the requests
that it counts all hold a slot at one moment: never more than there are slots.

The argument. Take any span of `per` seconds at the server and the last request counted in it.
Every other request that the server counted in the span was counted less than `per` seconds before,
so its response was seen less than `per` seconds before, or not yet: it still held its slot when
the last request took one. There are `requests` slots, so the span counts at most as many.

Each participant may have its own limit, and the argument holds for each: a slot is kept for the
longest `per` of the participants, and never for less than its holder's. A participant that joins,
or returns, with a longer `per` than the others' is covered in full once it has taken part for that
long: slots whose response came before are kept for the shorter `per`. A participant that has left
takes no more slots, so no later span matters to it, and its `per` is kept for its own slots alone.

The argument rests on the response. A request that was given up (timed out, cancelled, its
connection broken) keeps its slot for `per` seconds from that moment; a server that counts it even
later is not covered. A slot in flight has a lease, which ends when the attempt would have timed
out: if its process was killed, it counts as answered then.

All other rules of `grants` only ever delay a request, so the argument still holds.
"""

from __future__ import annotations

import math
from bisect import insort
from operator import attrgetter

import msgspec
from msgspec.structs import replace

from .participant import Bucket, Participant
from .reports import BULK, INTERACTIVE, HeldSlot, HeldSlots, Report
from .shaping import Shaping

FORGOTTEN_AFTER = 3600.0
"""Seconds after which an unused budget is forgotten."""

_PROMISED_WINDOWS = 5.0
_MAYBE = 2**50  # numbers of slots that may be held
_SLEW = 1.0  # seconds; a clock that goes back by less was adjusted, not set
_at = attrgetter("at")


def promised_for(per: float) -> float:
    """Return for how many seconds after a reply a participant may rely on its share.

    The budget may promise the share to others only a lease later, since a reply can be late.

    Args:
        per: The participant's window in seconds.
    """
    return min(FORGOTTEN_AFTER, _PROMISED_WINDOWS * per)


class BudgetState(msgspec.Struct, array_like=True):
    """A budget at one moment.

    Args:
        epoch: A number that differs from that of a state that was lost; not 0.
        now: When it last changed, in seconds.
        per: The longest window of all participants, in seconds.
        in_flight: Slots whose response has not come yet, by the end of their lease.
        answered: Slots whose response has come, by the time at which they are free.
        participants: All participants, by name.
        paused_until: When requests may be sent again.
        quota_left: Requests left by the latest quota of a response; infinite without one.
        quota_until: When that quota ends.
        quota_at: When the request with that quota got its slot.
        accepted_at: When a request was last accepted.
        shaping: What refusals taught.
        bucket: The token bucket of the learned shape.
        probe: The slot of the request that is sent alone after a pause: participant and number.
    """

    epoch: int
    now: float = -math.inf
    per: float = 0.0
    in_flight: list[HeldSlot] = []
    answered: list[HeldSlot] = []
    participants: dict[str, Participant] = {}
    paused_until: float = -math.inf
    quota_left: float = math.inf
    quota_until: float = -math.inf
    quota_at: float = -math.inf
    accepted_at: float = -math.inf
    shaping: Shaping = Shaping()
    bucket: Bucket = msgspec.field(default_factory=Bucket)
    probe: tuple[str, int] = ("", 0)

    def apply(self, report: Report) -> Participant:
        """Apply a report, at the time of the last `advance`, and return its participant."""
        if report.away:
            self._hold_shares(report)
        me = self._participant(report)
        if report.held is not None:
            self._restore(report.participant, report.held, me)
        self._release(report, me)
        if report.accepted:
            self.accepted_at = self.now
        if report.pause or report.quota is not None or report.shaping is not None:
            self._observe(report)
        return me

    def advance(self, now: float) -> None:
        """Let time pass: leases end, and slots become free."""
        if now < self.now:
            if now > self.now - _SLEW:
                now = self.now
            else:
                self._go_back(now)
        self.now = now
        while self.in_flight and self.in_flight[0].at <= now:
            slot = self.in_flight.pop(0)
            slot.at += self._per_of(slot)
            insert(self.answered, slot)
        free = 0
        for slot in self.answered:
            if slot.at > now:
                break
            free += 1
            self.participants[slot.participant].held[slot.lane] -= 1
        if free:
            del self.answered[:free]
        if now >= self.quota_until:
            self.quota_left = math.inf

    def is_adapted(self) -> bool:
        """Return whether a pause, a quota or a learned shape is in force."""
        pauses = self.paused_until > self.now or self.quota_left < math.inf
        return pauses or self.shaping.is_in_force

    def paused_for(self) -> float:
        """Return for how many seconds no request may be sent."""
        quota = self.quota_until - self.now if self.quota_left <= 0 else 0.0
        return max(0.0, self.paused_until - self.now, quota)

    def processes(self) -> int:
        """Return how many processes take part, or still hold slots."""
        names = [
            name
            for name, each in self.participants.items()
            # One without a window stands for all the others; see `own_share`.
            if each.takes_part_until > self.now or (each.per and any(each.held))
        ]
        return len({name.rpartition(".")[0] for name in names})

    def copy(self) -> BudgetState:
        """Return a copy that shares nothing with this one."""
        return loads(dumps(self))

    def _hold_shares(self, report: Report) -> None:
        """Hold the shares of the others, who may have used them while this was unreachable.

        As slots of a reply that was lost, they are free with each one's next report.
        """
        longest = report.lease + self.per
        lost_at = self.now - report.away
        done = {slot.participant for slot in self.in_flight if slot.number >= _MAYBE}
        for name, each in sorted(self.participants.items()):
            # One who held nothing takes nothing for two leases and windows; see `outage`.
            held = each.granted_at > lost_at - longest or report.away > 2 * longest
            if held and each.takes_part_until > lost_at and name not in (report.participant, *done):
                for number in range(_MAYBE, _MAYBE + each.promised):
                    insert(self.in_flight, HeldSlot(name, number, BULK, self.now + report.lease))
                each.held[BULK] += each.promised

    def _participant(self, report: Report) -> Participant:
        me = self.participants.get(report.participant)
        if me is None:
            me = self.participants[report.participant] = Participant(report.limit.requests)
        me.requests, me.per = report.limit.requests, report.limit.per
        me.waiting = [*report.wants]
        me.waits_until = -math.inf
        if report.wants[INTERACTIVE]:
            me.interactive_at = self.now
        self.per = me.per
        active, promised = 1, 0
        if len(self.participants) > 1:
            active, promised = self._look_at_others(me)
        me.share = max(0, min(me.requests // active, me.requests - promised))
        me.promised = max(me.share, report.share)
        me.takes_part_until = self.now + promised_for(me.per) + report.lease
        if report.leaves:  # it is forgotten once its slots are free
            me.share, me.promised, me.takes_part_until = 0, 0, -math.inf
        return me

    def _look_at_others(self, me: Participant) -> tuple[int, int]:
        """Find the longest window, and forget participants that are gone.

        Returns:
            How many take part, and how many slots are promised to the others.
        """
        active, promised = 1, 0
        for name, each in tuple(self.participants.items()):
            if each is me:
                continue
            takes_part = each.takes_part_until > self.now
            if takes_part:
                active += 1
                promised += each.promised
            elif not any(each.held):
                del self.participants[name]
                continue
            if takes_part or each.takes_part_until > -math.inf:  # it may continue
                self.per = max(self.per, each.per)
        return active, promised

    def _per_of(self, slot: HeldSlot) -> float:
        """Return for how many seconds a slot is kept after its response."""
        return max(self.per, self.participants[slot.participant].per)

    def _restore(self, participant: str, quota: HeldSlots, me: Participant) -> None:
        """Replace what is known of a participant's slots by what it reports that it holds."""
        held = ((self.in_flight, quota.in_flight), (self.answered, quota.answered))
        numbers = {slot.number for _, restored in held for slot in restored}
        for slots, _ in held:
            for slot in tuple(slots):
                if slot.participant == participant and slot.number in numbers:
                    slots.remove(slot)
                    me.held[slot.lane] -= 1
        for slots, restored in held:
            for slot in restored:
                insert(slots, replace(slot, at=self.now + slot.at))
                me.held[slot.lane] += 1
                me.granted_at = self.now  # since when is not known

    def _release(self, report: Report, me: Participant) -> None:
        over = {*dict(report.answered), *report.cancelled}
        released: dict[int, HeldSlot] = {}
        in_flight = []
        for slot in self.in_flight:
            number = slot.number
            if slot.participant != report.participant:
                in_flight.append(slot)
            elif number >= report.next_number:
                me.held[slot.lane] -= 1
            elif number in over:
                released[number] = slot
            else:
                in_flight.append(slot)
        self.in_flight = in_flight
        for number in report.cancelled:
            free = released.get(number) or self._expired(report.participant, number)
            if free is not None:
                me.held[free.lane] -= 1
        for number, ago in report.answered:
            done = released.get(number) or self._expired(report.participant, number)
            if done is not None:
                done.at = self.now - ago + self.per
                insert(self.answered, done)

    def _expired(self, participant: str, number: int) -> HeldSlot | None:
        """Remove and return a slot whose lease ended before its request; None if there is none."""
        for place, slot in enumerate(self.answered):
            if slot.number == number and slot.participant == participant:
                return self.answered.pop(place)
        return None

    def _observe(self, report: Report) -> None:
        if report.pause:
            self.paused_until = max(self.paused_until, self.now + report.pause)
        quota = report.quota
        if quota is not None and quota.granted_at >= self.quota_at:
            self.quota_left = quota.remaining - len(self.in_flight)
            self.quota_until = self.now + quota.reset_after
            self.quota_at = quota.granted_at
        learned, known = report.shaping, self.shaping
        if learned is not None and learned.version == known.version:
            self.shaping = replace(learned, version=known.version + 1)
            probed = known.probing and not learned.probing
            if learned.shape != known.shape or (probed and learned.shape):
                self.bucket = Bucket(0.0, max(self.now, self.paused_until))

    def _go_back(self, now: float) -> None:
        """Treat a clock that was set back as a restart: no request is in flight any more."""
        back = self.now - now
        for slot in self.in_flight:
            slot.at = now + self._per_of(slot)
        for slot in self.answered:
            slot.at = min(slot.at - back, now + self._per_of(slot))
        self.answered = sorted(self.in_flight + self.answered, key=_at)
        self.in_flight = []
        self.paused_until = min(self.paused_until - back, now + self.per)
        self.quota_until = self.quota_at = -math.inf
        self.accepted_at -= back
        # After a lesson the bucket is filled from the end of the pause on.
        self.bucket.filled_at = min(self.bucket.filled_at - back, max(now, self.paused_until))
        self.shaping = replace(
            self.shaping,
            lesson_at=self.shaping.lesson_at - back,
            changed_at=self.shaping.changed_at - back,
        )
        for each in self.participants.values():
            each.takes_part_until -= back
            each.waits_until = -math.inf
            each.granted_at -= back
            each.interactive_at -= back
            each.bucket.filled_at -= back


def insert(slots: list[HeldSlot], slot: HeldSlot) -> None:
    """Insert a slot in the order of `at`; nearly always that is at the end."""
    if not slots or slots[-1].at <= slot.at:
        slots.append(slot)
    else:
        insort(slots, slot, key=_at)


_decoder = msgspec.msgpack.Decoder(BudgetState)
_encoder = msgspec.msgpack.Encoder()


def dumps(state: BudgetState) -> bytes:
    """Encode a state, for a file or a server."""
    return _encoder.encode(state)


def loads(data: bytes) -> BudgetState:
    """Decode a state.

    Raises:
        msgspec.MsgspecError: It is damaged.
    """
    return _decoder.decode(data)
