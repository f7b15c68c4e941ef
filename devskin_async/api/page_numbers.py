"""Which pages of a list to request, and whether those that came are consistent; without I/O."""

from __future__ import annotations

from typing import TypeVar

from ..errors import InconsistentListError
from ..records import Page
from .arguments import MAX_INTEGER

T = TypeVar("T")


class PageNumbers:
    """The page arithmetic of one reading of a list.

    Request the pages from `first` up to `last`, as many at a time as you like, and pass them to
    `take` in order until the reading is `over`. If `recounted` is then not None, the totals leave a
    doubt: request that page once more and pass it to `recount`. At the end check `inconsistency`.

    The page size is the number of rows on page 1, which can be less than the limit that was
    requested or the `limit` that a page has. A list is read until as many rows came as the `total`
    of the latest page, and never beyond the first empty page. The list may change meanwhile, and
    its totals with it: the number of rows should be between the smallest total and the largest.

    If a reading begins with a later page, the totals count the rows of the skipped pages too. Their
    size is the number of rows on the first page that comes, unless it has fewer rows than its
    `limit`: it may be the last page, or the server may keep to a lower limit than it says. Then
    only the next page is requested, and the size is taken to be between the two.

    Args:
        wanted: How many rows are wanted; None wants all.
        first: The page to begin with.

    Attributes:
        last: The last page that is known to be needed.
        over: Whether all rows, or as many as are wanted, are read.
        rows: How many rows came.
    """

    def __init__(self, wanted: int | None = None, first: int = 1) -> None:
        self.wanted: int | None = wanted
        self.first: int = first
        self.last: int = first
        self.over: bool = False
        self.rows: int = 0
        self._taken = first - 1  # the last page that had rows
        self._size = 0
        self._largest_size = 0  # the most that it may be, by `limit`
        self._latest_rows = 0
        # The first row and the total of the first and the latest page, by their numbers.
        self._starts: dict[int, tuple[object, int]] = {}
        self._totals: tuple[int, ...] = ()  # the smallest and the largest
        self._repeated: int | None = None  # the page that came again
        self._uneven: str | None = None

    def take(self, page: Page[T]) -> tuple[T, ...]:
        """Take the next page.

        Returns:
            Its rows, as many as are wanted; none if it repeats the first page or the page before.
        """
        start = (page.items[0], page.total) if page.items else None
        if start is not None and start in self._starts.values():
            self._repeated = next(n for n, known in self._starts.items() if known == start)
        # To a page past the end a server may respond with an error, which has no total.
        elif page.items or page.total or not self.rows:
            self._observe_total(page.total)
        if not self.rows:
            self._largest_size = max(len(page.items), page.limit)
        if start is None or self._repeated is not None:
            self.last, self.over = self._taken, True
            return ()
        self._observe_size(len(page.items))
        self._starts = {self.first: self._starts.get(self.first, start), self._taken: start}
        given = self.rows
        self.rows += len(page.items)
        # No page has a higher number, however large the total is.
        self.last = min(self._taken + self._pages_left(page.total), MAX_INTEGER)
        self.over = self.last == self._taken
        return page.items if self.wanted is None else page.items[: self.wanted - given]

    @property
    def recounted(self) -> int | None:
        """The page to request again, as the rows do not fit the totals; None if they do.

        A list can change between the last page that came and its end, or between the count and the
        rows of one response. Only what a second count confirms is an inconsistency.
        """
        if self._repeated is None and self.over and not self._fits_totals():
            return max(self._taken, self.first)
        return None

    def recount(self, page: Page[T]) -> None:
        """Take the page `recounted`; only its total counts."""
        self._observe_total(page.total)

    def inconsistency(self, request: str | None = None) -> InconsistentListError | None:
        """Return the error of pages that contradict each other; None if they do not.

        Args:
            request: What was read, such as `GET /orders`.
        """
        if self._repeated is not None:
            expected = f"other rows on page {self._taken + 1} than on page {self._repeated}"
            return _error(expected, "the same", request)
        least, most = self._totals
        page = f"page {self.first}"
        if not self._fits_totals():
            totals = f"{least:,}" if least == most else f"{least:,} to {most:,}"
            came = f"{self.rows:,}" if self.first == 1 else f"{self.rows:,} from {page} on"
            return _error(f"{totals} rows in all, as `total` says", came, request)
        if self._uneven is not None and least == most:
            expected = f"{self._size} rows on each page, as on {page}"
            return _error(expected, self._uneven, request)
        return None

    def _observe_total(self, total: int) -> None:
        totals = (*self._totals, total)
        self._totals = (min(totals), max(totals))

    def _observe_size(self, count: int) -> None:
        self._taken += 1
        if self._taken == self.first:
            self._size, self._latest_rows = count, count
            return
        if count > self._size:
            self._uneven = f"{count} on page {self._taken}"
        elif self._latest_rows < self._size:  # and it was not the last page
            self._uneven = f"{self._latest_rows} on page {self._taken - 1}"
        self._latest_rows = count

    def _pages_left(self, total: int) -> int:
        skipped = (self.first - 1) * self._size
        left = total - skipped - self.rows
        if skipped + self.rows > self._totals[1]:
            # The totals are wrong: read to the first empty page, more pages each time.
            left = (self._taken - self.first + 1) * self._size
        if self.wanted is not None:
            left = min(left, self.wanted - self.rows)
        pages = max(0, -(-left // self._size))
        certain = self.first == 1 or self._taken > self.first or self._size == self._largest_size
        return pages if certain else min(pages, 1)

    def _fits_totals(self) -> bool:
        least, most = self._totals
        skipped = self.first - 1
        fewest, largest = skipped * self._size + self.rows, skipped * self._largest_size + self.rows
        enough = self.wanted is not None and self.rows >= self.wanted
        return fewest <= most and (enough or least <= largest)


def _error(expected: str, received: str, request: str | None) -> InconsistentListError:
    return InconsistentListError("$.data.items", expected, received, request)
