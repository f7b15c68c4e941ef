"""After a receiver was down, each order's latest status is handled, once."""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from devskin_async import AuthenticationError, DevSkinClient
from devskin_async.reconcile import Reconciled, reconcile
from devskin_async.sandbox import Sandbox, WebhookSending
from devskin_async.webhooks import MemorySeen, SQLiteSeen, WebhookEvent, WebhookReceiver, sign
from devskin_async.webhooks.seen import Begun
from tests.conftest import AT_ONCE, UNLIMITED
from tests.export.stores import client_of, selling

from .receiving import append

SECRET = "a secret for the tests"
LONG_AGO = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)


class Shop:
    """A receiver in this process, and what its handlers were given."""

    def __init__(self, future: dt.timedelta = dt.timedelta(minutes=5)) -> None:
        self.receiver = WebhookReceiver(SECRET, future=future)
        self.handled: list[WebhookEvent] = []
        self.receiver.on("*")(self._handle)

    async def _handle(self, event: WebhookEvent) -> None:
        self.handled.append(event)

    @property
    def told(self) -> list[tuple[int, str]]:
        return [(event.order.id, str(event.order.status)) for event in self.handled]

    async def hear(self, order_id: int, status: str, at: dt.datetime | None = None) -> int:
        """Take a webhook request, and give the status of the reply."""
        at = dt.datetime.now(dt.UTC) if at is None else at
        body = (
            f'{{"event":"order.{status}","store_id":1,"timestamp":"{at.isoformat()}","data":'
            f'{{"id":{order_id},"order_number":"ORD-1","total":1.50,"status":"{status}"}}}}'
        ).encode()
        reply = await self.receiver.handle(body, {"X-Webhook-Signature": sign(body, SECRET)})
        return reply.status


def statuses(box: Sandbox) -> dict[int, str]:
    """The status of each order, by the store's own database."""
    return dict(box.connection.execute("SELECT id, status FROM orders").fetchall())


async def test_a_status_that_no_event_told_is_handled_as_a_polled_event() -> None:
    shop = Shop()
    async with selling(orders=30, products=5, customers=3) as (box, store):
        done = await reconcile(store, shop.receiver, LONG_AGO, store_id=1)
        assert dict(shop.told) == statuses(box)
    assert done == Reconciled(orders=30, handled=30, proof="atomic")
    assert done.complete
    assert {event.source for event in shop.handled} == {"poll"}
    assert {event.store_id for event in shop.handled} == {1}
    assert all(event.event == f"order.{event.order.status}" for event in shop.handled)


async def test_a_status_that_an_event_told_is_not_handled_again() -> None:
    shop = Shop()
    async with selling(orders=10, products=5, customers=3) as (box, store):
        for order_id, status in statuses(box).items():
            assert await shop.hear(order_id, status) == 200
        before = len(shop.handled)
        done = await reconcile(store, shop.receiver, LONG_AGO)
    assert (before, len(shop.handled), done.handled, done.orders) == (10, 10, 0, 10)


async def test_a_second_reconciliation_finds_nothing_new() -> None:
    shop = Shop()
    async with selling(orders=10, products=5, customers=3) as (_, store):
        await reconcile(store, shop.receiver, LONG_AGO)
        done = await reconcile(store, shop.receiver, LONG_AGO)
    assert (done.orders, done.handled, len(shop.handled)) == (10, 0, 10)


async def test_an_event_that_comes_late_after_all_is_acknowledged_and_not_handled() -> None:
    shop = Shop()
    async with selling(orders=1, products=5, customers=3) as (box, store):
        ((order_id, status),) = statuses(box).items()
        await reconcile(store, shop.receiver, LONG_AGO)
    hour_ago = dt.datetime.now(dt.UTC) - dt.timedelta(hours=1)
    assert await shop.hear(order_id, status, hour_ago) == 200
    assert shop.told == [(order_id, status)]


async def test_what_an_order_was_in_between_is_handled_when_its_event_comes_late() -> None:
    shop = Shop()
    async with selling(orders=1, products=5, customers=3) as (box, store):
        ((order_id, status),) = statuses(box).items()
        await reconcile(store, shop.receiver, LONG_AGO)
        hour_ago = dt.datetime.now(dt.UTC) - dt.timedelta(hours=1)
        assert await shop.hear(order_id, "between", hour_ago) == 200
        again = await reconcile(store, shop.receiver, LONG_AGO)
    assert shop.told == [(order_id, status), (order_id, "between")]
    assert again.handled == 0


async def test_an_event_from_after_the_beginning_knows_better_than_the_poll() -> None:
    shop = Shop()
    async with selling(orders=1, products=5, customers=3) as (box, store):
        ((order_id, _),) = statuses(box).items()
        soon = dt.datetime.now(dt.UTC) + dt.timedelta(minutes=1)
        assert await shop.hear(order_id, "later", soon) == 200
        done = await reconcile(store, shop.receiver, LONG_AGO)
    assert shop.told == [(order_id, "later")]
    assert done.handled == 0


async def test_orders_created_before_are_not_looked_at() -> None:
    shop = Shop()
    async with selling(orders=200, products=5, customers=3) as (box, store):
        (since_ms,) = box.connection.execute(
            "SELECT created_at FROM orders ORDER BY created_at DESC LIMIT 1 OFFSET 19"
        ).fetchone()
        since = dt.datetime.fromtimestamp(since_ms / 1000, dt.UTC)
        done = await reconcile(store, shop.receiver, since)
        newest = box.connection.execute(
            "SELECT id FROM orders WHERE created_at >= ? ORDER BY id", (since_ms,)
        ).fetchall()
    assert sorted(order_id for order_id, _ in shop.told) == [order_id for (order_id,) in newest]
    assert done.orders == len(newest)


async def test_a_handler_that_fails_does_not_keep_the_others_from_theirs(
    caplog: pytest.LogCaptureFixture,
) -> None:
    shop = Shop()
    async with selling(orders=10, products=5, customers=3) as (box, store):
        unlucky = min(statuses(box))

        @shop.receiver.on("*")
        async def fail(event: WebhookEvent) -> None:
            if event.order.id == unlucky and len(shop.handled) <= 10:
                raise OSError("not just now")

        with caplog.at_level(logging.ERROR):
            done = await reconcile(store, shop.receiver, LONG_AGO)
        assert (done.handled, done.failed, done.complete) == (9, (unlucky,), False)
        assert f"order {unlucky}" in caplog.text
        again = await reconcile(store, shop.receiver, LONG_AGO)
    assert (again.handled, again.failed, again.complete) == (1, (), True)


@pytest.mark.parametrize(
    "since",
    [dt.datetime(2026, 1, 1), dt.datetime.now(dt.UTC) + dt.timedelta(days=2)],  # noqa: DTZ001
)
async def test_what_is_no_aware_instant_of_the_past_is_refused(since: Any) -> None:
    async with DevSkinClient("key") as store:
        with pytest.raises(ValueError, match="since must"):
            await reconcile(store, Shop().receiver, since)


async def test_the_earliest_instant_there_is_can_be_given() -> None:
    shop = Shop()
    async with selling(orders=3, products=5, customers=3) as (_, store):
        done = await reconcile(store, shop.receiver, dt.datetime.min.replace(tzinfo=dt.UTC))
    assert done.orders == 3


async def test_a_key_that_is_refused_ends_it() -> None:
    shop = Shop()
    async with (
        selling(orders=3, products=5, customers=3) as (box, _),
        client_of(box, "revoked") as refused,
    ):
        with pytest.raises(AuthenticationError):
            await reconcile(refused, shop.receiver, LONG_AGO)
    assert shop.handled == []


@asynccontextmanager
async def in_front_of(box: Sandbox, change: Callable[[Any], None]) -> AsyncIterator[DevSkinClient]:
    """Serve a sandbox's answers with other headers, and give a client of it."""

    async def answer(request: web.Request) -> web.Response:
        headers = {"X-API-Key": request.headers["X-API-Key"]}
        url = f"{box.base_url}{request.rel_url}"
        async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as came:
            told = {"Content-Type": came.headers["Content-Type"], "Date": came.headers["Date"]}
            response = web.Response(body=await came.read(), status=came.status, headers=told)
        change(response.headers)
        return response

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    async with (
        TestServer(app) as server,
        DevSkinClient(
            box.api_key,
            base_url=str(server.make_url("")),
            rate_limit=UNLIMITED,
            retry=AT_ONCE,
        ) as store,
    ):
        yield store


def clock_of_the_api(hours: float, **others: str) -> Callable[[Any], None]:
    def change(headers: Any) -> None:
        now = dt.datetime.now(dt.UTC) + dt.timedelta(hours=hours)
        headers["Date"] = format_datetime(now, usegmt=True)
        headers.update(others)

    return change


@pytest.mark.parametrize("hours", [-1, 1, 24 * 40])
async def test_the_present_is_taken_from_the_apis_clock(hours: float) -> None:
    shop = Shop(future=dt.timedelta.max)
    async with (
        selling(orders=1, products=5, customers=3) as (box, _),
        in_front_of(box, clock_of_the_api(hours)) as store,
    ):
        there = dt.datetime.now(dt.UTC) + dt.timedelta(hours=hours)
        ((order_id, status),) = statuses(box).items()
        # By the API's clock this was a minute ago, and the order has moved on since.
        assert await shop.hear(order_id, "before", there - dt.timedelta(minutes=1)) == 200
        done = await reconcile(store, shop.receiver, LONG_AGO)
        assert (shop.told, done.handled) == ([(order_id, "before"), (order_id, status)], 1)
        # And this is newer than what was read.
        assert await shop.hear(order_id, "later", there + dt.timedelta(minutes=1)) == 200
        assert (await reconcile(store, shop.receiver, LONG_AGO)).handled == 0
    polled = shop.handled[1]
    assert polled.source == "poll"
    assert polled.timestamp is not None
    assert abs(polled.timestamp - there) < dt.timedelta(minutes=1)


@pytest.mark.parametrize(
    "change",
    [
        lambda headers: headers.update({"Date": "yesterday"}),
        lambda headers: headers.update({"Date": ""}),
        clock_of_the_api(-1, Age="30"),
    ],
)
async def test_without_a_date_that_says_the_present_this_machines_clock_does(
    change: Callable[[Any], None],
) -> None:
    shop = Shop()
    async with (
        selling(orders=1, products=5, customers=3) as (box, _),
        in_front_of(box, change) as store,
    ):
        before = dt.datetime.now(dt.UTC)
        await reconcile(store, shop.receiver, LONG_AGO)
        after = dt.datetime.now(dt.UTC)
    (event,) = shop.handled
    assert event.timestamp is not None
    assert before <= event.timestamp <= after


async def test_whether_since_is_in_the_future_is_judged_by_the_apis_clock() -> None:
    now = dt.datetime.now(dt.UTC)
    soon = now + dt.timedelta(minutes=30)
    async with selling(orders=3, products=5, customers=3) as (box, plain):
        async with in_front_of(box, clock_of_the_api(1)) as store:
            assert (await reconcile(store, Shop().receiver, soon)).orders == 0
        with pytest.raises(ValueError, match="since must not be in the future"):
            await reconcile(plain, Shop().receiver, soon)


class Process:
    """The receiver as a process of its own."""

    def __init__(self, seen: Path, handled: Path) -> None:
        self.port = 0
        self._files = (str(seen), str(handled))
        self._process: asyncio.subprocess.Process | None = None

    async def start(self, secret: str, fatal: str = "") -> None:
        """Start it at the same port as before, and wait until it listens."""
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.webhooks.receiving", str(self.port), secret),
            *(*self._files, fatal),
            stdout=asyncio.subprocess.PIPE,
        )
        assert self._process.stdout is not None
        self.port = int(await self._process.stdout.readline())

    async def kill(self) -> None:
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGKILL)
        assert await self.ended() == -signal.SIGKILL

    async def ended(self) -> int:
        assert self._process is not None
        return await self._process.wait()


@asynccontextmanager
async def receiving(seen: Path, handled: Path) -> AsyncIterator[Process]:
    process = Process(seen, handled)
    await process.start(SECRET)
    try:
        yield process
    finally:
        await process.kill()


def live_for(box: Sandbox, steps: int) -> None:
    """Let orders come and move on."""
    for _ in range(steps):
        box.live.insert()
        for _ in range(3):
            box.live.change()


async def test_after_two_kills_each_orders_latest_status_was_handled_once(tmp_path: Path) -> None:
    seen, handled = tmp_path / "seen.db", tmp_path / "handled.txt"
    once = WebhookSending(attempts=1)
    async with (
        Sandbox(orders=60, products=9, customers=9, limiter="none", webhooks=once) as box,
        client_of(box) as store,
        receiving(seen, handled) as process,
    ):
        box.webhooks.add(f"http://127.0.0.1:{process.port}/webhooks", ["order.*"], SECRET)
        live_for(box, 10)
        await box.webhooks.idle()
        await process.kill()
        live_for(box, 10)
        await box.webhooks.idle()
        await process.start(SECRET, fatal="completed")
        live_for(box, 20)
        await box.webhooks.idle()
        assert await process.ended() == -signal.SIGKILL
        live_for(box, 10)
        await box.webhooks.idle()
        await process.start(SECRET)

        lost = [each for each in box.webhooks.deliveries(1000) if each.state != "delivered"]
        assert lost
        async with SQLiteSeen(seen) as remembered:
            receiver = WebhookReceiver(SECRET, seen=remembered)
            receiver.on("order.*")(lambda event: append(handled, event))
            done = await reconcile(store, receiver, LONG_AGO)
        latest = Counter(statuses(box).items())
    assert done.complete
    lines = [line.split() for line in handled.read_text().splitlines()]
    told = Counter((int(order_id), status) for order_id, status, _ in lines)
    assert {key: told[key] for key in latest} == dict(latest)
    assert Counter(source for *_, source in lines)["poll"] == done.handled
    assert 0 < done.handled < done.orders


class BusyOnce(MemorySeen):
    """Has each turn taken by another process, the first time."""

    def __init__(self) -> None:
        super().__init__()
        self._asked: set[str] = set()

    async def begin(self, turn: str, key: str | None) -> Begun:
        if turn not in self._asked:
            self._asked.add(turn)
            return "busy"
        return await super().begin(turn, key)


async def test_an_order_that_another_process_is_at_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("devskin_async.reconcile.BUSY_SECONDS", 0)
    receiver = WebhookReceiver(SECRET, seen=BusyOnce())
    async with selling(orders=3, products=5, customers=3) as (_, store):
        done = await reconcile(store, receiver, LONG_AGO)
    assert (done.orders, done.handled) == (3, 3)


async def test_statuses_can_be_noted_without_being_handled() -> None:
    shop = Shop()
    async with selling(orders=10, products=5, customers=3) as (box, store):
        noted = await reconcile(store, shop.receiver, LONG_AGO, note_only=True)
        box.live.insert()
        done = await reconcile(store, shop.receiver, LONG_AGO)
    assert (noted.orders, noted.handled, done.orders, done.handled) == (10, 10, 11, 1)
    assert [status for _, status in shop.told] == ["pending"]
