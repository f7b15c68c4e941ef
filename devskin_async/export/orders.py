"""Orders: slices of days that each fit one answer, read concurrently and each proven."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Sequence
from contextlib import aclosing

import msgspec
from attrs import evolve

from ..errors import DecodeError
from ..paging import Ordered
from ..records import OrderSummary
from .counting import is_counted, may_count
from .density import Density
from .manifest import Certificate, Proof
from .passes import Passes
from .reading import RowPage, Session, now, unknown_in, work_off
from .rows import Row, unique_rows
from .slice_notes import AFTER, SCOPE, SliceNote, certify_orders, slice_notes
from .slices import EVERYTHING, Planner, Slice, without
from .survey import Survey, contradicts, day_of, instants_of, orders_call, take_survey
from .totals import Totals, ask_totals
from .trust import DistrustError, Trust
from .units import Unit

# A day ends last where it is 12 hours behind UTC, and begins first where it is 14 hours ahead.
_ENDS_LAST = dt.timedelta(hours=12)
_BEGINS_FIRST = dt.timedelta(hours=14)

_END = dt.datetime.max.replace(tzinfo=dt.UTC)
_LONG_AGO = dt.datetime(2, 1, 1, tzinfo=dt.UTC)
_GUESS_ANEW = 0.05  # the part of the requests left after which they are guessed anew
_PARTS = 10  # unit numbers for each first day


class Orders:
    """Reads the orders of a range of days.

    Args:
        session: What they are read with.
        wanted: The range.
        known: What is known of the orders from before; None asks the API.
    """

    def __init__(
        self, session: Session, wanted: Slice = EVERYTHING, known: Survey | None = None
    ) -> None:
        choice = session.choice
        self._session = session
        self._wanted = wanted
        self._server_status: str | None = choice.status if choice.filter_on_server else None
        self._status: str | None = None if choice.filter_on_server else choice.status
        self._known = known
        self._found = Survey(total=0, first=0)
        self._settled = _LONG_AGO
        self._planner: Planner | None = None
        self._under_way: dict[Slice, float] = {}
        self._answers = 0
        self._guess: float | None = None
        self._guessed_at = 0
        self._most_rows = 0  # on one page
        self._trust = Trust()
        self._whole: Passes | None = None
        self.rows: int = 0

    @property
    def total(self) -> int:
        """The store's orders, as the survey found them."""
        return self._found.total

    @property
    def requests_left(self) -> int:
        """How many requests are to come, as far as is known."""
        if self._whole is not None:
            return self._whole.requests_left
        if self._planner is None:
            return int(self._found.trusted)
        since = self._answers - self._guessed_at
        if self._guess is None or since > self._guess * _GUESS_ANEW:
            self._guess = self._planner.requests_left() + sum(self._under_way.values())
            self._guessed_at, since = self._answers, 0
        return max(0, math.ceil(self._guess - since))

    async def start(self) -> None:
        """Find out how many orders there are, and how to cut them into slices."""
        stage = self._session.stage
        noted = await stage.run(stage.journal.note, SCOPE)
        if noted is not None:
            survey = msgspec.json.decode(noted, type=Survey)
        elif self._known is not None:
            survey = self._known
            await self._note(survey, None)
        else:
            today = dt.datetime.fromtimestamp(now(), dt.UTC).toordinal()
            survey, read = await take_survey(
                self._session, self._wanted, self._server_status, self._ask, today
            )
            await self._note(survey, read)
        await self._begin(survey)

    async def _begin(self, survey: Survey) -> None:
        stage = self._session.stage
        self._found = survey
        notes = await stage.run(slice_notes, stage.journal)
        self.rows = sum(note.total for note in notes)
        if not survey.trusted:
            self._whole = None if notes else self._passes(self._wanted)
            if self._whole is not None:
                await self._whole.start()
            return
        at = dt.datetime.fromtimestamp(now(), dt.UTC)
        today = (at + _BEGINS_FIRST).toordinal()
        # The newest order is not later than the API's clock, however wrong this one's is.
        latest = max(_LONG_AGO, min(at, survey.newest or at)) - _ENDS_LAST
        settled = dt.date.fromordinal(day_of(latest))
        self._settled = dt.datetime.combine(settled, dt.time(), dt.UTC)
        self._planner = Planner(
            without(self._wanted, [note.slice for note in notes]),
            Density(survey.total, min(survey.first, today), today, survey.counted),
            closed=self._settled.toordinal() - 1,
            paged=self._server_status is None,
            thrifty=self._known is not None,
            page=survey.page,
        )
        for note in reversed(notes):
            self._planner.learn(note.slice, note.total)

    async def read(self) -> None:
        """Read what is not read yet."""
        try:
            if self._planner is not None:
                await work_off(self._next, self._read_slice, self._session.concurrency)
        except DistrustError:
            await self._distrust()
        if self._whole is not None:
            await self._read_in_passes(self._wanted, self._whole)
            self._whole = None
        await self._ask_after()

    async def _distrust(self) -> None:
        """Give up slices: they are no good where totals are none."""
        stage = self._session.stage
        await stage.save()  # what others were keeping as they were cancelled
        await stage.run(stage.journal.drop, SCOPE)
        self._planner = None
        survey = evolve(self._found, trusted=False)
        await self._note(survey, None)
        await self._begin(survey)

    async def certify(self) -> Certificate:
        """Say how the orders were read."""
        journal = self._session.stage.journal
        return await self._session.stage.run(certify_orders, journal, self._session.tally)

    async def _ask_after(self) -> None:
        """Ask for the total once more, and for that of the days that are over, to compare them."""
        stage = self._session.stage
        if await stage.run(stage.journal.note, AFTER) is not None:
            return
        notes = await stage.run(slice_notes, stage.journal)
        if len(notes) == 1:
            totals = Totals(after=notes[0].total) if self._found.asked else None
        else:
            closed = [note.last for note in notes if self._started.is_closed(note.slice)]
            read = await stage.run(stage.journal.distinct, SCOPE)
            before = self._found.total if self._found.asked else None
            totals = await ask_totals(self._ask, self._wanted, closed, read, before)
        if totals is not None:
            stage.note(AFTER, msgspec.json.encode(totals))
            await stage.save()

    async def _note(self, survey: Survey, read: tuple[Slice, RowPage] | None) -> None:
        """Keep a survey, and with it, at the same moment, a slice that it has read."""
        self._session.stage.note(SCOPE, msgspec.json.encode(survey))
        if read is None:
            await self._session.stage.save()
        else:
            await self._keep(read[0], [read[1]], "atomic")

    def _next(self) -> Slice | None:
        found = self._started.next()
        if found is not None:
            self._under_way[found] = self._started.requests_for(found)
        return found

    async def _read_slice(self, found: Slice) -> None:
        try:
            await self._try_slice(found)
        finally:
            del self._under_way[found]

    async def _try_slice(self, found: Slice) -> None:
        planner = self._started
        page = await self._ask(found, 1)
        self._under_way[found] = page.pages - 1
        self._trust.answered()
        if page.whole and not await self._goes_on(found, page):
            await self._keep(found, [page], "atomic")
            return
        settled = None if planner.is_closed(found) else self._settled
        if page.whole or (settled is None and contradicts(page, self._most_rows)):
            self._trust.doubt()
        elif (
            self._server_status is None
            and page.pages <= planner.most_pages
            and (page.pages == 1 or may_count(page, settled))
        ):
            pages = [page, *await self._ask_more(found, range(2, page.pages + 1))]
            if not is_counted(pages, settled) and pages[-1].total > page.total:
                # What has come meanwhile has pushed others on, to where nobody looked.
                pages += await self._ask_more(found, range(page.pages, pages[-1].pages + 1))
            if is_counted(pages, settled):
                planner.page = min(planner.page, page.limit)
                await self._keep(found, pages, "counted")
                return
            self._session.tally.repairs += 1
            if settled is None and len({each.total for each in pages if each.rows}) == 1:
                self._trust.doubt()
        if planner.can_cut(found) and page.pages > 1:
            planner.give_back(found, page.total)
        else:
            await self._read_in_passes(found, self._passes(found))

    async def _goes_on(self, found: Slice, page: RowPage) -> bool:
        """Say whether a slice has more than its total: where no survey has looked for that."""
        return not self._found.asked and page.full and bool((await self._ask(found, 2)).rows)

    def _passes(self, found: Slice) -> Passes:
        closed = self._planner is not None and self._planner.is_closed(found)
        return Passes(
            self._session,
            "orders",
            f"{SCOPE}@{found.first if self._planner is not None else 'whole'}",
            lambda number: orders_call(
                found, number, self._server_status, inclusive=self._found.inclusive
            ),
            # To a day that is over none can come: one pass that counts right shows it whole.
            once=self._session.choice.once or (closed and self._server_status is None),
            status=self._status,
        )

    async def _read_in_passes(self, found: Slice, passes: Passes) -> None:
        reading = await passes.read()
        note = SliceNote(
            first=found.first,
            last=found.last,
            proof=reading.proof,
            total=reading.after,
            pages=reading.pages,
            passes=reading.passes,
            unknown=reading.unknown,
            remarks=reading.remarks,
        )
        units = [
            self._unit(found, note if part == 0 else None, part=part, adopts=scope)
            for part, scope in enumerate(reading.scopes)
        ]
        await self._session.keep(*units)
        self._done(note)

    async def _keep(self, found: Slice, pages: Sequence[RowPage], proof: Proof) -> None:
        unique = unique_rows(row for page in pages for row in page.rows)
        rows = sorted(unique.values(), key=_age)
        note = SliceNote(
            first=found.first,
            last=found.last,
            proof=proof,
            total=pages[0].total,
            pages=len(pages),
            unknown=unknown_in(rows),
        )
        await self._session.keep(self._unit(found, note, rows=rows))
        self._done(note)

    def _unit(
        self,
        found: Slice,
        note: SliceNote | None,
        *,
        part: int = 0,
        rows: Sequence[Row] = (),
        adopts: str | None = None,
    ) -> Unit:
        return Unit(
            scope=SCOPE,
            number=(found.first or 0) * _PARTS + part,
            rows=rows,
            status=self._status,
            adopts=adopts,
            at=now(),
            about=msgspec.json.encode(note),
        )

    def _done(self, note: SliceNote) -> None:
        self._trust.read(note.pages)
        if self._planner is not None:  # or else it was found in the survey, and start counts it
            self._planner.learn(note.slice, note.total)
            self.rows += note.total
        self._session.tell()

    async def _ask_more(self, found: Slice, numbers: range) -> list[RowPage]:
        rest = Ordered(lambda number: self._ask(found, number), numbers, self._session.concurrency)
        async with aclosing(rest) as answers:
            return [page async for page in answers]

    async def _ask(self, found: Slice, number: int) -> RowPage:
        call = orders_call(found, number, self._server_status, inclusive=self._found.inclusive)
        page = await self._session.ask("orders", call)
        self._answers += 1
        self._most_rows = max(self._most_rows, len(page.rows))
        instants = instants_of(page.rows)
        for day in {day_of(min(instants)), day_of(max(instants))} if instants else ():
            # The store's own time zone may put an order a day off.
            if without(Slice(day - 1, day + 1), [found]) == [Slice(day - 1, day + 1)]:
                raise DecodeError(
                    "$.data.items[*].created_at",
                    f"orders of {found}, as asked for",
                    f"one of {dt.date.fromordinal(day)}",
                    str(call),
                )
        return page

    @property
    def _started(self) -> Planner:
        if self._planner is None:
            raise AssertionError("start comes first")  # pragma: no cover
        return self._planner


def _age(row: Row) -> tuple[dt.datetime, int]:
    """Sort orders from the oldest on, and what is no order after them."""
    if isinstance(row.record, OrderSummary):
        return row.record.created_at, row.record.id
    return _END, 0
