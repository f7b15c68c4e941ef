"""The receiver without `await`: its thread, its life, and what it makes of a WSGI request."""

from __future__ import annotations

import asyncio
import io
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import pytest
from flask import Flask, current_app

from devskin_async.webhooks import BlockingReceiver, Reply, WebhookEvent, WebhookReceiver, sign
from tests.webhooks import apps
from tests.webhooks.serving import PATIENCE, SECRET, Handled, event_body

LIMIT = 1000


@pytest.fixture
def receiver() -> WebhookReceiver:
    return WebhookReceiver(SECRET, max_body=LIMIT)


@pytest.fixture
def handled(receiver: WebhookReceiver) -> Handled:
    return Handled(receiver)


@pytest.fixture
def blocking(receiver: WebhookReceiver) -> Iterator[BlockingReceiver]:
    with BlockingReceiver(receiver) as blocking:
        yield blocking


def own_threads() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name == "devskin-webhooks"]


def headers(body: bytes) -> dict[str, str]:
    return {"X-Webhook-Signature": sign(body, SECRET)}


def hand(blocking: BlockingReceiver, body: bytes) -> Reply:
    return blocking.handle(body, headers(body))


class Stream(io.BytesIO):
    """A body that counts what is read of it, and gives little at once."""

    def __init__(self, body: bytes, error: Exception | None = None) -> None:
        super().__init__(body)
        self.taken = 0
        self._error = error

    def read(self, size: int | None = -1, /) -> bytes:
        part = super().read(min(7, size or 0) if size != -1 else -1)
        if not part and self._error is not None:
            raise self._error
        self.taken += len(part)
        return part


def test_many_threads_are_answered_and_their_events_handled_once(
    blocking: BlockingReceiver, handled: Handled
) -> None:
    bodies = [event_body() for _ in range(20)]
    with ThreadPoolExecutor(16) as threads:
        replies = list(threads.map(lambda body: hand(blocking, body), bodies * 5))
    assert {reply.status for reply in replies} == {200}
    assert sorted(event.raw for event in handled) == sorted(bodies)


async def test_it_can_be_called_within_a_running_loop(
    blocking: BlockingReceiver, handled: Handled
) -> None:
    assert hand(blocking, event_body()).status == 200
    assert len(handled) == 1


def test_the_first_request_starts_its_one_thread_and_close_ends_it(
    receiver: WebhookReceiver,
) -> None:
    blocking = BlockingReceiver(receiver)
    assert not own_threads()
    for _ in range(3):
        hand(blocking, event_body())
    assert len(own_threads()) == 1
    blocking.close()
    assert not own_threads()


def test_the_threads_of_sync_handlers_end_with_it(receiver: WebhookReceiver) -> None:
    used: list[threading.Thread] = []

    @receiver.on("*")
    def sync(event: WebhookEvent) -> None:
        used.append(threading.current_thread())

    with BlockingReceiver(receiver) as blocking:
        hand(blocking, event_body())
    assert not used[0].is_alive()


def test_to_close_it_unused_or_twice_is_fine(receiver: WebhookReceiver) -> None:
    blocking = BlockingReceiver(receiver)
    blocking.close()
    hand(blocking, event_body())
    blocking.close()
    blocking.close()
    assert not own_threads()


def test_after_close_it_starts_again(receiver: WebhookReceiver, handled: Handled) -> None:
    body = event_body()
    for _ in range(2):
        with BlockingReceiver(receiver) as blocking:
            assert hand(blocking, body).status == 200
    assert len(handled) == 1


def test_close_works_the_backlog_off_and_takes_no_more(handled: Handled) -> None:
    receiver = WebhookReceiver(SECRET, background=True, workers=1)
    gate = threading.Event()
    calls: list[WebhookEvent] = []

    @receiver.on("*")
    async def waits(event: WebhookEvent) -> None:
        await asyncio.to_thread(gate.wait, PATIENCE)
        calls.append(event)

    blocking = BlockingReceiver(receiver)
    for _ in range(4):
        assert hand(blocking, event_body()).status == 200
    assert not calls
    gate.set()
    blocking.close()
    assert len(calls) == 4
    assert hand(blocking, event_body()).status == 503
    blocking.close()


def test_close_waits_for_the_requests_under_way(receiver: WebhookReceiver) -> None:
    entered = threading.Event()
    blocking = BlockingReceiver(receiver)

    @receiver.on("*")
    async def takes_long(event: WebhookEvent) -> None:
        entered.set()
        while blocking._running is not None:  # noqa: ASYNC110 - until it has begun to close
            await asyncio.sleep(0)
        for _ in range(10_000):
            await asyncio.sleep(0)

    with ThreadPoolExecutor(2) as threads:
        reply = threads.submit(hand, blocking, event_body())
        assert entered.wait(PATIENCE)
        threads.submit(blocking.close).result(PATIENCE)
        assert reply.result(PATIENCE).status == 200
    assert not own_threads()


def test_requests_that_come_while_it_is_closed_over_and_over_are_all_answered(
    receiver: WebhookReceiver, handled: Handled
) -> None:
    blocking = BlockingReceiver(receiver)
    bodies = [event_body() for _ in range(200)]
    with ThreadPoolExecutor(4) as threads:
        replies = threads.map(lambda body: hand(blocking, body), bodies)
        while len(handled) < len(bodies):
            blocking.close()
        assert {reply.status for reply in replies} == {200}
    blocking.close()
    assert not own_threads()


def test_a_handler_that_exits_ends_its_request_alone(receiver: WebhookReceiver) -> None:
    @receiver.on("order.paid")
    def leaves(event: WebhookEvent) -> None:
        sys.exit("enough")

    with BlockingReceiver(receiver) as blocking:
        for _ in range(2):
            assert hand(blocking, event_body()).status == 500
        assert hand(blocking, event_body("order.shipped")).status == 200


FORKING = """
import os, sys
from devskin_async.webhooks import BlockingReceiver
from devskin_async.webhooks import WebhookReceiver
from tests.webhooks.serving import SECRET, event_body
from tests.webhooks.test_blocking import hand

receiver = WebhookReceiver(SECRET)
handled = []
receiver.on("*")(lambda event: handled.append(os.getpid()))
blocking = BlockingReceiver(receiver)
if sys.argv[1] == "used":
    assert hand(blocking, event_body()).status == 200
    handled.clear()
for _ in range(2):
    child = os.fork()
    if not child:
        ok = hand(blocking, event_body()).status == 200 and handled == [os.getpid()]
        blocking.close()
        os._exit(0 if ok else 1)
    assert os.waitpid(child, 0)[1] == 0
assert hand(blocking, event_body()).status == 200
assert handled == [os.getpid()]
blocking.close()
print("fine")
"""


@pytest.mark.parametrize("before", ["used", "unused"])
def test_processes_that_are_forked_off_have_a_thread_of_their_own(before: str) -> None:
    command = [sys.executable, "-W", "error", "-W", "ignore:This process:DeprecationWarning"]
    ran = subprocess.run(
        [*command, "-c", FORKING, before],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (ran.stdout, ran.returncode) == ("fine\n", 0), ran.stderr


def test_a_process_ends_though_nobody_closed_it() -> None:
    program = """
from devskin_async.webhooks import BlockingReceiver, WebhookReceiver
from tests.webhooks.serving import SECRET, event_body
from tests.webhooks.test_blocking import hand
print(hand(BlockingReceiver(WebhookReceiver(SECRET)), event_body()).status)
"""
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (ran.stdout, ran.stderr, ran.returncode) == ("200\n", "", 0)


def test_sync_and_async_handlers_find_flasks_current_app(receiver: WebhookReceiver) -> None:
    found: list[Flask] = []

    @receiver.on("*")
    def sync(event: WebhookEvent) -> None:
        found.append(current_app._get_current_object())  # type: ignore[attr-defined]

    @receiver.on("*")
    async def in_the_loop(event: WebhookEvent) -> None:
        found.append(current_app._get_current_object())  # type: ignore[attr-defined]

    with BlockingReceiver(receiver) as blocking:
        for make in (apps.flask_app, apps.flask_reply):
            app = make(blocking)
            body = event_body()
            app.test_client().post("/webhooks", data=body, headers=headers(body))
            assert found == [app] * 2
            found.clear()


def test_a_stream_is_read_to_its_announced_end(
    blocking: BlockingReceiver, handled: Handled
) -> None:
    body = event_body()
    stream = Stream(body + b"the next request")
    named = {**headers(body), "content-length": str(len(body))}
    assert blocking.handle(stream, named).status == 200
    assert stream.taken == len(body)
    assert len(handled) == 1


def test_a_stream_without_a_length_is_read_until_it_is_too_much(
    blocking: BlockingReceiver,
) -> None:
    stream = Stream(b"x" * 5000)
    assert blocking.handle(stream, {}).status == 413
    assert stream.taken == LIMIT + 1


def test_a_stream_is_not_read_when_too_much_is_announced(blocking: BlockingReceiver) -> None:
    stream = Stream(b"x" * 5000)
    pairs = ((b"Content-Length", b"%d" % (LIMIT + 1)) for _ in range(1))
    assert blocking.handle(stream, pairs).status == 413
    assert stream.taken == 0


@pytest.mark.parametrize("announced", ["9" * 5000, "0" * 30 + "9" * 30, "00001001"])
def test_a_length_of_any_number_of_digits_is_too_much(
    blocking: BlockingReceiver, announced: str
) -> None:
    stream = Stream(b"x" * 5000)
    assert blocking.handle(stream, {"Content-Length": announced}).status == 413
    assert stream.taken == 0


@pytest.mark.parametrize(
    "announced",
    [
        "",
        "-5",
        "+5",
        "1_0",
        "ten",
        "5.0",
        " 5",
        "\N{ARABIC-INDIC DIGIT THREE}",
        "\N{SUPERSCRIPT TWO}",
    ],
)
def test_what_is_no_length_is_malformed(blocking: BlockingReceiver, announced: str) -> None:
    stream = Stream(b"x" * 5000)
    assert blocking.handle(stream, {"Content-Length": announced}).status == 400
    assert stream.taken == 0


def test_a_stream_that_ends_early_is_malformed(
    blocking: BlockingReceiver, handled: Handled
) -> None:
    body = event_body()
    named = {**headers(body), "Content-Length": str(len(body) + 1)}
    reply = blocking.handle(Stream(body), named)
    assert (reply.status, reply.body) == (400, b'{"error":"The body did not arrive whole"}')
    assert not handled


def test_a_stream_that_breaks_is_malformed(blocking: BlockingReceiver, handled: Handled) -> None:
    body = event_body()
    stream = Stream(body, ConnectionResetError("the client has gone"))
    assert blocking.handle(stream, headers(body)).status == 400
    assert not handled


def test_a_signature_twice_among_pairs_is_refused(
    blocking: BlockingReceiver, handled: Handled
) -> None:
    body = event_body()
    pairs = [*headers(body).items()] * 2
    assert blocking.handle(Stream(body), pairs).status == 401
    assert not handled


Environ = dict[str, Any]


def environ(body: bytes, **variables: object) -> Environ:
    """Make a WSGI request; None leaves a variable out."""
    defaults: Environ = {}
    setup_testing_defaults(defaults)
    named = {
        "REQUEST_METHOD": "POST",
        "QUERY_STRING": "",
        "CONTENT_LENGTH": str(len(body)),
        "HTTP_X_WEBHOOK_SIGNATURE": sign(body, SECRET),
        "wsgi.input": Stream(body),
        **variables,
    }
    return defaults | {name: value for name, value in named.items() if value is not None}


def call(app: Callable[..., Iterable[bytes]], request: Environ) -> tuple[str, bytes]:
    started: list[tuple[str, list[tuple[str, str]]]] = []

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        started.append((status, headers))
        return lambda data: None

    parts = app(request, start_response)
    body = b"".join(parts)
    if (close := getattr(parts, "close", None)) is not None:
        close()
    return started[0][0], body


def test_a_wsgi_request_is_answered_as_the_standard_has_it(
    blocking: BlockingReceiver, handled: Handled
) -> None:
    answer = call(validator(blocking.wsgi), environ(event_body()))
    assert answer == ("200 OK", b'{"received":true}')
    assert len(handled) == 1


def test_head_is_answered_without_a_body(blocking: BlockingReceiver) -> None:
    request = environ(b"", REQUEST_METHOD="HEAD")
    assert call(blocking.wsgi, request) == ("405 Method Not Allowed", b"")


def test_a_body_of_unknown_length_is_read_where_the_server_ends_it(
    blocking: BlockingReceiver, handled: Handled
) -> None:
    request = environ(event_body(), CONTENT_LENGTH=None, **{"wsgi.input_terminated": True})
    assert call(blocking.wsgi, request)[0] == "200 OK"
    assert len(handled) == 1


@pytest.mark.parametrize("announced", [None, ""])
def test_a_body_of_unknown_length_is_not_read_where_it_might_not_end(
    blocking: BlockingReceiver, handled: Handled, announced: str | None
) -> None:
    stream = Stream(event_body())
    request = environ(b"", CONTENT_LENGTH=announced, **{"wsgi.input": stream})
    assert call(blocking.wsgi, request)[0] == "400 Bad Request"
    assert stream.taken == 0


def test_a_wsgi_request_without_a_signature_is_unauthorized(
    blocking: BlockingReceiver, handled: Handled
) -> None:
    request = environ(event_body(), HTTP_X_WEBHOOK_SIGNATURE=None)
    assert call(blocking.wsgi, request)[0] == "401 Unauthorized"
    assert not handled


def test_a_wsgi_request_that_announces_too_much_is_not_read(blocking: BlockingReceiver) -> None:
    stream = Stream(b"x" * 5000)
    request = environ(b"", CONTENT_LENGTH="1001", **{"wsgi.input": stream})
    assert call(blocking.wsgi, request)[0].startswith("413 ")
    assert stream.taken == 0
