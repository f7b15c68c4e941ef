"""The messages between a participant and its budget: the whole protocol of a shared budget."""

from __future__ import annotations

import msgspec

from .policy import Lane, RateLimit
from .shaping import Shaping

INTERACTIVE, BULK = 0, 1
LANES: tuple[Lane, Lane] = (Lane.INTERACTIVE, Lane.BULK)  # as they are numbered


class HeldSlot(msgspec.Struct, array_like=True, gc=False):
    """A slot that is held.

    Args:
        participant: By whom.
        number: Which of the participant's slots, from 1.
        lane: For which lane: 0 is interactive, 1 is bulk.
        at: In flight, when its lease ends; answered, when it is free. In seconds.
    """

    participant: str
    number: int
    lane: int
    at: float


class HeldSlots(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """What a participant holds, for a budget that has lost it; `at` is in seconds from now."""

    in_flight: tuple[HeldSlot, ...]
    answered: tuple[HeldSlot, ...]


class Quota(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """What a response said of the requests left.

    Args:
        remaining: Requests left when it was given.
        reset_after: Seconds until there are more again.
        granted_at: When its request got its slot: later requests know better.
    """

    remaining: int
    reset_after: float
    granted_at: float


class Limit(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """A `RateLimit` as it is reported: the reserve is -1 where it depends on the others."""

    requests: int
    per: float
    burst: int
    reserve: int

    @classmethod
    def of(cls, limit: RateLimit) -> Limit:
        """Return a limit as it is reported."""
        reserve = -1 if limit.reserve is None else limit.reserve
        return cls(limit.requests, limit.per, limit.burst, reserve)


class Report(msgspec.Struct, array_like=True, gc=False, frozen=True, kw_only=True):
    """What a participant tells its budget, and wants of it.

    Args:
        participant: Its name; the part before the last point is its process.
        limit: The limit that it keeps.
        lease: Seconds after which a slot in flight counts as answered.
        epoch: Of the state that it knows; 0 for none.
        next_number: The number of its next slot. Slots in flight from there on were granted in a
            reply that was lost, and nothing was sent.
        answered: Slots whose requests were answered, or given up: each number, and how many
            seconds ago.
        cancelled: Numbers of slots that no request used, or whose request was refused.
        accepted: Whether a request was answered, and not with 429.
        wants: How many requests wait, in each lane.
        pause: Seconds for which nothing may go; 0 for none.
        quota: What a response said of the requests left; None for nothing.
        shaping: What a response taught, with the version from which it was learned; None for
            nothing.
        held: What it holds; only where the state was lost.
        leaves: Whether it takes part no more.
        share: The share that it was last told; see `Participant.share`.
        away: Where it comes back to a budget that was unreachable: seconds since the last reply;
            infinite where there was none. Otherwise 0.
    """

    participant: str
    limit: Limit
    lease: float
    epoch: int = 0
    next_number: int = 1
    answered: tuple[tuple[int, float], ...] = ()
    cancelled: tuple[int, ...] = ()
    accepted: bool = False
    wants: tuple[int, int] = (0, 0)
    pause: float = 0.0
    quota: Quota | None = None
    shaping: Shaping | None = None
    held: HeldSlots | None = None
    leaves: bool = False
    share: int = 0
    away: float = 0.0


class Reply(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """The budget's reply to a report.

    Args:
        now: The present by the budget's clock, in seconds.
        granted: The lanes of the slots that were granted, numbered from `next_number`.
        wait: Seconds until it is worth asking again; infinite where a request of the
            participant's own must be answered first, or nothing is wanted.
        epoch: Of the state. Where it is another than the participant knows, nothing was taken in,
            and it has to report what it holds.
        paused_until: Nothing goes before this.
        shaping: What refusals taught so far.
        share: Slots that the participant may hold while the budget is unreachable.
    """

    now: float
    granted: tuple[int, ...]
    wait: float
    epoch: int
    paused_until: float
    shaping: Shaping
    share: int = 0
