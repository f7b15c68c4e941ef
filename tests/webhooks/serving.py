"""The applications served for real, on this machine, and what speaks to them over a socket."""

from __future__ import annotations

import asyncio
import datetime as dt
import itertools
import json
import socket
import struct
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Self

import attrs
import uvicorn
from aiohttp import web
from werkzeug.serving import make_server

from devskin_async.webhooks import BlockingReceiver, WebhookReceiver, sign
from tests.webhooks import apps

SECRET = "whsec_test"
PATIENCE = 20.0

_numbers = itertools.count(1)


@attrs.frozen
class Address:
    """Where an application is served."""

    port: int
    path: str = "/webhooks"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{self.path}"


Serve = Callable[[WebhookReceiver], AbstractAsyncContextManager[Address]]


def listening() -> socket.socket:
    """Listen on a free port: who connects now waits until the server is there."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", 0))
    listener.listen(64)
    return listener


@asynccontextmanager
async def by_uvicorn(app: Any, path: str = "/webhooks") -> AsyncIterator[Address]:
    config = uvicorn.Config(app, log_config=None, ws="none", lifespan="on")
    with listening() as listener:
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve([listener]))
        try:
            yield Address(listener.getsockname()[1], path)
        finally:
            server.should_exit = True
            await serving


@asynccontextmanager
async def by_aiohttp(app: web.Application) -> AsyncIterator[Address]:
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield Address(runner.addresses[0][1])
    finally:
        await runner.cleanup()


@asynccontextmanager
async def by_werkzeug(app: Any, blocking: BlockingReceiver) -> AsyncIterator[Address]:
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield Address(server.port)
    finally:
        await asyncio.to_thread(server.shutdown)
        thread.join()
        server.server_close()
        await asyncio.to_thread(blocking.close)


def _flask(make: Callable[[BlockingReceiver], Any]) -> Serve:
    def serve(receiver: WebhookReceiver) -> AbstractAsyncContextManager[Address]:
        blocking = BlockingReceiver(receiver)
        return by_werkzeug(make(blocking), blocking)

    return serve


FASTAPI: Serve = lambda receiver: by_uvicorn(apps.fastapi_app(receiver))  # noqa: E731
SERVERS: dict[str, Serve] = {
    "fastapi": FASTAPI,
    "fastapi_mounted": lambda it: by_uvicorn(apps.fastapi_mounted(it), "/webhooks/"),
    "starlette": lambda it: by_uvicorn(apps.starlette_app(it)),
    "aiohttp": lambda it: by_aiohttp(apps.aiohttp_app(it)),
    "flask": _flask(apps.flask_app),
    "flask_reply": _flask(apps.flask_reply),
    "flask_dispatched": _flask(apps.flask_dispatched),
}


def event_body(name: str = "order.paid", **order: object) -> bytes:
    """Write an event; none is like another."""
    number = next(_numbers)
    data = {"id": number, "order_number": f"ORD-{number}", "total": 199.9, "status": "paid"}
    now = dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    event = {"event": name, "store_id": 15, "timestamp": now, "data": {**data, **order}}
    return json.dumps(event).encode()


def signed(body: bytes) -> str:
    """Write the header that goes with a body."""
    return f"X-Webhook-Signature: {sign(body, SECRET)}"


def length(body: bytes) -> str:
    return f"Content-Length: {len(body)}"


def chunked(body: bytes) -> bytes:
    """Write a chunk."""
    return b"%x\r\n%s\r\n" % (len(body), body)


@attrs.frozen
class Answer:
    """What a server answered."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Wire:
    """A connection; use it as `async with`."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._loop = asyncio.get_running_loop()
        self._socket = socket.socket()
        self._socket.setblocking(False)
        self._came = b""

    async def __aenter__(self) -> Self:
        await self._loop.sock_connect(self._socket, ("127.0.0.1", self._address.port))
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._socket.close()

    async def send(self, sent: bytes) -> None:
        async with asyncio.timeout(PATIENCE):
            await self._loop.sock_sendall(self._socket, sent)

    async def begin(self, *headers: str, method: str = "POST") -> None:
        """Send a request's head."""
        head = (f"{method} {self._address.path} HTTP/1.1", "Host: localhost", *headers, "", "")
        await self.send("\r\n".join(head).encode("latin-1"))

    async def post(self, body: bytes, *headers: str, method: str = "POST") -> None:
        """Send a request; signed unless it is told headers."""
        await self.begin(*(headers or (signed(body),)), length(body), method=method)
        await self.send(body)

    def end(self) -> None:
        """Send nothing more."""
        self._socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Break the connection off, both ways."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

    async def answer(self, method: str = "POST") -> Answer:
        """Wait for an answer."""
        while b"\r\n\r\n" not in self._came:
            assert await self._more(), f"the connection ended after {self._came!r}"
        head, _, self._came = self._came.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        named = (line.partition(":") for line in lines)
        headers = {name.lower(): value.strip() for name, _, value in named}
        size = 0 if method == "HEAD" else int(headers.get("content-length", 0))
        while len(self._came) < size:
            assert await self._more(), f"the connection ended within {self._came!r}"
        body, self._came = self._came[:size], self._came[size:]
        return Answer(int(first.split()[1]), headers, body)

    async def rest(self) -> bytes:
        """Wait until the server closes the connection, and give what came before."""
        while await self._more():
            pass
        return self._came

    async def _more(self) -> bool:
        try:
            async with asyncio.timeout(PATIENCE):
                part = await self._loop.sock_recv(self._socket, 65_536)
        except ConnectionResetError:
            return False
        self._came += part
        return bool(part)


async def post(address: Address, body: bytes, *headers: str) -> Answer:
    """Send one request over a connection of its own; signed unless it is told headers."""
    async with Wire(address) as wire:
        await wire.post(body, *headers)
        return await wire.answer()


class Handled:
    """A receiver's handler that notes what it was called with, from whatever thread."""

    def __init__(self, receiver: WebhookReceiver) -> None:
        self.events: list[Any] = []
        receiver.on("*")(self._note)

    async def _note(self, event: Any) -> None:
        self.events.append(event)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.events)

    def __len__(self) -> int:
        return len(self.events)
