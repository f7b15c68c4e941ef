"""What the tests of the export share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal

import aiohttp
import msgspec
from aiohttp import web
from aiohttp.test_utils import TestServer

from devskin_async import DevSkinClient, Retry
from devskin_async.export import Resource
from devskin_async.sandbox import Sandbox

ALL: tuple[Resource, ...] = ("orders", "products", "customers", "revenue", "overview")

_decoder = msgspec.json.Decoder(float_hook=Decimal)


@asynccontextmanager
async def serving(box: Sandbox) -> AsyncIterator[DevSkinClient]:
    """Start a sandbox and give a client for it."""
    async with box, DevSkinClient(box.api_key, base_url=box.base_url) as store:
        yield store


@asynccontextmanager
async def answering(body: bytes) -> AsyncIterator[DevSkinClient]:
    """Give a client for a server that has one answer to everything."""

    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=body, content_type="application/json")

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    async with TestServer(app) as server:
        url = str(server.make_url(""))
        async with DevSkinClient("key", base_url=url, retry=Retry(attempts=1)) as store:
            yield store


async def api_rows(box: Sandbox, resource: Resource) -> list[dict[str, object]]:
    """Read a resource's rows by plain HTTP, as the API sends them."""
    found: list[dict[str, object]] = []
    async with aiohttp.ClientSession(headers={"X-API-Key": box.api_key}) as session:

        async def data(path: str) -> dict[str, object]:
            async with session.get(f"{box.base_url}{path}") as response:
                plain = _decoder.decode(await response.read())
                assert isinstance(plain, dict)
                return dict(plain["data"])

        if resource == "overview":
            return [await data("/analytics/overview")]
        if resource == "revenue":
            daily = (await data("/revenue?period=1y"))["daily"]
            assert isinstance(daily, list)
            return daily
        for number in range(1, 100):
            items = (await data(f"/{resource}?page={number}&limit=100"))["items"]
            assert isinstance(items, list)
            if not items:
                break
            found += items
    return found


def decoded(line: bytes) -> object:
    """Read a line of JSON with its exact numbers."""
    return _decoder.decode(line)


def page(*rows: bytes) -> bytes:
    """Frame rows as the one page of a list."""
    return b'{"success": true, "data": {"items": [%b], "total": %d, "page": 1, "limit": 100}}' % (
        b",".join(rows),
        len(rows),
    )


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
