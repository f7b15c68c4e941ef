"""A receiver of webhooks that knows nothing of the package: aiohttp's own server."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import aiohttp
import attrs
from aiohttp import web
from aiohttp.test_utils import TestServer

from devskin_async.sandbox import Sandbox, WebhookSending
from tests.support import PATIENCE

AT_ONCE = WebhookSending(first_wait=0)
"""Nobody waits between two attempts."""


@attrs.frozen
class Seen:
    """A request as it arrived."""

    path: str
    headers: dict[str, str]
    raw: bytes

    @property
    def body(self) -> dict[str, Any]:
        body: dict[str, Any] = json.loads(self.raw, parse_float=Decimal)
        return body

    @property
    def told(self) -> tuple[int, str]:
        """Which order, and what happened to it."""
        return self.body["data"]["id"], self.body["event"].removeprefix("order.")


Answer = Callable[[Seen], Awaitable[web.Response]]


async def fine(seen: Seen) -> web.Response:
    return web.Response()


class Receiver:
    """Notes what arrives, and answers as it is told to."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.answer: Answer = fine
        self.url = ""
        self.gate = asyncio.Event()
        self._arrived = asyncio.Condition()

    @property
    def told(self) -> list[tuple[int, str]]:
        return [seen.told for seen in self.seen]

    async def have_arrived(self, count: int) -> None:
        """Wait until so many requests have arrived, answered or not."""
        async with asyncio.timeout(PATIENCE), self._arrived:
            await self._arrived.wait_for(lambda: len(self.seen) >= count)

    def answers(self, *statuses: int, then: int = 200) -> None:
        """Answer the next requests with these statuses."""
        script = list(statuses)

        async def answer(seen: Seen) -> web.Response:
            return web.Response(status=script.pop(0) if script else then)

        self.answer = answer

    def hangs(self, times: int = 1_000_000) -> None:
        """Let so many requests wait for the gate."""

        async def answer(seen: Seen) -> web.Response:
            nonlocal times
            times -= 1
            if times >= 0:
                await self.gate.wait()
            return web.Response()

        self.answer = answer

    async def handle(self, request: web.Request) -> web.Response:
        seen = Seen(request.path_qs, dict(request.headers), await request.read())
        async with self._arrived:
            self.seen.append(seen)
            self._arrived.notify_all()
        return await self.answer(seen)


async def last(request: web.Request) -> web.Response:
    return web.Response()


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    app = web.Application()
    app.router.add_get("/last", last)
    app.router.add_route("*", "/{path:.*}", receiver.handle)
    async with TestServer(app) as server:
        receiver.url = str(server.make_url("/hook"))
        try:
            yield receiver
        finally:
            receiver.gate.set()
            # After its answer no connection is left that was made before and not yet accepted,
            # which the server would forget to close.
            async with aiohttp.request("GET", server.make_url("/last")):
                pass


def small_store(webhooks: WebhookSending = AT_ONCE, **options: Any) -> Sandbox:
    """A store without orders, where what happens is what the test does."""
    return Sandbox(orders=0, products=3, customers=3, webhooks=webhooks, **options)


def verify_webhook_signature(body: bytes, signature: str, secret: str) -> bool:
    """The reference's own function."""
    expected = "sha256=" + hmac.new(secret.encode("utf-8"), body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(expected, signature)
