"""Quirks of lists: capped pages, totals that are wrong, and what is behind the last page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar, cast

import attrs

from .parameters import OrdersQuery, PageQuery
from .quirks import Quirk

if TYPE_CHECKING:
    from collections.abc import Callable

    from .quirks import Quirks
    from .records import JsonObject

Q = TypeVar("Q", bound=PageQuery)

LAST: Final = "last"


class PastEndError(Exception):
    """The page asked for is after the last one; the status says so."""

    def __init__(self, status: int) -> None:
        super().__init__("No such page")
        self.status = status


def read_list(read: Callable[[Q], JsonObject], query: Q, quirks: Quirks) -> JsonObject:
    """Read a page as a server with quirks does.

    Args:
        read: Reads one as the reference says.
        query: The page that was asked for.
        quirks: Which ones are switched on.

    Returns:
        items, total, page, limit.

    Raises:
        PastEndError: There is no such page, and that is an error.
    """
    told_cap, silent_cap = quirks.whole(Quirk.PAGE_CAP), quirks.whole(Quirk.SILENT_PAGE_CAP)
    limit = min(query.limit, told_cap or query.limit, silent_cap or query.limit)
    page, data = query.page, read(attrs.evolve(query, limit=limit))
    if not data["items"] and query.page > 1 and Quirk.PAST_END in quirks:
        page = max(1, -(-cast("int", data["total"]) // limit))
        data = _past_end(
            quirks.word(Quirk.PAST_END), read, attrs.evolve(query, page=page, limit=limit)
        )
    told = query.limit if silent_cap else limit
    return data | {"total": _total(data, read, query, quirks), "page": page, "limit": told}


def _past_end(word: str, read: Callable[[Q], JsonObject], last: Q) -> JsonObject:
    if word == LAST:
        return read(last)
    raise PastEndError(int(word))


def _total(data: JsonObject, read: Callable[[Q], JsonObject], query: Q, quirks: Quirks) -> int:
    word, total = quirks.word(Quirk.TOTAL), cast("int", data["total"])
    if word == "unfiltered" and isinstance(query, OrdersQuery):
        return cast("int", read(attrs.evolve(query, date_from=None, date_to=None))["total"])
    if word in ("", "unfiltered"):
        return total
    return total + int(word) if word.startswith("+") else int(word)
