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
        participant: The name of its holder.
        number: Its number among the participant's slots, from 1.
        lane: Its lane: 0 is interactive, 1 is bulk.
        at: While in flight, when its lease ends; after the response, when it is free. In seconds.
    """

    participant: str
    number: int
    lane: int
    at: float


class HeldSlots(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """All that a participant holds, for a budget that lost its state; `at` is seconds from now."""

    in_flight: tuple[HeldSlot, ...]
    answered: tuple[HeldSlot, ...]


class Quota(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """The quota that a response gave.

    Args:
        remaining: Requests left at the time of the response.
        reset_after: Seconds until the reset.
        granted_at: When its request got its slot; the quota of the latest request counts.
    """

    remaining: int
    reset_after: float
    granted_at: float


class Limit(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """A `RateLimit` as it is reported; an automatic reserve is -1."""

    requests: int
    per: float
    burst: int
    reserve: int

    @classmethod
    def of(cls, limit: RateLimit) -> Limit:
        """Return the limit to report for a `RateLimit`."""
        reserve = -1 if limit.reserve is None else limit.reserve
        return cls(limit.requests, limit.per, limit.burst, reserve)


class Report(msgspec.Struct, array_like=True, gc=False, frozen=True, kw_only=True):
    """What a participant reports to its budget, and requests from it.

    Args:
        participant: Its name; the part before the last point is its process.
        limit: The limit that it keeps.
        lease: Seconds after which a slot in flight counts as answered.
        epoch: The epoch of the state that it knows; 0 for none.
        next_number: The number of its next slot. Slots in flight from this number on were granted
            in a reply that was lost: no request was sent with them.
        answered: Slots whose response came, or whose request was given up: each number, and how
            many seconds ago.
        cancelled: Numbers of slots that no request used, or whose request was refused.
        accepted: Whether a response came that was not 429.
        wants: How many requests wait, in each lane.
        pause: Seconds for which no request may be sent; 0 for no pause.
        quota: The latest quota of a response; None without one.
        shaping: What a response taught, with the version from which it was learned; None for
            nothing.
        held: All slots that it holds, if the budget lost its state; else None.
        leaves: Whether it no longer takes part.
        share: The share in its last reply; see `Participant.share`.
        away: If it returns to a budget that was unreachable: seconds since the last reply, infinite
            if there was none. Otherwise 0.
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
        now: The time by the budget's clock, in seconds.
        granted: The lanes of the granted slots, which are numbered from `next_number`.
        wait: Seconds until the participant should ask again; infinite if a response to one of its
            own requests must come first, or if it wants nothing.
        epoch: The epoch of the state. If the participant reported another one, the report was not
            applied, and it has to report all slots that it holds.
        paused_until: When requests may be sent again, by the budget's clock.
        shaping: What refusals have taught so far.
        share: Slots that the participant may hold while the budget is unreachable.
    """

    now: float
    granted: tuple[int, ...]
    wait: float
    epoch: int
    paused_until: float
    shaping: Shaping
    share: int = 0
