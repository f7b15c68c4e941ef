"""Counting as a proof: when pages that were read one after the other show all orders."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from ..records import OrderSummary
from .reading import RowPage
from .rows import Row
from .survey import instants_of


def may_count(first: RowPage, settled: dt.datetime | None) -> bool:
    """Say whether the rest of a slice is worth reading, to count as `is_counted` does.

    All orders that are not settled must be on the first page: the newest come first, and it
    reaches back to what is settled.
    """
    instants = instants_of(first.rows)
    if settled is None or not instants:
        return settled is None
    return instants[0] >= instants[-1] and instants[-1] < settled


def is_counted(pages: Sequence[RowPage], settled: dt.datetime | None) -> bool:
    """Say whether the pages of a slice show all orders that it had when the first was read.

    Among what is settled no order can come any more. So if the first page's other orders, and the
    distinct settled ones of all pages, are together as many as the first page told, then these
    are all of the others and those are all that are settled, whatever has gone on meanwhile.

    Args:
        pages: The pages; the others were read after the first.
        settled: An instant before which no order can come; None where that holds for the slice.
    """
    first, *_ = pages
    new = {row.id for row in first.rows if not _is_settled(row, settled)}
    old = {row.id for page in pages for row in page.rows if _is_settled(row, settled)}
    return len(new | old) == first.total


def _is_settled(row: Row, settled: dt.datetime | None) -> bool:
    if settled is None:
        return True
    return isinstance(row.record, OrderSummary) and row.record.created_at < settled
