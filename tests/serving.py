"""A server that handles every request with one handler, and a client of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from devskin_async import DevSkinClient

from .conftest import AT_ONCE, UNLIMITED

KEY = "dsk_secret_key"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def serving(
    handler: Handler, api_key: str = KEY, **options: object
) -> AsyncIterator[DevSkinClient]:
    """A client of a server that handles every request with `handler`."""
    server = web.Server(handler)  # type: ignore[arg-type]  # it gives requests of the base class
    runner = web.ServerRunner(server)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    settings: dict[str, Any] = {"rate_limit": UNLIMITED, "retry": AT_ONCE} | options
    url = f"http://{host}:{port}/api/v1"
    try:
        async with DevSkinClient(api_key, base_url=url, **settings) as store:
            yield store
    finally:
        await runner.cleanup()


def answering(body: bytes, status: int = 200, headers: dict[str, str] | None = None) -> Handler:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status, body=body, headers=headers)

    return answer


def whole_text(error: BaseException | None) -> str:
    """All text of an error and of the errors that it came from."""
    if error is None:
        return ""
    told = f"{error!s} {error!r} {vars(error)!r} {error.args!r}"
    return told + whole_text(error.__cause__) + whole_text(error.__context__)
