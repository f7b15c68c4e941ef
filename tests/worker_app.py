"""A web app that several processes serve, each with a client of the same key.

`asgi` makes a client for each worker; `wsgi` a client and an event loop for each request, and one
before it serves: with `gunicorn --preload`, before the workers are forked.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from devskin_async import DevSkinClient, RateLimit

REQUESTS, PER = 100, 1.0


def client() -> DevSkinClient:
    return DevSkinClient(rate_limit=RateLimit(REQUESTS, PER))


def asgi() -> Starlette:
    """Make the ASGI app."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with client() as app.state.store:
            yield

    async def order(request: Request) -> Response:
        await request.app.state.store.orders.get(int(request.path_params["number"]))
        return PlainTextResponse(str(os.getpid()))

    async def worker(_: Request) -> Response:
        return PlainTextResponse(str(os.getpid()))

    routes = [Route("/orders/{number}", order), Route("/worker", worker)]
    return Starlette(routes=routes, lifespan=lifespan)


def wsgi() -> Callable[[dict[str, Any], Callable[..., object]], Iterable[bytes]]:
    """Make the WSGI app."""

    async def order(number: int) -> None:
        async with client() as store:
            await store.orders.get(number)

    def app(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
        if environ["PATH_INFO"] != "/worker":
            asyncio.run(order(int(environ["PATH_INFO"].rpartition("/")[2])))
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [str(os.getpid()).encode()]

    asyncio.run(order(1))
    return app
