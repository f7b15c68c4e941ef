"""Which slices of days to read next, so that each fits a page: pure decisions.

Slices cover all days there can be, whatever the guess of their orders: the outermost have no end.
A slice that turns out too large is given back and cut, always into smaller ones.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterable
from typing import NamedTuple

from .density import Density

PAGE = 100
MOST_PAGES = 10
EARLIEST = dt.date.min.toordinal()
LATEST = dt.date.max.toordinal()

_PAGE_PENALTY = 0.08  # what a further page must save: one page alone is one atomic read
_ERROR = 0.05  # how wrong a guess is, as a share of it, besides chance
_PLANNED_PAGES = 4
_THRIFTY_PAGES = 100
_WASTED = 2.5  # requests that it costs when a slice must be cut
_TOO_MANY = 1.35  # how far beyond its pages a slice need not be looked at


class Slice(NamedTuple):
    """Days, the first and the last included; None is an end that is open."""

    first: int | None
    last: int | None

    def __str__(self) -> str:
        first = "the beginning" if self.first is None else _day(self.first)
        last = "now" if self.last is None else _day(self.last)
        return first if first == last else f"{first} to {last}"


EVERYTHING = Slice(None, None)


def without(wanted: Slice, known: Iterable[Slice]) -> list[Slice]:
    """Give the parts of a slice that are in none of some others."""
    parts: list[Slice] = []
    first, last = _ends(wanted)
    for known_first, known_last in sorted(map(_ends, known)):
        if known_first > first:
            parts.append(_slice(first, min(last, known_first - 1)))
        first = max(first, known_last + 1)
        if first > last:
            return parts
    return [*parts, _slice(first, last)]


def _ends(days: Slice) -> tuple[int, int]:
    """Give the ends as ordinals; one that is open lies beyond the calendar."""
    first = EARLIEST - 1 if days.first is None else days.first
    return first, LATEST + 1 if days.last is None else days.last


def _slice(first: int, last: int) -> Slice:
    return Slice(None if first < EARLIEST else first, None if last > LATEST else last)


class Planner:
    """Cuts what is to be read into slices, the newest first.

    Args:
        gaps: What is to be read.
        density: The guess of each day's orders.
        closed: The last day to which no order can come any more.
        paged: Whether a slice may have several pages.
        thrifty: Save requests, at the price of slices of many pages.
        page: How many rows a page has.
    """

    def __init__(
        self,
        gaps: Iterable[Slice],
        density: Density,
        closed: int,
        *,
        paged: bool = True,
        thrifty: bool = False,
        page: int = PAGE,
    ) -> None:
        self._gaps = sorted(gaps, key=lambda gap: EARLIEST - 1 if gap.first is None else gap.first)
        self._density = density
        self._closed = closed
        self._paged = paged
        self._thrifty = thrifty
        self.page = page
        self._planned = _THRIFTY_PAGES if thrifty else _PLANNED_PAGES
        self._most = _THRIFTY_PAGES if thrifty else MOST_PAGES

    def next(self) -> Slice | None:
        """Take the next slice; None where nothing is left."""
        if not self._gaps:
            return None
        taken, left = self._take(self._gaps.pop())
        if left is not None:
            self._gaps.append(left)
        return taken

    @property
    def most_pages(self) -> int:
        """How many pages a slice may have; with more it is cut, unless it is a single day."""
        return self._most if self._paged else 1

    def can_cut(self, found: Slice) -> bool:
        """Say whether a slice is more than a single day, or the last day and what is after it."""
        first, last = self._bounds(found)
        return first < last or (found.first or EARLIEST) < last

    def is_closed(self, found: Slice) -> bool:
        """Say whether no order can come to a slice any more."""
        return found.last is not None and found.last <= self._closed

    def learn(self, read: Slice, orders: int) -> None:
        """Take in how many orders a slice has."""
        self._density.learn(*self._bounds(read), orders)

    def give_back(self, found: Slice, orders: int) -> None:
        """Take back a slice that can't be read as it is, and cut it.

        Args:
            found: The slice, one that can be cut.
            orders: How many orders it has.
        """
        self.learn(found, orders)
        first, last = self._bounds(found)
        if first == last:
            # There are orders before the day that was taken for the first.
            back = 2 * (max(0, self._density.last - last) + 30)
            first = max(found.first or EARLIEST, last - back)
            self._density.learn(first, last, orders)
        if first <= self._closed < last:
            cut = self._closed + 1  # the days that are over can be counted, and the others not
        else:
            cut = self._cut(Slice(first, found.last), orders / 2)
        self._gaps += [Slice(found.first, cut - 1), Slice(cut, found.last)]

    def requests_left(self) -> float:
        """Guess how many requests it takes to read what was not taken yet."""
        requests = 0.0
        for gap in self._gaps:
            left: Slice | None = gap
            while left is not None:
                taken, left = self._take(left)
                requests += self.requests_for(taken)
        return requests

    def requests_for(self, found: Slice) -> float:
        """Guess how many requests a slice takes."""
        first, last = self._bounds(found)
        rows = self._density.between(first, last)
        variance = sum(map(self._density.variance, range(first, last + 1)))
        return _requests(rows, variance, self.most_pages, self.page)

    def _take(self, gap: Slice) -> tuple[Slice, Slice | None]:
        """Cut the newest slice off a gap, and give what is left of it."""
        cut = self._cut(gap, math.inf)
        if cut == self._bounds(gap)[0]:
            return gap, None
        return Slice(cut, gap.last), Slice(gap.first, cut - 1)

    def _bounds(self, found: Slice) -> tuple[int, int]:
        """Give the days of a slice, as far as orders are guessed to be."""
        earliest = found.first or EARLIEST
        last = max(earliest, self._density.last) if found.last is None else found.last
        return max(earliest, min(self._density.first, last)), last

    def _cut(self, gap: Slice, most: float) -> int:
        """Choose the first day of the newest slice of a gap.

        Args:
            gap: What is to be cut.
            most: About how many orders the slice may have; where that is bounded, the slice is
                never the whole gap.
        """
        first, last = self._bounds(gap)
        planned = self._planned if self._thrifty or self.is_closed(gap) else 1
        pages = min(planned, self.most_pages)
        room = pages * self.page * (1 if self._thrifty else _TOO_MANY)
        rows = variance = 0.0
        best, best_cost = last, math.inf
        for day in range(last, first - (most == math.inf), -1):
            rows += self._density.on(day)
            variance += self._density.variance(day)
            if best_cost < math.inf and rows > min(most, room):
                break
            cost = -rows if self._thrifty else _cost(rows, variance, pages, self.page)
            if cost < best_cost:
                best, best_cost = day, cost
        return best


def _cost(rows: float, variance: float, pages: int, size: int) -> float:
    """Weigh what each row of a slice costs, if it may have so many pages."""
    cost = 1.0
    for page in range(1, pages + 1):
        more = _chance_of_more(page * size, rows, variance)
        cost += more * (1 + _PAGE_PENALTY * page if page < pages else _WASTED)
    return cost / rows


def _requests(rows: float, variance: float, pages: int, size: int) -> float:
    """Guess the requests that a slice takes."""
    requests = 1.0
    for page in range(1, min(pages, math.ceil(rows / size) + 2) + 1):
        more = _chance_of_more(page * size, rows, variance)
        requests += more * (_WASTED if page == pages else 1)
    return requests


def _chance_of_more(bound: int, rows: float, variance: float) -> float:
    """Give the chance that a slice has more rows than a bound, if it should have so many."""
    deviation = math.sqrt(variance + (_ERROR * rows) ** 2) or 1.0
    return math.erfc((bound + 0.5 - rows) / deviation / math.sqrt(2)) / 2


def _day(ordinal: int) -> str:
    return dt.date.fromordinal(ordinal).isoformat()
