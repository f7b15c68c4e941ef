"""A store on a loopback socket that pages and counts as it likes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Literal

from aiohttp import web
from aiohttp.test_utils import TestServer
from attrs import define, field

ROWS: dict[str, dict[str, object]] = {
    "orders": {"order_number": "A", "status": "paid", "total": 1},
    "products": {"name": "A", "slug": "a", "price": 1, "stock": 1, "status": "active"},
    "customers": {"name": "A", "email": "a@b.test", "total_orders": 1, "total_spent": 1},
}


PastEnd = Literal["empty", "404", "last page"]


@define
class PagingStore:
    """A store with these properties.

    Args:
        rows: How many rows every list has.
        cap: The most rows that a page may have.
        echoes: Its pages have the limit that was requested, not the one that it keeps.
        total: The total that its pages have; None counts the rows.
        past_end: What it sends past the end: an empty page, a 404, or its last page again.
        same_page: It sends page 1 whichever is requested.
        change: Called before each response.
        requested: The pages that were requested, and with which limits.
    """

    rows: int
    cap: int = 100
    echoes: bool = False
    total: int | None = None
    past_end: PastEnd = "empty"
    same_page: bool = False
    change: Callable[[PagingStore], object] = lambda _: None
    requested: list[tuple[int, int]] = field(factory=list, init=False)

    async def answer(self, request: web.Request) -> web.Response:
        page, limit = int(request.query["page"]), int(request.query["limit"])
        self.requested.append((page, limit))
        self.change(self)
        size = min(limit, self.cap)
        start = 0 if self.same_page else (page - 1) * size
        if page > 1 and start >= self.rows and self.past_end == "404":
            return web.json_response({"success": False, "error": "no such page"}, status=404)
        if page > 1 and start >= self.rows and self.past_end == "last page":
            page = max(1, -(-self.rows // size))
            start = (page - 1) * size
        row = ROWS[request.path.strip("/")] | {"created_at": "2026-01-15T10:00:00.000Z"}
        ids = range(start, min(start + size, self.rows))
        data = {
            "items": [{"id": each, **row} for each in ids],
            "total": self.rows if self.total is None else self.total,
            "page": page,
            "limit": limit if self.echoes else size,
        }
        return web.json_response({"success": True, "data": data})

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Serve it, and yield the address."""
        app = web.Application()
        app.router.add_get("/{path:.*}", self.answer)
        async with TestServer(app) as server:
            yield str(server.make_url(""))
