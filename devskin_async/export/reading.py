"""What every reader of an export needs: requests that are counted, units that are kept."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TypeVar

import msgspec
from attrs import AttrsInstance, define, frozen

from .._capture import capture
from ..api import Request, page_count
from ..client import DevSkinClient
from ..errors import DecodeError, DevSkinError
from ..records import Page
from ..transport import RequestOptions
from .rows import Row, first_error, read_rows
from .sinks import Check, MisfitError
from .stage import Stage
from .tables import RECORDS, Resource, Table
from .units import Unit

T = TypeVar("T")


@frozen(kw_only=True)
class Choice:
    """What is to be read, and how strictly.

    Args:
        status: Only orders of this status.
        filter_on_server: Let the API filter by status.
        once: Accept a single reading whose total held.
        lenient: Set rows aside that can't be decoded.
    """

    status: str | None = None
    filter_on_server: bool = False
    once: bool = False
    lenient: bool = False


@frozen
class RowPage:
    """One answer's part of a list.

    Args:
        rows: Its rows.
        total: The rows of the list, as the answer told.
        limit: The rows that an answer may have: as many as came, where the first of several pages
            has fewer than it was told.
    """

    rows: list[Row]
    total: int
    limit: int

    @property
    def whole(self) -> bool:
        """Whether it is the whole list."""
        return len(self.rows) == len({row.id for row in self.rows}) == self.total

    @property
    def full(self) -> bool:
        """Whether it has as many rows as it may have."""
        return len(self.rows) >= self.limit

    @property
    def pages(self) -> int:
        """How many answers the list takes."""
        return page_count(self.total, self.limit)


@define
class Tally:
    """What a resource has cost so far, earlier sessions included.

    Args:
        sessions: In how many sessions it was read.
        requests: Requests sent, retries included.
        refused: How many of them were answered with 429.
        repairs: How often something had to be read again because it had changed meanwhile.
        cached: Answers that a cache had kept, and which prove nothing.
        began: When the first session began, in seconds since 1970.
    """

    sessions: int = 0
    requests: int = 0
    refused: int = 0
    repairs: int = 0
    cached: int = 0
    began: float = 0.0


class Session:
    """One session of an export: a client, a journal, and what is counted.

    Args:
        store: The client to read with.
        stage: Where what was read is kept.
        choice: What is to be read.
        tell: Called whenever there is progress to tell of.
        check: Raises `MisfitError` for what the columns to be written can't hold; None holds all.
    """

    def __init__(
        self,
        store: DevSkinClient,
        stage: Stage,
        choice: Choice,
        tell: Callable[[], object] = lambda: None,
        check: Check | None = None,
    ) -> None:
        self.store = store
        self.stage = stage
        self.choice = choice
        self.tell = tell
        self._check = check
        self.concurrency: int = store.reader.concurrency
        self.tally: Tally = Tally()
        self.requests: int = 0
        self._tallied = ""
        self._tallies: dict[str, Tally] = {}
        self._scheduler = store.reader.sender.scheduler
        self._refused = self._scheduler.refused
        self._options: RequestOptions = store.reader.flow_options()
        self._sending = asyncio.Semaphore(self.concurrency)

    async def tally_for(self, name: str) -> None:
        """Count for one resource from now on; what earlier sessions counted is added to.

        Args:
            name: The resource.
        """
        self._tallied = f"tally {name}"
        if name not in self._tallies:
            noted = await self.stage.run(self.stage.journal.note, self._tallied)
            tally = Tally() if noted is None else msgspec.json.decode(noted, type=Tally)
            tally.sessions += 1
            tally.began = tally.began or now()
            self._tallies[name] = tally
        self.tally = self._tallies[name]
        self._refused = self._scheduler.refused

    def spent(self, name: str) -> int:
        """Count the requests that a resource has taken, earlier sessions included."""
        return self._tallies[name].requests if name in self._tallies else 0

    async def keep(self, *units: Unit) -> list[int]:
        """Keep units, all of them or none, and with them what they have cost.

        Returns:
            Of each unit, how many of its rows had come in its scope before.
        """
        refused = self._scheduler.refused
        self.tally.refused += refused - self._refused
        self._refused = refused
        self.stage.note(self._tallied, msgspec.json.encode(self.tally))
        return await self.stage.keep(*units)

    async def send_dated(self, call: Request[T]) -> T:
        """Send a call whose answer is a proof; one that a cache had kept is noted."""
        with capture() as responses:
            result = await self.send(call)
        if responses[-1].age > 0:
            self.tally.cached += 1
        return result

    async def send(self, call: Request[T]) -> T:
        """Send a call in the export's job, and count the requests that it takes."""
        async with self._sending:
            with capture() as responses:
                try:
                    result = await self.store.reader.sender.send(call, self._options)
                except DevSkinError as error:
                    self._count(error.attempts)
                    raise
            self._count(responses[-1].attempts)
            return result

    async def ask(self, resource: Resource, call: Request[Page[msgspec.Raw]]) -> RowPage:
        """Ask for a page of a list.

        Raises:
            DecodeError: A row can't be decoded, and such rows are not to be set aside.
        """
        page = await self.send_dated(call)
        came = len(page.items)
        # Which pages there are is for the server to say, and what it says may be wrong.
        limit = came if page.page == 1 and 0 < came < page.total else page.limit
        return RowPage(self.read(resource, page.items), page.total, limit)

    def read(
        self, resource: Resource, raw: Sequence[msgspec.Raw], path: str = "$.data.items"
    ) -> list[Row]:
        """Read an answer's rows, as `ask` does."""
        rows = read_rows(raw, RECORDS[resource])
        if not self.choice.lenient:
            if error := first_error(rows, path):
                raise error
            status = self.choice.status
            records = [
                row.record
                for row in rows
                if row.record is not None and status in (None, getattr(row.record, "status", None))
            ]
            self.check(Table(resource, RECORDS[resource]), records, path)
        return rows

    def check(
        self, table: Table, records: Sequence[AttrsInstance], path: str, *, alone: bool = False
    ) -> None:
        """See that the columns that are to be written can hold records.

        Args:
            table: Whose records they are.
            records: The records.
            path: Where in the answer they are.
            alone: Whether it is a single record, and in no list.

        Raises:
            DecodeError: They can't, and such rows are not to be set aside.
        """
        if self._check is None or self.choice.lenient:
            return
        try:
            self._check(table, records)
        except MisfitError as error:
            place = error.path.removeprefix(f"{table.name}[0]" if alone else table.name)
            raise DecodeError(f"{path}{place}", error.expected, error.received) from None

    def _count(self, attempts: int) -> None:
        self.tally.requests += attempts
        self.requests += attempts
        self.tell()


def now() -> float:
    """Give the wall clock's seconds since 1970."""
    return time.time()


def unknown_in(rows: Iterable[Row]) -> dict[str, int]:
    """Count the unknown fields and statuses of rows."""
    return dict(Counter(name for row in rows for name in row.unknown))


async def work_off(
    next_item: Callable[[], T | None], work: Callable[[T], Awaitable[object]], concurrency: int
) -> None:
    """Work on items concurrently, until there is none left and none under way.

    The first error ends the work and cancels what is under way.

    Args:
        next_item: Gives the next item; None where there is none just now.
        work: Works on one; there may be further items afterwards.
        concurrency: How many are under way at the most.
    """

    async def do(item: T) -> None:
        await work(item)

    tasks: set[asyncio.Task[None]] = set()
    try:
        while True:
            while len(tasks) < concurrency and (item := next_item()) is not None:
                tasks.add(asyncio.create_task(do(item)))
            if not tasks:
                return
            done, tasks = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for error in [task.exception() for task in done]:
                if error is not None:
                    raise error
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
