"""A caller of the sandbox that knows nothing of the client: aiohttp's own session."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date
from decimal import Decimal
from typing import Any

import aiohttp
import attrs

from devskin_async.sandbox import Sandbox

TODAY = date(2026, 2, 13)
"""The day of the reference's examples."""

Body = dict[str, Any]


@attrs.frozen
class Answer:
    status: int
    headers: dict[str, str]
    text: str

    @property
    def body(self) -> Body:
        """The envelope, with money as exact as it was written."""
        body: Body = json.loads(self.text, parse_float=Decimal)
        return body

    @property
    def data(self) -> Body:
        assert self.status == 200, self.text
        data: Body = self.body["data"]
        return data

    @property
    def error(self) -> str:
        """The message of an error's envelope, which has nothing else."""
        body = self.body
        assert self.headers["Content-Type"] == "application/json"
        assert list(body) == ["success", "error"]
        assert body["success"] is False
        assert isinstance(body["error"], str)
        return body["error"]


class Api:
    def __init__(self, box: Sandbox, session: aiohttp.ClientSession) -> None:
        self.box = box
        self.session = session

    async def get(self, path: str, key: str | None = None) -> Answer:
        return await self.call("GET", path, {"X-API-Key": key or self.box.api_key})

    async def call(self, method: str, path: str, headers: dict[str, str]) -> Answer:
        url = self.box.base_url + path
        async with self.session.request(method, url, headers=headers) as response:
            return Answer(response.status, dict(response.headers), await response.text())

    async def data(self, path: str) -> Body:
        return (await self.get(path)).data

    async def everything(self, path: str) -> list[Body]:
        """All items of a list, page by page."""
        items: list[Body] = []
        page = 1
        while True:
            joint = "&" if "?" in path else "?"
            data = await self.data(f"{path}{joint}limit=100&page={page}")
            items += data["items"]
            if page * 100 >= data["total"]:
                assert len(items) == data["total"]
                return items
            page += 1

    async def ids(self, path: str) -> list[int]:
        return [item["id"] for item in await self.everything(path)]


@asynccontextmanager
async def calling(box: Sandbox) -> AsyncIterator[Api]:
    # A new connection for each request: aiohttp tries again by itself when a kept one breaks.
    connector = aiohttp.TCPConnector(force_close=True)
    async with aiohttp.ClientSession(connector=connector) as session:
        yield Api(box, session)


async def place_order(box: Sandbox, created_at: str, **columns: int | str) -> int:
    """Put one more order into the first store, a copy of its first but for some columns."""
    connection = box.connection
    row = connection.execute("SELECT * FROM orders ORDER BY id LIMIT 1")
    names = [column[0] for column in row.description]
    order = dict(zip(names, row.fetchone(), strict=True))
    new_id: int = connection.execute("SELECT max(id) + 1 FROM orders").fetchone()[0]
    instant = connection.execute("SELECT unixepoch(?) * 1000", (created_at,)).fetchone()[0]
    order |= {"id": new_id, "order_number": f"ORD-2026-{new_id:06d}", "created_at": instant}
    order |= columns
    marks = ", ".join("?" * len(order))
    connection.execute(f"INSERT INTO orders VALUES ({marks})", tuple(order.values()))
    return new_id
