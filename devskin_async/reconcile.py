"""After a receiver was down: the statuses whose events it missed, read from the API."""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
from contextlib import aclosing
from typing import Final, cast

from attrs import evolve, frozen

from ._capture import capture
from .client import DevSkinClient
from .export import Proof, rows
from .ratelimit import Lane
from .records import OrderSummary
from .webhooks import OrderEvent, WebhookEvent, WebhookReceiver
from .webhooks.events import label, polled

BUSY_SECONDS: Final = 1.0
_MARGIN: Final = 2
"""So many days may lie between an instant's day in its own time zone and in the store's."""

_WRONG_CLOCK: Final = dt.timedelta(days=1)
_SAME_CLOCK: Final = dt.timedelta(seconds=2)

_log = logging.getLogger(__name__)


@frozen(kw_only=True)
class Reconciled:
    """What a reconciliation did.

    Args:
        orders: Orders created since then.
        handled: How many had a status that had come with no event, and were handled.
        failed: The ids of those for which a handler raised, to be handled the next time.
        proof: What shows that no order was left out; `unproven` if nothing does.
    """

    orders: int = 0
    handled: int = 0
    failed: tuple[int, ...] = ()
    proof: Proof = "atomic"

    @property
    def complete(self) -> bool:
        """Whether the latest status of each order was handled."""
        return not self.failed and self.proof != "unproven"


async def reconcile(
    store: DevSkinClient,
    receiver: WebhookReceiver,
    since: dt.datetime,
    *,
    store_id: int | None = None,
    note_only: bool = False,
) -> Reconciled:
    """Read the orders created since a moment, and handle each status that came with no event.

    Such a status is passed to the receiver's handlers as the event that is missing, marked
    `source="poll"`. If that event comes later, it is acknowledged and not handled again. So each
    order's latest status is handled once; statuses in between are known only from events that
    arrive. Requests wait in the bulk lane, and the receiver may be in use meanwhile. The
    receiver's `seen` must outlive a restart, as `SQLiteSeen` does: an empty one knows of no event.

    Args:
        store: The client to read with.
        receiver: Whose handlers are called, and whose `seen` knows the events that came.
        since: An aware instant; orders created earlier are not read. The API has no list of
            changes, so choose it so early that older orders no longer change.
        store_id: The store's id, to be given where the receiver serves several stores.
        note_only: Remember the statuses as handled, and call no handler: for the first time, when
            all orders are news to `seen`.

    Returns:
        What was done. Look at `complete`.

    Raises:
        ValueError: `since` is naive or in the future, by the API's clock.
        DevSkinError: The API could not be read; what was handled until then is remembered.
    """
    if getattr(since, "tzinfo", None) is None:
        raise ValueError("since must be a datetime with a time zone, such as datetime.UTC")
    if since > dt.datetime.now(dt.UTC) + _WRONG_CLOCK:
        raise ValueError(f"since must not be in the future, not {since}")
    first = dt.date.fromordinal(max(1, since.toordinal() - _MARGIN))
    began = await _present(store, first)
    if since > began:
        raise ValueError(f"since must not be in the future, not {since}: the API has {began}")
    done = Reconciled()
    async with aclosing(rows(store, "orders", date_from=first)) as batches:
        async for batch in batches:
            done = evolve(done, proof=batch.proof)
            for order in cast("tuple[OrderSummary, ...]", batch.records):
                if order.created_at >= since:
                    event = polled(_order_event(order), began, store_id)
                    done = await _hand(receiver, event, done, note_only=note_only)
    return done


async def _present(store: DevSkinClient, first: dt.date) -> dt.datetime:
    """Read the time by the API's clock, as events have it; this machine's without a `Date`."""
    with capture() as responses:
        await store.with_options(lane=Lane.BULK).orders.page(limit=1, date_from=first)
    here = dt.datetime.now(dt.UTC)
    there = responses[-1].at
    # A `Date` has whole seconds: if this machine's clock agrees, it is the more precise one.
    return here if dt.timedelta(0) <= here - there < _SAME_CLOCK else there


def _order_event(order: OrderSummary) -> OrderEvent:
    return OrderEvent(
        id=order.id, order_number=order.order_number, total=order.total, status=order.status
    )


async def _hand(
    receiver: WebhookReceiver, event: WebhookEvent, done: Reconciled, *, note_only: bool
) -> Reconciled:
    done = evolve(done, orders=done.orders + 1)
    try:
        while (outcome := await receiver.poll(event, note_only=note_only)) == "busy":  # noqa: ASYNC110
            # Another receiver is handling this order; afterwards the status may be known.
            await asyncio.sleep(BUSY_SECONDS)
    except Exception:  # noqa: BLE001 - whatever it is, the other orders are handled
        _log.exception("a handler failed on %s", label(event))
        return evolve(done, failed=(*done.failed, event.order.id))
    return evolve(done, handled=done.handled + (outcome == "handled"))
