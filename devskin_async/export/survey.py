"""What is found out about the orders of a range before it is cut into slices."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TypeAlias

import msgspec
from attrs import field, frozen

from ..api import MAX_INTEGER, MAX_LIMIT, Request, endpoints
from ..errors import APIError, AuthenticationError, DecodeError, ServerError
from ..records import OrderSummary, Page, Period
from .reading import RowPage, Session
from .rows import Row
from .slices import EARLIEST, EVERYTHING, LATEST, Slice, without

_FAR = 100_000  # the number of a page of which a server may fail because of it
_FEW = 300  # orders that are read in fewer requests than it would pay to guess better
_BEGINNING = dt.datetime(1, 1, 1, tzinfo=dt.UTC)
_DAY = dt.timedelta(days=1)


@frozen(kw_only=True)
class Survey:
    """What is known of the orders of a range.

    Args:
        total: How many there were at the beginning.
        first: The day of the oldest that was seen, as an ordinal.
        newest: When the newest that was seen was created; None where none was.
        inclusive: Whether `date_to` is the last day of a range, or else the first after it; None
            where nobody had to know.
        counted: Orders whose revenue counts, by day.
        page: How many rows a page has.
        trusted: False once two surveys in a row found pages that contradict the total.
        asked: Whether the API was asked for all this; a sync knows it from before.
    """

    total: int
    first: int
    newest: dt.datetime | None = None
    inclusive: bool | None = None
    counted: dict[int, int] = field(factory=dict)
    page: int = MAX_LIMIT
    trusted: bool = True
    asked: bool = True


def orders_call(
    found: Slice, page: int, status: str | None, *, inclusive: bool | None
) -> Request[Page[msgspec.Raw]]:
    """Make the call for a page of a slice of orders."""
    last = found.last
    if last is not None and inclusive is False:
        last = last + 1 if last < LATEST else None
    return endpoints.raw(
        endpoints.orders(
            page, MAX_LIMIT, status=status, date_from=_date(found.first), date_to=_date(last)
        )
    )


def instants_of(rows: Iterable[Row]) -> list[dt.datetime]:
    """Give the instants at which orders were created."""
    records = (row.record for row in rows)
    return [record.created_at for record in records if isinstance(record, OrderSummary)]


def day_of(instant: dt.datetime) -> int:
    """Give an instant's day in UTC, as an ordinal."""
    # Not through astimezone: near the ends of the calendar an instant may have no time in UTC.
    return min(max(EARLIEST, (instant - _BEGINNING) // _DAY + EARLIEST), LATEST)


async def last_page(session: Session, wanted: Slice, status: str | None, page: RowPage) -> RowPage:
    """Read the last page of a range: by the order of most lists it has the oldest order.

    Args:
        session: What to ask with.
        wanted: The range.
        status: A filter that the server applies.
        page: The first page, which tells which is the last.

    Returns:
        The page; an empty one where the list has no page of that number.
    """
    number = min(page.pages, MAX_INTEGER)
    try:
        return await session.ask("orders", orders_call(wanted, number, status, inclusive=True))
    except ServerError:
        if number < _FAR:
            raise
        return RowPage([], page.total, page.limit)  # a database may not count so far


def spread(pages: Iterable[RowPage]) -> tuple[dt.datetime, dt.datetime] | None:
    """Give when the oldest and the newest of some orders were created; None where there are none.

    Of the first page of a range and the last these are those of the range, or good guesses where
    the list has another order than by time.
    """
    instants = instants_of(row for page in pages for row in page.rows)
    return (min(instants), max(instants)) if instants else None


async def counted_days(session: Session, total: int) -> dict[int, int]:
    """Read how many orders of each day of the last year made revenue.

    Args:
        session: What to ask with.
        total: How many orders there are; few are not worth the request.

    Returns:
        Orders by day; empty where the key may not read revenue, or it can't be read.
    """
    if total <= _FEW:
        return {}
    try:
        series = await session.send(endpoints.revenue(Period.YEAR))
    except AuthenticationError:
        raise
    except (APIError, DecodeError):
        return {}
    counts = ((day.date.toordinal(), day.count or 0) for day in series.daily)
    return {day: count for day, count in counts if count > 0}


async def is_inclusive(
    session: Session, status: str | None, sample: Sequence[Row]
) -> tuple[bool, tuple[Slice, RowPage] | None]:
    """Find out whether `date_to` belongs to a range: then a day on which an order is has one.

    Args:
        session: What to ask with.
        status: A filter that the server applies.
        sample: Some orders that it shows.

    Returns:
        Whether it does, or nothing shows that it does not; and a day with its first page, where
        there is one.
    """
    days = list(map(day_of, instants_of(sample)))
    if not days:
        return True, None
    day = min(days)
    # A server may take the last day for its first moment; orders of that very moment tell nothing.
    telling = {row.id for row in sample if any(i.second for i in instants_of([row]))}
    telling = telling or {row.id for row in sample}
    # In the store's own time zone it may be one off.
    for each in (day, max(EARLIEST, day - 1), min(LATEST, day + 1)):
        one = Slice(each, each)
        page = await session.ask("orders", orders_call(one, 1, status, inclusive=True))
        if page.pages > 1 or not telling.isdisjoint(row.id for row in page.rows):
            return True, (one, page)
    return False, None


Read: TypeAlias = tuple[Slice, RowPage]
Ask: TypeAlias = Callable[[Slice, int], Awaitable[RowPage]]


async def take_survey(
    session: Session, wanted: Slice, status: str | None, ask: Ask, today: int
) -> tuple[Survey, Read | None]:
    """Find out how many orders there are in a range, and how to cut them into slices.

    Args:
        session: What to ask with.
        wanted: The range.
        status: A filter that the server applies.
        ask: Asks for a page of a slice.
        today: The day.

    Returns:
        What is known, and a slice that was read whole on the way, if there was one.
    """
    found = await _look(session, wanted, status, ask, today)
    if not found[0].trusted:  # once it may be a coincidence
        found = await _look(session, wanted, status, ask, today)
    return found


async def _look(
    session: Session, wanted: Slice, status: str | None, ask: Ask, today: int
) -> tuple[Survey, Read | None]:
    page = await ask(wanted, 1)
    # Some APIs tell as the total how many rows the page has.
    trusted = not (page.whole and page.full and page.rows and (await ask(wanted, 2)).rows)
    if page.whole and wanted.last is None:
        survey = Survey(total=page.total, first=wanted.first or today, trusted=trusted)
        return survey, (wanted, page) if trusted else None
    # Where the range is empty, any order shows how the API takes a day.
    sample = page.rows or (await ask(EVERYTHING, 1)).rows
    last, counted, (inclusive, one) = await asyncio.gather(
        last_page(session, wanted, status, page),
        counted_days(session, page.total),
        is_inclusive(session, status if page.rows else None, sample),
    )
    trusted = (
        trusted
        and not contradicts(page, 1)
        and (page.pages == 1 or bool(last.rows))
        and (one is None or not contradicts(one[1], len(page.rows)))
    )
    oldest, newest = spread((page, last)) or (None, None)
    survey = Survey(
        total=page.total,
        first=wanted.first or (day_of(oldest) if oldest else today),
        newest=newest,
        inclusive=inclusive,
        counted=counted,
        page=min(page.limit, MAX_LIMIT) if page.pages > 1 else MAX_LIMIT,
        trusted=trusted,
    )
    useful = one is not None and page.rows and one[1].whole and not without(one[0], [wanted])
    return survey, one if useful and trusted else None


def contradicts(page: RowPage, size: int) -> bool:
    """Say whether a first page contradicts its own total.

    Args:
        page: The page.
        size: How many rows a page has held already: with fewer it must have all that there are.
    """
    return not min(page.total, size) <= len(page.rows) <= page.total


def _date(ordinal: int | None) -> dt.date | None:
    return None if ordinal is None else dt.date.fromordinal(ordinal)
