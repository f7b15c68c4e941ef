"""The webhooks of a running sandbox: its endpoints, what is sent to them, and the log of it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from . import deliveries, delivery_log, endpoints
from .database import transaction
from .events import EventSource
from .posting import Poster
from .records import SandboxError
from .sending import Sender, WebhookSending, clock
from .targets import host_refusal

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable

    from .answers import Writer
    from .delivery_log import Delivery, DeliveryState
    from .endpoints import Endpoint
    from .events import Event
    from .live import OrderChange


class Webhooks:
    """A store's webhooks, as `Sandbox.webhooks` gives them.

    Each change that `Sandbox.live` or the sandbox's traffic makes fires `order.<status>`; a
    removal fires nothing. What fires is in the database at once, and is sent from there at least
    once: what a sandbox that ended had not seen arrive is sent when the file is served again.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        store_id: int,
        settings: WebhookSending,
        writer: Writer,
    ) -> None:
        """Take over a store's webhooks, in a running loop.

        Args:
            connection: A sandbox's database; no other sandbox sends from it.
            store_id: The store.
            settings: How to send.
            writer: Writes the events.
        """
        self._events = EventSource(connection, store_id, writer)
        self._connection = connection
        self._store_id = store_id
        self._settings = settings
        self._sender = Sender(connection, settings)
        self._sending = asyncio.create_task(self._send())

    def add(
        self, url: str, events: Iterable[str] = endpoints.ALL_ORDERS, secret: str | None = None
    ) -> Endpoint:
        """Add an endpoint to the store; its secret is told here and nowhere again.

        Args:
            url: Where to; http or https.
            events: Which ones: names such as order.paid, or the patterns `order.*` and `*`.
            secret: What they are signed by, or None to draw one.

        Returns:
            The endpoint, with its secret.

        Raises:
            SandboxError: The URL, an event or the secret can't be used, the URL has a private
                address that is not allowed, or the database can't be written.
        """
        self._check_target(url)
        with transaction(self._connection):
            return self._greet(
                endpoints.add(self._connection, self._store_id, url, events, secret=secret)
            )

    def accept(self, url: str, secret: str | None = None) -> Endpoint:
        """Find the store's endpoint of that URL, or add one for all events of its orders.

        Args:
            url: Where the events go.
            secret: What they are signed by; None is the one it has, or a new one.

        Returns:
            The endpoint; with its secret if it was added now.

        Raises:
            SandboxError: It has another secret, or can't be added.
        """
        self._check_target(url)
        with transaction(self._connection):
            return self._greet(endpoints.accept(self._connection, self._store_id, url, secret))

    def list(self) -> tuple[Endpoint, ...]:
        """List the store's endpoints, oldest first.

        Returns:
            Each without its secret.
        """
        return endpoints.list_endpoints(self._connection, self._store_id)

    def remove(self, endpoint_id: int) -> Endpoint:
        """Remove an endpoint: nothing more is sent to it, and what waits for it is given up.

        Args:
            endpoint_id: Its id.

        Returns:
            The endpoint as it was.

        Raises:
            SandboxError: The store has no such endpoint, or the database can't be written.
        """
        removed = endpoints.remove(self._connection, endpoint_id, store_id=self._store_id)
        self._sender.wake()
        return removed

    def deliveries(self, limit: int = 100) -> tuple[Delivery, ...]:
        """List the store's deliveries, newest first.

        Args:
            limit: How many at most.

        Returns:
            Those that wait, and of those that ended the last ones.

        Raises:
            SandboxError: The limit is not positive.
        """
        return delivery_log.list_deliveries(self._connection, limit, store_id=self._store_id)

    def counts(self) -> dict[DeliveryState, int]:
        """Count the store's deliveries by how they stand."""
        return delivery_log.count(self._connection, self._store_id)

    async def idle(self) -> None:
        """Wait until nothing waits to be sent or is under way.

        Raises:
            SandboxError: The sandbox was closed before.
        """
        at_rest = self._sender.at_rest
        resting = asyncio.create_task(at_rest.wait())
        try:
            await asyncio.wait((resting, self._sending), return_when=asyncio.FIRST_COMPLETED)
        finally:
            resting.cancel()
        if not at_rest.is_set():
            raise SandboxError("the sandbox was closed before all webhooks were sent")

    def record(self, change: OrderChange) -> None:
        """Write down what fires when an order changes; within the change's transaction.

        Args:
            change: What happened.
        """
        at = clock()
        if (event := self._events.of_change(change, at)) is not None:
            # Looked up each time: another process may have added or removed one.
            wanting = [one for one in self.list() if one.wants(event.name)]
            self._record(event, wanting, at)

    def notice(self, _: OrderChange) -> None:
        """Begin to send what fired, once the change is written."""
        self._sender.wake()

    def _greet(self, endpoint: Endpoint) -> Endpoint:
        """Let an endpoint that was added now get what such a one gets."""
        at = clock()
        for event in self._events.of_endpoint(at) if endpoint.secret is not None else ():
            self._record(event, [endpoint], at)
            self._sender.wake()
        return endpoint

    def _record(self, event: Event, wanting: Iterable[Endpoint], at: int) -> None:
        due = asyncio.get_running_loop().time()
        deliveries.record(self._connection, event, wanting, due, at)

    async def close(self) -> None:
        """End what is under way; it stays waiting in the database."""
        self._sending.cancel()
        await asyncio.wait((self._sending,))

    async def _send(self) -> None:
        settings = self._settings
        async with Poster(timeout=settings.timeout, allow_private=settings.allow_private) as poster:
            await self._sender.run(poster.post)

    def _check_target(self, url: str) -> None:
        host = endpoints.check_url(url).host or ""
        if not self._settings.allow_private and (reason := host_refusal(host)) is not None:
            raise SandboxError(reason)
