"""`devskin sandbox webhooks`: where a sandbox sends its events, and how that went."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cyclopts import App
from rich.text import Text

from .keys import Database, sandbox_file
from .options import Whole
from .render import Column, show, stderr, stdout, table, words

if TYPE_CHECKING:
    from ..sandbox import Delivery, Endpoint

app: App = App(
    name="webhooks",
    help="Add, list and remove webhook endpoints in a sandbox's file; see what was sent.",
)


def _answer(delivery: Delivery) -> Text:
    return words(delivery.error or (delivery.status and f"status {delivery.status}") or "")


_ENDPOINTS: Sequence[Column[Endpoint]] = (
    Column("ID", lambda one: Text(str(one.id)), "right"),
    Column("Store", lambda one: Text(str(one.store_id)), "right"),
    Column("URL", lambda one: words(one.url), shrinks=True),
    Column("Events", lambda one: Text(", ".join(one.events))),
    Column("Added", lambda one: Text(one.created_at[:10])),
)

_DELIVERIES: Sequence[Column[Delivery]] = (
    Column("ID", lambda one: Text(str(one.id)), "right"),
    Column("To", lambda one: Text(str(one.endpoint_id)), "right"),
    Column("Order", lambda one: Text(str(one.order_id)), "right"),
    Column("Event", lambda one: Text(one.event)),
    Column("Fired", lambda one: Text(one.created_at[:19].replace("T", " "))),
    Column("State", lambda one: Text(one.state)),
    Column("Tries", lambda one: Text(str(one.attempts)), "right"),
    Column("Last answer", _answer, shrinks=True),
)


@app.command
def add(
    url: str,
    /,
    *,
    events: str = "order.*",
    db: Database,
    store: Whole = 1,
    secret: str | None = None,
) -> None:
    """Add an endpoint and print its secret, this once: every event is signed by it.

    Example: devskin sandbox webhooks add http://localhost:8000/hook --db shop.db

    Try it with: devskin sandbox --live 1 --db shop.db

    Args:
        url: Where the events are posted; a public address or one of this machine.
        events: As in order.paid,order.shipped.
        db: The sandbox's file.
        store: The id of the store.
        secret: Better set in DEVSKIN_WEBHOOK_SECRET: ps shows this. Without both, one is made.
    """
    if secret is None:
        secret = os.environ.get("DEVSKIN_WEBHOOK_SECRET") or None
    names = [part.strip() for part in events.split(",")]
    with sandbox_file(db) as connection:
        from ..sandbox import endpoints, targets

        added = endpoints.add(connection, store, url, names, secret=secret)
        refusal = targets.host_refusal(endpoints.check_url(url).host or "")
    if secret is None:
        show(stdout(), added.secret or "")
        show(stderr(), f"The secret of endpoint {added.id}. Copy it now: it is shown this once.")
    else:
        show(stderr(), f"Added endpoint {added.id}, with the secret that was given.")
    if refusal is not None:
        show(stderr(), f"Careful: {refusal} unless the sandbox runs with --allow-private.")


@app.command(name="list")
def list_endpoints(*, db: Database) -> None:
    """List the endpoints in use; their secrets are not told.

    Example: devskin sandbox webhooks list --db shop.db

    Args:
        db: The sandbox's file.
    """
    with sandbox_file(db) as connection:
        from ..sandbox import endpoints

        found = endpoints.list_endpoints(connection)
    show(stdout(), table(_ENDPOINTS, found))


@app.command
def remove(endpoint_id: Whole, /, *, db: Database) -> None:
    """Remove an endpoint; what waits for it is not sent.

    Example: devskin sandbox webhooks remove 2 --db shop.db

    Args:
        endpoint_id: The endpoint's id, as the list has it.
        db: The sandbox's file.
    """
    with sandbox_file(db) as connection:
        from ..sandbox import endpoints

        gone = endpoints.remove(connection, endpoint_id)
    show(stderr(), f"Removed endpoint {gone.id}, {words(gone.url)}.")


@app.command
def log(*, db: Database, limit: Whole = 50) -> None:
    """Show what was sent and what waits, newest first.

    Example: devskin sandbox webhooks log --limit 10 --db shop.db

    Args:
        db: The sandbox's file.
        limit: How many deliveries at most.
    """
    with sandbox_file(db) as connection:
        from ..sandbox import delivery_log

        found = delivery_log.list_deliveries(connection, limit)
    show(stdout(), table(_DELIVERIES, found))
