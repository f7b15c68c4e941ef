"""A program that shares a key: `python -m tests.ratelimit.client_child REQUESTS PER TIMEOUT`.

It reads a listing's pages as bulk work, twenty at a time, without end.
"""

from __future__ import annotations

import asyncio
import sys
from itertools import cycle

from devskin_async import DevSkinClient, Lane, RateLimit


async def read_pages(requests: int, per: float, attempt: float) -> None:
    """Read pages, none of them twice at once."""
    limit = RateLimit(requests, per, reserve=0)
    async with DevSkinClient(rate_limit=limit, timeout=attempt) as client:
        store = client.with_options(lane=Lane.BULK)

        async def work(first: int) -> None:
            for page in cycle(range(first, 1001, 20)):
                await store.orders.page(page, limit=1)

        await asyncio.gather(*(work(first) for first in range(1, 21)))


if __name__ == "__main__":
    asyncio.run(read_pages(int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])))
