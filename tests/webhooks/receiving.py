"""A receiver as a process that can be killed: it appends what it handles to a file.

Run as `python -m tests.webhooks.receiving PORT SECRET SEEN HANDLED [FATAL]`; it prints its port
once it listens. It kills itself when an event of the status FATAL is to be handled.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import signal
import sys
from pathlib import Path

from aiohttp import web

from devskin_async.webhooks import (
    SQLiteSeen,
    WebhookEvent,
    WebhookReceiver,
    aiohttp_handler,
)


def append(path: Path, event: WebhookEvent) -> None:
    """Write down, in one write, what was handled."""
    line = f"{event.order.id} {event.order.status} {event.source}\n"
    with path.open("ab", buffering=0) as file:
        file.write(line.encode())


async def receive(port: int, secret: str, seen: Path, handled: Path, fatal: str) -> None:
    receiver = WebhookReceiver(secret, seen=SQLiteSeen(seen, lease=dt.timedelta(seconds=1)))

    @receiver.on("order.*")
    async def handle(event: WebhookEvent) -> None:
        if event.order.status == fatal:
            os.kill(os.getpid(), signal.SIGKILL)
        append(handled, event)

    app = web.Application()
    app.router.add_post("/webhooks", aiohttp_handler(receiver))
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    print(runner.addresses[0][1], flush=True)  # noqa: T201 - this is how it tells
    await asyncio.Event().wait()


if __name__ == "__main__":
    port, secret, seen, handled, *fatal = sys.argv[1:]
    asyncio.run(receive(int(port), secret, Path(seen), Path(handled), "".join(fatal)))
