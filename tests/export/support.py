"""What the tests of the export share."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from decimal import Decimal
from itertools import accumulate
from pathlib import Path

import msgspec
from attrs import define, field, frozen

from devskin_async import DevSkinClient
from devskin_async.export import Resource
from devskin_async.export.reading import Choice, Session
from devskin_async.export.rows import Row, RowId, line_id
from devskin_async.export.slices import EARLIEST, LATEST, Planner, Slice
from devskin_async.export.stage import Stage
from devskin_async.export.units import Unit
from devskin_async.sandbox import Sandbox
from tests.conftest import AT_ONCE, UNLIMITED

ALL: tuple[Resource, ...] = ("orders", "products", "customers", "revenue", "overview")

_decoder = msgspec.json.Decoder(float_hook=Decimal)


def decoded(line: bytes) -> object:
    """Read a line of JSON with its exact numbers."""
    return _decoder.decode(line)


def order(
    *,
    order_id: int = 1,
    total: str = "199.90",
    created_at: str = "2026-02-10T14:30:00.000Z",
) -> bytes:
    """Write an order as JSON."""
    return (
        f'{{"id": {order_id}, "order_number": "ORD-{order_id}", "status": "paid", "total": {total},'
        f' "created_at": "{created_at}"}}'
    ).encode()


@asynccontextmanager
async def session_of(
    box: Sandbox,
    out: Path,
    choice: Choice | None = None,
    *,
    key: str | None = None,
    concurrency: int = 10,
) -> AsyncIterator[Session]:
    """Begin a session of an export, as one that reads orders."""
    store = DevSkinClient(
        key or box.api_key,
        base_url=box.base_url,
        rate_limit=UNLIMITED,
        retry=AT_ONCE,
        concurrency=concurrency,
    )
    async with store, Stage(out) as stage:
        session = Session(store, stage, choice or Choice())
        await session.tally_for("orders")
        yield session


@define
class Before:
    """Does something to a store just before a session's requests of certain numbers are sent.

    Args:
        session: The session.
        deeds: What to do before the request of a number, counted from 1.
    """

    session: Session
    deeds: Mapping[int, Callable[[], object]] | Callable[[int], object]
    sent: int = 0

    def __attrs_post_init__(self) -> None:
        send = self.session.send

        async def sending(call: object) -> object:
            self.sent += 1
            if callable(self.deeds):
                self.deeds(self.sent)
            elif self.sent in self.deeds:
                self.deeds[self.sent]()
            return await send(call)  # type: ignore[arg-type]  # whatever it is

        self.session.send = sending  # type: ignore[method-assign, assignment]


@frozen
class Record:
    """Stands for a record, of which the journal only asks the status."""

    status: str | None = None


GOOD = Record()


def row(row_id: RowId, text: str = "", status: str | None = None) -> Row:
    """Make a row that is fine."""
    line = msgspec.json.encode({"id": row_id, "text": text})
    return Row(row_id, line, Record(status))


def unit(
    scope: str,
    number: int,
    *ids: RowId,
    text: str = "",
    at: float = 0.0,
    adopts: str | None = None,
    about: bytes = b"null",
) -> Unit:
    """Make a unit of rows that are fine."""
    rows = [row(each, text) for each in ids]
    return Unit(scope=scope, number=number, rows=rows, at=at, adopts=adopts, about=about)


def ids_of(batches: object) -> list[RowId]:
    """Give the ids of the rows of batches, as they stand."""
    assert hasattr(batches, "__iter__")
    return [line_id(line) for lines in batches for line in lines]


class Days:
    """A store's orders, by the ordinals of their days."""

    def __init__(self, orders: Mapping[int, int]) -> None:
        self._days = sorted(orders)
        self._sums = [0, *accumulate(orders[day] for day in self._days)]

    @property
    def total(self) -> int:
        return self._sums[-1]

    def within(self, days: Slice) -> int:
        first = 0 if days.first is None else bisect_left(self._days, days.first)
        last = len(self._days) if days.last is None else bisect_right(self._days, days.last)
        return self._sums[last] - self._sums[first]


@frozen
class Played:
    """What a planner has led to.

    Args:
        slices: The slices that were read, the first days first.
        asked: How many slices were asked for, those that were given back too.
        requests: The requests that it took.
    """

    slices: list[Slice]
    asked: int
    requests: int


@define
class Player:
    """Plays a planner to its end against a store, as the reader of orders does.

    Args:
        planner: The planner.
        store: The store.
        closed: The last day to which no order can come any more.
        concurrency: How many slices are under way at once.
        most: How many slices may be asked for.
    """

    planner: Planner
    store: Days
    closed: int
    concurrency: int = 10
    most: int = 100_000
    slices: list[Slice] = field(factory=list)
    requests: int = 0

    def play(self) -> Played:
        under_way: deque[Slice] = deque()
        asked = 0
        while True:
            while len(under_way) < self.concurrency and (found := self.planner.next()):
                first, last = found.first or EARLIEST, found.last or LATEST
                assert EARLIEST <= first <= last <= LATEST, "there are no such days"
                under_way.append(found)
                asked += 1
                assert asked <= self.most, "it does not end"
            if not under_way:
                break
            self._read(under_way.popleft())
        self.slices.sort(key=lambda found: found.first or 0)
        return Played(self.slices, asked, self.requests)

    def _read(self, found: Slice) -> None:
        orders = self.store.within(found)
        pages = max(1, math.ceil(orders / 100))
        self.requests += 1
        open_days = Slice(max(self.closed + 1, found.first or 0), found.last)
        can_count = self.store.within(open_days) <= 100 or self.planner.is_closed(found)
        if 1 < pages <= self.planner.most_pages and can_count:
            self.requests += pages - 1
        elif pages > 1 and self.planner.can_cut(found):
            self.planner.give_back(found, orders)
            return
        elif pages > 1:
            self.requests += pages * (1 if self.planner.is_closed(found) else 2)  # in passes
        self.slices.append(found)
        self.planner.learn(found, orders)
