"""A receiver on a core of its own, that counts what it handles: for `benchmarks.webhooks`."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from collections import Counter
from pathlib import Path

from aiohttp import web

from devskin_async.webhooks import SQLiteSeen, WebhookEvent, WebhookReceiver, aiohttp_handler


async def serve(secret: str, seen: Path | None) -> None:
    """Receive until the standard input ends, then tell how often each order was handled."""
    receiver = WebhookReceiver(secret, seen=None if seen is None else SQLiteSeen(seen))
    handled: Counter[int] = Counter()

    @receiver.on("order.*")
    async def handle(event: WebhookEvent) -> None:
        # The copies that come meanwhile find it under way.
        await asyncio.sleep(0)
        handled[event.order.id] += 1

    app = web.Application()
    app.router.add_post("/webhooks", aiohttp_handler(receiver))
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await runner.cleanup()
    print(json.dumps({"orders": len(handled), "most": max(handled.values(), default=0)}))


def main() -> None:
    """Serve."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.webhook_server")
    parser.add_argument("secret")
    parser.add_argument("--seen", type=Path, help="a SQLite file for what was handled")
    parser.add_argument("--core", type=int, help="the only core to run on")
    asked = parser.parse_args()
    if asked.core is not None:
        os.sched_setaffinity(0, {asked.core})
    asyncio.run(serve(asked.secret, asked.seen))


if __name__ == "__main__":
    main()
