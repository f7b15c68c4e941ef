"""What the API tells of how many orders there are, once they were read."""

from __future__ import annotations

from collections.abc import Iterable

from attrs import frozen

from .slices import Slice
from .survey import Ask


@frozen(kw_only=True)
class Totals:
    """What the API told at last.

    Args:
        after: The total of all that was wanted.
        closed_until: The last day of a range to which no order could come any more, as an ordinal;
            None where it was not asked for.
        closed_total: The total of that range.
    """

    after: int
    closed_until: int | None = None
    closed_total: int | None = None


async def ask_totals(
    ask: Ask, wanted: Slice, closed: Iterable[int | None], read: int, before: int | None
) -> Totals:
    """Ask how many orders there are, and where that differs, how many of the days that are over.

    To those days no order can come, so that the total of all of them is what was read of them.

    Args:
        ask: Asks for a page of a slice.
        wanted: What was read.
        closed: The last days of the slices to which no order could come.
        read: How many orders were read.
        before: The total that was told before; None where it was not asked for.
    """
    after = (await ask(wanted, 1)).total
    days = [day for day in closed if day is not None]
    if (read == after and before in (None, after)) or not days:
        return Totals(after=after)
    last = max(days)
    total = (await ask(Slice(wanted.first, last), 1)).total
    return Totals(after=after, closed_until=last, closed_total=total)
