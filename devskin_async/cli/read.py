"""The commands that read: one table each, or JSON."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Literal

from cyclopts import Parameter

from . import views
from .lists import list_lane, show_list
from .options import DEFAULTS, Connection, Day, Flag, Id, Whole, check_span, open_store
from .render import show, stderr, stdout, write_json
from .waits import Waits

Status = Literal["pending", "paid", "shipped", "completed", "cancelled"]
Period = Literal["7d", "30d", "90d", "1y"]
Max = Annotated[Whole | None, Parameter(name="--max", show_default=False)]
Json = Annotated[bool, Flag]


async def overview(*, json: Json = False, connection: Connection = DEFAULTS) -> None:
    """Show the store's key figures.

    Example: devskin overview --sandbox

    Args:
        json: Print one JSON document in place of the table.
        connection: Which store to read, and how.
    """
    async with open_store(connection) as store:
        figures = await store.analytics.overview()
    if json:
        write_json(figures)
    else:
        show(stdout(), views.overview(figures))


async def revenue(
    *, period: Period = "30d", json: Json = False, connection: Connection = DEFAULTS
) -> None:
    """Show the revenue of a period as bars.

    There is a bar for each day, in UTC; for each week with 90d, and for each month with 1y.

    Example: devskin revenue --period 90d --sandbox

    Args:
        period: How far back.
        json: Print one JSON document, day by day, in place of the table.
        connection: Which store to read, and how.
    """
    async with open_store(connection) as store:
        series = await store.revenue(period)
    if json:
        write_json(series)
    else:
        console = stdout()
        show(console, *views.revenue(series, console, dt.datetime.now(dt.UTC).date()))


async def order(
    order_id: Annotated[Id, Parameter(name="ID")],
    /,
    *,
    json: Json = False,
    connection: Connection = DEFAULTS,
) -> None:
    """Show one order with its items and its address.

    Example: devskin order 1234 --sandbox

    Args:
        order_id: The order's id: the first column of devskin orders.
        json: Print one JSON document in place of the tables.
        connection: Which store to read, and how.
    """
    async with open_store(connection) as store:
        found = await store.orders.get(order_id)
    if json:
        write_json(found)
    else:
        show(stdout(), *views.order(found))


async def orders(
    *,
    status: Status | None = None,
    date_from: Day | None = None,
    date_to: Day | None = None,
    max_rows: Max = None,
    json: Json = False,
    connection: Connection = DEFAULTS,
) -> None:
    """List orders.

    Example: devskin orders --status paid --date-from 2026-01-14 --max 50

    Args:
        status: Only this status.
        date_from: Only orders from this day on: YYYY-MM-DD, in UTC.
        date_to: Only orders up to and on this day: YYYY-MM-DD, in UTC.
        max_rows: Rows to list, 0 for all; by default 20, and all in JSON.
        json: Print one JSON document a line in place of the table.
        connection: Which store to read, and how.
    """
    check_span(date_from, date_to)
    lane = list_lane(max_rows, as_json=json)
    waits = Waits(stderr(), lane=lane)
    async with open_store(connection, waits=waits) as opened:
        store = opened.with_options(lane=lane)
        await show_list(
            waits,
            "orders",
            lambda page, limit: store.orders.page(
                page, limit=limit, status=status, date_from=date_from, date_to=date_to
            ),
            views.ORDERS,
            max_rows,
            as_json=json,
        )


async def products(
    *, max_rows: Max = None, json: Json = False, connection: Connection = DEFAULTS
) -> None:
    """List products.

    Example: devskin products --max 0 --json

    Args:
        max_rows: Rows to list, 0 for all; by default 20, and all in JSON.
        json: Print one JSON document a line in place of the table.
        connection: Which store to read, and how.
    """
    lane = list_lane(max_rows, as_json=json)
    waits = Waits(stderr(), lane=lane)
    async with open_store(connection, waits=waits) as opened:
        store = opened.with_options(lane=lane)
        await show_list(
            waits,
            "products",
            lambda page, limit: store.products.page(page, limit=limit),
            views.PRODUCTS,
            max_rows,
            as_json=json,
        )


async def customers(
    *, max_rows: Max = None, json: Json = False, connection: Connection = DEFAULTS
) -> None:
    """List customers.

    Example: devskin customers --max 50

    Args:
        max_rows: Rows to list, 0 for all; by default 20, and all in JSON.
        json: Print one JSON document a line in place of the table.
        connection: Which store to read, and how.
    """
    lane = list_lane(max_rows, as_json=json)
    waits = Waits(stderr(), lane=lane)
    async with open_store(connection, waits=waits) as opened:
        store = opened.with_options(lane=lane)
        await show_list(
            waits,
            "customers",
            lambda page, limit: store.customers.page(page, limit=limit),
            views.CUSTOMERS,
            max_rows,
            as_json=json,
        )
