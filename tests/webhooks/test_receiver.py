"""A request in, a reply out; and neither logs nor replies show what they must not."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import json
import logging
import traceback
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devskin_async.errors import (
    ConfigurationError,
    InvalidSignatureError,
    MalformedEventError,
    StaleEventError,
)
from devskin_async.testing import virtual_time
from devskin_async.webhooks import HEADER, MemorySeen, WebhookReceiver, sign
from devskin_async.webhooks import receiver as module

from .support import (
    EXAMPLE,
    RECEIVED,
    SECRET,
    Recorder,
    StrictSeen,
    make_receiver,
    order_body,
    other_body,
    poll_of,
    send,
    signed,
    told,
)

FAILED = (500, {"error": "The event could not be handled"})


async def test_an_event_is_handled_and_acknowledged_as_in_the_reference() -> None:
    receiver = make_receiver()
    recorder = Recorder()
    receiver.on("order.paid")(recorder)
    reply = await send(receiver, EXAMPLE)
    assert told(reply) == RECEIVED
    assert reply.headers["Content-Type"] == "application/json"
    assert [event.raw for event in recorder.handled] == [EXAMPLE]


OTHERS: dict[str, bytes] = {
    "an order's id": b'{"event": "order.deleted", "store_id": 15, "data": {"id": 7}}',
    "no total": EXAMPLE.replace(b"199.90", b"null"),
    "a test": b'{"event": "webhook.test"}',
    "a ping": b'{"event": "ping", "data": null}',
    "no store": EXAMPLE.replace(b"15", b"null"),
    "no time": EXAMPLE.replace(b'"2026-02-13T14:30:00.000Z"', b"null"),
    "an odd time": EXAMPLE.replace(b'"2026-02-13T14:30:00.000Z"', b'"yesterday"'),
}


@pytest.mark.parametrize("body", OTHERS.values(), ids=OTHERS)
@pytest.mark.parametrize("background", [False, True])
async def test_an_event_of_another_shape_is_handed_on_once(body: bytes, background: bool) -> None:
    receiver = make_receiver(StrictSeen(), background=background)
    recorder = Recorder()
    receiver.on("*")(recorder)
    async with receiver:
        assert [told(await send(receiver, body)) for _ in range(3)] == [RECEIVED] * 3
    assert [event.raw for event in recorder.handled] == [body]


@virtual_time
async def test_the_events_of_an_order_are_handled_in_turn_also_where_only_its_id_is_told() -> None:
    receiver = make_receiver(StrictSeen())
    recorder = Recorder()
    receiver.on("*")(recorder)
    recorder.go.clear()
    deleted = order_body(event="order.deleted").replace(b'"total"', b'"no total"')
    first = asyncio.create_task(send(receiver, EXAMPLE))
    await recorder.entered.acquire()
    second = asyncio.create_task(send(receiver, deleted))
    other = asyncio.create_task(send(receiver, b'{"event": "order.deleted", "data": {"id": 7}}'))
    await recorder.entered.acquire()
    assert [event.order_id for event in recorder.begun] == [1234, 7]
    recorder.go.set()
    for task in (first, second, other):
        assert (await task).status == 200
    assert [event.order_id for event in recorder.handled] == [1234, 7, 1234]


async def test_a_status_is_known_to_a_poll_also_where_its_event_told_no_total_or_time() -> None:
    for body in (OTHERS["no total"], OTHERS["no time"]):
        receiver = make_receiver()
        assert (await send(receiver, body)).status == 200
        assert await receiver.poll(poll_of("paid", 10)) == "known"


async def test_an_event_that_does_not_say_when_counts_as_of_now() -> None:
    receiver = make_receiver()
    assert (await send(receiver, OTHERS["no time"])).status == 200
    assert await receiver.poll(poll_of("shipped", -10)) == "known"
    assert await receiver.poll(poll_of("shipped", 10)) == "handled"


async def test_with_a_tolerance_an_event_that_does_not_say_when_is_400() -> None:
    receiver = make_receiver(tolerance=dt.timedelta(days=1))
    reply = await send(receiver, OTHERS["no time"])
    assert told(reply) == (400, {"error": "the event does not say when it happened"})


@pytest.mark.parametrize("make", [bytearray, memoryview])
async def test_the_body_may_be_any_bytes(make: Callable[[bytes], bytearray]) -> None:
    receiver = make_receiver()
    assert (await receiver.handle(make(EXAMPLE), signed(EXAMPLE))).status == 200


async def test_an_event_that_nobody_wants_is_acknowledged() -> None:
    assert told(await send(make_receiver(), EXAMPLE)) == RECEIVED


async def test_an_event_of_something_else_is_handled_and_acknowledged() -> None:
    receiver = make_receiver()
    recorder = Recorder()
    receiver.on("product.*")(recorder)
    assert told(await send(receiver, other_body())) == RECEIVED
    assert [event.event for event in recorder.handled] == ["product.updated"]


async def test_a_wrong_signature_is_answered_as_in_the_reference() -> None:
    receiver = make_receiver()
    recorder = Recorder()
    receiver.on("*")(recorder)
    reply = await receiver.handle(EXAMPLE, signed(EXAMPLE, "another"))
    assert told(reply) == (401, {"error": "Invalid signature"})
    assert recorder.begun == []


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {HEADER: ""},
        {HEADER: "é"},
        [(HEADER.encode(), b"\xff\xfe")],
        [(HEADER, sign(EXAMPLE, SECRET))] * 2,
    ],
)
async def test_no_signature_or_a_hostile_one_is_401(headers: Any) -> None:
    assert (await make_receiver().handle(EXAMPLE, headers)).status == 401


async def test_each_of_several_secrets_is_valid() -> None:
    receiver = make_receiver(secrets=["old", b"new"])
    for secret in ("old", "new"):
        assert (await receiver.handle(EXAMPLE, signed(EXAMPLE, secret))).status == 200
    assert (await receiver.handle(EXAMPLE, signed(EXAMPLE, "newer"))).status == 401


async def test_a_malformed_body_is_400_with_the_place() -> None:
    receiver = make_receiver()
    reply = await send(receiver, EXAMPLE.replace(b'"order.paid"', b"null"))
    assert told(reply) == (400, {"error": "$.event: expected the event's name"})


async def test_the_signature_is_judged_before_the_body() -> None:
    assert (await make_receiver().handle(b"{", signed(b"}"))).status == 401


async def test_a_body_at_the_limit_is_read_and_one_over_it_is_413() -> None:
    receiver = make_receiver(max_body=len(EXAMPLE))
    assert (await send(receiver, EXAMPLE)).status == 200
    reply = await send(receiver, EXAMPLE + b"\n")
    assert told(reply) == (413, {"error": "The body is too large"})


async def test_the_limit_is_a_mebibyte_unless_told_otherwise() -> None:
    assert make_receiver().max_body == 1024 * 1024


async def test_without_a_tolerance_an_event_of_any_age_is_handled() -> None:
    assert (await send(make_receiver(), order_body(seconds=-1_000_000_000))).status == 200


@pytest.mark.parametrize(("seconds", "status"), [(-60, 200), (-60.001, 400), (300, 200)])
async def test_with_a_tolerance_an_older_event_is_400(seconds: float, status: int) -> None:
    receiver = make_receiver(tolerance=dt.timedelta(minutes=1))
    assert (await send(receiver, order_body(seconds=seconds))).status == status


@pytest.mark.parametrize(("seconds", "status"), [(300, 200), (300.001, 400)])
async def test_an_event_from_more_than_five_minutes_ahead_is_400(
    seconds: float, status: int
) -> None:
    assert (await send(make_receiver(), order_body(seconds=seconds))).status == status


async def test_the_bound_of_the_future_may_be_set() -> None:
    receiver = make_receiver(future=dt.timedelta(0))
    assert (await send(receiver, order_body(seconds=0))).status == 200
    assert (await send(receiver, order_body(seconds=0.001))).status == 400


@pytest.mark.parametrize("stamp", [b"0001-01-01T00:00:00+14:00", b"9999-12-31T23:59:59-14:00"])
async def test_a_timestamp_at_the_end_of_time_is_answered(stamp: bytes) -> None:
    body = EXAMPLE.replace(b"2026-02-13T14:30:00.000Z", stamp)
    assert (await send(make_receiver(), body)).status in {200, 400}


def test_read_gives_the_event_without_handling_it() -> None:
    receiver = make_receiver()
    recorder = Recorder()
    receiver.on("*")(recorder)
    assert receiver.read(EXAMPLE, signed(EXAMPLE)).order.id == 1234
    assert recorder.begun == []


@pytest.mark.parametrize(
    ("body", "headers", "error"),
    [
        (EXAMPLE, {}, InvalidSignatureError),
        (b"{}", signed(b"{}"), MalformedEventError),
        (order_body(seconds=400), signed(order_body(seconds=400)), StaleEventError),
    ],
)
def test_read_raises_what_is_wrong(
    body: bytes, headers: dict[str, str], error: type[Exception]
) -> None:
    with pytest.raises(error):
        make_receiver().read(body, headers)


def test_a_stale_events_error_says_how_old_it_is() -> None:
    receiver = make_receiver(tolerance=dt.timedelta(minutes=1))
    old, ahead = order_body(seconds=-100), order_body(seconds=1000)
    with pytest.raises(StaleEventError, match="the event is 100 s old; the tolerance is 60 s"):
        receiver.read(old, signed(old))
    with pytest.raises(StaleEventError, match="1000 s ahead of this machine's clock"):
        receiver.read(ahead, signed(ahead))


@pytest.mark.parametrize("secrets", ["", [], ["good", ""], b""])
def test_a_receiver_needs_a_secret(secrets: Any) -> None:
    with pytest.raises(ConfigurationError):
        WebhookReceiver(secrets)


@pytest.mark.parametrize(
    "options",
    [
        {"tolerance": dt.timedelta(seconds=-1)},
        {"future": dt.timedelta(seconds=-1)},
        {"max_body": 0},
        {"background": True, "backlog": 0},
        {"background": True, "workers": 0},
    ],
)
def test_an_argument_out_of_bounds_is_a_value_error(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"negative|greater than 0"):
        make_receiver(**options)


async def test_by_default_what_was_handled_is_remembered_in_memory() -> None:
    assert isinstance(WebhookReceiver(SECRET).seen, MemorySeen)


@pytest.mark.parametrize(
    "error", [ValueError("x"), ExceptionGroup("x", [OSError()]), TimeoutError()]
)
async def test_a_handler_that_raises_gives_500_and_is_called_again(error: Exception) -> None:
    receiver = make_receiver()
    recorder = Recorder()
    recorder.failures = [error]
    receiver.on("*")(recorder)
    assert told(await send(receiver, EXAMPLE)) == FAILED
    assert told(await send(receiver, EXAMPLE)) == RECEIVED
    assert len(recorder.begun) == 2


async def test_where_the_second_handler_raises_the_first_is_called_again_too() -> None:
    receiver = make_receiver()
    first, second = Recorder(), Recorder()
    second.failures = [ValueError()]
    receiver.on("*")(first)
    receiver.on("order.*")(second)
    assert (await send(receiver, EXAMPLE)).status == 500
    assert (await send(receiver, EXAMPLE)).status == 200
    assert (len(first.handled), len(second.handled)) == (2, 1)


async def test_a_sync_handler_that_raises_gives_500() -> None:
    receiver = make_receiver()

    @receiver.on("*")
    def broken(event: object) -> None:
        raise LookupError

    assert (await send(receiver, EXAMPLE)).status == 500


async def test_a_sync_handler_that_raises_stop_iteration_gives_500() -> None:
    receiver = make_receiver()

    @receiver.on("*")
    def broken(event: object) -> None:
        next(iter(()))

    # What asyncio tells of it goes no further than here.
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
    async with asyncio.timeout(0.5):
        assert (await send(receiver, EXAMPLE)).status == 500


async def test_a_handler_whose_own_task_was_cancelled_gives_500() -> None:
    receiver = make_receiver()

    @receiver.on("*")
    async def handler(event: object) -> None:
        inner = asyncio.create_task(asyncio.sleep(60))
        inner.cancel()
        await inner

    assert (await send(receiver, EXAMPLE)).status == 500


class BrokenSeen(StrictSeen):
    """A memory that fails where it is told to."""

    def __init__(self, *broken: str) -> None:
        super().__init__()
        self.broken = set(broken)

    async def begin(self, turn: str, key: str | None) -> Any:
        self._fail("begin")
        return await super().begin(turn, key)

    async def finish(self, turn: str, key: str | None, told: Any) -> None:
        self._fail("finish")
        await super().finish(turn, key, told)

    async def give_up(self, turn: str) -> None:
        self._fail("give_up")
        await super().give_up(turn)

    async def told(self, order_id: int, store_id: int | None) -> Any:
        self._fail("told")
        return await super().told(order_id, store_id)

    def _fail(self, what: str) -> None:
        if what in self.broken:
            raise OSError(what)


@pytest.mark.parametrize("broken", ["begin", "told"])
async def test_a_memory_that_fails_gives_500_and_the_event_is_handled_later(broken: str) -> None:
    seen = BrokenSeen(broken)
    receiver = make_receiver(seen)
    recorder = Recorder()
    receiver.on("*")(recorder)
    assert (await send(receiver, EXAMPLE)).status == 500
    assert recorder.begun == []
    assert not seen.turns
    seen.broken.clear()
    assert (await send(receiver, EXAMPLE)).status == 200
    assert len(recorder.handled) == 1


async def test_a_turn_that_cannot_be_finished_is_given_up() -> None:
    seen = BrokenSeen("finish")
    receiver = make_receiver(seen)
    assert (await send(receiver, EXAMPLE)).status == 500
    assert not seen.turns


async def test_a_handlers_error_is_logged_though_giving_up_fails_too(
    caplog: pytest.LogCaptureFixture,
) -> None:
    receiver = make_receiver(BrokenSeen("give_up"))
    recorder = Recorder()
    recorder.failures = [LookupError("of the handler")]
    receiver.on("*")(recorder)
    assert (await send(receiver, EXAMPLE)).status == 500
    assert "of the handler" in caplog.text


@virtual_time
async def test_a_cancellation_is_not_swallowed_where_giving_up_fails() -> None:
    receiver = make_receiver(BrokenSeen("give_up"))
    recorder = Recorder()
    recorder.go.clear()
    receiver.on("*")(recorder)
    task = asyncio.create_task(send(receiver, EXAMPLE))
    await recorder.entered.acquire()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert task.cancelled()


async def test_a_failure_is_logged_with_the_events_name_and_the_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    receiver = make_receiver()

    @receiver.on("*")
    async def broken(event: object) -> None:
        raise LookupError("no such order")

    await send(receiver, EXAMPLE)
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("devskin_async.webhooks", logging.ERROR)
    assert "order.paid" in record.getMessage()
    assert "no such order" in caplog.text


@pytest.mark.parametrize("body", [EXAMPLE, EXAMPLE.replace(b"199.90", b"{}"), b"{"])
async def test_a_refusal_is_logged_without_a_secret_or_the_body(
    body: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    receiver = make_receiver(tolerance=dt.timedelta(0), future=dt.timedelta(0))
    replies = [
        await receiver.handle(body, {}),
        await receiver.handle(body, signed(body, "another")),
        await send(receiver, body.replace(b"14:30", b"13:30")),
        await send(receiver, body.replace(b"14:30", b"15:30")),
        await send(receiver, b"x" * 2_000_000),
    ]
    for text in (caplog.text, *(repr(reply) for reply in replies)):
        assert SECRET not in text
        assert "ORD-2026-001234" not in text
        assert sign(body, SECRET)[7:] not in text


PERSONAL = "alice@example.com"


@pytest.mark.parametrize(
    "body",
    [
        json.dumps(PERSONAL).encode(),
        EXAMPLE.replace(b'"order.paid"', json.dumps([PERSONAL]).encode()),
        EXAMPLE.replace(b'"event"', json.dumps(PERSONAL).encode()),
    ],
)
async def test_a_refusal_of_a_signed_body_shows_nothing_of_its_values(
    body: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    reply = await send(make_receiver(), body)
    assert reply.status == 400
    assert PERSONAL not in caplog.text
    assert PERSONAL.encode() not in reply.body


@pytest.mark.parametrize("name", ["x\nCRITICAL:root:forged", "x" * 10_000])
async def test_an_events_name_cannot_forge_or_flood_the_log(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    receiver = make_receiver()
    recorder = Recorder()
    recorder.failures = [ValueError()]
    receiver.on("*")(recorder)
    assert (await send(receiver, other_body(event=name))).status == 500
    (record,) = caplog.records
    assert "\n" not in record.getMessage()
    assert len(record.getMessage()) < 1000


def test_no_repr_shows_a_secret_or_a_body() -> None:
    receiver = make_receiver(secrets=[SECRET])
    assert SECRET not in repr(receiver)
    assert SECRET not in repr(receiver.seen)
    for body in (EXAMPLE, other_body()):
        assert body.decode() not in repr(receiver.read(body, signed(body)))


def test_no_traceback_shows_a_secret_or_a_body() -> None:
    receiver = make_receiver()
    for body in (EXAMPLE, b'{"event": "secret text"'):
        try:
            receiver.read(body, signed(body, "another" if body == EXAMPLE else SECRET))
        except (InvalidSignatureError, MalformedEventError):
            text = traceback.format_exc()
        assert SECRET not in text
        assert "secret text" not in text
        assert "ORD-2026" not in text


async def test_a_receiver_without_a_backlog_goes_on_after_it_was_closed() -> None:
    async with make_receiver() as receiver:
        pass
    assert (await send(receiver, EXAMPLE)).status == 200


def test_the_log_is_the_packages() -> None:
    assert module._log.name == "devskin_async.webhooks"


@given(st.binary(max_size=200), st.dictionaries(st.text(), st.text() | st.just(HEADER)))
def test_whatever_comes_is_answered(body: bytes, headers: dict[str, str]) -> None:
    receiver = make_receiver()
    assert asyncio.run(receiver.handle(body, headers)).status == 401
    assert asyncio.run(send(receiver, body)).status == 400
