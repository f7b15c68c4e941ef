"""Stores to export, and what they hold by their own database."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

from devskin_async import DevSkinClient
from devskin_async.export import Resource
from devskin_async.ratelimit import OnEvent
from devskin_async.sandbox import Sandbox
from tests.conftest import AT_ONCE, UNLIMITED

ALL: tuple[Resource, ...] = ("orders", "products", "customers", "revenue", "overview")


@asynccontextmanager
async def client_of(
    box: Sandbox, key: str | None = None, on_event: OnEvent | None = None
) -> AsyncIterator[DevSkinClient]:
    """A client of a running sandbox, without a limit."""
    async with DevSkinClient(
        key or box.api_key,
        base_url=box.base_url,
        rate_limit=UNLIMITED,
        retry=AT_ONCE,
        on_event=on_event,
    ) as store:
        yield store


@asynccontextmanager
async def selling(**options: Any) -> AsyncIterator[tuple[Sandbox, DevSkinClient]]:
    """A sandbox without a limit whose day lasts, and a client of it."""
    today = dt.datetime.now(dt.UTC).date()
    shop = {"limiter": "none", "today": today, **options}
    async with Sandbox(**shop) as box, client_of(box) as store:
        yield box, store


def lines(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSON lines file, with exact numbers."""
    return [json.loads(line, parse_float=Decimal) for line in path.read_bytes().splitlines()]


def ids_in(box: Sandbox, table: str, where: str = "1") -> list[int]:
    """The ids of a table of the store."""
    found = box.connection.execute(f"SELECT id FROM {table} WHERE {where} ORDER BY id")
    return [row for (row,) in found]


def exported_ids(path: Path) -> list[int]:
    """The ids in a JSON lines file, sorted."""
    return sorted(row["id"] for row in lines(path))


async def seen(box: Sandbox, requests: int) -> None:
    """Wait until the store has seen so many requests."""
    end = time.monotonic() + 20
    while box.counts.requests < requests:  # it has no event for each of them
        assert time.monotonic() < end, "waited in vain"
        await asyncio.sleep(0)
