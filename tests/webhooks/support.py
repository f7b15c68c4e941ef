"""What the tests of webhooks share: a secret, bodies as the reference shows them, a receiver."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

from devskin_async import OrderStatus
from devskin_async.webhooks import (
    HEADER,
    MemorySeen,
    Reply,
    Seen,
    WebhookEvent,
    WebhookReceiver,
    sign,
)
from devskin_async.webhooks.events import OrderEvent, polled
from devskin_async.webhooks.seen import Begun, Told

SECRET = "whsec_dont_show_me"
NOW = dt.datetime(2026, 2, 13, 14, 30, tzinfo=dt.UTC)
RECEIVED = (200, {"received": True})

# The reference's own example, with its line ends.
EXAMPLE = b"""{
"event": "order.paid",
"store_id": 15,
"timestamp": "2026-02-13T14:30:00.000Z",
"data": {
"id": 1234,
"order_number": "ORD-2026-001234",
"total": 199.90,
"status": "paid"
}
}
"""


def at(seconds: float) -> dt.datetime:
    """An instant so many seconds after now."""
    return NOW + dt.timedelta(seconds=seconds)


def order_body(
    status: str = "paid",
    *,
    order: int = 1234,
    store: int = 15,
    seconds: float = 0,
    event: str | None = None,
    number: str = "ORD-2026-001234",
) -> bytes:
    """The body of an event of an order, sent some seconds after now."""
    return json.dumps(
        {
            "event": f"order.{status}" if event is None else event,
            "store_id": store,
            "timestamp": at(seconds).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "data": {"id": order, "order_number": number, "total": 199.9, "status": status},
        }
    ).encode()


def other_body(number: int = 0, event: str = "product.updated") -> bytes:
    """The body of an event of something else than an order."""
    return json.dumps(
        {
            "event": event,
            "store_id": 15,
            "timestamp": "2026-02-13T14:30:00.000Z",
            "data": {"id": number},
        }
    ).encode()


def poll_of(
    status: str, seconds: float, *, order: int = 1234, store: int | None = 15
) -> WebhookEvent:
    """What a poll that began some seconds after now has found out."""
    record = OrderEvent(
        id=order,
        order_number="ORD-2026-001234",
        total=Decimal("199.90"),
        status=OrderStatus(status),
    )
    return polled(record, at(seconds), store)


def signed(body: bytes, secret: str | bytes = SECRET) -> Mapping[str, str]:
    """The headers of a request with this body."""
    return {"Content-Type": "application/json", HEADER: sign(body, secret)}


def make_receiver(seen: Seen | None = None, **options: Any) -> WebhookReceiver:
    """A receiver whose clock stands at now."""
    return WebhookReceiver(
        options.pop("secrets", SECRET), seen=seen, clock=NOW.timestamp, **options
    )


def send(receiver: WebhookReceiver, body: bytes) -> Coroutine[Any, Any, Reply]:
    """Send a signed body to a receiver."""
    return receiver.handle(body, signed(body))


def told(reply: Reply) -> tuple[int, object]:
    """A reply's status, and its body read."""
    return reply.status, json.loads(reply.body)


class Recorder:
    """An async handler that notes its events, and may be held or made to fail."""

    def __init__(self) -> None:
        self.begun: list[WebhookEvent] = []
        self.handled: list[WebhookEvent] = []
        self.failures: list[BaseException] = []
        self.go = asyncio.Event()
        self.go.set()
        self.entered = asyncio.Semaphore(0)

    async def __call__(self, event: WebhookEvent) -> None:
        self.begun.append(event)
        self.entered.release()
        await self.go.wait()
        if self.failures:
            raise self.failures.pop(0)
        self.handled.append(event)

    @property
    def statuses(self) -> list[str]:
        """The statuses that were handled, in their order."""
        return [event.order.status for event in self.handled]


class StrictSeen:
    """A memory that holds its callers to the protocol, and lets others run after each of its deeds.

    What it was asked is done at once, as if by another process: whoever is cancelled while it
    answers has still had it done.
    """

    def __init__(self) -> None:
        self.memory = MemorySeen()
        self.turns: set[str] = set()
        self.done: list[str | None] = []

    async def begin(self, turn: str, key: str | None) -> Begun:
        assert turn not in self.turns, "begun twice"
        begun = await self.memory.begin(turn, key)
        if begun == "new":
            self.turns.add(turn)
        await asyncio.sleep(0)
        return begun

    async def finish(self, turn: str, key: str | None, told: Told | None) -> None:
        assert turn in self.turns, "ended without being begun"
        self.turns.remove(turn)
        self.done.append(key)
        await self.memory.finish(turn, key, told)
        await asyncio.sleep(0)

    async def give_up(self, turn: str) -> None:
        self.turns.discard(turn)
        await self.memory.give_up(turn)
        await asyncio.sleep(0)

    async def told(self, order_id: int, store_id: int | None) -> Sequence[Told]:
        await asyncio.sleep(0)
        return await self.memory.told(order_id, store_id)


def clock_at(now: Callable[[], float]) -> SimpleNamespace:
    """Make what stands for the module `time` where the time of day is another."""
    return SimpleNamespace(time=now, monotonic=time.monotonic, sleep=time.sleep)


async def settle(steps: int = 20) -> None:
    """Let everything run that can run without time passing."""
    for _ in range(steps):
        await asyncio.sleep(0)


def outcome_of(task: asyncio.Task[Reply]) -> int | str:
    """How a request ended: its status, or that it was cancelled."""
    return "cancelled" if task.cancelled() else task.result().status
