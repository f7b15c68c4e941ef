"""The applications that receive webhooks, as a user of each framework writes them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web
from fastapi import FastAPI
from flask import Flask, request
from flask.typing import ResponseReturnValue
from starlette.applications import Starlette
from starlette.routing import Route
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from devskin_async.webhooks import BlockingReceiver, WebhookReceiver, aiohttp_handler, asgi_app


def fastapi_app(receiver: WebhookReceiver) -> FastAPI:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with receiver:
            yield

    return FastAPI(lifespan=lifespan, routes=[Route("/webhooks", asgi_app(receiver))])


def fastapi_mounted(receiver: WebhookReceiver) -> FastAPI:
    """Receives at `/webhooks/`."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with receiver:
            yield

    app = FastAPI(lifespan=lifespan)
    app.mount("/webhooks", asgi_app(receiver))
    return app


def starlette_app(receiver: WebhookReceiver) -> Starlette:
    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with receiver:
            yield

    return Starlette(lifespan=lifespan, routes=[Route("/webhooks", asgi_app(receiver))])


def aiohttp_app(receiver: WebhookReceiver) -> web.Application:
    async def life(app: web.Application) -> AsyncIterator[None]:
        async with receiver:
            yield

    app = web.Application()
    app.cleanup_ctx.append(life)
    app.router.add_post("/webhooks", aiohttp_handler(receiver))
    return app


def flask_app(blocking: BlockingReceiver) -> Flask:
    app = Flask(__name__)

    @app.post("/webhooks")
    def webhooks() -> ResponseReturnValue:
        return blocking.wsgi

    return app


def flask_reply(blocking: BlockingReceiver) -> Flask:
    """Has the reply in its hands."""
    app = Flask(__name__)

    @app.post("/webhooks")
    def webhooks() -> ResponseReturnValue:
        reply = blocking.handle(request.stream, request.headers)
        return reply.body, reply.status, reply.headers

    return app


def flask_dispatched(blocking: BlockingReceiver) -> Flask:
    """Leaves Flask out, as an application of another WSGI framework would."""
    app = Flask(__name__)
    # This is how Flask's manual puts it.
    app.wsgi_app = DispatcherMiddleware(  # type: ignore[method-assign]
        app.wsgi_app, {"/webhooks": blocking.wsgi}
    )
    return app
