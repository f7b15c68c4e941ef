"""Where an export's rows come from: each resource as batches of records."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Literal, TypeVar

from attrs import AttrsInstance, frozen

from ..client import DevSkinClient
from ..paging import Listing
from ..records import Customer, DailyRevenue, OrderSummary, Overview, Period, Product

T = TypeVar("T", bound=AttrsInstance)

Resource = Literal["orders", "products", "customers", "revenue", "overview"]


@frozen
class Batch:
    """The rows of one answer.

    Args:
        rows: The records, in the API's order.
        total: How many rows the resource has in all, as this answer tells.
    """

    rows: Sequence[AttrsInstance]
    total: int


@frozen
class Source:
    """A resource that can be exported.

    Args:
        record: What each row is.
        read: Starts one reading.
    """

    record: type[AttrsInstance]
    read: Callable[[DevSkinClient], AsyncGenerator[Batch, None]]


async def _pages(listing: Listing[T]) -> AsyncGenerator[Batch, None]:
    async with aclosing(listing.pages()) as pages:
        async for page in pages:
            yield Batch(page.items, page.total)


async def _revenue(store: DevSkinClient) -> AsyncGenerator[Batch, None]:
    # The longest period there is, as an export is of all there is.
    daily = (await store.revenue(Period.YEAR)).daily
    yield Batch(daily, len(daily))


async def _overview(store: DevSkinClient) -> AsyncGenerator[Batch, None]:
    yield Batch((await store.analytics.overview(),), 1)


SOURCES: Mapping[Resource, Source] = {
    "orders": Source(OrderSummary, lambda store: _pages(store.orders.list())),
    "products": Source(Product, lambda store: _pages(store.products.list())),
    "customers": Source(Customer, lambda store: _pages(store.customers.list())),
    "revenue": Source(DailyRevenue, _revenue),
    "overview": Source(Overview, _overview),
}
