"""Hostile requests by the thousand: each is refused, and none is handled."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import logging
import re
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import pytest
from aiohttp.http import HttpProcessingError
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from devskin_async.webhooks import WebhookReceiver, asgi_app, sign
from devskin_async.webhooks.asgi import Message
from tests.cli.support import in_thread
from tests.webhooks.serving import PATIENCE, SECRET, SERVERS, Handled, chunked

REQUESTS = 20_000
AT_ONCE = 20
LIMIT = 6000
NOW = 1_770_993_000.0  # 2026-02-13T14:30:00Z

EVENT = (
    b'{"event":"order.paid","store_id":15,"timestamp":"2026-02-13T14:30:00.000Z",'
    b'"data":{"id":1234,"order_number":"ORD-2026-001234","total":199.90,"status":"paid"}}'
)
"""What would be handled, if it came by POST, once, whole and signed."""

BREAKS = (
    (b'"order.paid"', b'"" null 5 1.5 true [] {} ["order.paid"]'),
    (b"15", b"NaN Infinity -Infinity 0x10 .5 5."),
    (b'"2026-02-13T14:30:00.000Z"', b'"2026-02-13T14:36:00Z" "2026-02-13T13:00:00Z"'),
    (b'"2026-02-13T14:30:00.000Z"', b'"9999-12-31T23:59:59.999999Z" "0001-01-01T00:00:00Z"'),
    (b'"2026-02-13T14:30:00.000Z"', b'null 1770993000 "" "now" "2026-02-13" [] {}'),
    (b"1234", b"-Infinity " + b"9" * 5000),
    (b'"ORD-2026-001234"', b'"\\u12" "\xff" "'),
    (b"199.90", b"NaN nan Infinity -Infinity 0x10 .5 5."),
    (b'"paid"}', b"}} } ]"),
    (b'"event":', b'"Event": "event" event: :'),
    (b'"store_id":', b'"store_id\x00":'),
    (b'"timestamp":', b'"time":'),
    (b"}}", b"} }}} }},{} }}x }}\x00 }}" + EVENT),
    (b'{"event"', b'[{"event" \x00{"event" "event" //{"event"'),
)
"""What a part of the event can be replaced by, so that it is none any more, or of another time."""

BROKEN_EVENTS = tuple(
    EVENT.replace(part, other, 1)
    for part, others in BREAKS
    for other in others.split(b" ")
    if other
)
ODD_BODIES = (
    b"",
    b" ",
    b"null",
    b"NaN",
    b"-",
    b'"',
    b"\xff\xfe",
    EVENT.decode().encode("utf-16"),
    EVENT.decode().encode("utf-32"),
    EVENT * 2,
    b"[" * 5500,
    b"[" * 2900 + b"]" * 2900,
    b'{"a":' * 900 + b"1" + b"}" * 900,
    EVENT.replace(b"order.paid", b"x.y").replace(b'"data":', b'"data":' + b"[" * 5000),
    EVENT + b" " * LIMIT,
    b"x" * (LIMIT + 1),
)
JSON = st.recursive(
    st.sampled_from([None, True, 0, -1, 1.5, 2**70, "", "order.paid", "\ud800", "data"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["event", "store_id", "timestamp", "data"]), inner)
    ),
    max_leaves=5,
).map(lambda value: json.dumps(value).encode())


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)
NAMES = st.sampled_from(["X-Webhook-Signature", b"x-webhook-signature"])
HEADERS = (
    ANYTHING
    | st.dictionaries(NAMES, ANYTHING)
    | st.lists(st.tuples(NAMES | ANYTHING, ANYTHING))
    | st.just(object())
)


@given(ANYTHING, HEADERS)
def test_whatever_types_come_there_is_a_status_or_the_caller_is_told_of_a_wrong_body(
    body: Any, headers: Any
) -> None:
    receiver = WebhookReceiver(SECRET)
    handled = Handled(receiver)
    if isinstance(body, bytes):
        assert asyncio.run(receiver.handle(body, headers)).status == 401
    else:
        with pytest.raises(TypeError, match="the body must be the request's raw bytes, not"):
            asyncio.run(receiver.handle(body, headers))
    assert not handled


FIELDS = st.sampled_from(["store_id", "timestamp", "data", "other", "id", "status", "total"])
SCALARS = st.none() | st.booleans() | st.integers() | st.text(st.characters(codec="utf-8"))
VALUES = st.recursive(
    SCALARS | st.floats(allow_nan=False, allow_infinity=False) | st.just("2026-02-13T14:30:00Z"),
    lambda inner: st.lists(inner) | st.dictionaries(FIELDS, inner),
    max_leaves=5,
)


@given(
    st.sampled_from(["order.paid", "order.", "order.deleted", "ping", "x"]),
    st.dictionaries(FIELDS, VALUES | st.dictionaries(FIELDS, VALUES)),
)
def test_what_is_signed_and_an_event_is_handed_on_once_whatever_else_it_holds(
    name: str, plain: dict[str, Any]
) -> None:
    body = json.dumps({"event": name, **plain}).encode()
    receiver = WebhookReceiver(SECRET, future=dt.timedelta.max)
    handled = Handled(receiver)
    headers = {"X-Webhook-Signature": sign(body, SECRET)}
    assert [asyncio.run(receiver.handle(body, headers)).status for _ in range(2)] == [200, 200]
    assert [event.event for event in handled] == [name]


@st.composite
def _mutated(draw: st.DrawFn) -> bytes:
    """Cut a valid event off, or have one of its brackets, quotes or colons replaced."""
    if draw(st.booleans()):
        return EVENT[: draw(st.integers(0, len(EVENT) - 1))]
    places = [place for place, byte in enumerate(EVENT) if byte in b'{}":,' and place != 45]
    place = draw(st.sampled_from(places))
    return (
        EVENT[:place] + draw(st.sampled_from([b"\x00", b"\xff", b"(", b"\\"])) + EVENT[place + 1 :]
    )


NO_EVENTS = (
    st.sampled_from(BROKEN_EVENTS)
    | st.sampled_from(ODD_BODIES)
    | JSON
    | _mutated()
    | st.binary(max_size=40)
)


def _right(body: bytes) -> bytes:
    return sign(body, SECRET).encode()


SIGNATURES: tuple[Callable[[bytes], list[bytes]], ...] = (
    lambda body: [],
    lambda body: [_right(body)] * 2,
    lambda body: [_right(body), b""],
    lambda body: [_right(body) + b"," + _right(body)],
    lambda body: [_right(body + b" ")],
    lambda body: [sign(body, "another secret").encode()],
    lambda body: [_right(body).upper()],
    lambda body: [_right(body).replace(b"sha256", b"sha1")],
    lambda body: [_right(body).replace(b"sha256=", b"")],
    lambda body: [_right(body).replace(b"sha256=", b"v1,")],
    lambda body: [_right(body)[:-1]],
    lambda body: [_right(body)[:-2]],
    lambda body: [_right(body) + b"00"],
    lambda body: [_right(body) + b"\x00"],
    lambda body: [_right(body).replace(b"=", b"= ")],
    lambda body: [b"sha256=" + "\N{ARABIC-INDIC DIGIT ONE}".encode() * 32],
    lambda body: [b"sha256=\xe9"],
    lambda body: [b"sha256="],
    lambda body: [b""],
    lambda body: [b"sha256=" + b"0" * 64],
    lambda body: [b"sha256=" + b"f" * 5000],
)
METHODS = st.sampled_from(
    ["GET", "PUT", "HEAD", "OPTIONS", "DELETE", "PATCH", "TRACE", "POSTS", "X"]
)
OTHER_HEADERS = st.lists(
    st.sampled_from(
        [
            (b"content-type", b"text/html"),
            (b"content-type", b"\xff"),
            (b"x-webhook-signatur", b"sha256=" + b"0" * 64),
            (b"x-hub-signature-256", _right(EVENT)),
            (b"x_webhook_signature", _right(EVENT)),
            (b"cookie", b"x" * 3000),
            (b"x-http-method-override", b"POST"),
            (b"accept-encoding", b"*;q=0"),
        ]
    ),
    max_size=2,
)


@attrs.frozen
class Hostile:
    """A request that must not be handled."""

    method: str
    headers: list[tuple[bytes, bytes]]
    body: bytes
    ends: bool = True
    """Whether it is sent to its end."""

    @property
    def is_framed(self) -> bool:
        return all(name != b"content-length" for name, _ in self.headers) and self.ends


@st.composite
def hostile(draw: st.DrawFn) -> Hostile:
    kind = draw(st.sampled_from(["no event", "no event", "signature", "method", "length", "end"]))
    method, body, ends = "POST", EVENT, True
    signature: Callable[[bytes], list[bytes]] = lambda body: [_right(body)]  # noqa: E731
    headers = draw(OTHER_HEADERS)
    if kind == "no event":
        body = draw(NO_EVENTS)
    elif kind == "signature":
        signature = draw(st.sampled_from(SIGNATURES))
    elif kind == "method":
        method = draw(METHODS)
    elif kind == "length":
        length = draw(st.sampled_from([b"6001", b"9" * 30, b"9" * 5000, b"0" * 30 + b"9" * 20]))
        headers = [*headers, (b"content-length", length)]
        body = b"x" * (LIMIT + 1)
    else:
        ends = False
        body = EVENT[: draw(st.integers(0, len(EVENT)))]
    return Hostile(
        method,
        [*headers, *((b"X-Webhook-Signature", each) for each in signature(body))],
        body,
        ends,
    )


HOSTILE = hostile()


@pytest.fixture
def receiver() -> WebhookReceiver:
    return WebhookReceiver(
        SECRET, max_body=LIMIT, tolerance=dt.timedelta(hours=1), clock=lambda: NOW
    )


@pytest.fixture
def handled(receiver: WebhookReceiver) -> Handled:
    return Handled(receiver)


@pytest.fixture
def no_error(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Nothing is logged as an error, and no traceback at all."""
    caplog.set_level(logging.WARNING)
    yield
    records = caplog.get_records("call") + caplog.get_records("teardown")
    assert not [
        each
        for each in records
        if (each.levelno >= logging.ERROR or each.exc_info) and not _is_servers(each)
    ]


def _is_servers(record: logging.LogRecord) -> bool:
    """Tell whether aiohttp complains of what was no HTTP, and never came to a handler."""
    return record.exc_info is not None and isinstance(record.exc_info[1], HttpProcessingError)


def through_asgi(app: Any, request: Hostile) -> int:
    """Have a request answered without a loop: whoever waits for anything has let it through."""
    half = len(request.body) // 2
    messages: list[Message] = [
        {"type": "http.request", "body": request.body[:half], "more_body": True},
        {"type": "http.request", "more_body": True},
        {"type": "http.request", "body": request.body[half:], "more_body": not request.ends},
        {"type": "http.disconnect"},
    ]
    messages.reverse()
    sent: list[Message] = []

    async def receive() -> Message:
        return messages.pop()

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "method": request.method, "headers": request.headers}
    with pytest.raises(StopIteration):
        app(scope, receive, send).send(None)
    start, body = sent
    assert json.loads(body["body"]).keys() == {"error"}  # type: ignore[arg-type]
    status = start["status"]
    assert isinstance(status, int)
    return status


def test_of_20_000_hostile_requests_each_is_refused_and_none_is_handled(
    receiver: WebhookReceiver, handled: Handled, no_error: None
) -> None:
    app = asgi_app(receiver)
    statuses: Counter[int] = Counter()

    @settings(max_examples=REQUESTS // AT_ONCE, phases=(Phase.generate, Phase.shrink))
    @given(st.lists(HOSTILE, min_size=AT_ONCE, max_size=AT_ONCE))
    def fuzz(requests: list[Hostile]) -> None:
        for request in requests:
            status = through_asgi(app, request)
            assert status in (400, 401, 405, 413)
            assert not handled
            statuses[status] += 1

    fuzz()
    assert statuses.total() >= REQUESTS
    assert min(statuses[status] for status in (400, 401, 405, 413)) > REQUESTS // 50


def over_a_socket(port: int, path: str, request: Hostile) -> list[int]:
    """Send a request over a connection of its own, and give the statuses that came back."""
    body = request.body
    named = [*request.headers, (b"host", b"localhost"), (b"connection", b"close")]
    if request.is_framed:
        named.append((b"content-length", b"%d" % len(request.body)))
    elif request.method == "POST" and not request.ends:
        named.append((b"transfer-encoding", b"chunked"))
        body = chunked(body) if body else b""
    head = b"".join(b"%s: %s\r\n" % each for each in named)
    line = f"{request.method} {path} HTTP/1.1\r\n".encode()
    came = b""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
        try:
            connection.sendall(line + head + b"\r\n" + body)
            if not request.is_framed:
                connection.shutdown(socket.SHUT_WR)
            while part := connection.recv(65_536):
                if not came and request.is_framed:
                    # werkzeug reads what is left of a body to the end of the connection.
                    connection.shutdown(socket.SHUT_WR)
                came += part
        except OSError as error:
            assert not isinstance(error, TimeoutError)
    statuses = [int(found) for found in re.findall(rb"(?:^|\r\n\r\n)HTTP/1\.[01] (\d+) ", came)]
    assert statuses or not request.is_framed
    return statuses


@pytest.mark.parametrize("kind", ["fastapi", "aiohttp", "flask", "flask_reply"])
def test_over_a_socket_hostile_requests_are_refused_or_cut_off_and_none_is_handled(
    receiver: WebhookReceiver, handled: Handled, kind: str, no_error: None
) -> None:
    with in_thread(lambda: SERVERS[kind](receiver)) as address:
        statuses: Counter[int] = Counter()

        @settings(max_examples=20, phases=(Phase.generate, Phase.shrink))
        @given(st.lists(HOSTILE, min_size=10, max_size=10))
        def fuzz(requests: list[Hostile]) -> None:
            for request in requests:
                for status in over_a_socket(address.port, address.path, request):
                    assert 400 <= status < 500 or request.method == "OPTIONS"
                    statuses[status] += 1
                assert not handled

        fuzz()
    assert statuses.total() >= 100
