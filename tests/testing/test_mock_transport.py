"""A function in place of the network, for tests of programs that use the client."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from functools import partial
from typing import Any

import pytest

from devskin_async import (
    DecodeError,
    DevSkinClient,
    NotFoundError,
    RateLimit,
    ServerError,
    TransportError,
)
from devskin_async.testing import MockTransport, Request, Response, respond, virtual_time
from tests import samples
from tests.conftest import AT_ONCE
from tests.support import now

client = partial(DevSkinClient, "dsk_any", retry=AT_ONCE)
FIGURES = {
    "total_orders": 3,
    "monthly_orders": 1,
    "total_revenue": Decimal("185420.50"),
    "monthly_revenue": 0,
    "total_products": 87,
}


async def test_a_function_responds_with_plain_values() -> None:
    transport = MockTransport(lambda _: respond(json={"success": True, "data": FIGURES}))
    async with client(transport=transport) as store:
        overview = await store.analytics.overview()
    assert str(overview.total_revenue) == "185420.50"


async def test_the_function_may_be_async() -> None:
    async def handler(_: Request[object]) -> Response:
        await asyncio.sleep(0)
        return respond(body=samples.OVERVIEW.decode())

    async with client(transport=MockTransport(handler)) as store:
        assert (await store.analytics.overview()).total_products == 87


async def test_the_function_is_given_method_path_and_query() -> None:
    requests: list[tuple[str, str, dict[str, str]]] = []

    def handler(request: Request[object]) -> Response:
        requests.append((request.method, request.path, request.params))
        return respond(404, json={"success": False, "error": "no such store"})

    async with client(transport=MockTransport(handler)) as store:
        with pytest.raises(NotFoundError, match="no such store"):
            await store.orders.page(1, limit=50, status="paid")
    assert requests == [("GET", "/orders", {"page": "1", "limit": "50", "status": "paid"})]


async def test_failures_are_retried_as_those_of_a_network() -> None:
    def reset() -> Response:
        raise TransportError("connection reset")

    rest = iter((reset, partial(respond, 503), partial(respond, body=samples.OVERVIEW)))
    async with client(transport=MockTransport(lambda _: next(rest)())) as store:
        await store.analytics.overview()
        assert store.budget.sent == 3


async def test_any_other_error_of_the_function_is_raised_by_the_call() -> None:
    def handler(_: Request[object]) -> Response:
        raise AssertionError("not expected to be called")

    async with client(transport=MockTransport(handler)) as store:
        with pytest.raises(AssertionError, match="not expected to be called"):
            await store.analytics.overview()


async def respond_later(_: Request[object]) -> Any:
    return {"total_orders": 3}


def respond_plainly(_: Request[object]) -> Any:
    return {"total_orders": 3}


@pytest.mark.parametrize("handler", [respond_later, respond_plainly])
async def test_the_error_of_a_function_that_returns_no_response_names_it(handler: Any) -> None:
    async with client(transport=MockTransport(handler)) as store:
        with pytest.raises(TypeError, match=rf"the handler {handler.__name__} must return a resp"):
            await store.analytics.overview()


async def test_a_failure_before_anything_was_sent_takes_no_slot() -> None:
    def handler(_: Request[object]) -> Response:
        raise TransportError("no route to the host", sent=False)

    limit = RateLimit(1, 3600)
    async with client(transport=MockTransport(handler), rate_limit=limit) as store:
        with pytest.raises(TransportError, match="no route"):
            await store.analytics.overview()
        assert store.budget.available == 1


@virtual_time
async def test_the_timeout_bounds_the_function() -> None:
    async def handler(_: Request[object]) -> Response:
        await asyncio.sleep(1e6)
        raise AssertionError

    async with client(transport=MockTransport(handler), timeout=30) as store:
        with pytest.raises(TransportError, match="no response within 30 s"):
            await store.analytics.overview()
        assert store.budget.sent == 6


@virtual_time
async def test_headers_have_their_effect() -> None:
    rest = iter((respond(429, headers={"retry-after": "7"}), respond(body=samples.OVERVIEW)))
    async with client(transport=MockTransport(lambda _: next(rest))) as store:
        await store.analytics.overview()
    assert now() == pytest.approx(7, abs=0.01)


@pytest.mark.parametrize(
    ("response", "error"), [(respond(500), ServerError), (respond(json={}), DecodeError)]
)
async def test_a_wrong_response_is_an_error_of_the_tree(
    response: Response, error: type[Exception]
) -> None:
    async with client(transport=MockTransport(lambda _: response)) as store:
        with pytest.raises(error):
            await store.analytics.overview()


async def test_a_client_closes_the_transport_that_it_was_given() -> None:
    class Closing(MockTransport):
        closed = False

        async def aclose(self) -> None:
            self.closed = True

    transport = Closing(lambda _: respond(404))
    async with client(transport=transport):
        assert not transport.closed
    assert transport.closed
