"""How slices of orders were read, as the journal has it and as the certificate tells it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence

import msgspec
from attrs import field, frozen

from .. import convert
from ..records import OrderSummary
from .journal import Journal
from .manifest import Certificate, Proof, SliceProof, added_up, days, instant_of
from .reading import Tally
from .slices import Slice
from .survey import Survey
from .totals import Totals

SCOPE = "orders"
AFTER = "orders after"

_SAMPLE = 3


@frozen(kw_only=True)
class SliceNote:
    """How a slice was read.

    Args:
        first: Its first day as an ordinal; None is open.
        last: Its last day; None is open.
        proof: What shows that it is complete.
        total: Its orders, as the API told.
        pages: How many answers they came in.
        passes: How often it was read.
        unknown: What it had that the reference does not know.
        remarks: What is to be said of it, a sentence each.
    """

    first: int | None
    last: int | None
    proof: Proof
    total: int
    pages: int = 1
    passes: int = 1
    unknown: dict[str, int] = field(factory=dict)
    remarks: tuple[str, ...] = ()

    @property
    def slice(self) -> Slice:
        """The days."""
        return Slice(self.first, self.last)


def certify_orders(journal: Journal, tally: Tally) -> Certificate:
    """Say how the orders of a journal were read."""
    units = [
        (unit, msgspec.json.decode(unit.about, type=SliceNote))
        for unit in journal.units(SCOPE)
        if unit.about != b"null"
    ]
    slices = tuple(
        SliceProof(
            first=_date(note.first),
            last=_date(note.last),
            proof=note.proof,
            total=note.total,
            pages=note.pages,
            passes=note.passes,
            at=instant_of(unit.at),
        )
        for unit, note in units
    )
    proofs = {each.proof for each in slices}
    proof: Proof = "unproven" if "unproven" in proofs else "sliced"
    if len(slices) == 1 and slices[0].proof in ("atomic", "two-pass"):
        proof = slices[0].proof
    noted, told = journal.note(SCOPE), journal.note(AFTER)
    totals = None if told is None else msgspec.json.decode(told, type=Totals)
    known = msgspec.json.decode(noted or b"", type=Survey)
    return Certificate(
        proof=proof,
        distinct_ids=journal.distinct(SCOPE),
        duplicates=journal.repeated_in(SCOPE),
        rejected=journal.rejected_in(SCOPE),
        # A sync guesses the total, and asks for none where one slice has all.
        total_before=known.total if known.asked else None,
        total_after=None if totals is None else totals.after,
        repairs=tally.repairs,
        requests=tally.requests,
        refused=tally.refused,
        sessions=tally.sessions,
        began=instant_of(tally.began),
        ended=max((each.at for each in slices), default=instant_of(tally.began)),
        unknown=added_up(note.unknown for _, note in units),
        newest=_newest(journal),
        inclusive=known.inclusive,
        slices=slices,
        closed_until=None if totals is None else _date(totals.closed_until),
        closed_total=None if totals is None else totals.closed_total,
        cached=tally.cached,
        remarks=tuple(_remarks(known, [note for _, note in units])),
    )


def _remarks(known: Survey, notes: Sequence[SliceNote]) -> Iterator[str]:
    if not known.trusted:
        yield "the API's totals contradict its own pages, so the list was read as a whole"
    doubtful = [note for note in notes if note.remarks]
    for note in doubtful[:_SAMPLE]:
        for remark in note.remarks:
            yield f"{days(_date(note.first), _date(note.last))}: {remark}"


def _date(ordinal: int | None) -> dt.date | None:
    return None if ordinal is None else dt.date.fromordinal(ordinal)


def slice_notes(journal: Journal) -> list[SliceNote]:
    """List how the slices that a journal has were read, the oldest first."""
    notes = (unit.about for unit in journal.units(SCOPE))
    return [msgspec.json.decode(note, type=SliceNote) for note in notes if note != b"null"]


def newest_orders(journal: Journal) -> dict[int, str]:
    """Give the numbers of some of the newest orders by their ids."""
    return {order.id: order.order_number for order in _last_orders(journal)}


def _newest(journal: Journal) -> dt.datetime | None:
    return max((order.created_at for order in _last_orders(journal)), default=None)


def _last_orders(journal: Journal) -> tuple[OrderSummary, ...]:
    for unit in reversed(journal.units(SCOPE)):
        if lines := journal.lines(unit)[-_SAMPLE:]:
            return convert.loads_rows(lines, OrderSummary)
    return ()
