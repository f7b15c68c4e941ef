"""What a journal keeps: rows that were read together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from attrs import frozen

from .rows import Row


@frozen(kw_only=True)
class Unit:
    """Rows that are kept together or not at all.

    Args:
        scope: What they are a part of: a resource, or one pass over one.
        number: Their place in the scope: a page, a day, an id.
        rows: The rows, each once.
        status: Only rows of this status are kept; the ids of all are. None keeps all.
        adopts: A scope whose rows count as this unit's.
        at: When they were read, in seconds since 1970.
        about: What else is to be known of them, as JSON.
    """

    scope: str
    number: int
    rows: Sequence[Row] = ()
    status: str | None = None
    adopts: str | None = None
    at: float
    about: bytes = b"null"

    @property
    def lines(self) -> Iterator[bytes]:
        """The rows to keep."""
        for row in self.rows:
            if row.record is None:
                continue
            if self.status is None or getattr(row.record, "status", None) == self.status:
                yield row.line


class Kept(NamedTuple):
    """A unit as the journal knows it; its rows lie in a file."""

    id: int
    scope: str
    number: int
    file: str
    offset: int
    length: int
    crc: int
    at: float
    adopts: str | None
    about: bytes


def pass_scope(scope: str, number: int) -> str:
    """Name the scope of a pass over a list."""
    return f"{scope}#{number}"


def is_later_pass(scope: str, other: str) -> bool:
    """Say whether a scope is a pass over the same list as another, and came after it."""
    (base, _, number), (other_base, _, other_number) = scope.partition("#"), other.partition("#")
    return bool(number and other_number) and base == other_base and int(number) > int(other_number)
