"""Lists of several pages: read, and read again until two passes agree."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from attrs import field, frozen

from ..protocol import Call, page_count
from ..records import Page
from .manifest import Proof
from .reading import Session, now, unknown_in, work_off
from .rows import unique_rows
from .tables import Resource
from .units import Unit, pass_scope

MOST_PASSES = 4


@frozen(kw_only=True)
class PageNote:
    """What the journal keeps of a page.

    Args:
        total: The rows of the list that the page told of.
        limit: The rows that a page may have.
        rows: The rows that this one had.
        unknown: What it had that the reference does not know.
    """

    total: int
    limit: int
    rows: int
    unknown: dict[str, int] = field(factory=dict)


@frozen(kw_only=True)
class Reading:
    """How often a list was read, and with what result.

    Args:
        proof: What shows that the last pass is complete.
        scopes: Where the rows are, the last pass first; the others only where nothing is proven.
        before: The total that the first answer told.
        after: The total that the last answer told.
        pages: The answers of the last pass.
        passes: How often it was read.
        unknown: What the last pass had that the reference does not know.
    """

    proof: Proof
    scopes: tuple[str, ...]
    before: int
    after: int
    pages: int
    passes: int
    unknown: dict[str, int]


@frozen(kw_only=True)
class _Pass:
    """One pass as the journal has it; `expected` pages until the first is there."""

    scope: str
    pages: dict[int, PageNote]
    expected: int

    @property
    def held(self) -> bool:
        """Whether all its pages told the same total."""
        return len({page.total for page in self.pages.values()}) == 1

    @property
    def last(self) -> int:
        """How many pages it has."""
        first = self.pages.get(1)
        return self.expected if first is None else page_count(first.total, first.limit)


class Passes:
    """Reads a list in passes; what the journal has of them already is not asked for again.

    Args:
        session: What it is read with.
        resource: What the rows are.
        scope: The list's name in the journal.
        call: Makes the call for the page of a number.
        once: Accept one pass whose total held, with exactly that many distinct ids.
        status: Keep only orders of this status.
    """

    def __init__(
        self,
        session: Session,
        resource: Resource,
        scope: str,
        call: Callable[[int], Call[Page[msgspec.Raw]]],
        *,
        once: bool,
        status: str | None = None,
    ) -> None:
        self._session = session
        self._resource: Resource = resource
        self._scope = scope
        self._call = call
        self._once = once
        self._status = status
        self._now: _Pass | None = None
        self._number = 0

    @property
    def total(self) -> int:
        """The list's rows, as its present pass told; 0 before it has begun."""
        return self._now.pages[1].total if self._now and 1 in self._now.pages else 0

    @property
    def rows(self) -> int:
        """How many rows the present pass has read."""
        return sum(page.rows for page in self._now.pages.values()) if self._now else 0

    async def start(self) -> None:
        """Read the first page, which tells how many there are."""
        self._now = await self._known_pass(1)
        if 1 not in self._now.pages:
            await self._read_page(self._now, 1)

    async def read(self) -> Reading:
        """Read until it is proven that nothing is missing, `MOST_PASSES` times at the most."""
        done: list[_Pass] = []
        proof: Proof | None = None
        while proof is None:
            self._session.tally.repairs += len(done) >= (1 if self._once else 2)
            done.append(await self._read_pass(len(done) + 1))
            proof = await self._judge(done)
        last = done[-1]
        kept = done[::-1] if proof == "unproven" else [last]
        unknown: dict[str, int] = {}
        for page in last.pages.values():
            for name, count in page.unknown.items():
                unknown[name] = unknown.get(name, 0) + count
        return Reading(
            proof=proof,
            scopes=tuple(each.scope for each in kept),
            before=done[0].pages[1].total,
            after=last.pages[max(last.pages)].total,
            pages=len(last.pages),
            passes=len(done),
            unknown=unknown,
        )

    @property
    def requests_left(self) -> int:
        """How many requests are to come, as far as is known."""
        if self._now is None:
            return 1
        further = 0 if self._once or self._number > 1 or self._now.last == 1 else self._now.last
        return self._now.last - len(self._now.pages) + further

    async def _known_pass(self, number: int) -> _Pass:
        run, journal = self._session.stage.run, self._session.stage.journal
        scope = pass_scope(self._scope, number)
        known = await run(journal.units, scope)
        return _Pass(
            scope=scope,
            pages={unit.number: msgspec.json.decode(unit.about, type=PageNote) for unit in known},
            expected=1 if self._now is None else self._now.last,
        )

    async def _read_pass(self, number: int) -> _Pass:
        reading = await self._known_pass(number)
        self._now, self._number = reading, number
        if 1 not in reading.pages:
            await self._read_page(reading, 1)
        missing = (n for n in range(2, reading.last + 1) if n not in reading.pages)

        def next_page() -> int | None:
            # What has changed meanwhile proves nothing any more; only the last pass is read out.
            return next(missing, None) if reading.held or number == MOST_PASSES else None

        await work_off(
            next_page, lambda page: self._read_page(reading, page), self._session.concurrency
        )
        return reading

    async def _read_page(self, reading: _Pass, number: int) -> None:
        page = await self._session.ask(self._resource, self._call(number))
        unique = unique_rows(page.rows)
        note = PageNote(
            total=page.total,
            limit=page.limit,
            rows=len(page.rows),
            unknown=unknown_in(unique.values()),
        )
        await self._session.keep(
            Unit(
                scope=reading.scope,
                number=number,
                rows=tuple(unique.values()),
                status=self._status,
                at=now(),
                about=msgspec.json.encode(note),
            )
        )
        reading.pages[number] = note
        self._session.tell()

    async def _judge(self, done: list[_Pass]) -> Proof | None:
        """Say what the passes prove; None where another is needed."""
        last = done[-1]
        total = last.pages[1].total
        run, journal = self._session.stage.run, self._session.stage.journal
        whole = last.held and len(last.pages) == last.last
        if whole and await run(journal.distinct, last.scope) == total:
            if last.last == 1 and last.pages[1].rows == total:
                return "atomic"
            if self._once:
                return "counted"
            if len(done) > 1 and await self._agrees(done[-2], last):
                return "two-pass"
        return "unproven" if len(done) == MOST_PASSES else None

    async def _agrees(self, before: _Pass, last: _Pass) -> bool:
        total = last.pages[1].total
        run, journal = self._session.stage.run, self._session.stage.journal
        return (
            before.held
            and before.pages[1].total == total
            and await run(journal.distinct, before.scope) == total
            and await run(journal.shared_ids, before.scope, last.scope) == total
        )
