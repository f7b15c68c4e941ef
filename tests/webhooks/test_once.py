"""Each event is handled once, each order's in turn, whoever comes when and whoever gives up."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devskin_async.testing import VirtualTimeLoop, virtual_time
from devskin_async.webhooks import MemorySeen, Reply, Seen, WebhookEvent, WebhookReceiver
from devskin_async.webhooks.turns import Turns

from .support import (
    EXAMPLE,
    RECEIVED,
    Recorder,
    StrictSeen,
    make_receiver,
    order_body,
    other_body,
    outcome_of,
    poll_of,
    send,
    settle,
    told,
)


def recording(seen: Seen | None = None) -> tuple[WebhookReceiver, Recorder]:
    receiver = make_receiver(seen)
    recorder = Recorder()
    receiver.on("*")(recorder)
    return receiver, recorder


def start(receiver: WebhookReceiver, body: bytes) -> asyncio.Task[Reply]:
    return asyncio.create_task(send(receiver, body))


bodies = pytest.mark.parametrize("body", [EXAMPLE, other_body()], ids=["order", "other"])


@bodies
async def test_a_repeat_is_acknowledged_and_not_handled(body: bytes) -> None:
    receiver, recorder = recording(StrictSeen())
    assert [told(await send(receiver, body)) for _ in range(3)] == [RECEIVED] * 3
    assert len(recorder.begun) == 1


async def test_what_differs_in_one_byte_is_another_event() -> None:
    receiver, recorder = recording()
    await send(receiver, EXAMPLE)
    await send(receiver, EXAMPLE + b"\n")
    assert len(recorder.handled) == 2


@bodies
@virtual_time
async def test_of_two_copies_at_the_same_moment_one_is_handled(body: bytes) -> None:
    receiver, recorder = recording(StrictSeen())
    replies = await asyncio.gather(*(send(receiver, body) for _ in range(5)))
    assert [reply.status for reply in replies] == [200] * 5
    assert len(recorder.begun) == 1


@bodies
@virtual_time
async def test_a_copy_is_not_acknowledged_before_the_first_was_handled(body: bytes) -> None:
    receiver, recorder = recording(StrictSeen())
    recorder.go.clear()
    first, copy = start(receiver, body), start(receiver, body)
    await settle()
    assert not copy.done()
    recorder.go.set()
    assert (await first).status == (await copy).status == 200
    assert len(recorder.begun) == 1


@bodies
@virtual_time
async def test_where_the_first_copy_fails_the_waiting_one_is_handled(body: bytes) -> None:
    receiver, recorder = recording(StrictSeen())
    recorder.failures = [ValueError()]
    recorder.go.clear()
    first, copy = start(receiver, body), start(receiver, body)
    await recorder.entered.acquire()
    recorder.go.set()
    assert ((await first).status, (await copy).status) == (500, 200)
    assert (len(recorder.begun), len(recorder.handled)) == (2, 1)


@bodies
@virtual_time
async def test_where_the_first_copy_is_cancelled_the_waiting_one_is_handled(body: bytes) -> None:
    receiver, recorder = recording(StrictSeen())
    recorder.go.clear()
    first, copy = start(receiver, body), start(receiver, body)
    await recorder.entered.acquire()
    first.cancel()
    recorder.go.set()
    assert (await copy).status == 200
    assert outcome_of(first) == "cancelled"
    assert (len(recorder.begun), len(recorder.handled)) == (2, 1)


@virtual_time
async def test_events_of_one_order_are_handled_one_after_another_as_they_came() -> None:
    receiver, recorder = recording(StrictSeen())
    recorder.go.clear()
    statuses = ["pending", "paid", "shipped", "completed"]
    tasks = [start(receiver, order_body(status)) for status in statuses]
    await settle()
    assert len(recorder.begun) == 1
    recorder.go.set()
    await asyncio.gather(*tasks)
    assert recorder.statuses == statuses


@virtual_time
async def test_events_of_different_orders_are_handled_at_the_same_time() -> None:
    receiver, recorder = recording(StrictSeen())
    recorder.go.clear()
    tasks = [start(receiver, order_body(order=number)) for number in range(5)]
    tasks += [start(receiver, other_body(number)) for number in range(5)]
    await settle()
    assert len(recorder.begun) == 10
    recorder.go.set()
    await asyncio.gather(*tasks)


@virtual_time
async def test_an_event_that_fails_does_not_hold_up_the_next_of_its_order() -> None:
    receiver, recorder = recording(StrictSeen())
    recorder.failures = [ValueError()]
    tasks = [start(receiver, order_body(status)) for status in ("paid", "shipped")]
    assert [reply.status for reply in await asyncio.gather(*tasks)] == [500, 200]
    assert recorder.statuses == ["shipped"]


@virtual_time
async def test_nothing_is_kept_of_an_order_that_nobody_waits_for() -> None:
    receiver, recorder = recording(StrictSeen())
    recorder.failures = [ValueError()]
    await asyncio.gather(*(send(receiver, order_body(order=n)) for n in range(20)))
    assert receiver._once._turns._queues == {}


class BusySeen(StrictSeen):
    """A memory that tells of another process for the first few times."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times

    async def begin(self, turn: str, key: str | None) -> Any:
        if self.times:
            self.times -= 1
            return "busy"
        return await super().begin(turn, key)


async def test_what_another_process_is_at_is_503_with_a_time_to_come_back() -> None:
    receiver, recorder = recording(BusySeen(1))
    reply = await send(receiver, EXAMPLE)
    assert reply.status == 503
    assert int(reply.headers["Retry-After"]) > 0
    assert recorder.begun == []
    assert (await send(receiver, EXAMPLE)).status == 200
    assert len(recorder.handled) == 1


@bodies
@pytest.mark.parametrize("step", [0, 1, *range(3, 13)])  # 2 is in `begin`: see below
@virtual_time
async def test_a_request_cancelled_at_any_await_leaves_no_turn_taken(
    body: bytes, step: int
) -> None:
    seen = StrictSeen()
    receiver, recorder = recording(seen)

    @receiver.on("*")
    async def slow(event: WebhookEvent) -> None:
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    task = start(receiver, body)
    await settle(step)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert not seen.turns
    assert receiver._once._turns._queues == {}
    assert (await send(receiver, body)).status == 200
    assert len(recorder.begun) in {1, 2}


@bodies
@virtual_time
async def test_a_request_cancelled_while_its_turn_begins_gives_the_turn_up(body: bytes) -> None:
    seen = StrictSeen()
    receiver, _ = recording(seen)
    task = start(receiver, body)
    await settle(2)
    assert seen.turns
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert not seen.turns


@bodies
@virtual_time
async def test_copies_that_are_cancelled_together_are_all_cancelled(body: bytes) -> None:
    receiver, recorder = recording()
    recorder.go.clear()
    tasks = [start(receiver, body) for _ in range(4)]
    await settle()
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    assert [outcome_of(task) for task in tasks] == ["cancelled"] * 4


@virtual_time
async def test_after_copies_were_cancelled_together_the_event_can_be_handled() -> None:
    receiver, recorder = recording()
    recorder.go.clear()
    tasks = [start(receiver, EXAMPLE) for _ in range(4)]
    await settle()
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    recorder.go.set()
    assert (await send(receiver, EXAMPLE)).status == 200
    assert receiver._once._turns._queues == {}


@virtual_time
async def test_a_waiting_copy_that_is_cancelled_lets_the_next_go_on() -> None:
    receiver, recorder = recording(StrictSeen())
    recorder.go.clear()
    tasks = [start(receiver, order_body(status)) for status in ("pending", "paid", "shipped")]
    await settle()
    tasks[1].cancel()
    await settle()
    recorder.go.set()
    await asyncio.wait(tasks)
    assert [outcome_of(task) for task in tasks] == [200, "cancelled", 200]
    assert recorder.statuses == ["pending", "shipped"]


@virtual_time
async def test_a_copy_cancelled_as_its_turn_comes_hands_the_turn_on() -> None:
    turns = Turns()
    await turns.take("x")
    second, third = asyncio.create_task(turns.take("x")), asyncio.create_task(turns.take("x"))
    await settle()
    turns.give("x")
    second.cancel()
    await settle()
    assert (second.cancelled(), third.done()) == (True, True)
    turns.give("x")
    assert turns._queues == {}


@virtual_time
async def test_who_gives_up_just_before_the_turn_is_given_is_cancelled() -> None:
    turns = Turns()
    await turns.take("x")
    waiting = asyncio.create_task(turns.take("x"))
    await settle()
    waiting.cancel()
    turns.give("x")
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_a_sync_handler_whose_request_was_cancelled_is_not_run_twice_at_once() -> None:
    receiver = make_receiver()
    entered, go = threading.Semaphore(0), threading.Event()
    running, most = 0, 0

    @receiver.on("*")
    def handler(event: WebhookEvent) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        entered.release()
        go.wait(10)
        running -= 1

    first = start(receiver, EXAMPLE)
    await asyncio.to_thread(entered.acquire)
    first.cancel()
    copy = start(receiver, EXAMPLE)
    # A second run would say so at once; that there is none can only be waited for.
    await asyncio.to_thread(entered.acquire, timeout=0.1)
    go.set()
    await asyncio.wait([first, copy])
    assert most == 1


# What polls find.


async def test_a_polled_status_that_nobody_told_is_handled() -> None:
    receiver, recorder = recording(StrictSeen())
    assert await receiver.poll(poll_of("paid", 0)) == "handled"
    assert [event.source for event in recorder.handled] == ["poll"]


async def test_a_polled_status_that_an_event_told_is_known() -> None:
    receiver, recorder = recording(StrictSeen())
    await send(receiver, order_body("paid"))
    assert await receiver.poll(poll_of("paid", 10)) == "known"
    assert len(recorder.handled) == 1


async def test_a_polled_status_that_an_earlier_poll_told_is_known() -> None:
    receiver, recorder = recording(StrictSeen())
    assert await receiver.poll(poll_of("paid", 0)) == "handled"
    assert await receiver.poll(poll_of("paid", 10)) == "known"
    assert len(recorder.handled) == 1


async def test_a_poll_from_before_a_later_event_with_another_status_is_known() -> None:
    receiver, recorder = recording(StrictSeen())
    await send(receiver, order_body("shipped", seconds=10))
    assert await receiver.poll(poll_of("paid", 5)) == "known"
    assert recorder.statuses == ["shipped"]


async def test_a_poll_from_after_an_event_with_another_status_is_handled() -> None:
    receiver, recorder = recording(StrictSeen())
    await send(receiver, order_body("paid", seconds=10))
    assert await receiver.poll(poll_of("shipped", 20)) == "handled"
    assert recorder.statuses == ["paid", "shipped"]


async def test_a_poll_from_the_moment_of_an_event_with_another_status_is_handled() -> None:
    receiver, recorder = recording(StrictSeen())
    await send(receiver, order_body("paid", seconds=10))
    assert await receiver.poll(poll_of("shipped", 10)) == "handled"
    assert recorder.statuses == ["paid", "shipped"]


async def test_a_status_that_an_order_went_back_to_is_handled() -> None:
    receiver, recorder = recording(StrictSeen())
    await send(receiver, order_body("paid", seconds=0))
    await send(receiver, order_body("shipped", seconds=10))
    assert await receiver.poll(poll_of("paid", 20)) == "handled"
    assert recorder.statuses == ["paid", "shipped", "paid"]


async def test_a_late_event_of_what_a_poll_found_an_order_back_at_is_no_news() -> None:
    receiver, recorder = recording(StrictSeen())
    await send(receiver, order_body("paid", seconds=0))
    await send(receiver, order_body("shipped", seconds=10))
    await receiver.poll(poll_of("paid", 20))
    await send(receiver, order_body("paid", seconds=18))
    assert recorder.statuses == ["paid", "shipped", "paid"]


async def test_an_event_after_another_status_is_news_though_a_poll_once_found_it() -> None:
    receiver, recorder = recording(StrictSeen())
    await receiver.poll(poll_of("paid", 10))
    await send(receiver, order_body("shipped", seconds=20))
    await send(receiver, order_body("paid", seconds=30))
    assert recorder.statuses == ["paid", "shipped", "paid"]


async def test_a_late_event_whose_status_a_poll_has_handled_is_acknowledged_only() -> None:
    receiver, recorder = recording(StrictSeen())
    await receiver.poll(poll_of("paid", 10))
    assert told(await send(receiver, order_body("paid", seconds=5))) == RECEIVED
    assert told(await send(receiver, order_body("paid", seconds=5))) == RECEIVED
    assert len(recorder.handled) == 1


async def test_after_a_poll_and_its_late_event_the_status_is_still_known() -> None:
    receiver, recorder = recording(StrictSeen())
    await receiver.poll(poll_of("paid", 10))
    await send(receiver, order_body("paid", seconds=5))
    assert await receiver.poll(poll_of("paid", 20)) == "known"
    assert len(recorder.handled) == 1


async def test_a_late_event_that_a_poll_has_handled_is_known_after_a_later_event_too() -> None:
    receiver, recorder = recording(StrictSeen())
    await receiver.poll(poll_of("paid", 10))
    await send(receiver, order_body("shipped", seconds=20))
    assert told(await send(receiver, order_body("paid", seconds=5))) == RECEIVED
    assert recorder.statuses == ["paid", "shipped"]


async def test_a_late_older_event_with_another_status_is_handled() -> None:
    receiver, recorder = recording(StrictSeen())
    await receiver.poll(poll_of("shipped", 10))
    await send(receiver, order_body("paid", seconds=5))
    assert recorder.statuses == ["shipped", "paid"]


@pytest.mark.parametrize("first", ["event", "poll"])
async def test_a_late_older_event_does_not_change_what_the_latest_status_is(first: str) -> None:
    receiver, recorder = recording(StrictSeen())
    if first == "event":
        await send(receiver, order_body("shipped", seconds=10))
    else:
        await receiver.poll(poll_of("shipped", 10))
    await send(receiver, order_body("paid", seconds=5))
    assert await receiver.poll(poll_of("shipped", 20)) == "known"
    assert await receiver.poll(poll_of("paid", 7)) == "known"
    assert recorder.statuses == ["shipped", "paid"]


async def test_the_same_order_number_in_another_store_is_another_order() -> None:
    receiver, recorder = recording(StrictSeen())
    await send(receiver, order_body("paid", store=15))
    assert await receiver.poll(poll_of("paid", 10, store=16)) == "handled"
    assert len(recorder.handled) == 2


async def test_a_poll_without_a_store_knows_what_any_store_told() -> None:
    receiver, _ = recording(StrictSeen())
    await send(receiver, order_body("paid", store=15))
    assert await receiver.poll(poll_of("paid", 10, store=None)) == "known"


async def test_an_event_knows_what_a_poll_without_a_store_has_handled() -> None:
    receiver, recorder = recording(StrictSeen())
    await receiver.poll(poll_of("paid", 10, store=None))
    assert told(await send(receiver, order_body("paid", seconds=5, store=15))) == RECEIVED
    assert len(recorder.handled) == 1


async def test_a_poll_that_fails_raises_and_may_be_handled_again() -> None:
    receiver, recorder = recording(StrictSeen())
    recorder.failures = [LookupError("of the handler")]
    with pytest.raises(LookupError, match="of the handler"):
        await receiver.poll(poll_of("paid", 0))
    assert await receiver.poll(poll_of("paid", 0)) == "handled"


async def test_a_failed_event_is_not_known_to_a_poll() -> None:
    receiver, recorder = recording(StrictSeen())
    recorder.failures = [ValueError()]
    await send(receiver, order_body("paid"))
    assert await receiver.poll(poll_of("paid", 10)) == "handled"


async def test_a_poll_of_an_order_that_another_process_is_at_is_busy() -> None:
    receiver, _ = recording(BusySeen(1))
    assert await receiver.poll(poll_of("paid", 0)) == "busy"
    assert await receiver.poll(poll_of("paid", 0)) == "handled"


@virtual_time
async def test_a_poll_waits_for_the_event_that_is_being_handled() -> None:
    receiver, recorder = recording(StrictSeen())
    recorder.go.clear()
    event = start(receiver, order_body("paid"))
    await recorder.entered.acquire()
    poll = asyncio.create_task(receiver.poll(poll_of("paid", 10)))
    await settle()
    assert not poll.done()
    recorder.go.set()
    assert ((await event).status, await poll) == (200, "known")
    assert len(recorder.handled) == 1


@virtual_time
async def test_a_known_poll_leaves_no_turn_taken() -> None:
    seen = StrictSeen()
    receiver, _ = recording(seen)
    await send(receiver, order_body("paid"))
    await receiver.poll(poll_of("paid", 10))
    assert not seen.turns


# Whatever happens.


# A body's number, what its handler is to do, and after how many turns it is cancelled.
steps = st.lists(
    st.tuples(
        st.integers(0, 4),
        st.sampled_from(["succeed", "fail", "wait and succeed", "wait and fail"]),
        st.none() | st.integers(0, 10),
    ),
    max_size=25,
)
BODIES = (
    order_body("paid", order=1),
    order_body("shipped", order=1),
    order_body("paid", order=2),
    other_body(1),
    other_body(2),
)


@given(steps, st.lists(st.integers(0, 3), max_size=25), st.booleans())
def test_whatever_fails_and_is_cancelled_each_body_succeeds_once_and_each_order_in_turn(
    script: list[tuple[int, str, int | None]], pauses: list[int], at_once: bool
) -> None:
    async def test() -> None:
        receiver = make_receiver(MemorySeen() if at_once else Yielding())
        plans = {body: [what for n, what, _ in script if BODIES[n] == body] for body in BODIES}
        succeeded: Counter[bytes] = Counter()
        running: Counter[object] = Counter()
        most: Counter[object] = Counter()

        @receiver.on("*")
        async def handler(event: WebhookEvent) -> None:
            turn = event.order.id if event.event.startswith("order.") else event.raw
            what = plans[event.raw].pop(0) if plans[event.raw] else "succeed"
            running[turn] += 1
            most[turn] = max(most[turn], running[turn])
            try:
                for _ in range(3 * what.startswith("wait")):
                    await asyncio.sleep(0)
            finally:
                running[turn] -= 1
            if what.endswith("fail"):
                raise LookupError
            succeeded[event.raw] += 1

        tasks: list[asyncio.Task[Any]] = []
        rests = iter(pauses)
        for number, _, patience in script:
            task = start(receiver, BODIES[number])
            tasks.append(task)
            if patience is not None:
                tasks.append(asyncio.create_task(cancel_after(task, patience)))
            await settle(next(rests, 0))
        await asyncio.gather(*tasks, return_exceptions=True)
        for body in BODIES:
            plans[body].clear()
            assert (await send(receiver, body)).status == 200
        assert succeeded == Counter(BODIES)
        assert set(most.values()) == {1}
        assert receiver._once._turns._queues == {}

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(test())


class Yielding(MemorySeen):
    """A memory that lets others run before and after each of its deeds."""

    async def begin(self, turn: str, key: str | None) -> Any:
        await asyncio.sleep(0)
        begun = await super().begin(turn, key)
        await asyncio.sleep(0)
        return begun

    async def told(self, order_id: int, store_id: int | None) -> Any:
        await asyncio.sleep(0)
        return await super().told(order_id, store_id)

    async def finish(self, turn: str, key: str | None, told: Any) -> None:
        await super().finish(turn, key, told)
        await asyncio.sleep(0)

    async def give_up(self, turn: str) -> None:
        await super().give_up(turn)
        await asyncio.sleep(0)


async def cancel_after(task: asyncio.Task[Reply], turns: int) -> None:
    await settle(turns)
    task.cancel()
