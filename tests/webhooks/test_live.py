"""Each framework's application, served for real: the sandbox's events, and whatever else comes."""

from __future__ import annotations

import gzip
import logging
import threading
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal

import pytest

from devskin_async.sandbox import Sandbox, WebhookSending
from devskin_async.webhooks import OrderEvent, WebhookEvent, WebhookReceiver
from devskin_async.webhooks.receiver import MAX_BODY
from tests.webhooks.serving import (
    PATIENCE,
    SECRET,
    SERVERS,
    Address,
    Handled,
    Serve,
    Wire,
    chunked,
    event_body,
    length,
    post,
    signed,
)


@pytest.fixture(params=SERVERS)
def serve(request: pytest.FixtureRequest) -> Serve:
    return SERVERS[request.param]


@pytest.fixture
def receiver() -> WebhookReceiver:
    return WebhookReceiver(SECRET)


@pytest.fixture
def handled(receiver: WebhookReceiver) -> Handled:
    return Handled(receiver)


@pytest.fixture
async def address(serve: Serve, receiver: WebhookReceiver, quiet: None) -> AsyncIterator[Address]:
    async with serve(receiver) as address:
        yield address


@pytest.fixture
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Nothing is logged as an error, and no traceback at all."""
    yield
    records = caplog.get_records("call") + caplog.get_records("teardown")
    assert not [each for each in records if each.levelno >= logging.ERROR or each.exc_info]


def store(copies: int = 1) -> Sandbox:
    settings = WebhookSending(first_wait=0, copies=copies)
    return Sandbox(orders=0, products=3, customers=3, webhooks=settings)


async def test_a_stores_events_arrive_verified_typed_and_once_though_each_is_sent_twice(
    address: Address, handled: Handled
) -> None:
    async with store(copies=2) as box:
        box.webhooks.add(address.url, secret=SECRET)
        for _ in range(8):
            box.live.insert()
        for _ in range(16):
            box.live.change()
        await box.webhooks.idle()
        orders = box.connection.execute("SELECT id, status, total FROM orders").fetchall()
        deliveries = box.webhooks.deliveries()
    assert {delivery.status for delivery in deliveries} == {200}
    told = [event.order for event in handled]
    assert len(told) == len(deliveries)
    assert {type(order) for order in told} == {OrderEvent}
    assert set(Counter((order.id, order.status) for order in told).values()) == {1}
    last = {order.id: order for order in told}
    assert {(order.id, order.status, order.total) for order in last.values()} == {
        (order_id, status, Decimal(cents) / 100) for order_id, status, cents in orders
    }


async def test_a_handler_that_raises_has_the_store_send_again(
    serve: Serve, receiver: WebhookReceiver
) -> None:
    calls: list[WebhookEvent] = []

    @receiver.on("order.pending")
    def fails_at_first(event: WebhookEvent) -> None:
        calls.append(event)
        if len(calls) == 1:
            raise OSError("the database is away")

    async with serve(receiver) as address, store() as box:
        box.webhooks.add(address.url, secret=SECRET)
        box.live.insert()
        await box.webhooks.idle()
        (delivery,) = box.webhooks.deliveries()
    assert (delivery.status, delivery.attempts) == (200, 2)
    assert calls == [calls[0]] * 2


async def test_a_handler_that_raises_gives_500(serve: Serve, receiver: WebhookReceiver) -> None:
    @receiver.on("*")
    async def fails(event: WebhookEvent) -> None:
        raise LookupError

    async with serve(receiver) as address:
        answer = await post(address, event_body())
    assert answer.status == 500
    assert answer.json == {"error": "The event could not be handled"}


async def test_two_copies_at_the_same_moment_are_handled_once(serve: Serve) -> None:
    both_are_in = threading.Event()
    readings: list[float] = []
    calls: list[WebhookEvent] = []

    def clock() -> float:
        readings.append(0)
        if len(readings) == 2:
            both_are_in.set()
        return 2e9

    receiver = WebhookReceiver(SECRET, clock=clock)

    @receiver.on("order.paid")
    def slow(event: WebhookEvent) -> None:
        assert both_are_in.wait(PATIENCE)
        calls.append(event)

    body = event_body()
    async with serve(receiver) as address, Wire(address) as one, Wire(address) as other:
        await one.post(body)
        await other.post(body)
        answers = [await one.answer(), await other.answer()]
    assert [answer.json for answer in answers] == [{"received": True}] * 2
    assert len(calls) == 1


async def test_a_full_backlog_gives_503_and_is_handled_before_the_end(serve: Serve) -> None:
    receiver = WebhookReceiver(SECRET, background=True, backlog=2, workers=1)
    gate = threading.Event()
    calls: list[bytes] = []

    @receiver.on("*")
    def waits(event: WebhookEvent) -> None:
        assert gate.wait(PATIENCE)
        calls.append(event.raw)

    bodies = [event_body() for _ in range(3)]
    async with serve(receiver) as address:
        answers = [await post(address, body) for body in bodies]
        assert not calls
        gate.set()
    assert [answer.status for answer in answers] == [200, 200, 503]
    assert answers[2].headers["retry-after"] == "5"
    assert calls == bodies[:2]


async def test_a_wrong_signature_gives_401(address: Address, handled: Handled) -> None:
    answer = await post(address, event_body(), signed(event_body()))
    assert (answer.status, answer.json) == (401, {"error": "Invalid signature"})
    assert answer.headers["content-type"] == "application/json"
    assert not handled


async def test_no_signature_gives_401(address: Address, handled: Handled) -> None:
    assert (await post(address, event_body(), "X-Other: 1")).status == 401
    assert not handled


async def test_two_signatures_give_401(address: Address, handled: Handled) -> None:
    body = event_body()
    assert (await post(address, body, signed(body), signed(body))).status == 401
    assert not handled


async def test_a_signature_that_is_no_ascii_gives_401(address: Address, handled: Handled) -> None:
    answer = await post(address, event_body(), "X-Webhook-Signature: sha256=\xe9\xff")
    assert answer.status == 401
    assert not handled


async def test_a_signed_body_that_is_no_event_gives_400(address: Address, handled: Handled) -> None:
    answer = await post(address, b'{"event":')
    assert answer.status == 400
    assert "error" in answer.json
    assert not handled


async def test_an_empty_signed_body_gives_400(address: Address, handled: Handled) -> None:
    assert (await post(address, b"")).status == 400
    assert not handled


async def test_other_methods_give_405(address: Address, handled: Handled) -> None:
    for method in ("GET", "HEAD", "PUT", "DELETE", "PATCH"):
        async with Wire(address) as wire:
            await wire.post(event_body(), method=method)
            answer = await wire.answer(method)
        assert answer.status == 405
        assert "POST" in answer.headers["allow"]
    assert not handled


async def test_the_answer_to_head_has_no_body(address: Address) -> None:
    async with Wire(address) as wire:
        await wire.begin("Connection: close", method="HEAD")
        await wire.answer("HEAD")
        assert await wire.rest() == b""


async def test_another_path_gives_404(address: Address, handled: Handled) -> None:
    assert (await post(Address(address.port, "/web"), event_body())).status == 404
    assert not handled


async def test_an_announced_length_over_the_limit_gives_413_before_the_body_is_sent(
    address: Address, handled: Handled
) -> None:
    async with Wire(address) as wire:
        await wire.begin(f"Content-Length: {MAX_BODY + 1}")
        answer = await wire.answer()
    assert (answer.status, answer.json) == (413, {"error": "The body is too large"})
    assert not handled


async def test_the_largest_body_is_read(address: Address, handled: Handled) -> None:
    body = event_body()
    body += b" " * (MAX_BODY - len(body))
    assert (await post(address, body)).status == 200
    assert len(handled) == 1


async def test_a_body_in_chunks_is_read(address: Address, handled: Handled) -> None:
    body = event_body()
    async with Wire(address) as wire:
        await wire.begin(signed(body), "Transfer-Encoding: chunked")
        await wire.send(chunked(body[:10]) + chunked(body[10:]) + chunked(b""))
        assert (await wire.answer()).status == 200
    assert len(handled) == 1


async def test_chunks_over_the_limit_give_413_while_more_are_to_come(
    address: Address, handled: Handled
) -> None:
    async with Wire(address) as wire:
        await wire.begin("Transfer-Encoding: chunked")
        for _ in range(16):
            await wire.send(chunked(b"x" * (MAX_BODY // 16)))
        await wire.send(chunked(b"x"))
        answer = await wire.answer()
    assert (answer.status, answer.json) == (413, {"error": "The body is too large"})
    assert not handled


@pytest.mark.parametrize("ends", ["half", "first chunk"])
async def test_a_body_that_breaks_off_is_not_handled_and_the_server_goes_on(
    address: Address, handled: Handled, ends: str
) -> None:
    body = event_body()
    async with Wire(address) as wire:
        if ends == "half":
            await wire.begin(signed(body), length(body))
            await wire.send(body[:-1])
        else:
            await wire.begin(signed(body), "Transfer-Encoding: chunked")
            await wire.send(chunked(body))
        wire.end()
        await wire.rest()
    assert not handled
    assert (await post(address, event_body())).status == 200


async def test_a_connection_that_is_reset_in_the_body_is_not_handled_and_the_server_goes_on(
    address: Address, handled: Handled
) -> None:
    body = event_body()
    async with Wire(address) as wire:
        await wire.begin(signed(body), length(body), "Expect: 100-continue")
        await wire.answer()
        await wire.send(body[:-1])
        wire.reset()
    assert (await post(address, event_body())).status == 200
    assert len(handled) == 1


async def test_who_expects_100_continue_gets_it(address: Address, handled: Handled) -> None:
    body = event_body()
    async with Wire(address) as wire:
        await wire.begin(signed(body), length(body), "Expect: 100-continue")
        assert (await wire.answer()).status == 100
        await wire.send(body)
        while (answer := await wire.answer()).status == 100:
            pass  # werkzeug says it twice
    assert answer.status == 200
    assert len(handled) == 1


@pytest.mark.parametrize("signs", ["the text", "what is sent"])
async def test_a_compressed_body_is_refused_whatever_was_signed(
    address: Address, handled: Handled, signs: str
) -> None:
    body = event_body()
    sent = gzip.compress(body)
    signature = signed(body if signs == "the text" else sent)
    answer = await post(address, sent, signature, "Content-Encoding: gzip")
    assert answer.status in (400, 401, 415)
    assert not handled
