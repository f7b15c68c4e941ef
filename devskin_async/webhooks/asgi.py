"""A receiver as an ASGI application, to route to in FastAPI, Starlette and their like."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from contextlib import suppress
from typing import TypeAlias, cast

from .receiver import WebhookReceiver
from .replies import BROKEN, NOT_POST, TOO_LARGE, Reply

Message: TypeAlias = MutableMapping[str, object]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
ASGIApp: TypeAlias = Callable[[Message, Receive, Send], Awaitable[None]]


def asgi_app(receiver: WebhookReceiver) -> ASGIApp:
    """Make an ASGI application of a receiver, for `routes=[Route("/webhooks", …)]`.

    It answers every path. Served by itself, it closes the receiver at the end. As a part of
    another application it is not told of the end: there, use `async with receiver:` in the
    lifespan of the whole. Where it is mounted, as by `app.mount("/webhooks", …)`, the address to
    send to is `/webhooks/`: without the slash, Starlette answers with a redirect.

    Args:
        receiver: What takes the requests.
    """
    return _App(receiver)


class _App:
    """The application; an object, since Starlette takes a function to be no ASGI application."""

    def __init__(self, receiver: WebhookReceiver) -> None:
        self._receiver = receiver

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            reply, whole = await self._answer(scope, receive)
            # Of HTTP/2 a stream ends for itself, and such a header is forbidden.
            leave = not whole and str(scope.get("http_version", "1.1")).startswith("1")
            with suppress(OSError):  # nobody is there any more to hear it
                await _send(reply, send, leave=leave)
        elif scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1000})

    async def _answer(self, scope: Message, receive: Receive) -> tuple[Reply, bool]:
        """Give the reply, and whether the request was read to its end."""
        if scope["method"] != "POST":
            return NOT_POST, False
        most = self._receiver.max_body
        headers = tuple(cast(Iterable[tuple[bytes, bytes]], scope["headers"]))
        announced = next((text for name, text in headers if name.lower() == b"content-length"), b"")
        if announced.isdigit() and int(announced[:20]) > most:
            return TOO_LARGE, False
        body = bytearray()
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return BROKEN, False
            body += cast(bytes, message.get("body", b""))
            if len(body) > most:
                return TOO_LARGE, False
            more = bool(message.get("more_body", False))
        return await self._receiver.handle(bytes(body), headers), True

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._receiver.aclose()
        await send({"type": "lifespan.shutdown.complete"})


async def _send(reply: Reply, send: Send, *, leave: bool) -> None:
    headers = {**reply.headers, "Content-Length": str(len(reply.body))}
    if leave:
        # Otherwise the server reads on, whatever comes, to get to the next request.
        headers["Connection"] = "close"
    await send(
        {
            "type": "http.response.start",
            "status": reply.status,
            "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
        }
    )
    await send({"type": "http.response.body", "body": reply.body})
