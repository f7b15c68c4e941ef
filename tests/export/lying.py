"""A store whose server gets something wrong, as servers do: totals, page sizes, filters, caches."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

from aiohttp import web
from aiohttp.test_utils import TestServer
from attrs import define, field, frozen

from devskin_async import DevSkinClient
from tests.conftest import AT_ONCE, UNLIMITED

LONG_AGO = dt.datetime(2025, 1, 1, 0, 0, 30, tzinfo=dt.UTC)
DAYS = 300


@frozen
class Asked:
    """What a server knows as it tells a total: how many rows there are, by what is counted.

    Args:
        matching: Rows that match the filter.
        all: Rows without a filter.
        shown: Rows on this page.
        first: The first day that was asked for, or an empty text.
        last: The last day, or a text beyond all days.
    """

    matching: int
    all: int
    shown: int
    first: str
    last: str


Total: TypeAlias = Callable[[Asked], int]
Hides: TypeAlias = Callable[[dict[str, Any], str], bool]


@define
class Liar:
    """Serves lists of rows, and counts what it is asked.

    Args:
        orders: How many orders it has, spread over `DAYS` days.
        cap: The most rows of a page.
        echoes: Tell the limit that was asked for, and not the cap.
        total: What it tells as the total.
        hides: Which orders its day filter leaves out, by the last day of the range.
        age: The `Age` of its answers; None sends none.
        failing: Details that fail: order ids to a status, or to a body.
        broken: Whether its lists fail.
        meanwhile: Called before each page of a list is read.
        arrived: When further orders were created.
        removed: The ids of rows that have gone.
        past_end: What it tells as the total past the end of a list; None tells the same there.
    """

    orders: int = 1500
    cap: int = 100
    echoes: bool = False
    total: Total = lambda asked: asked.matching
    hides: Hides = lambda _, __: False
    age: str | None = None
    failing: dict[int, int | bytes] = field(factory=dict)
    broken: bool = False
    meanwhile: Callable[[Liar], object] = lambda _: None
    arrived: list[dt.datetime] = field(factory=list)
    removed: set[int] = field(factory=set)
    past_end: int | None = None
    requests: list[str] = field(factory=list)

    @property
    def ids(self) -> list[int]:
        """The ids of its orders."""
        return [row["id"] for row in self.rows("orders")]

    def rows(self, name: str) -> list[dict[str, Any]]:
        """List rows, the newest first."""
        every = [ROWS[name](number, self.orders) for number in range(1, self.orders + 1)]
        for number, at in enumerate(self.arrived, 1_000_000):
            every.append({**ROWS[name](number, self.orders), "created_at": _instant(at)})
        every = [row for row in every if row["id"] not in self.removed]
        return sorted(every, key=lambda row: (row["created_at"], row["id"]), reverse=True)

    async def list_of(self, request: web.Request) -> web.Response:
        """Answer with a page of a list."""
        self.requests.append(request.path_qs)
        self.meanwhile(self)
        if self.broken:
            return web.json_response({"success": False, "error": "It broke"}, status=500)
        query, every = request.query, self.rows(request.match_info["name"])
        first, last = query.get("date_from", ""), query.get("date_to", "9")
        filtered = "date_from" in query or "date_to" in query
        matching = [
            row
            for row in every
            if first <= row["created_at"][:10] <= last and not (filtered and self.hides(row, last))
        ]
        asked = int(query["limit"])
        size = min(self.cap, asked)
        start = (int(query["page"]) - 1) * size
        shown = matching[start : start + size]
        total = self.total(Asked(len(matching), len(every), len(shown), first, last))
        data = {
            "items": shown,
            "total": total if shown or self.past_end is None else self.past_end,
            "page": int(query["page"]),
            "limit": asked if self.echoes else size,
        }
        return self._answer(data)

    async def revenue(self, request: web.Request) -> web.Response:
        """Answer with a series of nothing."""
        self.requests.append(request.path_qs)
        return self._answer({"period": request.query["period"], "total": 0, "daily": []})

    async def detail(self, request: web.Request) -> web.Response:
        """Answer with an order's detail."""
        self.requests.append(request.path_qs)
        number = int(request.match_info["id"])
        wrong = self.failing.get(number)
        if isinstance(wrong, int):
            return web.json_response({"success": False, "error": "It broke"}, status=wrong)
        if isinstance(wrong, bytes):
            return web.Response(body=wrong, content_type="application/json")
        plain = {
            **ROWS["orders"](number, self.orders),
            "subtotal": 9.5,
            "shipping_cost": 0,
            "discount": 0,
            "items": [],
            "updated_at": "2025-01-01T00:00:00.000Z",
        }
        return self._answer({"order": plain})

    def _answer(self, data: object) -> web.Response:
        headers = {} if self.age is None else {"Age": self.age}
        return web.json_response({"success": True, "data": data}, headers=headers)


def _order(number: int, orders: int) -> dict[str, Any]:
    # Some are of the last minute of a day.
    minute = 1439 if number % 10 == 7 else number * 37 % 1300
    at = LONG_AGO + dt.timedelta(days=(number - 1) * DAYS // orders, minutes=minute)
    return {
        "id": number,
        "order_number": f"ORD-{number}",
        "status": "paid",
        "total": 9.5,
        "created_at": _instant(at),
    }


def _instant(at: dt.datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%S}.000Z"


def _product(number: int, _: int) -> dict[str, Any]:
    plain = {"id": number, "name": "Lamp", "slug": "lamp", "price": 1.5, "stock": 3}
    return {**plain, "status": "active", "created_at": "2026-02-10T14:30:00.000Z"}


ROWS: dict[str, Callable[[int, int], dict[str, Any]]] = {"orders": _order, "products": _product}


@asynccontextmanager
async def lying(liar: Liar) -> AsyncIterator[DevSkinClient]:
    """Serve a store, and give a client of it."""
    async with (
        serving(liar) as url,
        DevSkinClient("key", base_url=url, rate_limit=UNLIMITED, retry=AT_ONCE) as store,
    ):
        yield store


@asynccontextmanager
async def serving(liar: Liar) -> AsyncIterator[str]:
    """Serve a store, and give its address."""
    app = web.Application()
    app.router.add_get("/orders/{id}", liar.detail)
    app.router.add_get("/revenue", liar.revenue)
    app.router.add_get("/{name}", liar.list_of)
    async with TestServer(app) as server:
        yield str(server.make_url(""))


def is_late(row: dict[str, Any], last: str, after: str) -> bool:
    """Say whether an order is of the last day of a range, and of a time from which on."""
    day, _, time = str(row["created_at"]).partition("T")
    return day == last and time >= after


def wrong_totals() -> Iterator[tuple[str, Total]]:
    """Go through what servers tell as a total."""
    yield "without the filter", lambda asked: asked.all
    yield "deleted rows too", lambda asked: asked.matching * 100 + 30
    yield "a billion", lambda _: 10**9
    yield "more than there are numbers", lambda _: 10**30
    yield "of the page alone", lambda asked: asked.shown
    yield "nothing", lambda _: 0
    yield "an estimate that is low", lambda asked: asked.matching * 9 // 10
    yield "an estimate that is high", lambda asked: asked.matching * 11 // 10 + 1
    yield "one too many", lambda asked: asked.matching + 1
    yield "always the same", lambda _: 777
