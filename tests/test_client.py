"""The client against the real sandbox: every endpoint, every option, every refusal."""

from __future__ import annotations

import asyncio
import copy
import datetime as dt
import logging
import pickle
import traceback
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any
from unittest.mock import AsyncMock, create_autospec

import aiohttp
import msgspec
import pytest
from aiohttp import web

from devskin_async import (
    AuthenticationError,
    ConfigurationError,
    Customer,
    DevSkinClient,
    Event,
    Granted,
    Lane,
    NotFoundError,
    OrderStatus,
    Overview,
    PermissionDeniedError,
    Product,
    RateLimit,
    Retry,
    ServerError,
    TransportError,
    __version__,
)
from devskin_async.api import Request, Response
from devskin_async.resources import Products
from devskin_async.sandbox import Sandbox
from devskin_async.testing import MockTransport, respond, virtual_time

from . import samples
from .conftest import AT_ONCE, UNLIMITED
from .serving import KEY, serving


async def test_the_overview_is_read(store: DevSkinClient) -> None:
    overview = await store.analytics.overview()
    assert isinstance(overview, Overview)
    assert (overview.total_orders, overview.total_products) == (450, 120)


@pytest.mark.parametrize("period", ["7d", "30d", "90d", "1y"])
async def test_a_revenue_series_is_read(store: DevSkinClient, period: str) -> None:
    revenue = await store.revenue(period)
    assert revenue.period == period
    assert sum(day.total or 0 for day in revenue.daily) == revenue.total


async def test_the_periods_default_is_the_references(store: DevSkinClient) -> None:
    assert (await store.revenue()).period == "30d"


async def test_an_order_is_read_whole(store: DevSkinClient) -> None:
    order = await store.orders.get(7)
    assert order.id == 7
    assert order.subtotal == sum(item.price * item.quantity for item in order.items)
    assert order.shipping_cost is not None
    assert order.discount is not None
    assert order.total == order.subtotal + order.shipping_cost - order.discount
    assert order.created_at.tzinfo is not None


async def test_an_order_that_the_store_does_not_have_is_not_found(store: DevSkinClient) -> None:
    with pytest.raises(NotFoundError, match="GET /orders/451: 404"):
        await store.orders.get(451)


async def test_a_page_has_its_number_its_limit_and_the_total(store: DevSkinClient) -> None:
    page = await store.orders.page(2, limit=50)
    assert (len(page.items), page.total, page.page, page.limit) == (50, 450, 2, 50)


async def test_a_page_has_the_references_20_rows_by_default(store: DevSkinClient) -> None:
    assert len((await store.orders.page()).items) == 20
    assert len((await store.products.page()).items) == 20
    assert len((await store.customers.page(2)).items) == 10


async def test_a_listing_reads_every_order_once_in_the_servers_order(
    box: Sandbox, store: DevSkinClient
) -> None:
    orders = [order async for order in store.orders.list()]
    assert sorted(order.id for order in orders) == list(range(1, 451))
    assert orders == sorted(orders, key=lambda order: (order.created_at, order.id), reverse=True)
    assert box.counts.requests == 5


async def test_bulk_reads_ask_for_100_rows_a_page(box: Sandbox, store: DevSkinClient) -> None:
    await store.orders.list()
    await store.products.list()
    await store.customers.list()
    assert all("limit=100" in request.path_qs for request in box.requests)


async def test_products_and_customers_are_listed(store: DevSkinClient) -> None:
    products, customers = await asyncio.gather(store.products.list(), store.customers.list())
    assert (len(products), len(customers)) == (120, 30)
    assert isinstance(products[0], Product)
    assert isinstance(customers[0], Customer)


async def test_a_listing_can_be_read_by_pages(store: DevSkinClient) -> None:
    pages = [page async for page in store.products.list().pages()]
    assert [(page.page, len(page.items)) for page in pages] == [(1, 100), (2, 20)]


async def test_orders_are_filtered_by_status_and_days(store: DevSkinClient) -> None:
    everything = await store.orders.list()
    day = everything[100].created_at.date()
    wanted = [o for o in everything if o.status == "paid" and o.created_at.date() >= day]
    assert await store.orders.list(status=OrderStatus.PAID, date_from=day) == wanted
    page = await store.orders.page(1, limit=100, status="paid", date_from=str(day))
    assert page.total == len(wanted)
    assert await store.orders.list(date_from=day, date_to=day) == [
        order for order in everything if order.created_at.date() == day
    ]


async def test_many_orders_come_in_the_order_of_the_given_ids(store: DevSkinClient) -> None:
    ids = [44, 7, 300, 7, 1]
    assert [order.id async for order in store.orders.get_many(ids)] == ids
    assert [order.id for order in await store.orders.get_many(iter(ids))] == ids


async def test_no_ids_are_no_requests(box: Sandbox, store: DevSkinClient) -> None:
    assert await store.orders.get_many([]) == []
    assert box.counts.requests == 0


async def test_an_unknown_id_among_many_ends_the_reading(store: DevSkinClient) -> None:
    with pytest.raises(NotFoundError, match="/orders/9999"):
        await store.orders.get_many([1, 2, 9999, 3])


@pytest.mark.parametrize(
    "call",
    [
        lambda store: store.orders.get(0),
        lambda store: store.orders.page(limit=101),
        lambda store: store.orders.page(status="refunded"),
        lambda store: store.products.page(-1),
        lambda store: store.customers.page(limit=0),
        lambda store: store.revenue("2d"),
    ],
)
async def test_wrong_arguments_are_refused_before_anything_is_sent(
    box: Sandbox, store: DevSkinClient, call: Callable[[DevSkinClient], Any]
) -> None:
    with pytest.raises(ValueError, match="must be"):
        await call(store)
    assert box.counts.requests == 0


@pytest.mark.parametrize(
    "call",
    [
        lambda store: store.orders.list(status="refunded"),
        lambda store: store.orders.list(date_from="2026-13-01"),
        lambda store: store.orders.get_many([1, 0]),
        lambda store: store.with_options(deadline=0),
        lambda store: store.with_options(max_wait=-1),
        lambda store: store.with_options(lane="bulk"),
        lambda store: store.with_options(deadline=float("nan")),
        lambda store: store.with_options(deadline="5"),
        lambda store: store.with_options(max_wait=False),
        lambda store: store.with_options(timeout=b"5"),
        lambda store: store.with_options(timeout=0),
        lambda store: store.with_options(timeout=None),
        lambda store: store.with_options(retry=3),
        lambda store: store.with_options(retry=None),
        lambda store: store.with_options(concurrency=0),
        lambda store: store.with_options(concurrency=2.5),
        lambda store: store.orders.list().pages(start=0),
        lambda store: store.orders.list().pages(start="2"),
    ],
)
async def test_wrong_arguments_of_a_listing_are_refused_when_it_is_made(
    store: DevSkinClient, call: Callable[[DevSkinClient], Any]
) -> None:
    with pytest.raises(ValueError, match="must be"):
        call(store)


async def test_a_key_that_is_revoked_midway_is_an_authentication_error(
    box: Sandbox, store: DevSkinClient
) -> None:
    await store.analytics.overview()
    box.revoke_key("sandbox")
    with pytest.raises(AuthenticationError, match="GET /orders: 401"):
        await store.orders.list()


async def test_a_key_without_access_is_denied(box: Sandbox) -> None:
    key = box.create_key("orders only", ["orders"])
    async with DevSkinClient(key, base_url=box.base_url) as store:
        assert (await store.orders.page()).total == 450
        with pytest.raises(PermissionDeniedError, match="GET /customers: 403"):
            await store.customers.list()


async def test_nulls_missing_fields_new_fields_and_new_statuses_are_accepted() -> None:
    async with (
        Sandbox(orders=300, products=40, customers=40, limiter="none", drift=True) as box,
        DevSkinClient(box.api_key, base_url=box.base_url, rate_limit=UNLIMITED) as store,
    ):
        orders = await store.orders.list()
        details = await store.orders.get_many(order.id for order in orders)
        products = await store.products.list()
        customers = await store.customers.list()
    assert (len(orders), len(products), len(customers)) == (300, 40, 40)
    assert any(order.customer_name is None for order in orders)
    assert any(order.shipping_address is None for order in details)
    assert any(product.slug is None for product in products)
    assert any(customer.email is None for customer in customers)
    assert any(not order.status.known for order in orders)


@pytest.mark.parametrize("order", ["newest", "oldest", "id"])
async def test_a_list_keeps_the_servers_order(order: Any) -> None:
    async with (
        Sandbox(orders=250, limiter="none", order=order) as box,
        DevSkinClient(box.api_key, base_url=box.base_url) as store,
    ):
        orders = await store.orders.list()
    assert len({order.id for order in orders}) == 250
    assert orders == sorted(
        orders,
        key=lambda row: row.id if order == "id" else (row.created_at, row.id),
        reverse=order == "newest",
    )


@pytest.mark.parametrize("limiter", ["fixed-window", "first-request", "sliding-log"])
async def test_a_key_used_by_one_client_alone_is_not_refused(limiter: Any) -> None:
    async with (
        Sandbox(orders=10, limiter=limiter, limit=20, per=0.4) as box,
        DevSkinClient(
            box.api_key, base_url=box.base_url, rate_limit=RateLimit(20, 0.4, burst=20)
        ) as store,
    ):
        await asyncio.gather(*(store.orders.page(page) for page in range(1, 61)))
        assert (box.counts.requests, box.counts.refused) == (60, 0)
        assert (store.budget.sent, store.budget.refused) == (60, 0)


@pytest.mark.parametrize(
    "style",
    ["x-ratelimit", "x-ratelimit-delta", "ratelimit", "ratelimit-structured"],
)
async def test_quota_headers_of_every_style_are_respected_when_another_uses_the_key(
    style: Any,
) -> None:
    async with (
        Sandbox(orders=10, limiter="sliding-log", limit=20, per=0.5, quota_headers=style) as box,
        aiohttp.ClientSession(headers={"X-API-Key": box.api_key}) as another,
        DevSkinClient(
            box.api_key, base_url=box.base_url, rate_limit=RateLimit(20, 0.5), concurrency=1
        ) as store,
    ):
        for _ in range(15):
            await (await another.get(f"{box.base_url}/orders/1")).read()
        for page in range(1, 9):
            await store.orders.page(page)
        assert box.counts.refused == 0


@pytest.mark.parametrize("limiter", ["sliding-counter", "token-bucket", "small-bucket"])
async def test_a_stricter_server_is_served_without_the_caller_noticing(limiter: Any) -> None:
    async with (
        Sandbox(orders=10, limiter=limiter, limit=20, per=0.5) as box,
        DevSkinClient(
            box.api_key, base_url=box.base_url, rate_limit=RateLimit(20, 0.5, burst=20)
        ) as store,
    ):
        pages = await asyncio.gather(*(store.orders.page(page) for page in range(1, 41)))
    assert [page.page for page in pages] == list(range(1, 41))


async def test_a_view_shares_session_and_budget(box: Sandbox, store: DevSkinClient) -> None:
    view = store.with_options(deadline=30)
    await view.analytics.overview()
    assert view.reader.sender is store.reader.sender
    assert view.budget.sent == store.budget.sent == 1
    assert isinstance(view, DevSkinClient)


def test_a_view_keeps_what_it_does_not_name() -> None:
    store = DevSkinClient(KEY)
    view = store.with_options(max_wait=0, lane=Lane.BULK).with_options(deadline=5)
    reader = view.reader
    assert (reader.max_wait, reader.lane, reader.deadline) == (0, Lane.BULK, 5)
    reader = view.with_options(max_wait=None, lane=None, deadline=None).reader
    assert reader == store.reader
    retry = Retry(attempts=1)
    reader = store.with_options(timeout=2).with_options(retry=retry, concurrency=3).reader
    assert (reader.timeout, reader.retry, reader.concurrency) == (2, retry, 3)
    assert store.reader.timeout == 30


async def test_a_view_has_a_timeout_of_its_own(box: Sandbox, store: DevSkinClient) -> None:
    box.fail_next("slow")
    quick = store.with_options(timeout=0.1, retry=Retry(attempts=1))
    with pytest.raises(TransportError, match=r"no response within 0\.1 s"):
        await quick.analytics.overview()
    assert box.counts.requests == 1


async def test_a_view_has_retries_of_its_own(box: Sandbox, store: DevSkinClient) -> None:
    box.fail_next("500", "500")
    with pytest.raises(ServerError):
        await store.with_options(retry=Retry(attempts=1)).analytics.overview()
    await store.analytics.overview()
    assert box.counts.requests == 3


@pytest.mark.parametrize("concurrency", [1, 3])
@virtual_time
async def test_a_view_has_a_concurrency_of_its_own(concurrency: int) -> None:
    most = in_flight = 0

    async def handler(request: Request[object]) -> Response:
        nonlocal most, in_flight
        in_flight += 1
        most = max(most, in_flight)
        await asyncio.sleep(1)
        in_flight -= 1
        order = msgspec.json.decode(samples.ORDER)
        order["data"]["order"]["id"] = int(request.path.removeprefix("/orders/"))
        return respond(json=order)

    transport = MockTransport(handler)
    async with DevSkinClient(KEY, transport=transport, rate_limit=UNLIMITED) as store:
        await store.with_options(concurrency=concurrency).orders.get_many(range(1, 10))
    assert most == concurrency


async def user_agent(**options: Any) -> str:
    """The User-Agent that a server gets."""
    seen: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append(request.headers["User-Agent"])
        return web.Response(body=samples.OVERVIEW)

    async with serving(answer, **options) as store:
        await store.analytics.overview()
    return seen[0]


async def test_the_user_agent_is_this_library_and_what_calls_it() -> None:
    assert await user_agent() == f"devskin-async/{__version__}"
    assert await user_agent(user_agent="nightly/2.1") == f"devskin-async/{__version__} nightly/2.1"
    assert (await user_agent(user_agent=" a/1 (b) ")).endswith(" a/1 (b)")


@pytest.mark.parametrize("product", ["", " ", "a\r\nX-Admin: 1", "a\tb", "a\x00", "ночь/2", 5])
def test_a_user_agent_that_a_header_can_not_have_is_a_value_error(product: Any) -> None:
    with pytest.raises(ValueError, match="user_agent must be printable ASCII"):
        DevSkinClient(KEY, user_agent=product)


async def test_a_transport_does_not_get_the_user_agent() -> None:
    transport = MockTransport(lambda _: respond(body=samples.OVERVIEW))
    async with DevSkinClient(KEY, transport=transport, user_agent="nightly/2.1") as store:
        assert (await store.analytics.overview()).total_orders == 1563


@pytest.mark.parametrize("start", [1, 2, 5, 6, 99])
async def test_a_listing_may_begin_with_any_page(store: DevSkinClient, start: int) -> None:
    everything = [page async for page in store.orders.list().pages()]
    assert [page async for page in store.orders.list().pages(start)] == everything[start - 1 :]


async def test_the_limit_of_a_listing_counts_from_the_page_that_it_begins_with(
    store: DevSkinClient,
) -> None:
    everything = await store.orders.list()
    for limit in (30, 150):
        pages = store.orders.list(limit=limit).pages(start=2)
        rows = [order async for page in pages for order in page.items]
        assert rows == everything[100 : 100 + limit]


async def test_a_listing_that_fails_says_on_which_page(box: Sandbox, store: DevSkinClient) -> None:
    box.fail_next("ok", "ok", "500")
    once = store.with_options(retry=Retry(attempts=1), concurrency=1)
    with pytest.raises(ServerError) as caught:
        await once.orders.list()
    assert caught.value.__notes__ == ["page 3 of the list"]
    assert "page 3 of the list" in "".join(traceback.format_exception(caught.value))


async def test_single_calls_are_interactive_and_listings_are_bulk_work(box: Sandbox) -> None:
    lanes: list[Lane] = []

    def note(event: Event) -> None:
        if isinstance(event, Granted):
            lanes.append(event.lane)

    async with DevSkinClient(box.api_key, base_url=box.base_url, on_event=note) as store:
        await store.orders.get(1)
        await store.products.page()
        await store.products.list()
        await store.orders.get_many([1])
        await store.with_options(lane=Lane.BULK).orders.get(1)
        await store.with_options(lane=Lane.INTERACTIVE).customers.list()
    interactive, bulk = [Lane.INTERACTIVE], [Lane.BULK]
    assert lanes == interactive * 2 + bulk * 4 + interactive


async def test_a_view_may_lift_the_deadline_of_another(store: DevSkinClient) -> None:
    hasty = store.with_options(deadline=1e-9)
    with pytest.raises(TransportError, match="deadline"):
        await hasty.analytics.overview()
    await hasty.with_options(deadline=None).analytics.overview()


async def test_the_deadline_of_a_listing_is_for_all_of_it() -> None:
    async with (
        Sandbox(orders=1000, limiter="none", latency=0.15) as box,
        DevSkinClient(
            box.api_key, base_url=box.base_url, concurrency=1, rate_limit=UNLIMITED
        ) as store,
    ):
        with pytest.raises(TransportError, match=r"no response within the deadline of 0\.4 s"):
            await store.with_options(deadline=0.4).orders.list()
        assert 1 <= box.counts.requests <= 4


async def test_the_budget_is_that_of_the_rate_limit(box: Sandbox) -> None:
    async with DevSkinClient(
        box.api_key, base_url=box.base_url, rate_limit=RateLimit(50, 30)
    ) as store:
        await store.analytics.overview()
        budget = store.budget
    assert (budget.limit, budget.per, budget.available, budget.sent) == (50, 30, 49, 1)


async def test_key_and_address_are_taken_from_the_environment(
    box: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEVSKIN_API_KEY", f" {box.api_key}\n")
    monkeypatch.setenv("DEVSKIN_BASE_URL", f"{box.base_url}/")
    async with DevSkinClient() as store:
        assert (await store.analytics.overview()).total_orders == 450


@pytest.mark.parametrize("key", [None, "", "  "])
def test_no_key_is_a_configuration_error_that_says_what_to_do(key: str | None) -> None:
    with pytest.raises(ConfigurationError, match="pass api_key or set DEVSKIN_API_KEY"):
        DevSkinClient(key)


def test_a_key_that_is_not_a_string_is_an_error() -> None:
    untyped: Any = 5
    with pytest.raises(ConfigurationError, match="the API key must be a string"):
        DevSkinClient(untyped)


@pytest.mark.parametrize("key", ["a\nX-Admin: 1", "ключ", "a\x00b", "two words"])
def test_the_error_of_an_invalid_key_does_not_show_it(key: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        DevSkinClient(key)
    assert key not in str(caught.value)


@pytest.mark.parametrize(
    "address",
    [
        "https://api.test/v1",
        "https://api.test:8443/v1/",
        "http://127.0.0.1:8787/api/v1",
        "http://127.9.9.9",
        "http://localhost:8787",
        "http://[::1]:8787/api/v1",
    ],
)
def test_https_and_loopback_addresses_are_accepted(address: str) -> None:
    assert repr(DevSkinClient(KEY, base_url=address)) == f"<DevSkinClient {address.rstrip('/')}>"


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("http://api.test/v1", "must be https"),
        ("http://10.0.0.1/v1", "must be https"),
        ("http://localhost.evil.test", "must be https"),
        ("http://127.0.0.1.evil.test", "must be https"),
        ("ftp://api.test", "must be an address such as https://"),
        ("api.test", "must be an address such as https://"),
        ("https://", "must be an address such as https://"),
        ("", "must be an address such as https://"),
        (3, "must be an address such as https://"),
        ("https://[::1", "must be an address such as https://"),
        (KEY, "must be an address such as https://"),
        ("https://user:secret@api.test", "no user, password, query or fragment"),
        ("https://api.test?key=1", "no user, password, query or fragment"),
        ("https://api.test#here", "no user, password, query or fragment"),
    ],
)
def test_an_address_that_would_give_the_key_away_is_refused(address: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message) as caught:
        DevSkinClient(KEY, base_url=address)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "values",
    [
        {"concurrency": 0},
        {"concurrency": 1.5},
        {"timeout": 0},
        {"timeout": -1},
        {"timeout": float("inf")},
        {"timeout": "soon"},
        {"timeout": "5"},
        {"timeout": True},
        {"timeout": None},
        {"timeout": 10**400},
        {"retry": 3},
        {"rate_limit": 100},
        {"session": "https://api.test"},
        {"transport": object()},
        {"transport": MockTransport},
        {"on_event": "print"},
    ],
)
def test_invalid_settings_are_value_errors(values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(values))):
        DevSkinClient(KEY, **values)


class Failing(DevSkinClient):
    """A client that shows up in a traceback before it is set up."""

    def __init__(self) -> None:
        self.shown = repr(self)


def test_a_client_that_is_not_set_up_has_a_repr() -> None:
    assert repr(object.__new__(DevSkinClient)) == "<DevSkinClient (not initialized)>"
    assert Failing().shown == "<Failing (not initialized)>"


@pytest.mark.parametrize("instance", [False, True])
@pytest.mark.parametrize("spec_set", [False, True])
async def test_an_autospec_has_the_resources_with_their_methods(
    instance: bool, spec_set: bool
) -> None:
    double = create_autospec(DevSkinClient, instance=instance, spec_set=spec_set)
    for store in (double, double.return_value) if not instance else (double,):
        store.orders.get.return_value = "the order"
        assert await store.orders.get(7) == "the order"
        store.orders.get.assert_awaited_once_with(7)
        store.orders.list.return_value.first = AsyncMock(return_value="the first")
        assert await store.orders.list(status="paid").first() == "the first"
        await store.products.page(2)
        await store.customers.page(limit=5)
        await store.analytics.overview()
        assert isinstance(store.products, Products)
        with pytest.raises(TypeError):
            store.orders.list(state="paid")
        with pytest.raises(AttributeError):
            store.orders.all  # noqa: B018 - it is not there


async def test_the_resources_of_a_client_are_its_own(store: DevSkinClient) -> None:
    assert store.orders is store.orders
    assert store.orders is not store.with_options(max_wait=1).orders


async def test_the_key_is_in_no_repr_and_no_log(
    box: Sandbox, store: DevSkinClient, caplog: pytest.LogCaptureFixture
) -> None:
    asyncio.get_running_loop().set_debug(True)
    caplog.set_level(logging.DEBUG)
    box.fail_next("500", "reset", "truncated", "ok")
    await store.analytics.overview()
    logged = caplog.text + "".join(repr(vars(record)) for record in caplog.records)
    views = (store, store.reader, store.orders, store.reader.sender, store.orders.list())
    assert box.api_key not in logged + "".join(map(repr, views))
    assert "trying again" in logged


async def test_a_session_beside_a_transport_is_a_value_error() -> None:
    transport = MockTransport(lambda _: respond(404))
    async with aiohttp.ClientSession() as session:
        with pytest.raises(ValueError, match="pass a session or a transport, not both"):
            DevSkinClient(KEY, session=session, transport=transport)


def test_a_client_can_not_be_pickled_or_copied() -> None:
    for take in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="its API key would go along"):
            take(DevSkinClient(KEY))


async def test_a_view_of_a_subclass_keeps_its_attributes(box: Sandbox) -> None:
    class Named(DevSkinClient):
        def __init__(self, name: str) -> None:
            super().__init__(box.api_key, base_url=box.base_url)
            self.name = name

    assert Named("mine").with_options(deadline=1).name == "mine"


@pytest.mark.parametrize("seconds", [Decimal(30), 30, Fraction(30)])
async def test_seconds_may_be_any_kind_of_number(box: Sandbox, seconds: Any) -> None:
    async with DevSkinClient(box.api_key, base_url=box.base_url, timeout=seconds) as store:
        await store.with_options(deadline=seconds).analytics.overview()


async def test_a_client_is_closed_by_its_context(box: Sandbox) -> None:
    async with DevSkinClient(box.api_key, base_url=box.base_url, retry=AT_ONCE) as store:
        await store.analytics.overview()
    with pytest.raises(ConfigurationError, match="closed"):
        await store.analytics.overview()


async def test_dates_may_be_dates_or_text(store: DevSkinClient) -> None:
    today = dt.datetime.now(dt.UTC).date()
    assert await store.orders.page(date_to=today) == await store.orders.page(
        date_to=today.isoformat()
    )


@pytest.mark.parametrize("past_end", ["404", "400", "last"])
async def test_a_page_past_the_end_is_empty_however_the_store_says_so(past_end: str) -> None:
    async with (
        Sandbox(orders=250, limiter="none", quirks={f"past-end={past_end}"}) as box,
        DevSkinClient(box.api_key, base_url=box.base_url) as store,
    ):
        page = await store.orders.page(99)
        assert (page.items, page.page) == ((), 99)
        assert len(await store.orders.list()) == 250
