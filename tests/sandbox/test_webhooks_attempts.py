"""How deliveries go: their order, attempts, time-outs and log, and what outlives a sandbox."""

from __future__ import annotations

import asyncio
import logging
import shutil
import socket
import sqlite3
import ssl
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from devskin_async.sandbox import (
    Sandbox,
    SandboxError,
    WebhookSending,
    database,
    deliveries,
    delivery_log,
    open_database,
    sending,
)
from devskin_async.sandbox.posting import Poster
from tests.sandbox.receiver import AT_ONCE, Receiver, Seen, receiving, small_store
from tests.support import until

LATER = WebhookSending(first_wait=300)
"""After one failure a test is over before the next attempt."""


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


def ended(box: Sandbox) -> list[tuple[str, int, int | None, str | None]]:
    """How each delivery ended, oldest first."""
    log = reversed(box.webhooks.deliveries())
    return [(each.state, each.attempts, each.status, each.error) for each in log]


def states_of(box: Sandbox) -> list[str]:
    return [state for state, *_ in ended(box)]


async def test_an_orders_events_keep_their_order_though_each_fails_first(
    receiver: Receiver,
) -> None:
    async with small_store() as box:
        tried: set[bytes] = set()

        async def answer(seen: Seen) -> web.Response:
            first = seen.raw not in tried
            tried.add(seen.raw)
            return web.Response(status=503 if first else 204)

        receiver.answer = answer
        box.webhooks.add(receiver.url)
        changes: list[tuple[int, str]] = []
        box.live.listeners.add(lambda change: changes.append((change.order_id, change.new or "")))
        for _ in range(10):
            box.live.insert()
        while box.live.change() is not None:
            pass
        await box.webhooks.idle()
        assert all(entry == ("delivered", 2, 204, None) for entry in ended(box))
    for order_id in {order_id for order_id, _ in changes}:
        fired = [status for each, status in changes if each == order_id]
        twice = [status for status in fired for _ in range(2)]
        assert [status for each, status in receiver.told if each == order_id] == twice


async def test_each_attempt_sends_the_same_bytes_and_signature(receiver: Receiver) -> None:
    async with small_store() as box:
        box.webhooks.add(receiver.url)
        receiver.answers(500, 404, 199 + 102, 429)
        box.live.insert()
        await box.webhooks.idle()
        assert ended(box) == [("delivered", 5, 200, None)]
    assert len(receiver.seen) == 5
    assert len({(seen.raw, seen.headers["X-Webhook-Signature"]) for seen in receiver.seen}) == 1


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
async def test_any_2xx_is_a_delivery(status: int, receiver: Receiver) -> None:
    async with small_store() as box:
        box.webhooks.add(receiver.url)
        receiver.answers(status)
        box.live.insert()
        await box.webhooks.idle()
        assert ended(box) == [("delivered", 1, status, None)]


async def test_after_so_many_attempts_it_is_given_up_and_the_next_event_is_sent(
    receiver: Receiver,
) -> None:
    async with small_store(WebhookSending(first_wait=0, attempts=3)) as box:
        box.webhooks.add(receiver.url)
        receiver.answers(500, 500, 500)
        order_id = box.live.insert()
        box.live.change()
        await box.webhooks.idle()
        assert ended(box) == [("given up", 3, 500, "status 500"), ("delivered", 1, 200, None)]
    assert [status for _, status in receiver.told[:3]] == ["pending"] * 3
    assert receiver.told[3][0] == order_id
    assert receiver.told[3][1] in ("paid", "cancelled")


async def test_failures_are_told_of_once_until_something_arrives(
    receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    async with small_store(WebhookSending(first_wait=0, attempts=9)) as box:
        box.webhooks.add(f"{receiver.url}?token=secret")
        receiver.answers(401, 500, 200, 500, 500, 200)
        box.live.insert()
        await box.webhooks.idle()
        box.live.insert()
        await box.webhooks.idle()
    assert [record.getMessage() for record in caplog.records] == [
        f"a webhook to {receiver.url} failed: status 401, is its secret the same?",
        f"a webhook to {receiver.url} failed: status 500",
    ]


async def test_deliveries_are_counted_by_how_they_stand(receiver: Receiver) -> None:
    async with small_store(WebhookSending(first_wait=0, attempts=1)) as box:
        box.webhooks.add(receiver.url)
        assert box.webhooks.counts() == {"delivered": 0, "waiting": 0, "given up": 0}
        receiver.answers(500)
        for _ in range(3):
            box.live.insert()
            await box.webhooks.idle()
        assert box.webhooks.counts() == {"delivered": 2, "waiting": 0, "given up": 1}


async def test_a_redirect_is_a_failure_and_not_followed(receiver: Receiver) -> None:
    async def answer(seen: Seen) -> web.Response:
        return web.Response(status=307, headers={"Location": "/elsewhere"})

    async with small_store(WebhookSending(attempts=1)) as box:
        box.webhooks.add(receiver.url)
        receiver.answer = answer
        box.live.insert()
        await box.webhooks.idle()
        assert ended(box) == [("given up", 1, 307, "status 307")]
    assert [seen.path for seen in receiver.seen] == ["/hook"]


async def test_an_attempt_without_an_answer_times_out_and_is_made_again(
    receiver: Receiver,
) -> None:
    async with small_store(WebhookSending(timeout=0.05, attempts=1)) as box:
        box.webhooks.add(receiver.url)
        receiver.hangs(1)
        box.live.insert()
        box.live.change()
        await box.webhooks.idle()
        assert ended(box) == [
            ("given up", 1, None, "no response within 0.05 s"),
            ("delivered", 1, 200, None),
        ]


async def test_a_receiver_that_is_not_there_is_a_failure() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    async with small_store(WebhookSending(first_wait=0, attempts=2)) as box:
        box.webhooks.add(f"http://127.0.0.1:{port}/")
        box.live.insert()
        await box.webhooks.idle()
        ((state, attempts, status, error),) = ended(box)
    assert (state, attempts, status) == ("given up", 2, None)
    assert error == f"no connection to 127.0.0.1 port {port}: Connection refused"


@pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl")
async def test_a_certificate_that_nobody_vouches_for_is_a_failure(tmp_path: Path) -> None:
    certificate, key = str(tmp_path / "cert.pem"), str(tmp_path / "key.pem")
    subprocess.run(  # noqa: ASYNC221 - a moment
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-subj", "/CN=localhost", "-keyout", key, "-out", certificate),
        ],
        check=True,
        capture_output=True,
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    server = await asyncio.start_server(lambda _, __: None, "127.0.0.1", ssl=context)
    port = server.sockets[0].getsockname()[1]
    async with server, small_store(WebhookSending(first_wait=0, attempts=2)) as box:
        box.webhooks.add(f"https://127.0.0.1:{port}/")
        box.live.insert()
        await box.webhooks.idle()
        ((state, attempts, _, error),) = ended(box)
    assert (state, attempts) == ("given up", 2)
    assert (error or "").startswith(f"no TLS with 127.0.0.1 port {port}: ")
    assert "self" in (error or "")


async def test_a_receiver_that_hangs_up_is_a_failure(receiver: Receiver) -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1")
    port = server.sockets[0].getsockname()[1]
    async with server, small_store(WebhookSending(attempts=1)) as box:
        box.webhooks.add(f"http://127.0.0.1:{port}/")
        box.live.insert()
        await box.webhooks.idle()
        ((state, *_, error),) = ended(box)
    assert state == "given up"
    assert (error or "").startswith("the connection broke: ")


async def test_a_mistake_of_its_own_is_logged_and_ends_nothing(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def mistaken(self: Poster, parcel: object) -> int:
        monkeypatch.undo()
        raise KeyError("oops")

    async with small_store() as box:
        box.webhooks.add(receiver.url)
        monkeypatch.setattr(Poster, "_post", mistaken)
        box.live.insert()
        await box.webhooks.idle()
        assert ended(box) == [("delivered", 2, 200, None)]
    assert "an attempt failed that should not" in caplog.text


async def test_an_endpoint_that_hangs_holds_up_no_other(receiver: Receiver) -> None:
    async with receiving() as dead, small_store(WebhookSending(concurrency=2)) as box:
        dead.hangs()
        box.webhooks.add(dead.url)
        box.webhooks.add(receiver.url)
        placed = [box.live.insert() for _ in range(10)]
        await receiver.have_arrived(10)
        assert sorted(order_id for order_id, _ in receiver.told) == placed
        assert len(dead.seen) <= 2


async def test_different_orders_go_at_the_same_time_up_to_a_bound(receiver: Receiver) -> None:
    under_way, most = 0, 0

    async def answer(seen: Seen) -> web.Response:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        if under_way == 3:
            receiver.gate.set()
        await receiver.gate.wait()
        under_way -= 1
        return web.Response()

    async with small_store(WebhookSending(concurrency=3)) as box:
        receiver.answer = answer
        box.webhooks.add(receiver.url)
        for _ in range(12):
            box.live.insert()
        await box.webhooks.idle()
        assert len(receiver.seen) == 12
    assert most == 3


async def test_an_event_that_waits_for_its_next_attempt_holds_up_no_other_order(
    receiver: Receiver,
) -> None:
    async with small_store(WebhookSending(first_wait=300, concurrency=1)) as box:
        receiver.answers(500)
        box.webhooks.add(receiver.url)
        first, second = box.live.insert(), box.live.insert()
        await receiver.have_arrived(2)
        assert receiver.told == [(first, "pending"), (second, "pending")]


async def test_what_was_waiting_is_sent_when_the_file_is_served_again(
    receiver: Receiver, tmp_path: Path
) -> None:
    path = tmp_path / "shop.db"
    receiver.answers(503)
    async with small_store(LATER, db=path) as box:
        box.webhooks.add(receiver.url)
        order_id = box.live.insert()
        box.live.change()
        await until(lambda: box.webhooks.deliveries()[-1].attempts)
    async with small_store(LATER, db=path) as box:
        await box.webhooks.idle()
        assert ended(box) == [("delivered", 2, 200, None), ("delivered", 1, 200, None)]
    assert [order for order, _ in receiver.told] == [order_id] * 3
    assert receiver.seen[0].raw == receiver.seen[1].raw


async def test_closing_cuts_off_what_is_under_way_and_it_stays_waiting(
    receiver: Receiver, tmp_path: Path
) -> None:
    path = tmp_path / "shop.db"
    receiver.hangs(1)
    before = asyncio.all_tasks()
    async with small_store(db=path) as box:
        box.webhooks.add(receiver.url)
        box.live.insert()
        await receiver.have_arrived(1)
        webhooks = box.webhooks
        waiting = asyncio.create_task(webhooks.idle())
        await asyncio.sleep(0)
    with pytest.raises(SandboxError, match=r"^the sandbox was closed before all webhooks were"):
        await waiting
    left = asyncio.all_tasks() - before
    assert not [task for task in left if "sandbox" in repr(task.get_coro())]
    async with small_store(db=path) as box:
        await box.webhooks.idle()
        assert ended(box) == [("delivered", 1, 200, None)]
    assert len(receiver.seen) == 2


async def test_what_is_removed_before_it_is_sent_is_not_sent(receiver: Receiver) -> None:
    async with small_store() as box:
        endpoint = box.webhooks.add(receiver.url)
        await box.webhooks.idle()
        box.live.insert()
        await asyncio.sleep(0)  # its attempt is a task now, which has not begun
        box.webhooks.remove(endpoint.id)
        await box.webhooks.idle()
        assert ended(box) == [("given up", 0, None, "the endpoint was removed")]
    assert receiver.seen == []


async def test_idle_of_a_sandbox_that_closed_with_nothing_to_send_returns() -> None:
    async with small_store() as box:
        webhooks = box.webhooks
        await webhooks.idle()
    await webhooks.idle()


async def test_the_log_tells_of_each_delivery_newest_first(receiver: Receiver) -> None:
    async with small_store() as box:
        endpoint = box.webhooks.add(receiver.url)
        first, second = box.live.insert(), box.live.insert()
        (newest, oldest) = box.webhooks.deliveries()
        assert (newest.state, newest.attempts, newest.tried_at) == ("waiting", 0, None)
        await box.webhooks.idle()
        (newest, oldest) = box.webhooks.deliveries()
        assert (newest.order_id, oldest.order_id) == (second, first)
        assert (newest.endpoint_id, newest.event) == (endpoint.id, "order.pending")
        assert newest.body in {seen.raw for seen in receiver.seen}
        assert newest.tried_at is not None
        assert newest.created_at <= newest.tried_at
        assert "body" not in repr(newest)
        assert box.webhooks.deliveries(1) == (newest,)
        assert box.webhooks.deliveries(10**30) == (newest, oldest)
        with pytest.raises(SandboxError, match=r"^limit must be positive$"):
            box.webhooks.deliveries(0)


async def test_the_log_of_ended_deliveries_has_a_bound(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "KEPT", 5)
    monkeypatch.setattr(sending, "TRIMMED_EVERY", 1)
    async with small_store() as box:
        box.webhooks.add(receiver.url)
        placed = [box.live.insert() for _ in range(20)]
        await box.webhooks.idle()
        kept = [each.order_id for each in box.webhooks.deliveries()]
    assert kept == placed[:-6:-1]


async def test_what_waits_for_one_endpoint_has_a_bound_and_the_oldest_is_given_up(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "MOST_WAITING", 3)
    monkeypatch.setattr(sending, "TRIMMED_EVERY", 1)
    async with small_store(WebhookSending()) as box:
        receiver.hangs()
        box.webhooks.add(receiver.url)
        first = box.live.insert()
        await receiver.have_arrived(1)
        for _ in range(2):
            box.live.change()
        placed = [box.live.insert() for _ in range(2)]
        await until(lambda: "given up" in states_of(box))
        await receiver.have_arrived(3)
        # Still under way, its order's next event waits though it was given up.
        assert sorted(order_id for order_id, _ in receiver.told) == [first, *placed]
        receiver.gate.set()
        await box.webhooks.idle()
        states = states_of(box)
    assert states == ["delivered", "given up", "delivered", "delivered", "delivered"]
    assert receiver.told[3][0] == first


async def test_copies_of_an_event_arrive_together_and_are_one_delivery(
    receiver: Receiver,
) -> None:
    async with small_store(WebhookSending(first_wait=0, copies=3)) as box:
        receiver.hangs(3)
        box.webhooks.add(receiver.url)
        box.live.insert()
        await receiver.have_arrived(3)
        receiver.gate.set()
        await box.webhooks.idle()
        assert ended(box) == [("delivered", 1, 200, None)]
    assert len({seen.raw for seen in receiver.seen}) == 1
    assert len(receiver.seen) == 3


async def test_an_event_has_arrived_if_one_of_its_copies_has(receiver: Receiver) -> None:
    async with small_store(WebhookSending(first_wait=0, copies=2)) as box:
        receiver.answers(409)
        box.webhooks.add(receiver.url)
        box.live.insert()
        await box.webhooks.idle()
        assert ended(box) == [("delivered", 1, 200, None)]


async def test_while_the_file_is_locked_the_outcome_waits_and_nothing_is_sent_twice(
    receiver: Receiver,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(sending, "FAILED_SECONDS", 0.001)
    path = tmp_path / "shop.db"
    async with small_store(db=path) as box:
        receiver.hangs(1)
        box.webhooks.add(receiver.url)
        box.live.insert()
        await receiver.have_arrived(1)
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        box.connection.execute("PRAGMA busy_timeout = 0")
        receiver.gate.set()
        await until(lambda: caplog.records)
        other.execute("ROLLBACK")
        other.close()
        await box.webhooks.idle()
        assert ended(box) == [("delivered", 1, 200, None)]
    assert len(receiver.seen) == 1
    assert caplog.messages[0] == (
        "cannot note how delivery 1 went: cannot write the database: database is locked"
    )
    assert caplog.records[0].levelno == logging.WARNING
    assert caplog.records[0].exc_info is None


@pytest.mark.parametrize("name", ["busy_endpoints", "load", "make_due"])
async def test_a_database_that_fails_for_a_moment_ends_nothing(
    name: str,
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(sending, "FAILED_SECONDS", 0.001)
    real = getattr(deliveries, name)
    failures = [sqlite3.OperationalError("disk I/O error"), RuntimeError("anything")]

    def failing(*arguments: Any) -> Any:
        if failures:
            raise failures.pop(0)
        return real(*arguments)

    monkeypatch.setattr(deliveries, name, failing)
    async with small_store() as box:
        box.webhooks.add(receiver.url)
        box.live.insert()
        await box.webhooks.idle()
        assert ended(box) == [("delivered", 1, 200, None)]
    assert [bool(record.exc_info) for record in caplog.records] == [False, True]
    assert "disk I/O error" in caplog.messages[0]


def test_a_file_of_the_version_without_webhooks_gets_their_tables(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    old = sqlite3.connect(path)
    old.executescript(database.SCHEMAS[0])
    old.execute(f"PRAGMA application_id = {database.APPLICATION_ID}")
    old.execute("PRAGMA user_version = 1")
    old.execute("INSERT INTO stores VALUES (1, 'Kept')")
    old.commit()
    old.close()
    for _ in range(2):
        connection = open_database(path)
        assert connection.execute("SELECT name FROM stores").fetchall() == [("Kept",)]
        assert delivery_log.list_deliveries(connection) == ()
        assert connection.execute("PRAGMA user_version").fetchone() == (2,)
        connection.close()


async def test_a_closed_sandbox_leaves_its_endpoints_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    async with small_store(AT_ONCE, db=path) as box:
        added = box.webhooks.add("http://localhost/hook", ["order.paid"])
    async with small_store(AT_ONCE, db=path) as box:
        (kept,) = box.webhooks.list()
        assert (kept.id, kept.url, kept.events) == (added.id, added.url, ("order.paid",))
