"""A receiver as a handler of aiohttp.web."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, TypeAlias

from .receiver import WebhookReceiver
from .replies import BROKEN, NOT_POST, TOO_LARGE, Reply, refusal

if TYPE_CHECKING:
    from aiohttp import web

    AiohttpHandler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]

_ENCODED: Final = refusal(
    415, "The body must be sent without Content-Encoding", Accept_Encoding="identity"
)


def aiohttp_handler(receiver: WebhookReceiver) -> AiohttpHandler:
    """Make a handler of a receiver, for `app.router.add_post("/webhooks", …)`.

    Close the receiver at the end: `async with receiver:` in one of `app.cleanup_ctx`.

    Args:
        receiver: What takes the requests.
    """
    from aiohttp import web

    async def handler(request: web.Request) -> web.StreamResponse:
        reply = await _answer(receiver, request)
        return web.Response(status=reply.status, body=reply.body, headers=reply.headers)

    return handler


async def _answer(receiver: WebhookReceiver, request: web.Request) -> Reply:
    from aiohttp.http import HttpProcessingError
    from aiohttp.web import RequestPayloadError

    if request.method != "POST":
        return NOT_POST
    if (request.content_length or 0) > receiver.max_body:
        return TOO_LARGE
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        # The server has undone it: these would not be the bytes that were signed.
        return _ENCODED
    body = bytearray()
    try:
        async for chunk in request.content.iter_any():
            body += chunk
            if len(body) > receiver.max_body:
                return TOO_LARGE
    except (RequestPayloadError, HttpProcessingError, OSError):
        return BROKEN
    return await receiver.handle(bytes(body), request.headers)
