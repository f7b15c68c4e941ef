"""The arguments of requests, checked before anything is sent."""

from __future__ import annotations

import datetime as dt
import re
from operator import index
from typing import SupportsIndex

from ..records import OpenEnum

MAX_LIMIT = 100
MAX_INTEGER = 2**63 - 1

_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


def positive(name: str, value: object) -> int:
    """Check an argument that must be a positive integer of at most 64 bits.

    Returns:
        The value as an `int`, whatever kind of integer it was.

    Raises:
        ValueError: It is not such an integer; the message names the argument.
    """
    # To check for the protocol alone takes 3 µs, and nearly all values are plain integers.
    if isinstance(value, int | SupportsIndex) and not isinstance(value, bool):
        number = index(value)
        if number > MAX_INTEGER:
            raise ValueError(f"{name} must be at most {MAX_INTEGER}")
        if number > 0:
            return number
    raise ValueError(f"{name} must be a positive integer, not {value!r}")


def page_query(page: int, limit: int) -> tuple[tuple[str, str], ...]:
    """Return the query for a page; `ValueError` if a number is out of its bounds."""
    rows = positive("limit", limit)
    if rows > MAX_LIMIT:
        raise ValueError(f"limit must be at most {MAX_LIMIT}, not {rows}")
    return (("page", str(positive("page", page))), ("limit", str(rows)))


def span_query(
    date_from: dt.date | str | None, date_to: dt.date | str | None
) -> tuple[tuple[str, str], ...]:
    """Return the query for a span of days; `ValueError` if one is invalid or they are reversed."""
    first, last = _day("date_from", date_from), _day("date_to", date_to)
    if first and last and first > last:
        raise ValueError(f"date_from must not be after date_to, and {first} is after {last}")
    return tuple((n, d.isoformat()) for n, d in (("date_from", first), ("date_to", last)) if d)


def word(name: str, value: object, words: type[OpenEnum]) -> str:
    """Check an argument that must be a known word of an enum; `ValueError` if it is not."""
    if not isinstance(value, str) or not words(value).known:
        raise ValueError(f"{name} must be one of {', '.join(words)}, not {value!r}")
    return str(words(value))


def _day(name: str, value: dt.date | str | None) -> dt.date | None:
    if value is None:
        return None
    if isinstance(value, dt.date) and not isinstance(value, dt.datetime):
        return dt.date(value.year, value.month, value.day)
    # strptime alone would accept 2026-1-4, and fromisoformat 20260104.
    if isinstance(value, str) and _DAY.fullmatch(value):
        try:
            return dt.date.fromisoformat(value)
        except ValueError:
            pass
    raise ValueError(f"{name} must be a day, a date without time or YYYY-MM-DD, not {value!r}")
