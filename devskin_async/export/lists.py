"""Products and customers, read in passes; revenue and the overview, which are one answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import msgspec
from attrs import field, frozen

from ..api import MAX_LIMIT, Request, endpoints
from ..records import Page, Period
from .journal import Journal
from .manifest import Certificate, Proof, instant_of
from .passes import Passes
from .reading import Session, Tally, now, unknown_in
from .rows import Row
from .tables import Resource
from .units import Unit

_LISTS: Mapping[str, Callable[[int], Request[Page[msgspec.Raw]]]] = {
    "products": lambda page: endpoints.raw(endpoints.products(page, MAX_LIMIT)),
    "customers": lambda page: endpoints.raw(endpoints.customers(page, MAX_LIMIT)),
}


class Reader(Protocol):
    """Reads one resource into the journal."""

    @property
    def total(self) -> int:
        """Its rows, as far as is known."""
        ...

    @property
    def rows(self) -> int:
        """How many of them were read."""
        ...

    @property
    def requests_left(self) -> int:
        """How many requests are to come, as far as is known."""
        ...

    async def start(self) -> None:
        """Find out how much there is to read."""
        ...

    async def read(self) -> None:
        """Read what is not in the journal."""
        ...

    async def certify(self) -> Certificate:
        """Say how it was read."""
        ...


@frozen(kw_only=True)
class ListNote:
    """How a resource was read that is no list of orders.

    Args:
        proof: What shows that it is complete.
        before: The total that the first answer told; None where it tells none.
        after: The total that the last answer told.
        unknown: What it had that the reference does not know.
        remarks: What else is to be said of it, a sentence each.
    """

    proof: Proof
    before: int | None = None
    after: int | None = None
    unknown: dict[str, int] = field(factory=dict)
    remarks: tuple[str, ...] = ()


class Listed:
    """Reads a list that can't be cut: products or customers.

    Args:
        session: What it is read with.
        resource: Which of them.
    """

    def __init__(self, session: Session, resource: Resource) -> None:
        self._session = session
        self._resource: Resource = resource
        self._passes = Passes(
            session, resource, resource, _LISTS[resource], once=session.choice.once
        )
        self._done = False

    @property
    def total(self) -> int:
        """Its rows, as the last answer told."""
        return self._passes.total

    @property
    def rows(self) -> int:
        """How many of them the present pass has read."""
        return self._passes.rows

    @property
    def requests_left(self) -> int:
        """How many requests are to come, as far as is known."""
        return 0 if self._done else self._passes.requests_left

    async def start(self) -> None:
        """Read the first page."""
        self._done = await is_kept(self._session, self._resource)
        await self._passes.start()

    async def read(self) -> None:
        """Read what is not in the journal."""
        if self._done:
            return
        reading = await self._passes.read()
        note = ListNote(
            proof=reading.proof,
            before=reading.before,
            after=reading.after,
            unknown=reading.unknown,
            remarks=reading.remarks,
        )
        units = [
            Unit(
                scope=self._resource,
                number=part,
                adopts=scope,
                at=now(),
                about=b"null" if part else msgspec.json.encode(note),
            )
            for part, scope in enumerate(reading.scopes)
        ]
        await self._session.keep(*units)
        self._done = True

    async def certify(self) -> Certificate:
        """Say how it was read."""
        return await certify(self._session, self._resource)


class Figures:
    """Reads what is one answer: the revenue series of a year, or the overview.

    Args:
        session: What it is read with.
        resource: Which of them.
    """

    def __init__(self, session: Session, resource: Resource) -> None:
        self._session = session
        self._resource: Resource = resource
        self._done = False
        self.total: int = 1
        self.rows: int = 0

    @property
    def requests_left(self) -> int:
        """How many requests are to come."""
        return 0 if self._done else 1

    async def start(self) -> None:
        """Look whether it was read."""
        self._done = await is_kept(self._session, self._resource)

    async def read(self) -> None:
        """Read it, if it is not in the journal."""
        if self._done:
            return
        rows = await self._ask()
        note = ListNote(proof="atomic", unknown=unknown_in(rows))
        unit = Unit(
            scope=self._resource, number=0, rows=rows, at=now(), about=msgspec.json.encode(note)
        )
        await self._session.keep(unit)
        self.total = self.rows = len(rows)
        self._done = True
        self._session.tell()

    async def certify(self) -> Certificate:
        """Say how it was read."""
        return await certify(self._session, self._resource)

    async def _ask(self) -> Sequence[Row]:
        if self._resource == "revenue":
            # The longest period there is, as an export is of all there is.
            series = await self._session.send_dated(endpoints.raw_revenue(Period.YEAR))
            return self._session.read("revenue", series.daily, "$.data.daily")
        answer = await self._session.send_dated(endpoints.raw_overview())
        return self._session.read("overview", [answer.figures], "$.data")


async def is_kept(session: Session, resource: Resource) -> bool:
    """Say whether the journal has a resource whole."""
    return await session.stage.run(session.stage.journal.unit, resource, 0) is not None


async def certify(session: Session, resource: Resource) -> Certificate:
    """Say how a resource was read that is no list of orders."""
    return await session.stage.run(_certify, session.stage.journal, resource, session.tally)


def _certify(journal: Journal, resource: Resource, tally: Tally) -> Certificate:
    unit = journal.unit(resource, 0)
    if unit is None:
        raise AssertionError("it was read")  # pragma: no cover
    note = msgspec.json.decode(unit.about, type=ListNote)
    return Certificate(
        proof=note.proof,
        distinct_ids=journal.distinct(resource),
        duplicates=journal.repeated_in(resource),
        rejected=journal.rejected_in(resource),
        total_before=note.before,
        total_after=note.after,
        repairs=tally.repairs,
        requests=tally.requests,
        refused=tally.refused,
        sessions=tally.sessions,
        began=instant_of(tally.began),
        ended=instant_of(unit.at),
        unknown=note.unknown,
        cached=tally.cached,
        remarks=note.remarks,
    )
