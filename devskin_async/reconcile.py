"""After a receiver was down: what its events did not tell, asked of the API."""

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
        handled: How many had a status that no event had told, and were handled.
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
    """Read the orders created since a moment, and handle each status that no event told.

    Such a status is handed to the receiver's handlers as the event that would have told of it,
    marked `source="poll"`. When its event comes late after all, it is acknowledged and not
    handled again. So each order's latest status is handled once; what it was in between is only
    known of events that arrive. Requests go to the bulk lane, and the receiver may be in use
    meanwhile. It takes a `seen` that outlives a restart, such as `SQLiteSeen`: an empty one knows
    of no event.

    Args:
        store: The client to read with.
        receiver: Whose handlers are called, and whose `seen` knows what events told.
        since: An aware instant: orders created earlier are not looked at. The API has no list of
            what changed, so go back as far as orders still move.
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
                    event = polled(_told_of(order), began, store_id)
                    done = await _hand(receiver, event, done, note_only=note_only)
    return done


async def _present(store: DevSkinClient, first: dt.date) -> dt.datetime:
    """Ask for the time by the API's clock, as events have it; without a `Date` it is this one's."""
    with capture() as responses:
        await store.with_options(lane=Lane.BULK).orders.page(limit=1, date_from=first)
    here = dt.datetime.now(dt.UTC)
    there = responses[-1].at
    # A Date has whole seconds: where this clock agrees with it, it is the finer one.
    return here if dt.timedelta(0) <= here - there < _SAME_CLOCK else there


def _told_of(order: OrderSummary) -> OrderEvent:
    return OrderEvent(
        id=order.id, order_number=order.order_number, total=order.total, status=order.status
    )


async def _hand(
    receiver: WebhookReceiver, event: WebhookEvent, done: Reconciled, *, note_only: bool
) -> Reconciled:
    done = evolve(done, orders=done.orders + 1)
    try:
        while (outcome := await receiver.poll(event, note_only=note_only)) == "busy":  # noqa: ASYNC110
            # Another receiver is at this order; what it handles may make this known.
            await asyncio.sleep(BUSY_SECONDS)
    except Exception:  # noqa: BLE001 - whatever it is, the other orders are handled
        _log.exception("a handler failed on %s", label(event))
        return evolve(done, failed=(*done.failed, event.order.id))
    return evolve(done, handled=done.handled + (outcome == "handled"))
