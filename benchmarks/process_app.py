"""A web app whose workers share a key: for `benchmarks.processes`.

`/orders/{number}` reads an order, and responds with 503 where the rate limit would have it wait for
more than `MAX_WAIT`; `/worker` tells the worker's process. `asgi` makes an ASGI app with a client
for each worker, `wsgi` a WSGI app with a client and an event loop for each request. That one reads
an order before it serves: with `gunicorn --preload`, before its workers are forked.
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

from benchmarks.process_client import LIMIT, PER, TIMEOUT
from devskin_async import BudgetExceededError, DevSkinClient, RateLimit

MAX_WAIT = 0.5


def client() -> DevSkinClient:
    base_url = f"{os.environ['BENCHMARK_SERVER']}/w{os.getpid()}"
    return DevSkinClient(base_url=base_url, rate_limit=RateLimit(LIMIT, PER), timeout=TIMEOUT)


def asgi() -> Starlette:
    """Make the ASGI app."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with client() as app.state.store:
            yield

    async def order(request: Request) -> Response:
        store = request.app.state.store.with_options(max_wait=MAX_WAIT)
        try:
            found = await store.orders.get(int(request.path_params["number"]))
        except BudgetExceededError:
            return Response(status_code=503)
        return PlainTextResponse(str(found.id))

    async def worker(_: Request) -> Response:
        return PlainTextResponse(str(os.getpid()))

    routes = [Route("/orders/{number}", order), Route("/worker", worker)]
    return Starlette(routes=routes, lifespan=lifespan)


def wsgi() -> Callable[[dict[str, Any], Callable[..., object]], Iterable[bytes]]:
    """Make the WSGI app."""

    async def order(number: int) -> int:
        async with client() as store:
            return (await store.with_options(max_wait=MAX_WAIT).orders.get(number)).id

    def app(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
        path, status, body = environ["PATH_INFO"], "200 OK", str(os.getpid())
        if path != "/worker":
            try:
                body = str(asyncio.run(order(int(path.rpartition("/")[2]))))
            except BudgetExceededError:
                status = "503 Service Unavailable"
        start_response(status, [("Content-Type", "text/plain")])
        return [body.encode()]

    asyncio.run(order(1))
    return app
