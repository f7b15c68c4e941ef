"""Webhook requests taken in, told of, and handed on to another server."""

from __future__ import annotations

import asyncio
import hashlib
import math
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from http import HTTPStatus
from typing import Final, cast

import msgspec
from aiohttp import web
from attrs import define
from yarl import URL

from ..errors import (
    ConfigurationError,
    InvalidSignatureError,
    MalformedEventError,
    TransportError,
    WebhookError,
)
from ..transport import plain_reason
from ..webhooks import HEADER, WebhookEvent, WebhookReceiver, aiohttp_handler
from ..webhooks.signature import Headers
from . import events
from .posting import Poster
from .render import counted, printable, show, stderr, stdout, write_bytes

CLOSING_SECONDS: Final = 1.0
"""How long requests under way may take to be answered at the end."""

_MOST_UNFORWARDED: Final = 10_000
_CONTENT_TYPE: Final = "Content-Type"
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - what to connect to instead


@define
class _Visit:
    """What becomes known of a request while it is answered."""

    headers: dict[str, str]
    error: WebhookError | None = None
    handled: bool = False


_visit: ContextVar[_Visit] = ContextVar("visit")


class _Receiver(WebhookReceiver):
    """A receiver that lets the reason of a refusal be known here: its sender isn't told all."""

    def read(self, body: bytes, headers: Headers) -> WebhookEvent:
        try:
            return super().read(body, headers)
        except WebhookError as error:
            _visit.get().error = error
            raise


class Listener:
    """Answers webhook requests and tells of them, in a running loop.

    An event is told once. Where it is forwarded, it counts as handled as soon as the other server
    has accepted it; until then its sender is answered 500, and sends it again.

    Args:
        keys: The secrets.
        poster: Forwards events; None keeps them here.
        as_json: Tell of events in JSON.
    """

    def __init__(self, keys: Sequence[bytes], poster: Poster | None, *, as_json: bool) -> None:
        receiver = _Receiver(keys, handler_timeout=math.inf)  # the poster has its own
        receiver.on("*")(self._take)
        self._answer = aiohttp_handler(receiver)
        self._poster = poster
        self._as_json = as_json
        self._count = self._refused = self._repeats = 0
        self._unforwarded: dict[bytes, None] = {}
        self.broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer a request."""
        given = request.headers
        headers = {name: given[name] for name in (HEADER, _CONTENT_TYPE) if name in given}
        visit = _Visit(headers)
        _visit.set(visit)
        response = await self._answer(request)
        if response.status == HTTPStatus.OK:
            self._repeats += not visit.handled
        elif response.status < HTTPStatus.INTERNAL_SERVER_ERROR:
            self._refused += 1
            self._say(f"Refused a request from {request.remote}: {self._reason(visit, response)}")
        return response

    def summary(self) -> str:
        """Say what came."""
        text = f"Stopped after {counted(self._count, 'event')}, {self._refused:,} refused, "
        text += counted(self._repeats, "repeat")
        if self._unforwarded:
            text += f", {len(self._unforwarded):,} not forwarded"
        return f"{text}."

    async def _take(self, event: WebhookEvent) -> None:
        visit = _visit.get()
        visit.handled = True
        key = hashlib.sha256(event.raw).digest()
        if again := key in self._unforwarded:
            self._repeats += 1
        else:
            self._tell(event)
            self._count += 1
        if self._poster is None:
            return
        self._unforwarded[key] = None
        if len(self._unforwarded) > _MOST_UNFORWARDED:
            del self._unforwarded[next(iter(self._unforwarded))]
        try:
            await _forward(self._poster, event, visit.headers)
        except TransportError as error:
            self._say(f"Not forwarded: {_name(event)}: {error}. Its sender is asked for it again.")
            raise
        self._unforwarded.pop(key, None)
        if again:
            self._say(f"Forwarded after all: {_name(event)}.")

    def _tell(self, event: WebhookEvent) -> None:
        if self._as_json:
            self._put(lambda: write_bytes(events.json_line(event) + b"\n"))
        else:
            self._put(lambda: show(stdout(), events.line(event)))

    def _say(self, text: str) -> None:
        self._put(lambda: show(stderr(), printable(text)))

    def _put(self, put: Callable[[], None]) -> None:
        """Put something out; where that can't be done, it ends the command."""
        try:
            put()
        except (OSError, SystemExit) as error:  # rich makes the second of a closed pipe
            broken = error if isinstance(error, OSError) else BrokenPipeError()
            with suppress(asyncio.InvalidStateError):  # it is ending already
                self.broken.set_exception(broken)
            raise broken from None

    def _reason(self, visit: _Visit, response: web.StreamResponse) -> str:
        error = visit.error
        if error is None:
            body = response.body if isinstance(response, web.Response) else None
            reply = msgspec.json.decode(cast(bytes, body), type=dict[str, str])["error"]
            return f"{reply[0].lower()}{reply[1:]}."
        if isinstance(error, MalformedEventError):
            return f"its body is no event: {error}."
        if not isinstance(error, InvalidSignatureError) or self._count:
            return f"{error}."
        if HEADER not in visit.headers:
            return f"{error}. Does its sender have the secret?"
        return f"{error}. Is --secret (or DEVSKIN_WEBHOOK_SECRET) the one its sender has?"


@asynccontextmanager
async def serving(listener: Listener, host: str, port: int) -> AsyncIterator[URL]:
    """Serve a listener, whatever the path.

    Args:
        listener: Answers the requests.
        host: The address to listen on.
        port: The port; 0 takes a free one.

    Yields:
        A URL to send to.

    Raises:
        ConfigurationError: The address can't be listened on.
    """
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", listener.handle)
    runner = web.AppRunner(
        app, access_log=None, handle_signals=False, shutdown_timeout=CLOSING_SECONDS
    )
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            reason = f"cannot listen on {host} port {port}: {plain_reason(error)}"
            raise ConfigurationError(reason) from None
        taken = runner.addresses[0][1]
        yield URL.build(scheme="http", host=_EVERYWHERE.get(host, host), port=taken, path="/")
    finally:
        await runner.cleanup()


async def _forward(poster: Poster, event: WebhookEvent, headers: dict[str, str]) -> None:
    answer = await poster.post(event.raw, {_CONTENT_TYPE: "application/json", **headers})
    if not answer.good:
        raise TransportError(f"{poster.name} answered {answer}")


def _name(event: WebhookEvent) -> str:
    return printable(events.line(event).partition("  ")[2])
