"""From a request's path to the data that answers it, or to the error that does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .list_quirks import PastEndError, read_list
from .parameters import BadParameterError, parse_id, parse_orders, parse_page, parse_period

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp import web
    from multidict import MultiMapping

    from .keys import KeyInfo
    from .queries import StoreReader
    from .quirks import Quirks
    from .records import JsonObject

PREFIX: Final = ("api", "v1")


class ApiError(Exception):
    """An answer other than 200; the message goes out in the envelope."""

    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers: dict[str, str] = headers or {}


def read_data(
    request: web.BaseRequest, key: KeyInfo, reader: StoreReader, quirks: Quirks
) -> JsonObject:
    """Read what a request asks for.

    Args:
        request: Its path is below the API's prefix.
        key: The key it came with.
        reader: Reads that key's store.
        quirks: Those of lists and of an order that always fails are applied.

    Returns:
        An envelope's data.

    Raises:
        ApiError: The path, the method, the key's permissions or a parameter is wrong.
    """
    try:
        match request.rel_url.parts[3:]:
            case ("orders", text) if text:
                admit(request, key, "orders")
                return _order(reader, parse_id(text), quirks)
            case ("analytics", "overview"):
                admit(request, key, "analytics")
                return reader.overview()
            case (name,) if (read := _READERS.get(name)) is not None:
                admit(request, key, name)
                return read(reader, request.query, quirks)
    except BadParameterError as error:
        raise ApiError(400, str(error)) from None
    except PastEndError as error:
        raise ApiError(error.status, str(error)) from None
    raise ApiError(404, "Not found")


def check_method(request: web.BaseRequest) -> None:
    """Refuse whatever does not read.

    Args:
        request: The request.

    Raises:
        ApiError: It is not a GET.
    """
    if request.method != "GET":
        raise ApiError(405, "Method not allowed", {"Allow": "GET"})


def admit(request: web.BaseRequest, key: KeyInfo, resource: str) -> None:
    """Refuse a wrong method, then a key that was not made for the resource.

    Args:
        request: The request.
        key: Its key.
        resource: What it wants to read.

    Raises:
        ApiError: One of them is wrong.
    """
    check_method(request)
    if key.only is not None and resource not in key.only:
        raise ApiError(403, f"This API key does not have access to {resource}")


def _order(reader: StoreReader, order_id: int, quirks: Quirks) -> JsonObject:
    failing, status = quirks.failing_order() or (None, 0)
    if order_id == failing:
        raise ApiError(status, "This order can't be read")
    if (data := reader.order(order_id)) is None:
        raise ApiError(404, "Order not found")
    return data


def _orders(reader: StoreReader, query: MultiMapping[str], quirks: Quirks) -> JsonObject:
    return read_list(reader.orders, parse_orders(query), quirks)


def _revenue(reader: StoreReader, query: MultiMapping[str], _: Quirks) -> JsonObject:
    return reader.revenue(parse_period(query))


def _products(reader: StoreReader, query: MultiMapping[str], quirks: Quirks) -> JsonObject:
    return read_list(reader.products, parse_page(query), quirks)


def _customers(reader: StoreReader, query: MultiMapping[str], quirks: Quirks) -> JsonObject:
    return read_list(reader.customers, parse_page(query), quirks)


_READERS: Final[dict[str, Callable[[StoreReader, MultiMapping[str], Quirks], JsonObject]]] = {
    "orders": _orders,
    "revenue": _revenue,
    "products": _products,
    "customers": _customers,
}
