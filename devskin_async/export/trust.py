"""Whether totals can be relied on: how often they were wrong, and what reading has cost."""

from __future__ import annotations

from attrs import define

_MOST_DOUBTS = 8  # slices that contradict their total: one wrong day takes some cuts to find
_DOUBTS = 0.1  # more for each slice that was read
_MOST_WASTED = 100  # answers that brought nothing
_WASTED = 4  # more for each that did


class DistrustError(Exception):
    """The API's totals are of no use for slices."""


@define
class Trust:
    """Counts what slices have brought, and ends them where it is too little.

    Args:
        answers: Answers so far.
        useful: How many of them brought the rows of the slices that were read.
        slices: Slices that were read.
        contradicted: Slices whose own pages contradicted their total, though it could not change.
    """

    answers: int = 0
    useful: int = 0
    slices: int = 0
    contradicted: int = 0

    def answered(self) -> None:
        """Count an answer.

        Raises:
            DistrustError: The requests are out of proportion to what they bring.
        """
        self.answers += 1
        if self.answers > _MOST_WASTED + (self.slices + self.useful) * _WASTED:
            raise DistrustError

    def read(self, pages: int) -> None:
        """Count a slice that was read, and the answers that it came in."""
        self.slices += 1
        self.useful += pages

    def doubt(self) -> None:
        """Count a slice that contradicts its total.

        Raises:
            DistrustError: There are too many of them to be coincidences.
        """
        self.contradicted += 1
        if self.contradicted > _MOST_DOUBTS + self.slices * _DOUBTS:
            raise DistrustError
