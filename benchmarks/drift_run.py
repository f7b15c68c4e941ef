"""One reading of a living store, by a listing or by an export: for `benchmarks.drift`."""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
from attrs import frozen

from devskin_async import DevSkinClient, RateLimit
from devskin_async.export import export
from devskin_async.sandbox import Sandbox, Traffic
from devskin_async.sandbox.records import ListOrder

SPEED = 100
REQUESTS, PER = 100, 60 / SPEED
CHANGES = 3  # steps of open orders for each new one
TODAY = 150  # orders placed before a run begins: a day that goes on, and more than a page of it
LISTING, EXPORT = "listing", "export"


@frozen(kw_only=True)
class Setting:
    """A store's traffic, and how it is read.

    Args:
        inserts: New orders a second at the real API's scale.
        removals: Orders removed a second.
        order: The order of the server's lists.
        status: Only orders of this status.
        on_server: Whether the server filters for the export; for the listing it always does.
        today: Orders that are placed today before the run begins.
    """

    inserts: float = 0.0
    removals: float = 0.0
    order: ListOrder = "newest"
    status: str | None = None
    on_server: bool = False
    today: int = TODAY

    @property
    def traffic(self) -> Traffic:
        """The traffic at the scale of the benchmark."""
        inserts, removals = self.inserts * SPEED, self.removals * SPEED
        return Traffic(inserts=inserts, changes=inserts * CHANGES, removals=removals)

    @property
    def name(self) -> str:
        """What it is called in the table."""
        parts = [f"{self.inserts:g} in, {self.removals:g} out" if self.inserts else "none"]
        if self.order != "newest":
            parts.append(f"order={self.order}")
        if self.status is not None:
            parts.append(f"status={self.status}{' (server)' if self.on_server else ''}")
        if self.today != TODAY:
            parts.append(f"{self.today} of today")
        return "; ".join(parts)


@frozen
class Output:
    """What a way of reading gave.

    Args:
        ids: The ids of the orders, in its order.
        read: Rows that it had to read, before any filter on our side.
        proof: What the export says of its completeness; None for a listing, which says nothing.
    """

    ids: list[int]
    read: int
    proof: str | None = None


@frozen(kw_only=True)
class Run:
    """One run.

    Args:
        seed: The seed of the store and its traffic.
        rows: Rows in the output.
        read: Rows that had to be read.
        missing: Orders that were in the store all the time, and are not in the output.
        repeated: Rows whose id had come before.
        requests: Requests that the server counted.
        refused: How many of them it refused.
        events: What happened in the store meanwhile.
        seconds: How long it took, at the real API's scale.
        proof: What the export says of its completeness; None for a listing.
    """

    seed: int
    rows: int
    read: int
    missing: int
    repeated: int
    requests: int
    refused: int
    events: int
    seconds: float
    proof: str | None

    @property
    def per_100(self) -> float:
        """Requests for each 100 rows that had to be read."""
        return self.requests / self.read * 100

    @property
    def proven(self) -> bool:
        """Whether it says that nothing is missing and nothing comes twice."""
        return self.proof not in (None, "unproven")

    @property
    def lied(self) -> bool:
        """Whether what it says is not so."""
        return self.proven and (self.missing > 0 or self.repeated > 0)


Way: TypeAlias = Callable[[DevSkinClient, Setting], Coroutine[Any, Any, Output]]


class _Id(msgspec.Struct):
    id: int


async def by_listing(store: DevSkinClient, setting: Setting) -> Output:
    """Read a plain listing."""
    rows = await store.orders.list(status=setting.status)
    return Output([row.id for row in rows], len(rows))


async def by_export(store: DevSkinClient, setting: Setting) -> Output:
    """Read an export, and its file."""
    with tempfile.TemporaryDirectory() as folder:
        done = await export(
            store,
            ["orders"],
            folder,
            status=setting.status,
            filter_on_server=setting.on_server,
        )
        certificate = done.certificates["orders"]
        lines = (Path(folder) / "orders.jsonl").read_bytes()
        rows = msgspec.json.Decoder(_Id).decode_lines(lines)
        return Output([row.id for row in rows], certificate.distinct_ids, certificate.proof)


WAYS: dict[str, Way] = {LISTING: by_listing, EXPORT: by_export}


def present(box: Sandbox, status: str | None) -> set[int]:
    """Give the ids of a store's orders, from its database."""
    found = box.connection.execute(
        "SELECT id FROM orders WHERE status = coalesce(?, status)", (status,)
    )
    return {order_id for (order_id,) in found}


async def run(setting: Setting, way: Way, orders: int, seed: int) -> Run:
    """Read a store of its own once."""
    async with Sandbox(
        orders=orders,
        seed=seed,
        limit=REQUESTS,
        per=PER,
        traffic=setting.traffic,
        order=setting.order,
    ) as box:
        for _ in range(setting.today):
            box.live.insert()
        events: Counter[str] = Counter()
        box.live.listeners.add(lambda _: events.update(("event",)))
        limit = RateLimit(REQUESTS, PER, burst=REQUESTS, reserve=0)
        before = present(box, setting.status)
        start = time.perf_counter()
        async with DevSkinClient(box.api_key, base_url=box.base_url, rate_limit=limit) as store:
            output = await way(store, setting)
        seconds = time.perf_counter() - start
        # A status never comes back, so who has it before and after had it all the time.
        stayed = before & present(box, setting.status)
        ids = set(output.ids)
        return Run(
            seed=seed,
            rows=len(output.ids),
            read=output.read,
            missing=len(stayed - ids),
            repeated=len(output.ids) - len(ids),
            requests=box.counts.requests,
            refused=box.counts.refused,
            events=events["event"],
            seconds=seconds * SPEED,
            proof=output.proof,
        )
