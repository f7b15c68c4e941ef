"""What is found out about the orders of a range before it is cut into slices."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence

import msgspec
from attrs import field, frozen

from ..errors import APIError, AuthenticationError, DecodeError
from ..protocol import MAX_LIMIT, Call, calls
from ..records import OrderSummary, Page, Period
from .reading import RowPage, Session
from .rows import Row
from .slices import EARLIEST, LATEST, Slice

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
    """

    total: int
    first: int
    newest: dt.datetime | None = None
    inclusive: bool | None = None
    counted: dict[int, int] = field(factory=dict)


def orders_call(
    found: Slice, page: int, status: str | None, *, inclusive: bool | None
) -> Call[Page[msgspec.Raw]]:
    """Make the call for a page of a slice of orders."""
    last = found.last
    if last is not None and inclusive is False:
        last = last + 1 if last < LATEST else None
    return calls.raw(
        calls.orders(
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


async def ends(
    session: Session, wanted: Slice, status: str | None, page: RowPage
) -> tuple[dt.datetime, dt.datetime] | None:
    """Find the oldest order and the newest, which are on the first page of a range and the last.

    Args:
        session: What to ask with.
        wanted: The range.
        status: A filter that the server applies.
        page: The first page.

    Returns:
        When they were created, or good guesses where the list has another order than by time;
        None where there are none.
    """
    last = await session.ask("orders", orders_call(wanted, page.pages, status, inclusive=True))
    instants = instants_of([*page.rows, *last.rows])
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
        series = await session.send(calls.revenue(Period.YEAR))
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


def _date(ordinal: int | None) -> dt.date | None:
    return None if ordinal is None else dt.date.fromordinal(ordinal)
