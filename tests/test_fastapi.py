"""Records in FastAPI: they are sent as they are, described, and accepted as a body."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Annotated, Any

import aiohttp
import attrs
import msgspec
import pytest
from fastapi import Body, Depends, FastAPI, Request
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, TypeAdapter, ValidationError

from devskin_async import (
    Customer,
    DevSkinClient,
    Order,
    OrderStatus,
    OrderSummary,
    Overview,
    Page,
    Product,
    Revenue,
    convert,
)
from devskin_async.export import OrderLine
from tests import samples
from tests.webhooks.serving import by_uvicorn

app = FastAPI()
CUSTOMER = convert.loads(b'{"id": 1, "created_at": "2026-02-10T14:30:00Z"}', Customer)
PRODUCT = convert.loads(b'{"id": 1, "price": 1.5, "created_at": "2026-02-10T14:30:00Z"}', Product)


def the_store(request: Request) -> DevSkinClient:
    store: DevSkinClient = request.app.state.store
    return store


Store = Annotated[DevSkinClient, Depends(the_store)]


@app.get("/order")
async def order(number: int, store: Store) -> Order:
    return await store.orders.get(number)


@app.get("/orders")
async def orders(store: Store, status: OrderStatus | None = None) -> list[OrderSummary]:
    return await store.orders.list(status=status, limit=5)


@app.get("/page")
async def page(store: Store) -> Page[OrderSummary]:
    return await store.orders.page(2)


@app.get("/names", response_model_exclude={"items": {"__all__": {"customer_email"}}})
async def names(store: Store) -> Page[OrderSummary]:
    return await store.orders.page()


@app.get("/products")
async def products(store: Store) -> Page[Product]:
    return await store.products.page()


@app.get("/overview")
async def overview(store: Store) -> Overview:
    return await store.analytics.overview()


@app.get("/revenue")
async def revenue(store: Store) -> Revenue:
    return await store.revenue("7d")


@app.get("/summary", response_model=OrderSummary)
async def summary(number: int, store: Store) -> Order:
    return await store.orders.get(number)


@app.get("/unannotated")
async def unannotated(number: int, store: Store):  # type: ignore[no-untyped-def]  # noqa: ANN201  # that is it
    return await store.orders.get(number)


@app.post("/order")
async def take(order: Annotated[Order, Body()]) -> None:
    app.state.taken = order


@asynccontextmanager
async def served(store: DevSkinClient) -> AsyncIterator[aiohttp.ClientSession]:
    app.state.store = store
    async with (
        by_uvicorn(app, "") as address,
        aiohttp.ClientSession(address.url) as session,
    ):
        yield session


def exact(body: bytes | str) -> Any:
    """JSON with every fraction as a Decimal."""
    return json.loads(body, parse_float=Decimal)


def example(body: bytes) -> Any:
    """The record of one of the reference's responses."""
    (call,) = (call for call, text in samples.EXAMPLES if text is body)
    data = call.decode(body).data
    return getattr(data, "order", data)


ORDER = example(samples.ORDER)
ORDERS = example(samples.ORDERS)


@pytest.mark.parametrize(
    ("cls", "body"),
    [
        (Order, samples.ORDER),
        (Overview, samples.OVERVIEW),
        (Revenue, samples.REVENUE),
        (Page[OrderSummary], samples.ORDERS),
        (Page[Product], samples.PRODUCTS),
        (Page[Customer], samples.CUSTOMERS),
    ],
    ids=str,
)
def test_a_record_is_written_with_the_values_that_the_api_sent(cls: Any, body: bytes) -> None:
    record = example(body)
    adapter: TypeAdapter[Any] = TypeAdapter(cls)
    written = adapter.dump_json(record)
    assert exact(written.replace(b':00Z"', b':00.000Z"')) == exact(convert.dumps(record))
    assert adapter.validate_json(written) == record
    assert adapter.validate_python(record) is record


async def test_routes_send_records_as_they_are(store: DevSkinClient) -> None:
    async with served(store) as session:

        async def got(path: str, cls: Any) -> Any:
            async with session.get(path) as response:
                assert (response.status, response.content_type) == (200, "application/json")
                return convert.loads(await response.read(), cls)

        assert await got("/order?number=7", Order) == await store.orders.get(7)
        assert await got("/page", Page[OrderSummary]) == await store.orders.page(2)
        assert await got("/products", Page[Product]) == await store.products.page()
        assert await got("/overview", Overview) == await store.analytics.overview()
        assert await got("/revenue", Revenue) == await store.revenue("7d")
        async with session.get("/orders") as response:
            rows = msgspec.json.decode(await response.read(), type=list[OrderSummary])
        assert rows == await store.orders.list(limit=5)


async def test_an_order_is_sent_as_a_summary_where_that_is_the_response_model(
    store: DevSkinClient,
) -> None:
    async with served(store) as session, session.get("/summary?number=7") as response:
        assert response.status == 200
        sent = await response.json()
    assert sent.keys() == {field.name for field in attrs.fields(OrderSummary)}
    assert sent["order_number"] == (await store.orders.get(7)).order_number


@pytest.mark.parametrize(
    ("cls", "items"),
    [
        (Page[Order | Product], (ORDER, PRODUCT)),
        (Page[int | str], (1, "x")),
        (Page[Order | None], (ORDER, None)),
        (Page[tuple[int, str]], ((1, "x"),)),
        (Page[Annotated[Order, "x"]], (ORDER,)),
        (Page[Decimal], (Decimal("12345678901234567.89"),)),
        (Page[Page[Product]], (Page(items=(PRODUCT,), total=1, page=1, limit=1),)),
    ],
    ids=str,
)
def test_a_page_may_hold_any_type_that_pydantic_knows(cls: Any, items: tuple[object, ...]) -> None:
    page: Page[object] = Page(items=items, total=len(items), page=1, limit=100)
    pages: TypeAdapter[Any] = TypeAdapter(cls)
    assert pages.validate_json(pages.dump_json(page)) == page


async def test_fields_that_a_route_excludes_are_not_sent(store: DevSkinClient) -> None:
    async with served(store) as session, session.get("/names") as response:
        rows = (await response.json())["items"]
    assert rows
    assert not any("customer_email" in row for row in rows)
    assert all("customer_name" in row for row in rows)


def test_none_is_left_out_where_pydantic_is_set_to() -> None:
    written = TypeAdapter(Customer).dump_json(CUSTOMER, exclude_none=True)
    assert json.loads(written).keys() == {"id", "created_at"}


async def test_a_status_is_still_a_query_parameter(store: DevSkinClient) -> None:
    async with served(store) as session, session.get("/orders?status=paid") as response:
        assert {row["status"] for row in await response.json()} == {"paid"}


async def test_a_body_becomes_a_record(store: DevSkinClient) -> None:
    body, header = convert.dumps(ORDER), {"Content-Type": "application/json"}
    async with (
        served(store) as session,
        session.post("/order", data=body, headers=header) as response,
    ):
        assert response.status == 200
    assert app.state.taken == ORDER


@pytest.mark.parametrize(
    ("field", "value", "kind"),
    [
        ("total", "much", "decimal_parsing"),
        ("total", None, "decimal_type"),
        ("created_at", "2026-02-10T14:30:00", "timezone_aware"),
        ("items", [{"quantity": 1}], "missing"),
        ("id", "seven", "int_parsing"),
        ("total", "1e200", "value_error"),
        ("total", "NaN", "finite_number"),
    ],
)
async def test_a_body_of_another_shape_is_a_422_that_names_the_field(
    field: str, value: object, kind: str, store: DevSkinClient
) -> None:
    body = {**json.loads(convert.dumps(ORDER)), field: value}
    async with served(store) as session, session.post("/order", json=body) as response:
        assert response.status == 422
        (error,) = (await response.json())["detail"]
    assert error["type"] == kind
    where = [] if kind == "value_error" else [field]
    assert error["loc"][: len(where) + 1] == ["body", *where]


def test_the_openapi_document_describes_each_record_once() -> None:
    document = app.openapi()
    schemas = document["components"]["schemas"]
    assert {"Order", "OrderItem", "OrderSummary", "Overview", "Revenue"} <= {*schemas}
    assert {"Page_OrderSummary", "Page_Product"} <= {*schemas}
    assert not [name for name in schemas if name.endswith(("-Input", "-Output"))]
    answer = document["paths"]["/order"]["get"]["responses"]["200"]["content"]["application/json"]
    assert answer["schema"] == {"$ref": "#/components/schemas/Order"}


def test_the_openapi_document_says_what_each_field_is() -> None:
    schemas = app.openapi()["components"]["schemas"]
    summary = schemas["OrderSummary"]
    assert summary["required"] == ["id", "order_number", "status", "total", "created_at"]
    fields = summary["properties"]
    assert fields["total"]["anyOf"][0] == {"type": "number"}
    assert fields["created_at"]["format"] == "date-time"
    assert fields["customer_name"]["anyOf"] == [{"type": "string"}, {"type": "null"}]
    rows = schemas["Page_OrderSummary"]["properties"]["items"]
    assert rows["items"] == {"$ref": "#/components/schemas/OrderSummary"}
    assert schemas["Page_OrderSummary"]["properties"]["page"]["minimum"] == 1


def test_a_status_is_described_as_an_open_list_of_words() -> None:
    described = app.openapi()["components"]["schemas"]["OrderStatus"]
    words = ["pending", "paid", "shipped", "completed", "cancelled"]
    assert described == {"type": "string", "title": "OrderStatus", "examples": words}


def test_an_unlisted_status_survives_a_round_trip() -> None:
    summaries = TypeAdapter(OrderSummary)
    sent = attrs.evolve(ORDERS.items[0], status=OrderStatus("refunded"))
    body = summaries.dump_json(sent)
    assert b'"status":"refunded"' in body
    assert summaries.validate_json(body) == sent


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**90), max_value=10**90))
def test_amounts_survive_a_round_trip(amount: Decimal) -> None:
    if amount and not -100 <= amount.adjusted() <= 100:
        amount = Decimal(0)
    customers = TypeAdapter(Customer)
    sent = attrs.evolve(CUSTOMER, total_spent=amount)
    body = customers.dump_json(sent)
    assert Decimal(str(exact(body)["total_spent"])) == amount
    assert customers.validate_python(json.loads(body)).total_spent == amount
    assert customers.dump_python(sent)["total_spent"] is amount


@pytest.mark.parametrize(
    ("sent", "written"),
    [
        ("199.90", b"199.9"),
        ("0", b"0"),
        ("150", b"150"),
        ("3.3000000000000003", b"3.3000000000000003"),
        ("1234567890123.45", b"1234567890123.45"),
        ("123456789012345678901234567890", b"123456789012345678901234567890"),
        ("12345678901234567.89", b'"12345678901234567.89"'),
    ],
)
def test_money_is_a_json_number_wherever_pydantic_can_write_it_exactly(
    sent: str, written: bytes
) -> None:
    customer = attrs.evolve(CUSTOMER, total_spent=Decimal(sent))
    assert b'"total_spent":' + written + b"," in TypeAdapter(Customer).dump_json(customer)


def test_a_quantity_is_a_whole_number_or_a_fraction() -> None:
    products = TypeAdapter(Product)
    for stock in (3, Decimal("2.5"), None):
        sent = attrs.evolve(PRODUCT, stock=stock)
        back = products.validate_json(products.dump_json(sent))
        assert (back.stock, type(back.stock)) == (stock, type(stock))


def test_an_exports_rows_are_records_too() -> None:
    (line,) = convert.order_lines(ORDER)
    written = TypeAdapter(OrderLine).dump_json(line)
    assert exact(written) == exact(convert.dumps(line))


def test_a_record_may_be_a_field_of_a_model() -> None:
    class Basket(BaseModel):
        order: Order
        seen: list[OrderSummary] = []

    basket = Basket(order=ORDER, seen=[ORDERS.items[0]])
    assert Basket.model_validate_json(basket.model_dump_json()) == basket
    with pytest.raises(ValidationError, match=r"seen\.0\.total"):
        Basket.model_validate({"order": ORDER, "seen": [{"id": 1}]})


def test_importing_the_package_does_not_import_pydantic() -> None:
    script = "import sys, devskin_async; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "pydantic" not in loaded
    assert "pydantic_core" not in loaded
    assert "devskin_async._pydantic" not in loaded


async def test_a_route_without_a_return_annotation_sends_a_record_too(
    store: DevSkinClient,
) -> None:
    async with served(store) as session, session.get("/unannotated?number=7") as response:
        assert response.status == 200
        assert exact(await response.read())["total"] == (await store.orders.get(7)).total


def test_a_record_becomes_a_dict() -> None:
    assert dict(CUSTOMER)["id"] == CUSTOMER.id
    assert CUSTOMER["created_at"] == CUSTOMER.created_at
    with pytest.raises(KeyError, match="no_such_field"):
        CUSTOMER["no_such_field"]


def test_a_record_says_whether_it_has_a_field() -> None:
    assert "created_at" in CUSTOMER
    assert "no_such_field" not in CUSTOMER


@pytest.mark.parametrize("iterate", [iter, list, sorted, lambda record: [*record]])
def test_a_record_is_not_iterable(iterate: Any) -> None:
    with pytest.raises(TypeError, match="not iterable"):
        iterate(CUSTOMER)
