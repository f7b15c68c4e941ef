"""How many orders a day has: a guess that decides how far slices reach, and nothing else.

Days are ordinals, as `date.toordinal` gives them. The shape of the guess is the revenue series:
what it told of a day, or of the same weekday one year later or more. Its height follows what was
read lately, and where nothing was read yet, what the list's total leaves.
"""

from __future__ import annotations

from collections.abc import Mapping

YEAR = 364  # whole weeks, so that weekdays stay weekdays

_SERIES = 365
_LONGEST = 40 * 365
_UNCOUNTED = 1.15  # orders for each one whose revenue counts, before anything was read
_MEMORY = 600.0  # rows read lately that decide the height
_TRUST = 200.0  # rows that the first guess of the height weighs as much as
_LEAST = 1e-3


class Density:
    """Guesses how many orders there are on days.

    Args:
        total: Orders in all.
        first: The first day, as far as is known.
        last: The last day.
        counted: Orders whose revenue counts, by day; empty where that is not known.
    """

    def __init__(self, total: int, first: int, last: int, counted: Mapping[int, int]) -> None:
        # A day far in the past is one that somebody mistyped: no guess is made for all since.
        first = max(min(first, last), last - _LONGEST)
        self.first: int = first
        self.last: int = last
        self._total = total
        self._told = min(counted, default=last + 1)
        if counted:
            self._told = max(first, min(self._told, last - _SERIES + 1))
        self._shapes = self._make_shapes(counted)
        # Of days that nobody told of, before the first that was seen or after the last.
        self._outside = self._shapes.get(first, 1.0)
        self._heights = self._first_heights()

    def on(self, day: int) -> float:
        """Guess the orders of a day."""
        return max(self._shape(day) * self._heights[self._is_told(day)].value, _LEAST)

    def variance(self, day: int) -> float:
        """Guess by how much that is wrong by chance, as a variance.

        Where the revenue series tells a day's orders, only those that it does not count vary.
        """
        return self.on(day) * (0.3 if self._is_told(day) and not self._filtered else 1.2)

    def between(self, first: int, last: int) -> float:
        """Guess the orders from one day to another, both included."""
        return sum(map(self.on, range(first, last + 1)))

    def learn(self, first: int, last: int, orders: int) -> None:
        """Take in how many orders there were from one day to another."""
        self.first = min(self.first, first)
        for told in (True, False):
            days = [day for day in range(first, last + 1) if self._is_told(day) is told]
            if days and len(days) * 2 >= last - first + 1:
                shape = sum(map(self._shape, days))
                share = len(days) / (last - first + 1)
                self._heights[told].learn(orders * share, shape)

    def _make_shapes(self, counted: Mapping[int, int]) -> dict[int, float]:
        days = range(self.first, self.last + 1)
        if not counted:
            return dict.fromkeys(days, 1.0)
        shapes: dict[int, float] = {}
        for day in reversed(days):
            if day >= self._told:
                # Where nothing was paid, something may have been cancelled.
                shapes[day] = counted.get(day, 0) + 0.1
            else:
                # Three weeks together have less chance in them than one.
                later = (shapes.get(day + YEAR + week * 7) for week in (-1, 0, 1))
                known = [shape for shape in later if shape is not None]
                shapes[day] = sum(known) / len(known) if known else 1.0
        return shapes

    def _first_heights(self) -> dict[bool, _Height]:
        told = sum(self._shape(day) for day in range(self._told, self.last + 1))
        untold = sum(self._shape(day) for day in range(self.first, self._told))
        self._filtered = told > self._total  # a list of one status has fewer than were counted
        if not untold or self._filtered:
            height = self._total / (told + untold) if told + untold else 1.0
            return {True: _Height(height), False: _Height(height)}
        rest = max(self._total - told * _UNCOUNTED, self._total * 0.02)
        return {True: _Height(_UNCOUNTED), False: _Height(rest / untold)}

    def _shape(self, day: int) -> float:
        shape = self._shapes.get(day)
        return self._outside if shape is None else shape

    def _is_told(self, day: int) -> bool:
        return day >= self._told


class _Height:
    """Orders for each one that the shape has, as seen lately."""

    def __init__(self, guess: float) -> None:
        self._orders = _TRUST
        self._shape = _TRUST / max(guess, _LEAST)

    @property
    def value(self) -> float:
        return self._orders / self._shape

    def learn(self, orders: float, shape: float) -> None:
        self._orders += orders
        self._shape += shape
        # What was read long ago is forgotten, by rows or by what had been expected to be rows.
        weight = max(self._orders, self._shape * self.value)
        if weight > _MEMORY:
            self._orders *= _MEMORY / weight
            self._shape *= _MEMORY / weight
