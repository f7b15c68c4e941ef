"""Responses that differ from the reference harmlessly: null, other spellings, missing fields."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from devskin_async import APIError, DecodeError, DevSkinClient, convert

from . import samples
from .conftest import AT_ONCE, UNLIMITED

ROWS = {"orders": samples.ORDERS, "products": samples.PRODUCTS, "customers": samples.CUSTOMERS}
ANSWERS: Mapping[str, bytes] = {
    **{f"/{name}": body for name, body in ROWS.items()},
    "/orders/1234": samples.ORDER,
    "/revenue": samples.REVENUE,
    "/analytics/overview": samples.OVERVIEW,
}
MISSING = object()


@asynccontextmanager
async def answering(path: str, body: bytes) -> AsyncIterator[DevSkinClient]:
    """A client of a server with the reference's responses, one of them changed."""

    async def answer(request: web.Request) -> web.Response:
        found = body if request.path == path else ANSWERS[request.path]
        return web.Response(body=found, content_type="application/json")

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    async with (
        TestServer(app) as server,
        DevSkinClient(
            "key", base_url=str(server.make_url("")), rate_limit=UNLIMITED, retry=AT_ONCE
        ) as store,
    ):
        yield store


def changed(path: str, place: str, value: object) -> bytes:
    """Return the reference's response with another value in one place; MISSING leaves it out."""
    answer = json.loads(ANSWERS[path])
    *steps, last = [int(step) if step.isdigit() else step for step in place.split(".")]
    found = answer["data"]
    for step in steps:
        found = found[step]
    if value is MISSING:
        del found[last]
    else:
        found[last] = value
    return json.dumps(answer).encode()


async def read(path: str, body: bytes) -> Any:
    """Read what is at a path from a server with that change."""
    async with answering(path, body) as store:
        if path == "/orders/1234":
            return await store.orders.get(1234)
        if path == "/revenue":
            return await store.revenue("30d")
        if path == "/analytics/overview":
            return await store.analytics.overview()
        lists = {"/orders": store.orders, "/products": store.products}
        return await lists.get(path, store.customers).page(1, limit=20)  # type: ignore[attr-defined]  # all have pages


def at(found: Any, place: str) -> Any:
    """Return the value in a place of a record."""
    for step in place.removeprefix("order.").split("."):
        found = found[int(step)] if step.isdigit() else getattr(found, step)
    return found


FIGURES = ("total_orders", "monthly_orders", "total_revenue", "monthly_revenue", "total_products")
OPTIONAL = [
    *[("/analytics/overview", field) for field in FIGURES],
    ("/revenue", "total"),
    ("/revenue", "daily.0.total"),
    ("/revenue", "daily.0.count"),
    ("/products", "items.0.name"),
    ("/products", "items.0.slug"),
    ("/products", "items.0.stock"),
    ("/products", "items.0.status"),
    ("/customers", "items.0.name"),
    ("/customers", "items.0.email"),
    ("/customers", "items.0.total_orders"),
    ("/customers", "items.0.total_spent"),
    ("/orders", "items.0.customer_name"),
    ("/orders", "items.0.customer_email"),
    ("/orders/1234", "order.subtotal"),
    ("/orders/1234", "order.shipping_cost"),
    ("/orders/1234", "order.discount"),
    ("/orders/1234", "order.updated_at"),
    ("/orders/1234", "order.customer_name"),
    ("/orders/1234", "order.customer_email"),
    ("/orders/1234", "order.shipping_address"),
    ("/orders/1234", "order.shipping_address.zip"),
    ("/orders/1234", "order.items.0.product_id"),
    ("/orders/1234", "order.items.0.name"),
]
REQUIRED = [
    ("/products", "items.0.id"),
    ("/products", "items.0.price"),
    ("/products", "items.0.created_at"),
    ("/customers", "items.0.id"),
    ("/customers", "items.0.created_at"),
    ("/orders", "items.0.id"),
    ("/orders", "items.0.order_number"),
    ("/orders", "items.0.status"),
    ("/orders", "items.0.total"),
    ("/orders", "items.0.created_at"),
    ("/orders/1234", "order.items.0.quantity"),
    ("/orders/1234", "order.items.0.price"),
    ("/revenue", "daily.0.date"),
]


@pytest.mark.parametrize("nothing", [None, MISSING], ids=["null", "missing"])
@pytest.mark.parametrize(("path", "place"), OPTIONAL)
async def test_a_field_that_may_be_null_is_none(path: str, place: str, nothing: object) -> None:
    found = await read(path, changed(path, place, nothing))
    assert at(found, place) is None
    assert b"null" in convert.dumps(found)


@pytest.mark.parametrize("nothing", [None, MISSING], ids=["null", "missing"])
@pytest.mark.parametrize(("path", "place"), REQUIRED)
async def test_the_essential_fields_of_a_row_are_required(
    path: str, place: str, nothing: object
) -> None:
    with pytest.raises(DecodeError) as caught:
        await read(path, changed(path, place, nothing))
    assert caught.value.path.replace("[", ".").replace("]", "").endswith(place)
    assert caught.value.received == ("null" if nothing is None else "nothing")


async def test_a_body_without_any_figure_is_no_overview() -> None:
    with pytest.raises(
        DecodeError, match=r"\$\.data: expected a value as in the API reference, got no figures"
    ):
        await read("/analytics/overview", b'{"success": true, "data": {"overview": {}}}')


UTC = dt.UTC
INSTANT = dt.datetime(2026, 2, 10, 14, 30, tzinfo=UTC)
# Where, what comes, what it means.
SPELLINGS: list[tuple[str, str, object, object]] = [
    ("/orders", "total", "150", 150),
    ("/orders", "total", "150.0", 150),
    ("/orders", "total", 150.0, 150),
    ("/orders", "page", "1", 1),
    ("/orders", "page", 1.0, 1),
    ("/orders", "limit", "20", 20),
    ("/orders", "items", None, ()),
    ("/orders", "items.0.id", "1234", 1234),
    ("/orders", "items.0.id", 1234.0, 1234),
    ("/orders", "items.0.id", "-9007199254740993", -9007199254740993),
    ("/orders", "items.0.total", "199.90", Decimal("199.90")),
    ("/orders", "items.0.order_number", 1234, "1234"),
    ("/orders", "items.0.customer_name", "", ""),
    ("/orders", "items.0.created_at", "2026-02-10T14:30:00+00", INSTANT),
    ("/orders", "items.0.created_at", "2026-02-10T11:30:00-03", INSTANT),
    ("/orders", "items.0.created_at", "2026-02-10 14:30:00+00", INSTANT),
    ("/orders", "items.0.created_at", "2026-02-10 14:30:00.000+00", INSTANT),
    ("/orders", "items.0.created_at", "2026-02-10T20:00:00+0530", INSTANT),
    ("/orders", "items.0.created_at", "2026-02-10t14:30:00z", INSTANT),
    ("/orders", "items.0.created_at", "2026-02-10T14:30Z", INSTANT),
    ("/orders", "items.0.created_at", "2026-02-10T14:29:60Z", INSTANT),
    ("/orders", "items.0.created_at", "2016-12-31T23:59:60Z", dt.datetime(2017, 1, 1, tzinfo=UTC)),
    (
        "/orders",
        "items.0.created_at",
        "2026-02-10T14:30:00.1234567891Z",
        INSTANT.replace(microsecond=123457),
    ),
    ("/products", "items.0.stock", 150.0, 150),
    ("/products", "items.0.stock", 12.5, Decimal("12.5")),
    ("/products", "items.0.stock", "150", 150),
    ("/products", "items.0.stock", "", None),
    ("/customers", "items.0.total_orders", "12", 12),
    ("/customers", "items.0.total_spent", "", None),
    ("/analytics/overview", "monthly_orders", "127", 127),
    ("/revenue", "daily", None, ()),
    ("/revenue", "daily.0.date", "2026-02-13T00:00:00.000Z", dt.date(2026, 2, 13)),
    ("/revenue", "daily.0.date", "2026-02-13T00:00:00-03:00", dt.date(2026, 2, 13)),
    ("/revenue", "daily.0.date", "2026-02-13 00:00:00", dt.date(2026, 2, 13)),
    ("/revenue", "daily.0.count", "8", 8),
    ("/orders/1234", "order.id", "1234", 1234),
    ("/orders/1234", "order.items", None, ()),
    ("/orders/1234", "order.items.0.quantity", 1.5, Decimal("1.5")),
    ("/orders/1234", "order.items.0.quantity", 2.0, 2),
    ("/orders/1234", "order.items.0.quantity", "2", 2),
    ("/orders/1234", "order.shipping_address", [], None),
    ("/orders/1234", "order.shipping_address", "", None),
    ("/orders/1234", "order.shipping_address.zip", 13101, "13101"),
    ("/orders/1234", "order.updated_at", "", None),
]
# Where, and what has no meaning, or more than one.
AMBIGUOUS: list[tuple[str, str, object]] = [
    ("/orders", "total", "many"),
    ("/orders", "total", 150.5),
    ("/orders", "total", True),
    ("/orders", "total", "-1"),
    ("/orders", "total", ""),
    ("/orders", "page", "2"),
    ("/orders", "items", {}),
    ("/orders", "items", ""),
    ("/orders", "items.0.id", True),
    ("/orders", "items.0.id", 1.5),
    ("/orders", "items.0.id", "0x1F"),
    ("/orders", "items.0.id", "1,234"),
    ("/orders", "items.0.id", ""),
    ("/orders", "items.0.total", "1.234,50"),
    ("/orders", "items.0.total", ""),
    ("/orders", "items.0.status", 3),
    ("/orders", "items.0.customer_name", 1.5),
    ("/orders", "items.0.customer_name", True),
    ("/orders", "items.0.created_at", "2026-02-10T14:30:00"),
    ("/orders", "items.0.created_at", "2026-02-10T14:30:61Z"),
    ("/orders", "items.0.created_at", "2026-02-30T14:30:60Z"),
    ("/orders", "items.0.created_at", "9999-12-31T23:59:60Z"),
    ("/orders", "items.0.created_at", 1770733800),
    ("/products", "items.0.stock", "NaN"),
    ("/products", "items.0.stock", True),
    ("/revenue", "daily.0.date", "2026-02-12T21:00:00.000Z"),
    ("/revenue", "daily.0.date", "2026-02-30T00:00:00.000Z"),
    ("/orders/1234", "order.shipping_address", "Main Street 1"),
    ("/orders/1234", "order.shipping_address", ["Main Street 1"]),
    ("/orders/1234", "order.items", ""),
]


@pytest.mark.parametrize(("path", "place", "value", "meaning"), SPELLINGS)
async def test_a_value_with_one_meaning_is_accepted(
    path: str, place: str, value: object, meaning: object
) -> None:
    found = at(await read(path, changed(path, place, value)), place)
    assert found == meaning
    assert isinstance(found, (type(meaning), Decimal))


@pytest.mark.parametrize(("path", "place", "value"), AMBIGUOUS)
async def test_a_value_with_no_meaning_or_several_is_named(
    path: str, place: str, value: object
) -> None:
    with pytest.raises(DecodeError) as caught:
        await read(path, changed(path, place, value))
    assert caught.value.path.replace("[", ".").replace("]", "").startswith(f"$.data.{place}")


@pytest.mark.parametrize("success", ['"true"', '"TRUE"', "1", "null"])
async def test_success_may_be_text(success: str) -> None:
    body = samples.OVERVIEW.replace(b'"success": true', f'"success": {success}'.encode())
    if success == '"true"':
        assert (await read("/analytics/overview", body)).total_orders == 1563
    else:
        with pytest.raises(DecodeError, match=r"\$\.success: expected true or false"):
            await read("/analytics/overview", body)


async def test_a_whole_list_may_deviate_in_every_way_at_once() -> None:
    row = {
        "id": "1234", "order_number": 1234, "status": "paid", "total": "199.90",
        "created_at": "2026-02-10 14:30:00+00",
    }  # fmt: skip
    data = {"items": [row], "total": "1", "page": "1", "limit": 100.0}
    body = json.dumps({"success": "true", "data": data}).encode()
    async with answering("/orders", body) as store:
        (order,) = await store.orders.list()
    assert (order.id, order.order_number, order.created_at) == (1234, "1234", INSTANT)


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["", "BOM"])
async def test_a_refusal_is_shown_even_if_its_text_was_cut(mark: bytes) -> None:
    body = mark + rb'{"success": false, "error": "No \ud83d today"}'
    with pytest.raises(APIError, match="No \N{REPLACEMENT CHARACTER} today"):
        await read("/analytics/overview", body)
