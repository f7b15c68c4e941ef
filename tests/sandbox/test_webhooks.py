"""What a running sandbox sends when its orders change, and to whom."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from devskin_async.sandbox import (
    Endpoint,
    OrderChange,
    Sandbox,
    SandboxError,
    Traffic,
    endpoints,
    open_database,
)
from tests.sandbox.receiver import (
    AT_ONCE,
    Receiver,
    receiving,
    small_store,
    verify_webhook_signature,
)
from tests.sandbox.support import calling

STATUSES = ["pending", "paid", "shipped", "completed", "cancelled"]


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


@pytest.fixture
async def box() -> AsyncIterator[Sandbox]:
    async with small_store() as box:
        yield box


async def test_an_event_has_the_references_body_with_exact_money_and_the_moment_of_the_change(
    receiver: Receiver,
) -> None:
    async with small_store(limiter="none") as box, calling(box) as api:
        box.webhooks.add(receiver.url)
        order_id = box.live.insert()
        await box.webhooks.idle()
        order = (await api.data(f"/orders/{order_id}"))["order"]
        (moment,) = box.connection.execute(
            "SELECT strftime('%Y-%m-%dT%H:%M:%S', updated_at / 1000, 'unixepoch') || '.'"
            " || format('%03d', updated_at % 1000) || 'Z' FROM orders WHERE id = ?",
            (order_id,),
        ).fetchone()
    (seen,) = receiver.seen
    assert seen.raw.decode() == (
        f'{{"event":"order.pending","store_id":1,"timestamp":"{moment}",'
        f'"data":{{"id":{order_id},"order_number":"{order["order_number"]}",'
        f'"total":{order["total"]},"status":"pending"}}}}'
    )
    assert order["total"].as_tuple().exponent == -2
    assert seen.headers["Content-Type"] == "application/json"
    assert seen.headers["User-Agent"] == "devskin-sandbox-webhooks"


async def test_the_references_function_verifies_the_signature(
    receiver: Receiver, box: Sandbox
) -> None:
    secret = box.webhooks.add(receiver.url).secret
    assert secret is not None
    assert secret.startswith("whsec_")
    box.live.insert()
    await box.webhooks.idle()
    (seen,) = receiver.seen
    signature = seen.headers["X-Webhook-Signature"]
    assert verify_webhook_signature(seen.raw, signature, secret)
    assert not verify_webhook_signature(seen.raw + b" ", signature, secret)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl")
async def test_openssl_makes_the_same_signature(receiver: Receiver, box: Sandbox) -> None:
    box.webhooks.add(receiver.url, secret="päss word")
    box.live.insert()
    await box.webhooks.idle()
    (seen,) = receiver.seen
    made = subprocess.run(  # noqa: ASYNC221 - a moment
        ["openssl", "dgst", "-sha256", "-hmac", "päss word"],
        input=seen.raw,
        capture_output=True,
        check=True,
    )
    digest = made.stdout.decode().split()[-1]
    assert seen.headers["X-Webhook-Signature"] == f"sha256={digest}"


async def test_each_endpoint_signs_by_its_own_secret(receiver: Receiver, box: Sandbox) -> None:
    made = [box.webhooks.add(f"{receiver.url}/{name}").secret for name in "ab"]
    assert made[0] != made[1]
    box.live.insert()
    await box.webhooks.idle()
    for seen in receiver.seen:
        secret = made["ab".index(seen.path[-1])] or ""
        assert verify_webhook_signature(seen.raw, seen.headers["X-Webhook-Signature"], secret)


async def test_every_change_of_a_status_fires_its_own_event_and_a_removal_none(
    receiver: Receiver, box: Sandbox
) -> None:
    box.webhooks.add(receiver.url)
    changes: list[OrderChange] = []
    box.live.listeners.add(changes.append)
    for _ in range(60):
        box.live.insert()
    while box.live.change() is not None:
        pass
    while box.live.remove() is not None:
        pass
    await box.webhooks.idle()
    fired = [(change.order_id, change.new) for change in changes if change.new is not None]
    assert sorted(receiver.told) == sorted(fired)
    assert {status for _, status in receiver.told} == set(STATUSES)
    for seen in receiver.seen:
        assert seen.body["event"] == f"order.{seen.body['data']['status']}"


async def test_traffic_fires(receiver: Receiver) -> None:
    traffic = Traffic(inserts=500, changes=1500)
    async with Sandbox(orders=30, webhooks=AT_ONCE, traffic=traffic) as box:
        box.webhooks.add(receiver.url)
        await receiver.have_arrived(20)
    assert {status for _, status in receiver.told} <= set(STATUSES)


async def test_a_change_that_can_not_be_written_fires_nothing_and_is_undone(
    receiver: Receiver, box: Sandbox
) -> None:
    box.webhooks.add(receiver.url)
    box.connection.execute(
        "CREATE TRIGGER no_space BEFORE INSERT ON webhook_deliveries"
        " BEGIN SELECT raise(ROLLBACK, 'disk full'); END"
    )
    with pytest.raises(Exception, match="disk full"):
        box.live.insert()
    assert box.connection.execute("SELECT count(*) FROM orders").fetchone() == (0,)
    box.connection.execute("DROP TRIGGER no_space")
    order_id = box.live.insert()
    await box.webhooks.idle()
    assert receiver.told == [(order_id, "pending")]


@pytest.mark.parametrize(
    ("events", "wanted"),
    [
        (("order.paid",), {"paid"}),
        (("order.shipped", "order.completed"), {"shipped", "completed"}),
        (("order.*",), set(STATUSES)),
        (("*",), set(STATUSES)),
        (("order.paid", "*"), set(STATUSES)),
    ],
)
async def test_an_endpoint_gets_the_events_it_asked_for_once(
    events: tuple[str, ...], wanted: set[str], receiver: Receiver, box: Sandbox
) -> None:
    box.webhooks.add(receiver.url, events)
    for _ in range(60):
        box.live.insert()
    while box.live.change() is not None:
        pass
    await box.webhooks.idle()
    assert {status for _, status in receiver.told} == wanted
    assert len(set(receiver.told)) == len(receiver.told)


@pytest.mark.parametrize(
    ("events", "told"),
    [
        (("order.refunded",), "no webhook event 'order.refunded'; there are order.pending, "),
        (("orders.*",), r"no webhook event 'orders\.\*'"),
        (("order.p*",), r"no webhook event 'order\.p\*'"),
        (("",), "no webhook event ''"),
        ((), "a webhook needs an event; there are "),
    ],
)
async def test_any_other_event_is_refused(events: tuple[str, ...], told: str, box: Sandbox) -> None:
    with pytest.raises(SandboxError, match=f"^{told}"):
        box.webhooks.add("http://localhost/", events)
    assert box.webhooks.list() == ()


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("ftp://shop.example/", "must begin with http:// or https:// and a host"),
        ("shop.example/hook", "must begin with http:// or https:// and a host"),
        ("http://shop.example:99999/", "is none"),
        ("http:///hook", "must begin with http:// or https:// and a host"),
        ("http://shop.example/#hook", "must not have a fragment"),
        ("http://shop.example/#", "must not have a fragment"),
        ("http://shop.example/a b", "must not have spaces"),
        ("http://shop.example/\n", "must not have spaces"),
    ],
)
async def test_a_url_that_nothing_can_be_posted_to_is_refused(
    url: str, told: str, box: Sandbox
) -> None:
    with pytest.raises(SandboxError, match=r"^the webhook URL ") as refused:
        box.webhooks.add(url)
    assert told in str(refused.value)
    assert repr(url) in str(refused.value)


async def test_a_url_with_a_password_is_refused_and_not_repeated(box: Sandbox) -> None:
    with pytest.raises(SandboxError, match=r"^the webhook URL must not have a user name"):
        box.webhooks.add("http://me:hunter2@shop.example/")
    with pytest.raises(SandboxError, match=r"^the webhook URL is none: ") as refused:
        box.webhooks.add("http://me:hunter2@shop.example:99999/")
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("secret", ["", " ", "a\nb", "trailing "])
async def test_a_secret_that_would_be_mistaken_is_refused(secret: str, box: Sandbox) -> None:
    with pytest.raises(SandboxError, match=r"^the webhook secret must be printable"):
        box.webhooks.add("http://localhost/", secret=secret)


async def test_the_secret_is_told_once_and_shows_nowhere(
    receiver: Receiver, box: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(0)
    added = box.webhooks.add(receiver.url)
    secret = added.secret
    assert secret is not None
    receiver.answers(500)
    box.live.insert()
    await box.webhooks.idle()
    box.webhooks.add("http://127.0.0.1:1/", secret=secret)
    box.live.insert()
    await box.webhooks.idle()
    (listed, _) = box.webhooks.list()
    assert listed.secret is None
    shown = repr((added, box.webhooks, box.webhooks.list(), box.webhooks.deliveries()))
    bodies = b"".join(each.body for each in box.webhooks.deliveries())
    assert secret not in shown + bodies.decode() + caplog.text
    with pytest.raises(SandboxError) as refused:
        box.webhooks.accept(receiver.url, "another")
    assert str(refused.value) == f"endpoint {added.id} for {receiver.url} has another secret"


async def test_a_removed_endpoint_gets_nothing_more_and_loses_its_secret(
    receiver: Receiver, box: Sandbox
) -> None:
    receiver.hangs(1)
    endpoint = box.webhooks.add(receiver.url)
    first = box.live.insert()
    await receiver.have_arrived(1)
    box.live.change()
    assert box.webhooks.remove(endpoint.id).url == receiver.url
    receiver.gate.set()
    box.live.insert()
    await box.webhooks.idle()
    assert receiver.told == [(first, "pending")]
    assert box.webhooks.list() == ()
    log = [(each.state, each.error) for each in box.webhooks.deliveries()]
    assert log == [("given up", "the endpoint was removed"), ("delivered", None)]
    assert box.connection.execute("SELECT secret FROM webhook_endpoints").fetchone() == (None,)


async def test_removing_what_is_not_there_is_a_clear_error(receiver: Receiver) -> None:
    async with small_store() as box:
        box.webhooks.add(receiver.url)
        box.webhooks.remove(1)
        for gone in (1, 2, 2**70):
            with pytest.raises(SandboxError, match=rf"^there is no webhook endpoint {gone}$"):
                box.webhooks.remove(gone)
        assert box.webhooks.add(receiver.url).id == 2


async def test_an_endpoint_that_another_process_adds_or_removes_counts_from_the_next_event_on(
    receiver: Receiver, tmp_path: Path
) -> None:
    path = tmp_path / "shop.db"
    async with small_store(db=path) as box:
        other = open_database(path)
        box.live.insert()
        endpoint = endpoints.add(other, 1, receiver.url)
        second = box.live.insert()
        await box.webhooks.idle()
        assert receiver.told == [(second, "pending")]
        endpoints.remove(other, endpoint.id)
        box.live.insert()
        await box.webhooks.idle()
        assert len(receiver.seen) == 1
        other.close()


async def test_an_endpoint_of_another_store_gets_nothing_of_this_one(
    receiver: Receiver, box: Sandbox
) -> None:
    box.connection.execute("INSERT INTO stores VALUES (2, 'Another')")
    other = endpoints.add(box.connection, 2, receiver.url)
    box.live.insert()
    await box.webhooks.idle()
    assert receiver.seen == []
    assert box.webhooks.list() == ()
    with pytest.raises(SandboxError, match=r"^there is no webhook endpoint 1$"):
        box.webhooks.remove(other.id)
    with pytest.raises(SandboxError, match=r"^there is no store 3$"):
        endpoints.add(box.connection, 3, receiver.url)


async def test_accepting_a_url_twice_is_once(receiver: Receiver, box: Sandbox) -> None:
    first = box.webhooks.accept(receiver.url, "my-own")
    assert first.secret == "my-own"
    again = box.webhooks.accept(receiver.url, "my-own")
    assert (again.id, again.secret) == (first.id, None)
    assert box.webhooks.accept(receiver.url).id == first.id
    assert box.webhooks.accept(receiver.url + "/other").id != first.id


async def test_before_it_starts_and_after_it_closed_there_are_no_webhooks() -> None:
    box = small_store()
    for _ in range(2):
        with pytest.raises(SandboxError, match=r"^the sandbox is not running$"):
            _ = box.webhooks
        async with box:
            assert box.webhooks.list() == ()
            await box.webhooks.idle()


def test_an_endpoint_wants_what_its_patterns_name() -> None:
    one = Endpoint(1, 1, "http://localhost/", ("order.paid",), "2026-02-13T14:30:00.000Z")
    assert one.wants("order.paid")
    assert not one.wants("order.shipped")
