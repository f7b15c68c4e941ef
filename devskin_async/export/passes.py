"""Lists of several pages: read, and read again until two passes agree."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec
from attrs import evolve, field, frozen

from ..api import Request, page_count
from ..records import Page
from .manifest import Proof
from .reading import Session, now, unknown_in, work_off
from .rows import unique_rows
from .tables import Resource
from .units import Unit, pass_scope

MOST_PASSES = 4
_BARREN = 3  # pages that bring no row which had not come before


@frozen(kw_only=True)
class PageNote:
    """What the journal keeps of a page.

    Args:
        total: The rows of the list that the page told of.
        limit: The rows that a page may have.
        rows: The rows that this one had.
        repeated: How many of them had come in the pass before.
        unknown: What it had that the reference does not know.
    """

    total: int
    limit: int
    rows: int
    repeated: int = 0
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
        remarks: What is to be said where nothing is proven, a sentence each.
    """

    proof: Proof
    scopes: tuple[str, ...]
    before: int
    after: int
    pages: int
    passes: int
    unknown: dict[str, int]
    remarks: tuple[str, ...] = ()


@frozen(kw_only=True)
class _Pass:
    """One pass as the journal has it; `expected` pages until the first is there."""

    scope: str
    pages: dict[int, PageNote]
    expected: int

    @property
    def held(self) -> bool:
        """Whether all its pages told the same total; one past the end may tell another."""
        return len({each.total for n, each in self.pages.items() if each.rows or n == 1}) == 1

    @property
    def last(self) -> int:
        """How many pages it has, as the first one told."""
        first = self.pages.get(1)
        return self.expected if first is None else page_count(first.total, first.limit)

    @property
    def requests(self) -> int:
        """How many requests it takes, as the first page told."""
        first = self.pages.get(1)
        # Only the next page shows whether a full page was the last.
        full = first is not None and first.rows > 0 and first.total % first.limit == 0
        return self.last + full

    @property
    def ended(self) -> int | None:
        """The first page that shows that no further ones have anything; None where none does."""
        empty = [number for number, page in self.pages.items() if not page.rows]
        barren = [n for n, page in self.pages.items() if 0 < page.rows <= page.repeated]
        ends = [*empty, *sorted(barren)[_BARREN - 1 : _BARREN]]
        return min(ends, default=None)

    @property
    def is_complete(self) -> bool:
        """Whether each page that it has was read."""
        return all(number in self.pages for number in range(1, self.last + 1))

    def missing(self) -> Iterator[int]:
        """Go through the pages to be read yet, as far as the first one told."""
        number = 1
        while number < min(self.last, self.ended or self.last):
            number += 1
            if number not in self.pages:
                yield number

    def beyond(self) -> int | None:
        """Give the page after all that were read, where the list may go on; None where not."""
        first, highest = self.pages[1], max(self.pages)
        last = self.pages[highest]
        if self.ended is not None or not self.is_complete:
            return None
        short = self.held and sum(page.rows for page in self.pages.values()) < first.total
        # No list is known to end with a page that is full, whatever total it tells.
        return highest + 1 if short or (last.rows and last.rows >= first.limit) else None


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
        call: Callable[[int], Request[Page[msgspec.Raw]]],
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
        """Read until it is proven that nothing is missing, `MOST_PASSES` times at the most.

        Two passes that agree with each other, and both contradict the total, end it too: to read
        once more would show nothing else.
        """
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
        filled = [number for number, page in last.pages.items() if page.rows]
        return Reading(
            proof=proof,
            scopes=tuple(each.scope for each in kept),
            before=done[0].pages[1].total,
            after=last.pages[max(filled, default=1)].total,
            pages=max(len(filled), 1),
            passes=len(done),
            unknown=unknown,
            remarks=() if proof != "unproven" else (await self._doubt(last, len(done)),),
        )

    async def _doubt(self, last: _Pass, passes: int) -> str:
        """Say why nothing is proven."""
        total, distinct = last.pages[1].total, await self._distinct(last)
        if last.held and distinct != total:
            return f"the API reported a total of {total:,}, but its pages hold {distinct:,} rows"
        return f"the list changed during each of {passes} passes"

    @property
    def requests_left(self) -> int:
        """How many requests are to come, as far as is known."""
        if self._now is None:
            return 1
        now = self._now
        further = 0 if self._once or self._number > 1 or now.last == 1 else now.requests
        return max(0, now.requests - len(now.pages)) + further

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
        missing = reading.missing()

        def is_useful() -> bool:
            # What has changed meanwhile proves nothing any more; only the last pass is read out.
            return reading.held or number == MOST_PASSES

        await work_off(
            lambda: next(missing, None) if is_useful() else None,
            lambda page: self._read_page(reading, page),
            self._session.concurrency,
        )
        while is_useful() and (further := reading.beyond()) is not None:
            await self._read_page(reading, further)
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
        (repeated,) = await self._session.keep(
            Unit(
                scope=reading.scope,
                number=number,
                rows=tuple(unique.values()),
                status=self._status,
                at=now(),
                about=msgspec.json.encode(note),
            )
        )
        reading.pages[number] = evolve(note, repeated=repeated)
        self._session.tell()

    async def _judge(self, done: list[_Pass]) -> Proof | None:
        """Say what the passes prove; None where another is needed."""
        last = done[-1]
        total = last.pages[1].total
        distinct = await self._distinct(last)
        agree = len(done) > 1 and await self._agree(done[-2], last)
        if last.held and last.is_complete and distinct == total:
            if last.last == 1 and last.pages[1].rows == total:
                return "atomic"
            if self._once:
                return "counted"
            if agree:
                return "two-pass"
        hopeless = agree and distinct != total
        return "unproven" if hopeless or len(done) == MOST_PASSES else None

    async def _agree(self, before: _Pass, last: _Pass) -> bool:
        """Say whether two passes, each under a total that held, have the same ids."""
        distinct = await self._distinct(last)
        run, journal = self._session.stage.run, self._session.stage.journal
        return (
            before.held
            and last.held
            and before.pages[1].total == last.pages[1].total
            and await self._distinct(before) == distinct
            and await run(journal.shared_ids, before.scope, last.scope) == distinct
        )

    async def _distinct(self, reading: _Pass) -> int:
        return await self._session.stage.run(self._session.stage.journal.distinct, reading.scope)
