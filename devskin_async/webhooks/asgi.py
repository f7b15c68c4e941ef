"""A receiver as an ASGI application, to mount in FastAPI, Starlette and their like."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import TypeAlias, cast

from .receiver import WebhookReceiver
from .replies import NOT_POST, TOO_LARGE, Reply

Message: TypeAlias = MutableMapping[str, object]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
ASGIApp: TypeAlias = Callable[[Message, Receive, Send], Awaitable[None]]


def asgi_app(receiver: WebhookReceiver) -> ASGIApp:
    """Make an ASGI application of a receiver, for `app.mount("/webhooks", …)`.

    It answers every path. Served by itself, it closes the receiver at the end. A mounted
    application is not told of the end: there, use `async with receiver:` in the lifespan of the
    whole.

    Args:
        receiver: What takes the requests.
    """

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _live(receiver, receive, send)
        elif scope["type"] == "http":
            reply = await _answer(receiver, scope, receive)
            if reply is not None:
                await _send(reply, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1000})

    return app


async def _answer(receiver: WebhookReceiver, scope: Message, receive: Receive) -> Reply | None:
    """Give the reply; None where nobody is there any more to hear it."""
    if scope["method"] != "POST":
        return NOT_POST
    headers = tuple(cast(Iterable[tuple[bytes, bytes]], scope["headers"]))
    announced = next((value for name, value in headers if name.lower() == b"content-length"), b"")
    if announced.isdigit() and int(announced[:20]) > receiver.max_body:
        return TOO_LARGE
    body = bytearray()
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += cast(bytes, message.get("body", b""))
        if len(body) > receiver.max_body:
            return TOO_LARGE
        more = bool(message.get("more_body", False))
    return await receiver.handle(bytes(body), headers)


async def _send(reply: Reply, send: Send) -> None:
    headers = {**reply.headers, "Content-Length": str(len(reply.body))}
    await send(
        {
            "type": "http.response.start",
            "status": reply.status,
            "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
        }
    )
    await send({"type": "http.response.body", "body": reply.body})


async def _live(receiver: WebhookReceiver, receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await receiver.aclose()
    await send({"type": "lifespan.shutdown.complete"})
