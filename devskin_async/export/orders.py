"""Orders: slices of days that each fit one answer, read concurrently and each proven."""

from __future__ import annotations

import asyncio
import datetime as dt
import math
from collections.abc import Sequence
from contextlib import aclosing

import msgspec

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
from .survey import (
    Survey,
    counted_days,
    day_of,
    ends,
    instants_of,
    is_inclusive,
    orders_call,
)
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
        self._inclusive: bool | None = None
        self._settled = _LONG_AGO
        self._planner: Planner | None = None
        self._under_way: dict[Slice, float] = {}
        self._answers = 0
        self._guess: float | None = None
        self._guessed_at = 0
        self.total: int = 0
        self.rows: int = 0

    @property
    def requests_left(self) -> int:
        """How many requests are to come, as far as is known."""
        if self._planner is None:
            return 1
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
            survey = await self._survey()
        self._inclusive = survey.inclusive
        self.total = survey.total
        notes = await stage.run(slice_notes, stage.journal)
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
        )
        for note in reversed(notes):
            self._planner.learn(note.slice, note.total)
            self.rows += note.total

    async def read(self) -> None:
        """Read what is not read yet."""
        await work_off(self._next, self._read_slice, self._session.concurrency)
        await self._ask_after()

    async def certify(self) -> Certificate:
        """Say how the orders were read."""
        journal = self._session.stage.journal
        return await self._session.stage.run(certify_orders, journal, self._session.tally)

    async def _ask_after(self) -> None:
        stage = self._session.stage
        if self._known is None and await stage.run(stage.journal.note, AFTER) is None:
            one = await stage.run(stage.journal.count, SCOPE) == 1
            after = self.total if one else (await self._ask(self._wanted, 1)).total
            stage.note(AFTER, str(after).encode())
            await stage.save()

    async def _survey(self) -> Survey:
        wanted, session, status = self._wanted, self._session, self._server_status
        today = dt.datetime.fromtimestamp(now(), dt.UTC).toordinal()
        page = await self._ask(wanted, 1)
        if page.whole and wanted.last is None:
            survey = Survey(total=page.total, first=wanted.first or today)
            await self._note(survey, (wanted, page))
            return survey
        # Where the range is empty, any order shows how the API takes a day.
        sample = page.rows or (await self._ask(EVERYTHING, 1)).rows
        found, counted, (inclusive, one) = await asyncio.gather(
            ends(session, wanted, status, page),
            counted_days(session, page.total),
            is_inclusive(session, status if page.rows else None, sample),
        )
        oldest, newest = found or (None, None)
        survey = Survey(
            total=page.total,
            first=wanted.first or (day_of(oldest) if oldest else today),
            newest=newest,
            inclusive=inclusive,
            counted=counted,
        )
        useful = one is not None and page.rows and one[1].whole and not without(one[0], [wanted])
        await self._note(survey, one if useful else None)
        return survey

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
        if page.whole:
            await self._keep(found, [page], "atomic")
            return
        settled = None if planner.is_closed(found) else self._settled
        if (
            self._server_status is None
            and page.pages <= planner.most_pages
            and (page.pages == 1 or may_count(page, settled))
        ):
            pages = [page, *await self._ask_more(found, range(2, page.pages + 1))]
            if not is_counted(pages, settled) and pages[-1].total > page.total:
                # What has come meanwhile has pushed others on, to where nobody looked.
                pages += await self._ask_more(found, range(page.pages, pages[-1].pages + 1))
            if is_counted(pages, settled):
                await self._keep(found, pages, "counted")
                return
            self._session.tally.repairs += 1
        if planner.can_cut(found) and page.pages > 1:
            planner.give_back(found, page.total)
        else:
            await self._read_in_passes(found)

    async def _read_in_passes(self, found: Slice) -> None:
        closed = self._started.is_closed(found)
        reading = await Passes(
            self._session,
            "orders",
            f"{SCOPE}@{found.first}",
            lambda number: orders_call(
                found, number, self._server_status, inclusive=self._inclusive
            ),
            # To a day that is over none can come: one pass that counts right shows it whole.
            once=self._session.choice.once or (closed and self._server_status is None),
            status=self._status,
        ).read()
        note = SliceNote(
            first=found.first,
            last=found.last,
            proof=reading.proof,
            total=reading.after,
            pages=reading.pages,
            passes=reading.passes,
            unknown=reading.unknown,
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
        if self._planner is not None:  # or else it was found in the survey, and start counts it
            self._planner.learn(note.slice, note.total)
            self.rows += note.total
        self._session.tell()

    async def _ask_more(self, found: Slice, numbers: range) -> list[RowPage]:
        rest = Ordered(lambda number: self._ask(found, number), numbers, self._session.concurrency)
        async with aclosing(rest) as answers:
            return [page async for page in answers]

    async def _ask(self, found: Slice, number: int) -> RowPage:
        call = orders_call(found, number, self._server_status, inclusive=self._inclusive)
        page = await self._session.ask("orders", call)
        self._answers += 1
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
