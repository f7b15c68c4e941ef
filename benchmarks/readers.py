"""Clients that read over HTTP: this library, what is written by hand, and httpx with pydantic."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable

import aiohttp
import httpx
import msgspec

from benchmarks.decoders import decode_by_pydantic, decode_directly
from benchmarks.measuring import LIFTED
from devskin_async import DevSkinClient
from devskin_async.api.endpoints import Envelope, OrderData

CONCURRENCY, ROWS = 10, 100
HEADERS = {"X-API-Key": "key"}

decode_order = msgspec.json.Decoder(Envelope[OrderData]).decode


async def by_workers(fetch: Callable[[int], Awaitable[int]], pages: int) -> None:
    """Have ten workers fetch so many pages of orders between them."""
    numbers = iter(range(1, pages + 1))
    rows = 0

    async def work() -> None:
        nonlocal rows
        for number in numbers:
            found = await fetch(number)
            rows += found

    await asyncio.gather(*(work() for _ in range(CONCURRENCY)))
    assert rows == pages * ROWS, rows


async def pages_by_hand(base_url: str, pages: int) -> None:
    """Read pages as an expert writes it for this one purpose."""
    async with aiohttp.ClientSession(headers=HEADERS, raise_for_status=True) as session:

        async def fetch(number: int) -> int:
            async with session.get(f"{base_url}/orders?page={number}&limit={ROWS}") as response:
                return len(decode_directly(await response.read()).data.items)

        await by_workers(fetch, pages)


async def pages_by_json(base_url: str, pages: int) -> None:
    """Read pages as dicts, with the standard library's json."""
    async with aiohttp.ClientSession(headers=HEADERS, raise_for_status=True) as session:

        async def fetch(number: int) -> int:
            async with session.get(f"{base_url}/orders?page={number}&limit={ROWS}") as response:
                return len(json.loads(await response.read())["data"]["items"])

        await by_workers(fetch, pages)


async def pages_by_httpx(base_url: str, pages: int) -> None:
    """Read pages by httpx and pydantic."""
    limits = httpx.Limits(max_connections=CONCURRENCY)
    async with httpx.AsyncClient(headers=HEADERS, limits=limits, trust_env=False) as client:

        async def fetch(number: int) -> int:
            response = await client.get(f"{base_url}/orders?page={number}&limit={ROWS}")
            response.raise_for_status()
            return len(decode_by_pydantic(response.content).data.items)

        await by_workers(fetch, pages)


def this_library(base_url: str) -> DevSkinClient:
    """Make a client with the budget lifted."""
    return DevSkinClient("key", base_url=base_url, rate_limit=LIFTED, concurrency=CONCURRENCY)


async def pages_by_us(base_url: str, pages: int) -> None:
    """Read pages by `pages()`."""
    rows = 0
    async with this_library(base_url) as store:
        async for page in store.orders.list().pages():
            rows += len(page.items)
    assert rows == pages * ROWS, rows


async def rows_by_us(base_url: str, pages: int) -> None:
    """Read row by row."""
    rows = 0
    async with this_library(base_url) as store:
        async for _ in store.orders.list():
            rows += 1
    assert rows == pages * ROWS, rows


async def orders_by_hand(base_url: str, orders: int) -> None:
    """Read one order after the other as an expert writes it."""
    async with aiohttp.ClientSession(headers=HEADERS, raise_for_status=True) as session:
        for number in range(1, orders + 1):
            async with session.get(f"{base_url}/orders/{number}") as response:
                assert decode_order(await response.read()).data.order.id == number


async def orders_by_us(base_url: str, orders: int) -> None:
    """Read one order after the other by `orders.get`."""
    async with this_library(base_url) as store:
        for number in range(1, orders + 1):
            assert (await store.orders.get(number)).id == number
