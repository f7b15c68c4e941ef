"""What came in a request's query and path, checked as strictly as the reference allows."""

from __future__ import annotations

import re
from datetime import date
from typing import TYPE_CHECKING, Final

import attrs

from .records import (
    DEFAULT_LIMIT,
    MAX_INTEGER,
    MAX_LIMIT,
    PERIODS,
    STATUSES,
)

if TYPE_CHECKING:
    from multidict import MultiMapping

DEFAULT_PERIOD: Final = "30d"


class BadParameterError(Exception):
    """A parameter is not what the reference asks for; the message names it."""


@attrs.frozen
class PageQuery:
    """Which page of a list is wanted."""

    page: int
    limit: int

    @property
    def offset(self) -> int:
        """How many rows come before the page; no more than SQLite can count."""
        return min((self.page - 1) * self.limit, MAX_INTEGER)


@attrs.frozen
class OrdersQuery(PageQuery):
    """Which page of which orders is wanted."""

    status: str | None
    date_from: date | None
    date_to: date | None


def parse_page(query: MultiMapping[str]) -> PageQuery:
    """Read the parameters every list has.

    Args:
        query: The query string's parameters.

    Returns:
        The page wanted.

    Raises:
        BadParameterError: page or limit is no integer in its bounds, or is given twice.
    """
    return PageQuery(
        page=_integer(query, "page", 1, MAX_INTEGER),
        limit=_integer(query, "limit", DEFAULT_LIMIT, MAX_LIMIT),
    )


def parse_orders(query: MultiMapping[str]) -> OrdersQuery:
    """Read the parameters of the list of orders.

    Args:
        query: The query string's parameters.

    Returns:
        The page and the filters wanted.

    Raises:
        BadParameterError: One of them is not as documented, or is given twice.
    """
    page = parse_page(query)
    status = _once(query, "status")
    if status is not None and status not in STATUSES:
        raise BadParameterError(f"status must be one of {', '.join(STATUSES)}")
    date_from, date_to = _date(query, "date_from"), _date(query, "date_to")
    if date_from and date_to and date_from > date_to:
        raise BadParameterError("date_from must not be after date_to")
    return OrdersQuery(page.page, page.limit, status, date_from, date_to)


def parse_period(query: MultiMapping[str]) -> str:
    """Read the period of the revenue.

    Args:
        query: The query string's parameters.

    Returns:
        One of the four periods.

    Raises:
        BadParameterError: It is not one of them, or is given twice.
    """
    period = _once(query, "period")
    if period is not None and period not in PERIODS:
        raise BadParameterError(f"period must be one of {', '.join(PERIODS)}")
    return DEFAULT_PERIOD if period is None else period


def parse_id(text: str) -> int:
    """Read the id in an order's path.

    Args:
        text: The path's last part.

    Returns:
        A positive integer of at most 64 bits.

    Raises:
        BadParameterError: It is not one.
    """
    return _positive(text, "id", MAX_INTEGER)


def _once(query: MultiMapping[str], name: str) -> str | None:
    given = query.getall(name, [])
    if len(given) > 1:
        raise BadParameterError(f"{name} must be given once")
    return given[0] if given else None


def _integer(query: MultiMapping[str], name: str, default: int, highest: int) -> int:
    text = _once(query, name)
    return default if text is None else _positive(text, name, highest)


def _positive(text: str, name: str, highest: int) -> int:
    # The length is bounded first: Python refuses to convert thousands of digits.
    if re.fullmatch("[0-9]{1,19}", text) and 1 <= int(text) <= highest:
        return int(text)
    bounds = f"an integer from 1 to {highest}" if highest < MAX_INTEGER else "a positive integer"
    raise BadParameterError(f"{name} must be {bounds}")


def _date(query: MultiMapping[str], name: str) -> date | None:
    text = _once(query, name)
    if text is None:
        return None
    try:
        if re.fullmatch("[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
            return date.fromisoformat(text)
    except ValueError:
        pass
    raise BadParameterError(f"{name} must be a date as YYYY-MM-DD")
