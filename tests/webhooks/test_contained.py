"""Whatever a handler raises ends its own event alone; a real cancellation keeps its meaning."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import gc
import subprocess
import sys
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from devskin_async.reconcile import reconcile
from devskin_async.testing import virtual_time
from devskin_async.webhooks import (
    BlockingReceiver,
    MemorySeen,
    Seen,
    SQLiteSeen,
    WebhookEvent,
    WebhookReceiver,
)
from tests.export.stores import selling

from . import serving
from .support import (
    EXAMPLE,
    Recorder,
    StrictSeen,
    make_receiver,
    order_body,
    outcome_of,
    poll_of,
    send,
    settle,
    signed,
)

RAISED: dict[str, Callable[[], BaseException]] = {
    "SystemExit": lambda: SystemExit(3),
    "KeyboardInterrupt": KeyboardInterrupt,
    "GeneratorExit": GeneratorExit,
    "BaseExceptionGroup": lambda: BaseExceptionGroup("several", [SystemExit(), ValueError()]),
    "CancelledError": asyncio.CancelledError,
    "another": type("Odd", (BaseException,), {}),
    "StopIteration": StopIteration,
    "ExceptionGroup": lambda: ExceptionGroup("several", [ValueError()]),
}
raised = pytest.mark.parametrize("error", RAISED.values(), ids=RAISED)
KINDS = ("async", "thread", "awaitable", "finally")
kinds = pytest.mark.parametrize("kind", KINDS)


def failing_once(receiver: WebhookReceiver, kind: str, error: BaseException) -> list[str]:
    """Have a handler of a kind raise something the first time; give what it handled then."""
    failures = [error]
    handled: list[str] = []

    def work(event: WebhookEvent) -> None:
        if failures:
            raise failures.pop()
        handled.append(event.event)

    async def async_handler(event: WebhookEvent) -> None:
        await asyncio.sleep(0)
        work(event)

    async def in_finally(event: WebhookEvent) -> None:
        try:
            if failures:
                raise LookupError
        finally:
            work(event)

    def awaitable(event: WebhookEvent) -> Coroutine[Any, Any, None]:
        return async_handler(event)

    handlers: dict[str, Callable[[WebhookEvent], object]] = {
        "async": async_handler,
        "thread": work,
        "awaitable": awaitable,
        "finally": in_finally,
    }
    receiver.on("*")(handlers[kind])
    return handled


@raised
@kinds
async def test_it_is_500_and_the_event_is_handled_when_it_is_sent_again(
    kind: str, error: Callable[[], BaseException]
) -> None:
    receiver = make_receiver(StrictSeen())
    handled = failing_once(receiver, kind, error())
    assert [(await send(receiver, EXAMPLE)).status for _ in range(3)] == [500, 200, 200]
    assert handled == ["order.paid"]


@raised
@kinds
async def test_in_the_background_later_events_of_the_order_and_of_others_are_handled(
    kind: str, error: Callable[[], BaseException]
) -> None:
    receiver = make_receiver(StrictSeen(), background=True, workers=1)
    handled = failing_once(receiver, kind, error())
    bodies = [order_body(status) for status in ("pending", "paid", "shipped")]
    async with receiver:
        for body in (*bodies, order_body("completed", order=2)):
            assert (await send(receiver, body)).status == 200
        async with asyncio.timeout(serving.PATIENCE):
            while len(handled) < 3:  # noqa: ASYNC110 - handlers in threads set no event
                await asyncio.sleep(0.001)
    assert sorted(handled) == ["order.completed", "order.paid", "order.shipped"]


@raised
@pytest.mark.parametrize("kind", ["async", "thread"])
@pytest.mark.parametrize("background", [False, True])
def test_the_blocking_receiver_and_its_wsgi_worker_survive(
    kind: str, background: bool, error: Callable[[], BaseException]
) -> None:
    receiver = make_receiver(background=background)
    handled = failing_once(receiver, kind, error())
    with BlockingReceiver(receiver) as blocking:
        statuses = [
            blocking.handle(body, signed(body)).status
            for body in (order_body("paid"), order_body("shipped"))
        ]
    assert statuses == ([200, 200] if background else [500, 200])
    assert handled == ["order.shipped"]


@raised
@pytest.mark.parametrize("kind", ["async", "thread"])
@pytest.mark.parametrize("server", ["fastapi", "aiohttp", "flask"])
async def test_over_a_socket_it_is_500_and_the_server_goes_on(
    server: str, kind: str, error: Callable[[], BaseException]
) -> None:
    receiver = WebhookReceiver(serving.SECRET)
    handled = failing_once(receiver, kind, error())
    body = serving.event_body()
    async with serving.SERVERS[server](receiver) as address:
        answers = [await serving.post(address, body) for _ in range(2)]
    assert [answer.status for answer in answers] == [500, 200]
    assert handled == ["order.paid"]


@raised
@pytest.mark.parametrize("kind", ["async", "thread"])
async def test_a_reconciliation_goes_on_with_the_other_orders(
    kind: str, error: Callable[[], BaseException]
) -> None:
    receiver = make_receiver()
    handled = failing_once(receiver, kind, error())
    long_ago = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    async with selling(orders=3, products=2, customers=2) as (_, store):
        done = await reconcile(store, receiver, long_ago)
        assert (done.handled, len(done.failed), len(handled)) == (2, 1, 2)
        assert (await reconcile(store, receiver, long_ago)).handled == 1


class RaisingSeen(StrictSeen):
    """A memory that raises something, once, where it is told to."""

    def __init__(self, where: str, error: BaseException) -> None:
        super().__init__()
        self._where = where
        self._error: BaseException | None = error

    def _fail(self, where: str) -> None:
        if where == self._where and self._error is not None:
            error, self._error = self._error, None
            raise error

    async def begin(self, turn: str, key: str | None) -> Any:
        self._fail("begin")
        return await super().begin(turn, key)

    async def finish(self, turn: str, key: str | None, told: Any) -> None:
        self._fail("finish")
        await super().finish(turn, key, told)

    async def give_up(self, turn: str) -> None:
        await super().give_up(turn)
        self._fail("give_up")


@pytest.mark.parametrize("error", [v for k, v in RAISED.items() if k != "StopIteration"])
@pytest.mark.parametrize("where", ["begin", "finish", "give_up"])
@pytest.mark.parametrize("background", [False, True])
async def test_what_the_memory_raises_blocks_no_order_either(
    background: bool, where: str, error: Callable[[], BaseException]
) -> None:
    receiver = make_receiver(RaisingSeen(where, error()), background=background)
    recorder = Recorder()
    recorder.failures = [LookupError()] if where == "give_up" else []
    receiver.on("*")(recorder)
    async with receiver:
        first = (await send(receiver, order_body("paid"))).status
        assert first == (200 if background else 500)
        assert (await send(receiver, order_body("shipped"))).status == 200
    assert recorder.statuses[-1] == "shipped"


PROGRAM = """
import asyncio, sys
from devskin_async.webhooks import WebhookReceiver, HEADER, sign

receiver = WebhookReceiver("s", background="background" in sys.argv)
kind = sys.argv[1]

@receiver.on("order.paid")
async def leave(event):
    sys.exit(9)

@receiver.on("order.shipped")
def note(event):
    print("shipped", flush=True)

async def main():
    for name in ("order.paid", "order.shipped"):
        body = b'{"event": "%s", "data": {"id": 7}}' % name.encode()
        reply = await receiver.handle(body, {HEADER: sign(body, "s")})
        print(reply.status, flush=True)
    await receiver.aclose()

asyncio.run(main())
"""


@pytest.mark.parametrize("mode", ["foreground", "background"])
def test_a_program_whose_handler_calls_exit_goes_on(mode: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, "x", mode],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert sorted(ran.stdout.split()) == sorted(
        ["200" if mode == "background" else "500", "200", "shipped"]
    )


# What keeps its meaning.


@pytest.mark.parametrize("error", RAISED.values(), ids=RAISED)
@virtual_time
async def test_a_request_whose_client_is_gone_is_cancelled_whatever_its_handler_raises_then(
    error: Callable[[], BaseException],
) -> None:
    seen = StrictSeen()
    receiver = make_receiver(seen)
    entered = asyncio.Event()

    @receiver.on("*")
    async def handler(event: WebhookEvent) -> None:
        try:
            entered.set()
            await asyncio.Event().wait()
        finally:
            raise error()

    task = asyncio.create_task(send(receiver, EXAMPLE))
    await entered.wait()
    task.cancel()
    await asyncio.wait([task])
    assert outcome_of(task) == "cancelled"
    assert not seen.turns


@virtual_time
async def test_a_handler_that_cancels_its_own_task_fails_and_the_request_is_answered() -> None:
    receiver = make_receiver(StrictSeen())

    @receiver.on("order.paid")
    async def handler(event: WebhookEvent) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)

    assert (await send(receiver, order_body("paid"))).status == 500
    assert (await send(receiver, order_body("shipped"))).status == 200


async def test_a_request_that_is_closed_while_it_waits_lets_the_next_go_on() -> None:
    receiver = make_receiver(StrictSeen())
    recorder = Recorder()
    recorder.go.clear()
    receiver.on("*")(recorder)
    first = asyncio.create_task(send(receiver, order_body("paid")))
    await recorder.entered.acquire()
    waiting = receiver.poll(poll_of("paid", 10))
    waiting.send(None)
    third = asyncio.create_task(send(receiver, order_body("shipped")))
    await settle()
    waiting.close()
    recorder.go.set()
    assert ((await first).status, (await third).status) == (200, 200)


@pytest.mark.parametrize("background", [False, True])
def test_a_loop_that_ends_in_the_middle_of_a_handler_closes_it_without_an_error(
    background: bool,
) -> None:
    receiver = make_receiver(StrictSeen(), background=background)
    recorder = Recorder()
    recorder.go.clear()
    receiver.on("*")(recorder)
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda loop, context: None)  # it tells of tasks that were pending
    task = loop.create_task(send(receiver, EXAMPLE))
    loop.run_until_complete(recorder.entered.acquire())
    loop.close()
    del task, receiver, recorder
    gc.collect()  # what is raised here is a warning of pytest, and so an error


# A handler that hangs.


@virtual_time
async def test_a_handler_that_hangs_is_cancelled_after_a_minute_and_it_is_500() -> None:
    seen = StrictSeen()
    receiver = make_receiver(seen)
    ended: list[float] = []
    clock = asyncio.get_running_loop().time

    @receiver.on("order.paid")
    async def hang(event: WebhookEvent) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(clock())

    assert (await send(receiver, order_body("paid"))).status == 500
    assert clock() == pytest.approx(60, abs=0.01)
    assert (await send(receiver, order_body("shipped"))).status == 200
    assert ended == [pytest.approx(60, abs=0.01)]
    assert not seen.turns


@virtual_time
async def test_a_handler_that_will_not_be_cancelled_holds_up_no_answer() -> None:
    receiver = make_receiver(StrictSeen(), handler_timeout=5)
    go = asyncio.Event()

    @receiver.on("order.paid")
    async def stubborn(event: WebhookEvent) -> None:
        while not go.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await go.wait()

    assert (await send(receiver, order_body("paid"))).status == 500
    # The order's next event waits for it, and not for ever.
    assert (await send(receiver, order_body("shipped"))).status == 503
    go.set()
    assert (await send(receiver, order_body("shipped"))).status == 200
    await receiver.aclose()


async def test_a_handler_that_hangs_in_a_thread_holds_up_no_answer_and_is_not_run_twice() -> None:
    receiver = make_receiver(StrictSeen(), handler_timeout=1)
    go = threading.Event()
    calls: list[WebhookEvent] = []

    @receiver.on("*")
    def hang(event: WebhookEvent) -> None:
        calls.append(event)
        go.wait(serving.PATIENCE)

    assert (await send(receiver, EXAMPLE)).status == 500
    assert (await send(receiver, EXAMPLE)).status == 503
    assert len(calls) == 1
    go.set()
    await receiver.aclose()
    assert (await send(receiver, EXAMPLE)).status == 200


@pytest.mark.parametrize("kind", ["async", "thread"])
def test_the_blocking_receiver_answers_though_a_handler_hangs(kind: str) -> None:
    receiver = make_receiver(handler_timeout=0.05)
    go = threading.Event()

    @receiver.on("*")
    async def hang(event: WebhookEvent) -> None:
        if kind == "async":
            await asyncio.sleep(serving.PATIENCE)
        await asyncio.to_thread(go.wait, serving.PATIENCE)

    with BlockingReceiver(receiver) as blocking:
        assert blocking.handle(EXAMPLE, signed(EXAMPLE)).status == 500
        go.set()


@virtual_time
async def test_in_the_background_a_handler_is_bound_where_that_is_asked_for() -> None:
    receiver = make_receiver(background=True, handler_timeout=5, workers=1)
    handled: list[str] = []

    @receiver.on("*")
    async def hang(event: WebhookEvent) -> None:
        if event.event == "order.paid":
            await asyncio.Event().wait()
        handled.append(event.event)

    async with receiver:
        for status in ("paid", "shipped"):
            await send(receiver, order_body(status))
    assert handled == ["order.shipped"]
    assert asyncio.get_running_loop().time() < 6


@virtual_time
async def test_a_handler_may_take_for_ever_where_that_is_asked_for() -> None:
    receiver = make_receiver(handler_timeout=float("inf"))

    @receiver.on("*")
    async def take_long(event: WebhookEvent) -> None:
        await asyncio.sleep(7200)

    assert (await send(receiver, EXAMPLE)).status == 200
    assert asyncio.get_running_loop().time() >= 7200


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
def test_a_timeout_must_be_greater_than_0(seconds: float) -> None:
    with pytest.raises(ValueError, match="handler_timeout must be greater than 0"):
        make_receiver(handler_timeout=seconds)


async def hang_once(seen: Seen) -> list[int]:
    """Send an event twice whose handler hangs the first time; give the statuses."""
    receiver = make_receiver(seen, handler_timeout=1)
    hangs = [False, True]

    @receiver.on("*")
    async def hang(event: WebhookEvent) -> None:
        if hangs.pop():
            await asyncio.sleep(serving.PATIENCE)

    return [(await send(receiver, EXAMPLE)).status for _ in range(2)]


@virtual_time
async def test_a_hanging_handlers_turn_is_free_again() -> None:
    assert await hang_once(MemorySeen()) == [500, 200]


async def test_a_hanging_handlers_turn_is_free_again_in_a_file(tmp_path: Path) -> None:
    async with SQLiteSeen(tmp_path / "seen.db") as seen:
        assert await hang_once(seen) == [500, 200]
