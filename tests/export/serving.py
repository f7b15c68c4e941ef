"""What the tests of whole exports share: stores that move, servers that lie, files read back."""

from __future__ import annotations

import asyncio
import csv
import datetime as dt
import json
import re
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import duckdb
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from attrs import define
from pyarrow import parquet

from devskin_async import DevSkinClient
from devskin_async.export import Certificate, Format, SliceProof, reading
from devskin_async.sandbox import Sandbox
from tests.conftest import AT_ONCE, UNLIMITED

TODAY = dt.date(2026, 3, 10)
NOON = dt.datetime(2026, 3, 10, 12, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)


@define
class Clock:
    """What an export takes for the present."""

    at: dt.datetime = NOON

    def seconds(self) -> float:
        """The present in seconds since 1970."""
        return self.at.timestamp()


def stopped_clock(monkeypatch: pytest.MonkeyPatch, at: dt.datetime = NOON) -> Clock:
    """Give the export a clock that only moves by hand."""
    clock = Clock(at)
    monkeypatch.setattr(reading, "time", SimpleNamespace(time=clock.seconds))
    return clock


def client(box: Sandbox, key: str | None = None) -> DevSkinClient:
    """A client without a limit."""
    return DevSkinClient(
        key or box.api_key, base_url=box.base_url, rate_limit=UNLIMITED, retry=AT_ONCE
    )


@asynccontextmanager
async def shop(**options: Any) -> AsyncIterator[tuple[Sandbox, DevSkinClient]]:
    """A store of the day that the clock stands at, and a client of it."""
    sizes = {"products": 12, "customers": 20, "limiter": "none", "today": TODAY}
    async with Sandbox(**{**sizes, **options}) as box, client(box) as store:
        yield box, store


def place(box: Sandbox, at: dt.datetime) -> int:
    """Place an order at an instant."""
    order = box.live.insert()
    box.connection.execute("UPDATE orders SET created_at = ? WHERE id = ?", (millis(at), order))
    return order


def set_status(box: Sandbox, order: int, status: str) -> None:
    """Move an order on."""
    box.connection.execute("UPDATE orders SET status = ? WHERE id = ?", (status, order))


def remove(box: Sandbox, order: int) -> None:
    """Remove an order."""
    box.connection.execute("DELETE FROM order_items WHERE order_id = ?", (order,))
    box.connection.execute("DELETE FROM orders WHERE id = ?", (order,))


def created(box: Sandbox, low: dt.datetime, high: dt.datetime) -> list[int]:
    """List the orders that were created from one instant to another, the oldest first."""
    found = box.connection.execute(
        "SELECT id FROM orders WHERE created_at >= ? AND created_at < ? ORDER BY created_at, id",
        (millis(low), millis(high)),
    )
    return [order for (order,) in found]


def millis(at: dt.datetime) -> int:
    """Write an instant as the sandbox's database does."""
    return round(at.timestamp() * 1000)


def in_store(box: Sandbox, store_id: int = 1) -> dict[int, str]:
    """Give the status of each order that a store has."""
    return dict(
        box.connection.execute("SELECT id, status FROM orders WHERE store_id = ?", (store_id,))
    )


def in_table(folder: Path, file_format: Format) -> dict[int, str]:
    """Give the status of each order that an export has, each of which comes once."""
    rows = [(int(row["id"]), str(row["status"])) for row in read_table(folder, file_format)]
    assert len(dict(rows)) == len(rows), "an order comes twice"
    return dict(rows)


def read_table(folder: Path, file_format: Format, table: str = "orders") -> list[dict[str, Any]]:
    """Read a table of an export back with its format's own library."""
    path = folder / f"{table}.{file_format}"
    if file_format == "parquet":
        rows: list[dict[str, Any]] = parquet.read_table(path).to_pylist()
        return rows
    if file_format == "jsonl":
        return [json.loads(line) for line in path.read_bytes().splitlines()]
    if file_format == "csv":
        with path.open(newline="") as file:
            return list(csv.DictReader(file))
    if file_format == "sqlite":
        with closing(sqlite3.connect(folder / "export.sqlite")) as database:
            found = database.execute(f"SELECT * FROM {table}")
            names = [column[0] for column in found.description]
            return [dict(zip(names, row, strict=True)) for row in found]
    with duckdb.connect(folder / "export.duckdb", read_only=True) as reader:
        told = reader.execute(f"SELECT name, type FROM pragma_table_info('{table}')").fetchall()
        # To give times as such, duckdb wants a library of time zones.
        cells = [f"epoch_us({name})" if "TIME" in kind else name for name, kind in told]
        result = reader.execute(f"SELECT {', '.join(cells)} FROM {table}").fetchall()
        return [dict(zip([name for name, _ in told], row, strict=True)) for row in result]


def check_cover(
    slices: Sequence[SliceProof], first: dt.date | None = None, last: dt.date | None = None
) -> None:
    """See that slices cover all days of a range, none of them twice."""
    assert slices, "no slices"
    assert (slices[0].first, slices[-1].last) == (first, last)
    for before, after in pairwise(slices):
        assert before.last is not None
        assert after.first == before.last + DAY, f"between {before.last} and {after.first}"


def names(folder: Path) -> set[str]:
    """List what a folder has."""
    return {path.name for path in folder.iterdir()} if folder.exists() else set()


def cancelling(after: int) -> Callable[[object], None]:
    """Cancel the present task when progress is told for the so-many-th time."""
    task, told = asyncio.current_task(), 0

    def tell(_: object) -> None:
        nonlocal told
        told += 1
        if told == after:
            assert task is not None
            task.cancel()

    return tell


def order(order_id: object, *, day: str = "2026-02-10", **more: object) -> bytes:
    """Write an order as a list shows it, with whatever is wrong in it."""
    plain = {
        "id": order_id,
        "order_number": f"ORD-{order_id}",
        "status": "paid",
        "total": 9.5,
        "customer_name": "Ana",
        "customer_email": "ana@example.com",
        "created_at": f"{day}T14:30:00.000Z",
    }
    return json.dumps({**plain, **more}).encode()


def product(product_id: object, **more: object) -> bytes:
    """Write a product."""
    plain = {
        "id": product_id,
        "name": "Lamp",
        "slug": "lamp",
        "price": 10.5,
        "stock": 3,
        "status": "active",
        "created_at": "2026-02-10T14:30:00.000Z",
    }
    return json.dumps({**plain, **more}).encode()


@define
class Shelf:
    """What a server of rows gives: change it as it serves.

    Args:
        lists: The rows of each list.
        details: The details by the order's id in the address; what is missing is not found.
        hidden: Rows that the totals count, and no page shows.
    """

    lists: Mapping[str, Sequence[bytes]]
    details: Mapping[str, bytes]
    hidden: Sequence[bytes] = ()

    async def list_of(self, request: web.Request) -> web.Response:
        """Answer with a page of a list, orders of the days that were asked for."""
        query = request.query
        days = query.get("date_from", ""), query.get("date_to", "9")
        rows = [row for row in self.lists[request.match_info["name"]] if _is_within(row, *days)]
        hidden = sum(_is_within(row, *days) for row in self.hidden)
        page, limit = int(query.get("page", "1")), int(query.get("limit", "20"))
        some = rows[(page - 1) * limit : page * limit]
        return _answer(
            b'{"items": [%b], "total": %d, "page": %d, "limit": %d}'
            % (b", ".join(some), len(rows) + hidden, page, limit)
        )

    async def detail(self, request: web.Request) -> web.Response:
        """Answer with an order's detail."""
        detail = self.details.get(request.match_info["id"])
        if detail is None:
            body = {"success": False, "error": "Order not found"}
            return web.json_response(body, status=404)
        return _answer(b'{"order": %b}' % detail)


def _is_within(row: bytes, first: str, last: str) -> bool:
    found = re.search(rb'"created_at": "(\d{4}-\d\d-\d\d)', row)
    return found is None or first <= found[1].decode() <= last


def _answer(data: bytes) -> web.Response:
    body = b'{"success": true, "data": %b}' % data
    return web.Response(body=body, content_type="application/json")


@asynccontextmanager
async def shelved(
    details: Mapping[str, bytes] | None = None, **lists: Iterable[bytes]
) -> AsyncIterator[tuple[Shelf, DevSkinClient]]:
    """Serve rows just as they are given, and give a client of the server."""
    shelf = Shelf({name: list(rows) for name, rows in lists.items()}, details or {})
    app = web.Application()
    app.router.add_get("/orders/{id}", shelf.detail)
    app.router.add_get("/{name}", shelf.list_of)
    async with (
        TestServer(app) as server,
        DevSkinClient(
            "key", base_url=str(server.make_url("")), rate_limit=UNLIMITED, retry=AT_ONCE
        ) as store,
    ):
        yield shelf, store


def orders_of(certificates: Mapping[Any, Certificate]) -> Certificate:
    """Give the certificate of orders."""
    return certificates["orders"]
