"""When attempts are made: the waits between them, in virtual time, and the settings' bounds."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from typing import Any

import pytest

from devskin_async.sandbox import (
    LiveStore,
    OrderChange,
    SandboxError,
    WebhookSending,
    create_store,
    deliveries,
    endpoints,
    open_database,
)
from devskin_async.sandbox.answers import Writer
from devskin_async.sandbox.deliveries import Outcome, Parcel
from devskin_async.sandbox.events import EventSource
from devskin_async.sandbox.quirks import Quirks
from devskin_async.sandbox.sending import Sender
from devskin_async.testing import virtual_time
from tests.sandbox.support import TODAY


@contextmanager
def one_event() -> Iterator[sqlite3.Connection]:
    """A database where a new order's event waits for an endpoint."""
    connection = open_database()
    create_store(connection, "A store", orders=0, products=1, customers=1, today=TODAY)
    endpoint = endpoints.add(connection, 1, "http://localhost/")
    source = EventSource(connection, 1, Writer(Quirks()))

    def record(change: OrderChange) -> None:
        event = source.of_change(change, 0)
        assert event is not None
        deliveries.record(connection, event, [endpoint], due=12345.0, at=0)

    LiveStore(connection, 1, outbox=record).insert()
    yield connection
    connection.close()


async def attempts(settings: WebhookSending, outcome: Outcome) -> list[float]:
    """The instants at which a sender posts, while each attempt ends so."""
    loop = asyncio.get_running_loop()
    instants: list[float] = []

    async def post(parcel: Parcel) -> Outcome:
        instants.append(loop.time())
        return outcome

    with one_event() as connection:
        sender = Sender(connection, settings)
        running = asyncio.create_task(sender.run(post))
        await sender.at_rest.wait()
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
    return instants


@virtual_time
async def test_the_waits_grow_up_to_the_longest() -> None:
    settings = WebhookSending(attempts=6, longest=5)
    instants = await attempts(settings, Outcome(500, "status 500"))
    waits = [later - before for before, later in pairwise(instants)]
    assert waits == pytest.approx([1, 2, 4, 5, 5], abs=1e-3)


@virtual_time
async def test_by_default_an_event_is_given_up_after_two_minutes() -> None:
    instants = await attempts(WebhookSending(), Outcome(None, "no response"))
    assert len(instants) == 8
    assert instants[-1] - instants[0] == pytest.approx(127, abs=1e-3)


@virtual_time
async def test_what_arrived_or_never_can_is_not_tried_again() -> None:
    assert len(await attempts(WebhookSending(), Outcome(200, None))) == 1
    assert len(await attempts(WebhookSending(), Outcome(None, "private", final=True))) == 1


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"attempts": 0}, "attempts of webhooks must be from 1 to 100"),
        ({"concurrency": 0}, "concurrency of webhooks must be from 1 to 100"),
        ({"copies": 101}, "copies of webhooks must be from 1 to 100"),
        ({"first_wait": -1}, "first_wait of webhooks must not be negative"),
        ({"longest": float("inf")}, "longest of webhooks must not be negative"),
        ({"factor": 0.5}, "factor of webhooks must be from 1 to 100"),
        ({"timeout": 0}, "timeout of webhooks must be positive"),
        ({"timeout": float("nan")}, "timeout of webhooks must be positive"),
    ],
)
def test_settings_must_make_sense(options: dict[str, Any], told: str) -> None:
    with pytest.raises(SandboxError, match=rf"^{told}$"):
        WebhookSending(**options)
