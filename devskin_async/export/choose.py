"""What an export is asked for, checked before anything is sent."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import Literal, TypeAlias

from ..api import endpoints
from ..records import OrderStatus
from .readers import Wanted
from .reading import Choice
from .slices import Slice
from .tables import RECORDS, Resource

Verify = Literal["twice", "once"]
Status: TypeAlias = OrderStatus | str
Day: TypeAlias = dt.date | str


def choose(
    resources: Iterable[Resource],
    *,
    status: Status | None = None,
    filter_on_server: bool = False,
    date_from: Day | None = None,
    date_to: Day | None = None,
    verify: Verify = "twice",
    details: bool = False,
    lenient: bool = False,
) -> tuple[Choice, Wanted]:
    """Check what is asked for.

    Raises:
        ValueError: An argument is out of its bounds.
    """
    names = tuple(dict.fromkeys(resources))
    for name in names:
        if name not in RECORDS:
            raise ValueError(f"resource must be one of {', '.join(RECORDS)}, not {name!r}")
    if not names:
        raise ValueError(f"resources must name one or more of {', '.join(RECORDS)}")
    if verify not in ("twice", "once"):
        raise ValueError(f"verify must be 'twice' or 'once', not {verify!r}")
    # The call's own checks know what a status is, and a day.
    query = dict(endpoints.orders(1, 1, status=status, date_from=date_from, date_to=date_to).query)
    if "orders" not in names and (len(query) > len(("page", "limit")) or details):
        raise ValueError("status, date_from, date_to and details are for orders")
    if filter_on_server and status is None:
        raise ValueError("filter_on_server needs a status to filter by")
    choice = Choice(
        status=query.get("status"),
        filter_on_server=filter_on_server,
        once=verify == "once",
        lenient=lenient,
    )
    days = Slice(_ordinal(query.get("date_from")), _ordinal(query.get("date_to")))
    return choice, Wanted(resources=names, days=days, details=details)


def _ordinal(day: str | None) -> int | None:
    return None if day is None else dt.date.fromisoformat(day).toordinal()
