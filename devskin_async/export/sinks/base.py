"""What every sink does."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Callable, Container, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Literal, Protocol, TypeAlias

from attrs import AttrsInstance, field, frozen

from ..tables import Batch, Table

Write: TypeAlias = Callable[[Batch], object]
Separator: TypeAlias = Literal[",", ";"]
Check: TypeAlias = Callable[[Table, Sequence[AttrsInstance]], None]


@frozen(kw_only=True)
class Merge:
    """Which rows of the table that stands already are kept.

    A row is kept if it was created before `since` and its id is not among `ids`: those that come
    take the place of all others.

    Args:
        since: An aware instant.
        ids: The ids of the rows that come.
    """

    since: dt.datetime
    ids: Container[int]


class Sink(Protocol):
    """Writes tables, one after the other."""

    def table(self, table: Table, merge: Merge | None = None) -> AbstractContextManager[Write]:
        """Write one table, in the place of what stood under its name.

        Args:
            table: Its name and columns.
            merge: Keep these rows of what stands in the base; None keeps none.

        Yields:
            A function that takes the next rows; the table is whole when the block has ended. It
            raises `MisfitError` if a value does not fit its column, and then has taken none of
            these rows.

        Raises:
            DecodeError: An id comes twice.
            OSError: The file can't be written.
        """
        ...


@frozen(kw_only=True)
class Options:
    """How a sink writes.

    Args:
        folder: Where its files are made; it exists and has none of them yet.
        base: The folder of an earlier export in the same format, to be merged into; None where
            there is none.
        compress: Compress text with gzip.
        excel: Write csv so that Excel opens it as it is meant.
        separator: What stands between the cells of csv.
        rounded: Where amounts that were rounded are counted, by the table's name.
    """

    folder: Path
    base: Path | None = None
    compress: bool = False
    excel: bool = False
    separator: Separator = ","
    rounded: Counter[str] = field(factory=Counter)


OpenSink: TypeAlias = Callable[[Options], AbstractContextManager[Sink]]
