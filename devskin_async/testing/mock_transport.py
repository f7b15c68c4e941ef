"""A transport that answers with a function, so that a test needs no server."""

from __future__ import annotations

import datetime as dt
import inspect
from collections.abc import Awaitable, Callable, Mapping

import msgspec
from multidict import CIMultiDict

from ..api import Request, Response, response_time

Handler = Callable[[Request[object]], Response | Awaitable[Response]]

_json = msgspec.json.Encoder(decimal_format="number")


class MockTransport:
    """Sends nothing and lets a function respond, as the `transport` of a client.

    Retries, the rate limit, decoding and `capture` work as they do over a network:

    ```python
    def handler(request):
        if request.path == "/orders/7":
            return respond(404, json={"success": False, "error": "Order not found"})
        return respond(json={"success": True, "data": {"total_orders": 3}})


    async with DevSkinClient("dsk_any", transport=MockTransport(handler)) as store:
        assert (await store.analytics.overview()).total_orders == 3
    ```

    Args:
        handler: Called with each request, which has `method`, `path`, `query` and `params`; plain
            or async. A `TransportError` that it raises is retried as one of the network's, any
            other error comes out of the call.
    """

    def __init__(self, handler: Handler) -> None:
        self.handler = handler

    async def send(self, request: Request[object]) -> Response:
        """Return the handler's response."""
        response = self.handler(request)
        if inspect.isawaitable(response):
            response = await response
        if isinstance(response, Response):
            return response
        handler = getattr(self.handler, "__qualname__", repr(self.handler))
        raise TypeError(
            f"the handler {handler} must return a response, as respond(...) makes it, "
            f"not {response!r}"
        )

    async def aclose(self) -> None:
        """Do nothing: there is nothing to close."""


def respond(
    status: int = 200,
    *,
    json: object = None,
    body: bytes | str = b"",
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Make a response.

    Args:
        status: The HTTP status.
        json: The body as plain values, the envelope included; a `Decimal` keeps its digits.
        body: The body as it is, where `json` is None.
        headers: The headers.
    """
    content = body.encode() if isinstance(body, str) else body
    sent = CIMultiDict(headers or {})
    if json is not None:
        content = _json.encode(json)
        sent.setdefault("Content-Type", "application/json")
    return Response(status, sent, content, response_time(sent, dt.datetime.now(dt.UTC)))
