"""The ASGI application by itself, message by message, and what uvicorn makes of its answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar

import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from devskin_async.webhooks import WebhookEvent, WebhookReceiver, asgi_app, sign
from devskin_async.webhooks.asgi import Message
from tests.webhooks.serving import (
    FASTAPI,
    SECRET,
    Address,
    Handled,
    Wire,
    by_uvicorn,
    chunked,
    event_body,
    length,
    post,
)

LIMIT = 1000


@pytest.fixture
def receiver() -> WebhookReceiver:
    return WebhookReceiver(SECRET, max_body=LIMIT)


@pytest.fixture
def handled(receiver: WebhookReceiver) -> Handled:
    return Handled(receiver)


class Server:
    """Plays an ASGI server of one request."""

    def __init__(self, *messages: Message) -> None:
        self.messages = list(messages)
        self.sent: list[Message] = []

    async def receive(self) -> Message:
        return self.messages.pop(0)

    async def send(self, message: Message) -> None:
        self.sent.append(message)

    async def serve(self, receiver: WebhookReceiver, scope: Message) -> None:
        await asgi_app(receiver)(scope, self.receive, self.send)

    @property
    def status(self) -> object:
        return self.sent[0]["status"]

    @property
    def headers(self) -> dict[bytes, bytes]:
        headers = self.sent[0]["headers"]
        assert isinstance(headers, list)
        return dict(headers)


def scope(*headers: tuple[bytes, bytes], method: str = "POST", version: str = "1.1") -> Message:
    return {"type": "http", "method": method, "http_version": version, "headers": headers}


def part(body: bytes = b"", *, more: bool = False) -> Message:
    return {"type": "http.request", "body": body, "more_body": more}


def signature(body: bytes) -> tuple[bytes, bytes]:
    return b"x-webhook-signature", sign(body, SECRET).encode()


async def test_a_body_in_parts_some_of_them_empty_is_put_together(
    receiver: WebhookReceiver, handled: Handled
) -> None:
    body = event_body()
    server = Server(
        part(more=True),
        part(body[:7], more=True),
        {"type": "http.request", "more_body": True},
        part(body[7:], more=True),
        {"type": "http.request"},
    )
    await server.serve(receiver, scope(signature(body)))
    assert server.status == 200
    assert server.sent[1]["body"] == b'{"received":true}'
    assert server.headers[b"content-length"] == b"17"
    assert [event.raw for event in handled] == [body]


async def test_nothing_is_read_when_too_much_is_announced(receiver: WebhookReceiver) -> None:
    server = Server()
    await server.serve(receiver, scope((b"Content-Length", b"1001")))
    assert server.status == 413


@pytest.mark.parametrize("announced", [b"9" * 5000, b"99999999999999999999999"])
async def test_a_length_of_any_number_of_digits_is_too_much(
    receiver: WebhookReceiver, announced: bytes
) -> None:
    server = Server()
    await server.serve(receiver, scope((b"content-length", announced)))
    assert server.status == 413


@pytest.mark.parametrize("announced", [b"", b"-5", b"ten", b"\xb2", b"0" * 30 + b"9" * 30])
async def test_what_is_no_length_is_left_to_the_body(
    receiver: WebhookReceiver, announced: bytes
) -> None:
    server = Server(part(b"x" * LIMIT, more=True), part(b"x", more=True))
    await server.serve(receiver, scope((b"content-length", announced)))
    assert server.status == 413


async def test_reading_ends_with_the_part_that_is_too_much(receiver: WebhookReceiver) -> None:
    server = Server(*(part(b"x" * 400, more=True) for _ in range(5)))
    await server.serve(receiver, scope())
    assert server.status == 413
    assert len(server.messages) == 2


async def test_nothing_is_read_of_another_method(receiver: WebhookReceiver) -> None:
    server = Server()
    await server.serve(receiver, scope(method="PUT"))
    assert server.status == 405
    assert server.headers[b"allow"] == b"POST"


@pytest.mark.parametrize(("version", "header"), [("1.0", b"close"), ("1.1", b"close"), ("2", None)])
async def test_an_answer_before_the_end_of_the_body_closes_a_connection_of_http_1_alone(
    receiver: WebhookReceiver, version: str, header: bytes | None
) -> None:
    server = Server()
    await server.serve(receiver, scope((b"content-length", b"1001"), version=version))
    assert server.headers.get(b"connection") == header


async def test_who_leaves_in_the_body_is_not_handled(
    receiver: WebhookReceiver, handled: Handled
) -> None:
    body = event_body()
    server = Server(part(body, more=True), {"type": "http.disconnect"})
    await server.serve(receiver, scope(signature(body)))
    assert server.status == 400
    assert not handled


async def test_who_leaves_before_the_answer_was_handled_all_the_same(
    receiver: WebhookReceiver, handled: Handled
) -> None:
    body = event_body()

    class Gone(Server):
        async def send(self, message: Message) -> None:
            raise OSError("the client has gone")

    await Gone(part(body)).serve(receiver, scope(signature(body)))
    assert len(handled) == 1


async def test_a_websocket_is_closed(receiver: WebhookReceiver) -> None:
    server = Server({"type": "websocket.connect"})
    await server.serve(receiver, {"type": "websocket"})
    assert server.sent == [{"type": "websocket.close", "code": 1000}]


async def test_another_protocol_is_left_alone(receiver: WebhookReceiver) -> None:
    server = Server()
    await server.serve(receiver, {"type": "something new"})
    assert not server.sent


async def test_served_by_itself_it_answers_every_path_and_works_the_backlog_off() -> None:
    receiver = WebhookReceiver(SECRET, background=True, workers=1)
    gate = asyncio.Event()
    calls: list[WebhookEvent] = []

    @receiver.on("*")
    async def waits(event: WebhookEvent) -> None:
        await gate.wait()
        calls.append(event)

    async with by_uvicorn(asgi_app(receiver), "/any/where") as address:
        for _ in range(3):
            assert (await post(address, event_body())).status == 200
        assert not calls
        gate.set()
    assert len(calls) == 3


async def test_a_connection_is_kept_after_a_request_that_was_read() -> None:
    async with FASTAPI(WebhookReceiver(SECRET)) as address, Wire(address) as wire:
        for _ in range(3):
            await wire.post(event_body())
            assert (await wire.answer()).status == 200


async def test_uvicorn_reads_no_further_after_413() -> None:
    async with FASTAPI(WebhookReceiver(SECRET, max_body=LIMIT)) as address, Wire(address) as wire:
        await wire.begin("Transfer-Encoding: chunked")
        await wire.send(chunked(b"x" * (LIMIT + 1)))
        assert (await wire.answer()).status == 413
        assert await wire.rest() == b""


async def test_uvicorn_does_not_ask_for_a_body_that_is_too_large() -> None:
    async with FASTAPI(WebhookReceiver(SECRET, max_body=LIMIT)) as address, Wire(address) as wire:
        await wire.begin(f"Content-Length: {LIMIT + 1}", "Expect: 100-continue")
        assert (await wire.answer()).status == 413


async def test_mounted_without_the_slash_it_is_behind_a_redirect() -> None:
    app = FastAPI()
    app.mount("/webhooks", asgi_app(WebhookReceiver(SECRET)))
    async with by_uvicorn(app) as address:
        assert (await post(address, event_body())).status == 307


async def test_the_routes_beside_it_and_the_schema_are_as_before() -> None:
    app = FastAPI(routes=[Route("/webhooks", asgi_app(WebhookReceiver(SECRET)))])

    @app.post("/other")
    async def other() -> str:
        return "other"

    async with by_uvicorn(app) as address:
        assert (await post(Address(address.port, "/other"), b"", "X-Other: 1")).json == "other"
    assert list(app.openapi()["paths"]) == ["/other"]


user: ContextVar[str] = ContextVar("user")


class Named(BaseHTTPMiddleware):
    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        user.set("the middleware's")
        return await call_next(request)


@asynccontextmanager
async def behind_a_middleware(receiver: WebhookReceiver) -> AsyncIterator[Address]:
    routes = [Route("/webhooks", asgi_app(receiver))]
    async with by_uvicorn(Starlette(routes=routes, middleware=[Middleware(Named)])) as address:
        yield address


async def test_handlers_have_the_context_of_their_request(receiver: WebhookReceiver) -> None:
    found: list[str] = []

    @receiver.on("*")
    async def in_the_loop(event: WebhookEvent) -> None:
        found.append(user.get())

    @receiver.on("*")
    def in_a_thread(event: WebhookEvent) -> None:
        found.append(user.get())

    async with behind_a_middleware(receiver) as address:
        assert (await post(address, event_body())).status == 200
    assert found == ["the middleware's"] * 2


async def test_a_body_that_breaks_off_behind_a_middleware_is_no_error(
    receiver: WebhookReceiver, handled: Handled, caplog: pytest.LogCaptureFixture
) -> None:
    body = event_body()
    async with behind_a_middleware(receiver) as address, Wire(address) as wire:
        await wire.begin(length(body))
        await wire.send(body[:-1])
        wire.end()
        await wire.rest()
    assert not handled
    assert not [record for record in caplog.records if record.exc_info]
