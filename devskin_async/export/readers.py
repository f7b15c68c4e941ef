"""The readers of one session, one resource after the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from attrs import evolve, field, frozen

from ..ratelimit import Budget
from .details import SCOPE as DETAILS_SCOPE
from .details import Details, gone, unknown_in_details
from .lists import Figures, Listed, Reader
from .manifest import Certificate, added_up
from .orders import Orders
from .reading import Session
from .slices import Slice
from .survey import Survey, orders_call
from .tables import Resource

DETAILS = "order details"


@frozen(kw_only=True)
class Progress:
    """How far an export is at one moment.

    Args:
        resource: What is read now.
        counted: What is counted: its rows, or, of orders, their details.
        rows: How many of them were read.
        total: How many it has, as far as is known.
        requests: Requests sent in this session.
        requests_left: Requests to be answered yet for all that is wanted, as far as is known.
        refused: Requests of the client that were answered with 429 in this session.
        budget: How the key's budget stands.
    """

    resource: Resource
    counted: Literal["rows", "details"] = "rows"
    rows: int
    total: int
    requests: int
    requests_left: int
    refused: int
    budget: Budget = field(repr=False)

    @property
    def seconds_left(self) -> float:
        """How long the requests to come will wait for the rate limit, as it is predicted."""
        further = self.requests_left - self.budget.waiting - self.budget.in_flight
        return self.budget.forecast(max(1, further)) if self.requests_left else 0.0


@frozen(kw_only=True)
class Wanted:
    """What is to be read.

    Args:
        resources: Which resources.
        days: Orders of which days.
        details: Whether each order's detail is read too.
        known: What is known of the orders from before; None asks the API.
    """

    resources: tuple[Resource, ...]
    days: Slice
    details: bool = False
    known: Survey | None = None


class Readers:
    """Reads what is wanted into the journal.

    Args:
        session: What it is read with.
        wanted: What is read.
        on_progress: Called as it goes on; None tells nobody.
    """

    def __init__(
        self,
        session: Session,
        wanted: Wanted,
        on_progress: Callable[[Progress], object] | None = None,
    ) -> None:
        self._session = session
        self._wanted = wanted
        self._on_progress = on_progress
        self._refused = session.store.budget.refused
        self._in_details = False
        self._resource: Resource = wanted.resources[0]
        self._readers = {name: self._reader(name) for name in wanted.resources}
        self._details = Details(session) if wanted.details and "orders" in self._readers else None
        session.tell = self._tell

    @property
    def refused(self) -> int:
        """Requests of the client that were answered with 429 meanwhile."""
        return self._session.store.budget.refused - self._refused

    @property
    def requests_left(self) -> int:
        """How many requests are to come, as far as is known."""
        left = sum(reader.requests_left for reader in self._readers.values())
        if self._details is not None:
            left += self._details.requests_left
        return left

    async def start(self) -> None:
        """Find out how much there is to read."""
        for name, reader in self._readers.items():
            await self._turn_to(name)
            await reader.start()
            if name == "orders" and self._details is not None:
                self._details.total = await self._count_details(reader.total)

    async def read(self) -> dict[Resource, Certificate]:
        """Read everything.

        Returns:
            How each resource was read.
        """
        certificates: dict[Resource, Certificate] = {}
        for name, reader in self._readers.items():
            await self._turn_to(name)
            await reader.read()
            self._tell()
            certificate = await reader.certify()
            if name == "orders":
                certificate = await self._finish_orders(certificate)
            certificates[name] = certificate
        return certificates

    async def _count_details(self, orders: int) -> int:
        choice, days = self._session.choice, self._wanted.days
        if choice.status is None or choice.filter_on_server:
            return orders
        call = orders_call(days, 1, choice.status, inclusive=None)
        return (await self._session.ask("orders", call)).total

    @property
    def planned_rows(self) -> dict[str, int]:
        """How many rows each resource has; without revenue, which tells when it is read."""
        readers = self._readers.items()
        rows = {str(name): reader.total for name, reader in readers if name != "revenue"}
        return rows if self._details is None else {**rows, DETAILS: self._details.total}

    @property
    def planned_requests(self) -> dict[str, int]:
        """How many requests each resource takes in all."""
        spent = self._session.spent
        requests = {str(n): spent(n) + each.requests_left for n, each in self._readers.items()}
        if self._details is None:
            return requests
        return {**requests, DETAILS: self._details.requests_left}

    def _reader(self, name: Resource) -> Reader:
        if name == "orders":
            return Orders(self._session, self._wanted.days, self._wanted.known)
        if name in ("products", "customers"):
            return Listed(self._session, name)
        return Figures(self._session, name)

    async def _turn_to(self, name: Resource) -> None:
        self._resource = name
        await self._session.tally_for(name)

    async def _finish_orders(self, certificate: Certificate) -> Certificate:
        choice, stage = self._session.choice, self._session.stage
        certificate = evolve(
            certificate, status=choice.status, filter_on_server=choice.filter_on_server
        )
        if self._details is None:
            return certificate
        self._in_details = True
        await self._details.read()
        self._in_details = False
        tally, journal = self._session.tally, stage.journal
        return evolve(
            certificate,
            requests=tally.requests,
            refused=tally.refused,
            gone=await stage.run(gone, journal),
            unknown=added_up([certificate.unknown, await stage.run(unknown_in_details, journal)]),
            rejected=certificate.rejected + await stage.run(journal.rejected_in, DETAILS_SCOPE),
        )

    def _tell(self) -> None:
        if self._on_progress is None:
            return
        details = self._details if self._in_details else None
        counting = details or self._readers[self._resource]
        self._on_progress(
            Progress(
                resource=self._resource,
                counted="details" if details else "rows",
                rows=counting.rows,
                total=max(counting.total, counting.rows),
                requests=self._session.requests,
                requests_left=self.requests_left,
                refused=self.refused,
                budget=self._session.store.budget,
            )
        )
