"""Webhooks of another shape than the reference's, by quirk."""

from __future__ import annotations

from collections.abc import AsyncIterator
from decimal import Decimal

import pytest

from devskin_async.sandbox import Sandbox
from tests.sandbox.receiver import Receiver, receiving, small_store, verify_webhook_signature


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


def quirky(*quirks: str) -> Sandbox:
    return small_store(quirks=quirks)


async def test_an_endpoint_that_is_added_gets_events_without_data(receiver: Receiver) -> None:
    async with quirky("odd-events") as box:
        box.webhooks.add(receiver.url, ["order.paid"])
        await box.webhooks.idle()
        assert [set(seen.body) for seen in receiver.seen] == [
            {"event", "timestamp"},
            {"event", "store_id", "timestamp"},
        ]
        assert [seen.body["event"] for seen in receiver.seen] == ["ping", "webhook.test"]


async def test_an_endpoint_that_is_there_already_gets_none_of_them(receiver: Receiver) -> None:
    async with quirky("odd-events") as box:
        for _ in range(2):
            box.webhooks.accept(receiver.url)
        await box.webhooks.idle()
        assert len(receiver.seen) == 2


async def test_a_removal_fires_with_an_id_alone(receiver: Receiver) -> None:
    async with quirky("odd-events") as box:
        for _ in range(2):
            box.live.insert()
        box.webhooks.add(receiver.url)
        gone = box.live.remove()
        await box.webhooks.idle()
        (deleted,) = [seen.body for seen in receiver.seen if seen.body["event"] == "order.deleted"]
        assert deleted["data"] == {"id": gone}
        assert set(deleted) == {"event", "store_id", "timestamp", "data"}


async def test_orders_have_a_null_total_or_a_null_store_in_turn(receiver: Receiver) -> None:
    async with quirky("odd-events") as box:
        secret = box.webhooks.add(receiver.url).secret or ""
        for _ in range(3):
            box.live.insert()
        await box.webhooks.idle()
        shapes = {
            seen.body["data"]["id"] % 3: (
                seen.body["store_id"] is None,
                seen.body["data"]["total"] is None,
            )
            for seen in receiver.seen
            if "data" in seen.body
        }
        assert shapes == {0: (False, True), 1: (True, False), 2: (False, False)}
        for seen in receiver.seen:
            assert verify_webhook_signature(seen.raw, seen.headers["X-Webhook-Signature"], secret)


async def test_events_have_the_quirks_of_values_and_text_too(receiver: Receiver) -> None:
    async with quirky("bom", "numbers-as-text", "third-decimal", "cut-emoji") as box:
        box.webhooks.add(receiver.url)
        for _ in range(3):
            box.live.insert()
        await box.webhooks.idle()
        assert {seen.raw[:3] for seen in receiver.seen} == {b"\xef\xbb\xbf"}
        data = {seen.body["data"]["id"] % 3: seen.body["data"] for seen in receiver.seen}
        assert Decimal(data[0]["total"]) % Decimal("0.01") == Decimal("0.005")
        assert Decimal(data[1]["total"]) % Decimal("0.01") == 0
        assert data[0]["customer_name"].endswith(" \ud83d")


async def test_without_the_quirk_an_endpoint_that_is_added_gets_nothing(
    receiver: Receiver,
) -> None:
    async with quirky() as box:
        box.webhooks.add(receiver.url)
        await box.webhooks.idle()
        assert receiver.seen == []
