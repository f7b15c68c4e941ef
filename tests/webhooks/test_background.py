"""Acknowledged first and handled afterwards: bounded, in order, and drained at the end."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import json
from typing import Any

import pytest

from devskin_async.testing import virtual_time
from devskin_async.webhooks import WebhookEvent, WebhookReceiver

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
    settle,
    signed,
    told,
)
from .test_once import BusySeen


def recording(**options: Any) -> tuple[WebhookReceiver, Recorder]:
    receiver = make_receiver(options.pop("seen", None) or StrictSeen(), background=True, **options)
    recorder = Recorder()
    receiver.on("*")(recorder)
    return receiver, recorder


@virtual_time
async def test_an_event_is_acknowledged_before_it_is_handled() -> None:
    receiver, recorder = recording()
    recorder.go.clear()
    assert told(await send(receiver, EXAMPLE)) == RECEIVED
    assert recorder.handled == []
    recorder.go.set()
    await receiver.aclose()
    assert [event.raw for event in recorder.handled] == [EXAMPLE]


@virtual_time
async def test_what_is_refused_is_refused_at_once() -> None:
    receiver, recorder = recording(max_body=1000)
    replies = [
        await receiver.handle(EXAMPLE, {}),
        await send(receiver, b"{}"),
        await send(receiver, b"x" * 1001),
    ]
    assert [reply.status for reply in replies] == [401, 400, 413]
    await receiver.aclose()
    assert recorder.begun == []


@virtual_time
async def test_closing_handles_all_that_was_acknowledged() -> None:
    receiver, recorder = recording(workers=3)
    async with receiver:
        for number in range(50):
            assert (await send(receiver, order_body(order=number))).status == 200
    assert {event.order.id for event in recorder.handled} == set(range(50))


@virtual_time
async def test_a_copy_of_what_waits_is_acknowledged_and_takes_no_room() -> None:
    receiver, recorder = recording(backlog=1)
    recorder.go.clear()
    for _ in range(5):
        assert (await send(receiver, EXAMPLE)).status == 200
    recorder.go.set()
    await receiver.aclose()
    assert len(recorder.begun) == 1


@virtual_time
async def test_a_copy_of_what_was_handled_is_acknowledged_and_not_handled() -> None:
    receiver, recorder = recording()
    await send(receiver, EXAMPLE)
    await settle()
    assert (await send(receiver, EXAMPLE)).status == 200
    await receiver.aclose()
    assert len(recorder.begun) == 1


@virtual_time
async def test_a_full_backlog_answers_503_until_there_is_room() -> None:
    receiver, recorder = recording(backlog=3, workers=1)
    recorder.go.clear()
    replies = [await send(receiver, other_body(number)) for number in range(4)]
    assert [reply.status for reply in replies] == [200, 200, 200, 503]
    assert int(replies[-1].headers["Retry-After"]) > 0
    recorder.go.set()
    await settle(100)
    assert (await send(receiver, other_body(3))).status == 200
    await receiver.aclose()
    assert [json.loads(event.raw)["data"]["id"] for event in recorder.handled] == [0, 1, 2, 3]


@virtual_time
async def test_no_more_than_the_workers_are_handled_at_once() -> None:
    receiver, recorder = recording(workers=3)
    recorder.go.clear()
    for number in range(10):
        await send(receiver, other_body(number))
    await settle()
    assert len(recorder.begun) == 3
    recorder.go.set()
    await receiver.aclose()
    assert len(recorder.handled) == 10


@virtual_time
async def test_events_of_one_order_are_handled_in_the_order_they_came_in() -> None:
    receiver, recorder = recording(workers=5)
    statuses = [f"status {number}" for number in range(20)]
    for number, status in enumerate(statuses):
        await send(receiver, order_body(status))
        await settle(number % 4)
    await receiver.aclose()
    assert recorder.statuses == statuses


@virtual_time
async def test_an_order_with_many_events_does_not_hold_up_another() -> None:
    receiver, recorder = recording(workers=2)
    recorder.go.clear()
    for status in ("pending", "paid", "shipped"):
        await send(receiver, order_body(status, order=1))
    await send(receiver, order_body(order=2))
    await settle(50)
    begun = [event.order.id for event in recorder.begun]
    recorder.go.set()
    await receiver.aclose()
    assert begun == [1, 2]


@virtual_time
async def test_an_event_that_another_process_is_at_is_tried_until_it_is_free() -> None:
    receiver, recorder = recording(seen=BusySeen(3))
    await send(receiver, EXAMPLE)
    await receiver.aclose()
    assert len(recorder.handled) == 1


@virtual_time
async def test_events_keep_their_order_where_another_process_is_at_the_first() -> None:
    receiver, recorder = recording(seen=BusySeen(1))
    for status in ("paid", "shipped"):
        await send(receiver, order_body(status))
    await receiver.aclose()
    assert recorder.statuses == ["paid", "shipped"]


@virtual_time
async def test_after_a_handler_that_raises_the_next_event_is_handled() -> None:
    receiver, recorder = recording(workers=1)
    recorder.failures = [LookupError("no such order")]
    await send(receiver, order_body("paid"))
    await send(receiver, order_body("shipped"))
    await receiver.aclose()
    assert recorder.statuses == ["shipped"]


def test_a_failure_is_logged_without_a_secret_or_the_body(caplog: pytest.LogCaptureFixture) -> None:
    @virtual_time
    async def test() -> None:
        receiver, recorder = recording()
        recorder.failures = [LookupError("no such order")]
        await send(receiver, EXAMPLE)
        await receiver.aclose()

    test()
    (record,) = caplog.records
    assert "order.paid" in record.getMessage()
    assert "which was acknowledged" in record.getMessage()
    assert "no such order" in caplog.text
    assert SECRET not in caplog.text
    assert "ORD-2026-001234" not in caplog.text


@virtual_time
async def test_an_event_that_failed_is_handled_when_it_is_sent_again() -> None:
    receiver, recorder = recording()
    recorder.failures = [LookupError()]
    await send(receiver, EXAMPLE)
    await settle()
    await send(receiver, EXAMPLE)
    await receiver.aclose()
    assert len(recorder.handled) == 1


@virtual_time
async def test_a_handler_whose_own_task_was_cancelled_does_not_end_a_worker() -> None:
    receiver, recorder = recording(workers=1)
    recorder.failures = [asyncio.CancelledError()]
    await send(receiver, order_body("paid"))
    await send(receiver, order_body("shipped"))
    await settle(50)
    handled = recorder.statuses
    async with asyncio.timeout(60):
        await receiver.aclose()
    assert handled == ["shipped"]


@virtual_time
async def test_after_closing_it_answers_503() -> None:
    receiver, recorder = recording()
    await receiver.aclose()
    assert (await send(receiver, EXAMPLE)).status == 503
    assert recorder.begun == []


@virtual_time
async def test_while_it_closes_it_answers_503() -> None:
    receiver, recorder = recording()
    recorder.go.clear()
    await send(receiver, order_body("paid"))
    closing = asyncio.create_task(receiver.aclose())
    await settle()
    assert (await send(receiver, order_body("shipped"))).status == 503
    recorder.go.set()
    await closing
    assert recorder.statuses == ["paid"]


@virtual_time
async def test_closing_twice_is_closing_once() -> None:
    receiver, recorder = recording()
    await send(receiver, EXAMPLE)
    await asyncio.gather(receiver.aclose(), receiver.aclose())
    await receiver.aclose()
    assert len(recorder.handled) == 1


@virtual_time
async def test_closing_before_anything_came_returns_at_once() -> None:
    receiver, _ = recording()
    async with asyncio.timeout(1):
        await receiver.aclose()


async def close_impatiently(receiver: WebhookReceiver) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(5):
            await receiver.aclose()


def test_who_closes_impatiently_is_told_how_much_was_left(caplog: pytest.LogCaptureFixture) -> None:
    @virtual_time
    async def test() -> None:
        receiver, recorder = recording(workers=1)
        recorder.go.clear()
        for number in range(3):
            await send(receiver, other_body(number))
        await close_impatiently(receiver)
        assert recorder.handled == []

    test()
    assert [record.getMessage() for record in caplog.records] == [
        "3 acknowledged events were not handled"
    ]


@virtual_time
async def test_who_closes_impatiently_leaves_no_turn_taken_and_no_task() -> None:
    seen = StrictSeen()
    receiver, recorder = recording(seen=seen)
    recorder.go.clear()
    for status in ("paid", "shipped"):
        await send(receiver, order_body(status))
    await settle()
    await close_impatiently(receiver)
    assert not seen.turns
    assert asyncio.all_tasks() == {asyncio.current_task()}


@virtual_time
async def test_closing_again_after_an_impatient_close_returns() -> None:
    receiver, recorder = recording(workers=1)
    recorder.go.clear()
    for number in range(3):
        await send(receiver, other_body(number))
    await close_impatiently(receiver)
    async with asyncio.timeout(60):
        await receiver.aclose()


@virtual_time
async def test_a_patient_close_returns_where_an_impatient_one_beside_it_gave_up() -> None:
    receiver, recorder = recording(workers=1)
    recorder.go.clear()
    for number in range(3):
        await send(receiver, other_body(number))
    async with asyncio.timeout(60):
        await asyncio.gather(receiver.aclose(), close_impatiently(receiver))


@virtual_time
async def test_a_copy_of_what_an_impatient_close_left_is_not_acknowledged() -> None:
    receiver, recorder = recording(workers=1)
    recorder.go.clear()
    for number in range(3):
        await send(receiver, other_body(number))
    await close_impatiently(receiver)
    assert [(await send(receiver, other_body(number))).status for number in range(3)] == [503] * 3


@virtual_time
async def test_a_poll_is_not_put_off() -> None:
    receiver, recorder = recording()
    assert await receiver.poll(poll_of("paid", 0)) == "handled"
    assert len(recorder.handled) == 1
    await receiver.aclose()


@virtual_time
async def test_a_poll_waits_for_the_acknowledged_event_of_its_order() -> None:
    receiver, recorder = recording()
    recorder.go.clear()
    await send(receiver, order_body("paid"))
    await recorder.entered.acquire()
    poll = asyncio.create_task(receiver.poll(poll_of("paid", 10)))
    await settle()
    recorder.go.set()
    assert await poll == "known"
    await receiver.aclose()


@virtual_time
async def test_a_request_that_is_cancelled_after_the_reply_changes_nothing() -> None:
    receiver, recorder = recording()

    async def request() -> None:
        await receiver.handle(EXAMPLE, signed(EXAMPLE))
        await asyncio.sleep(3600)

    task = asyncio.create_task(request())
    await settle(2)
    task.cancel()
    await receiver.aclose()
    assert len(recorder.handled) == 1


@virtual_time
async def test_a_handler_may_run_for_hours() -> None:
    receiver = make_receiver(background=True)
    ended: list[WebhookEvent] = []

    @receiver.on("*")
    async def slow(event: WebhookEvent) -> None:
        await asyncio.sleep(7200)
        ended.append(event)

    assert (await send(receiver, EXAMPLE)).status == 200
    await receiver.aclose()
    assert len(ended) == 1


@virtual_time
async def test_an_event_is_handled_in_the_context_of_its_request() -> None:
    receiver, _ = recording(workers=1)
    request: contextvars.ContextVar[int] = contextvars.ContextVar("request")
    seen_by_handlers: list[int] = []

    @receiver.on("*")
    async def note(_: WebhookEvent) -> None:
        seen_by_handlers.append(request.get())

    for number in range(3):
        request.set(number)
        await send(receiver, order_body(order=number))
    await receiver.aclose()
    assert seen_by_handlers == [0, 1, 2]
