"""The handler of aiohttp.web: what its server does to a body, and does not."""

from __future__ import annotations

import gzip
import logging
import zlib
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from devskin_async.webhooks import WebhookReceiver, aiohttp_handler
from tests.webhooks.serving import (
    SECRET,
    Address,
    Handled,
    Wire,
    by_aiohttp,
    chunked,
    event_body,
    length,
    post,
    signed,
)


@pytest.fixture
def receiver() -> WebhookReceiver:
    return WebhookReceiver(SECRET)


@pytest.fixture
def handled(receiver: WebhookReceiver) -> Handled:
    return Handled(receiver)


@pytest.fixture
async def address(receiver: WebhookReceiver) -> AsyncIterator[Address]:
    app = web.Application()
    app.router.add_route("*", "/webhooks", aiohttp_handler(receiver))
    async with by_aiohttp(app) as address:
        yield address


async def test_for_all_methods_it_gives_405_to_all_but_post(
    address: Address, handled: Handled
) -> None:
    async with Wire(address) as wire:
        await wire.post(event_body(), method="PUT")
        answer = await wire.answer()
    assert (answer.status, answer.headers["allow"]) == (405, "POST")
    assert not handled


@pytest.mark.parametrize(
    ("coding", "compress"),
    [("gzip", gzip.compress), ("deflate", zlib.compress), ("GZIP", gzip.compress)],
)
async def test_a_body_that_the_server_has_decompressed_is_not_what_was_signed(
    address: Address, handled: Handled, coding: str, compress: type
) -> None:
    body = event_body()
    answer = await post(address, compress(body), signed(body), f"Content-Encoding: {coding}")
    assert (answer.status, answer.headers["accept-encoding"]) == (415, "identity")
    assert not handled


async def test_a_body_that_says_it_is_as_it_is_is_read(address: Address, handled: Handled) -> None:
    body = event_body()
    answer = await post(address, body, signed(body), "Content-Encoding: Identity")
    assert answer.status == 200
    assert len(handled) == 1


async def test_a_body_that_would_grow_to_a_thousandfold_is_refused_before_it_is_there(
    address: Address, handled: Handled
) -> None:
    bomb = gzip.compress(bytes(1 << 26))
    async with Wire(address) as wire:
        await wire.begin("Content-Encoding: gzip", length(bomb))
        await wire.send(bomb[:-1])
        assert (await wire.answer()).status == 415
    assert not handled


async def test_a_connection_is_kept_after_a_request_that_was_read(address: Address) -> None:
    async with Wire(address) as wire:
        for _ in range(3):
            await wire.post(event_body())
            assert (await wire.answer()).status == 200


async def test_a_broken_chunk_is_not_handled_and_no_error(
    address: Address, handled: Handled, caplog: pytest.LogCaptureFixture
) -> None:
    body = event_body()
    async with Wire(address) as wire:
        await wire.begin(signed(body), "Transfer-Encoding: chunked", "Expect: 100-continue")
        assert (await wire.answer()).status == 100
        await wire.send(chunked(body) + b"no chunk\r\n")
        wire.end()
        await wire.rest()
    assert not handled
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
