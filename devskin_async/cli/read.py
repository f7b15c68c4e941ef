"""The commands that read: one table each, or JSON."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Parameter

from .. import convert
from . import views
from .lists import show_list
from .options import DEFAULTS, Connection, Flag, Whole, open_store
from .render import show, stdout, write_bytes

Status = Literal["pending", "paid", "shipped", "completed", "cancelled"]
Period = Literal["7d", "30d", "90d", "1y"]
Max = Annotated[Whole | None, Parameter(name="--max", show_default=False)]
Json = Annotated[bool, Flag]


async def overview(*, json: Json = False, connection: Connection = DEFAULTS) -> None:
    """Show the store's key figures.

    Example: devskin overview --sandbox

    Args:
        json: One JSON document in place of the table.
        connection: Which store to read, and how.
    """
    async with open_store(connection) as store:
        figures = await store.analytics.overview()
    if json:
        write_bytes(convert.dumps(figures) + b"\n")
    else:
        show(stdout(), views.overview(figures))


async def revenue(
    *, period: Period = "30d", json: Json = False, connection: Connection = DEFAULTS
) -> None:
    """Show the revenue of a period as bars.

    There is a bar for each day, for each week where the period is 90d, for each month of 1y.

    Example: devskin revenue --period 90d --sandbox

    Args:
        period: How far back.
        json: One JSON document, day by day, in place of the table.
        connection: Which store to read, and how.
    """
    async with open_store(connection) as store:
        series = await store.revenue(period)
    if json:
        write_bytes(convert.dumps(series) + b"\n")
    else:
        console = stdout()
        show(console, *views.revenue(series, console))


async def order(
    order_id: Annotated[Whole, Parameter(name="ID")],
    /,
    *,
    json: Json = False,
    connection: Connection = DEFAULTS,
) -> None:
    """Show one order, whole.

    Example: devskin order 1234 --sandbox

    Args:
        order_id: The order's id: the first column of devskin orders.
        json: One JSON document in place of the tables.
        connection: Which store to read, and how.
    """
    async with open_store(connection) as store:
        found = await store.orders.get(order_id)
    if json:
        write_bytes(convert.dumps(found) + b"\n")
    else:
        show(stdout(), *views.order(found))


async def orders(
    *,
    status: Status | None = None,
    date_from: str | None = None,
    date_to: str | None = None,
    max_rows: Max = None,
    json: Json = False,
    connection: Connection = DEFAULTS,
) -> None:
    """List orders.

    Example: devskin orders --status paid --date-from 2026-01-14 --max 50

    Args:
        status: Only orders of this status.
        date_from: Only orders from this day on (YYYY-MM-DD).
        date_to: Only orders up to this day (YYYY-MM-DD).
        max_rows: Rows to list, 0 for all. If not given, a table has 20 and JSON all.
        json: One JSON document a line in place of the table.
        connection: Which store to read, and how.
    """
    async with open_store(connection) as store:
        await show_list(
            store,
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
        max_rows: Rows to list, 0 for all. If not given, a table has 20 and JSON all.
        json: One JSON document a line in place of the table.
        connection: Which store to read, and how.
    """
    async with open_store(connection) as store:
        await show_list(
            store,
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
        max_rows: Rows to list, 0 for all. If not given, a table has 20 and JSON all.
        json: One JSON document a line in place of the table.
        connection: Which store to read, and how.
    """
    async with open_store(connection) as store:
        await show_list(
            store,
            "customers",
            lambda page, limit: store.customers.page(page, limit=limit),
            views.CUSTOMERS,
            max_rows,
            as_json=json,
        )
