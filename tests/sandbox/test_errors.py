"""What goes wrong by the caller's doing, and the envelope that says so."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest

from devskin_async.sandbox import Sandbox, create_store
from tests.sandbox.support import Api, calling

BAD_INTEGERS = [
    "0", "-1", "", "1.0", "1e2", "abc", "0x10", "1_0", "+1", "%201", "%D9%A3",
    str(2**63), "9" * 5000,
]  # fmt: skip
BAD_DATES = [
    "", "2026-2-3", "2026-02-30", "2026-13-01", "20260213", "13/02/2026",
    "2026-02-13T00:00:00Z", "0000-01-01", "%D9%A2026-02-13",
]  # fmt: skip


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    """A store of nine orders: errors need no more."""
    box = Sandbox(orders=9, products=5, customers=5, limiter="none")
    async with box, calling(box) as caller:
        yield caller


@pytest.mark.parametrize("path", ["/orders", "/products", "/customers"])
@pytest.mark.parametrize("value", BAD_INTEGERS)
@pytest.mark.parametrize("name", ["page", "limit"])
async def test_page_and_limit_must_be_positive_integers(
    api: Api, path: str, name: str, value: str
) -> None:
    answer = await api.get(f"{path}?{name}={value}")
    assert answer.status == 400
    assert name in answer.error


@pytest.mark.parametrize("path", ["/orders", "/products", "/customers"])
async def test_limit_goes_up_to_100(api: Api, path: str) -> None:
    assert (await api.get(f"{path}?limit=100")).status == 200
    answer = await api.get(f"{path}?limit=101")
    assert (answer.status, answer.error) == (400, "limit must be an integer from 1 to 100")


@pytest.mark.parametrize("value", ["refunded", "", "PAID", "paid,shipped"])
async def test_status_must_be_a_known_one(api: Api, value: str) -> None:
    answer = await api.get(f"/orders?status={value}")
    assert answer.status == 400
    assert answer.error == "status must be one of pending, paid, shipped, completed, cancelled"


@pytest.mark.parametrize("value", BAD_DATES)
@pytest.mark.parametrize("name", ["date_from", "date_to"])
async def test_dates_must_exist_and_be_written_with_hyphens(
    api: Api, name: str, value: str
) -> None:
    answer = await api.get(f"/orders?{name}={value}")
    assert (answer.status, answer.error) == (400, f"{name} must be a date as YYYY-MM-DD")


async def test_date_from_must_not_be_after_date_to(api: Api) -> None:
    answer = await api.get("/orders?date_from=2026-02-02&date_to=2026-02-01")
    assert (answer.status, answer.error) == (400, "date_from must not be after date_to")


@pytest.mark.parametrize("value", ["", "1d", "30D", "30"])
async def test_period_must_be_a_known_one(api: Api, value: str) -> None:
    answer = await api.get(f"/revenue?period={value}")
    assert (answer.status, answer.error) == (400, "period must be one of 7d, 30d, 90d, 1y")


@pytest.mark.parametrize(
    "query",
    [
        "/orders?page=1&page=2",
        "/products?limit=5&limit=5",
        "/orders?status=paid&status=paid",
        "/orders?date_from=2026-01-01&date_from=2026-01-02",
        "/orders?date_to=2026-01-01&date_to=2026-01-02",
        "/revenue?period=7d&period=30d",
    ],
)
async def test_a_parameter_given_twice_is_refused_by_name(api: Api, query: str) -> None:
    answer = await api.get(query)
    name = query.partition("?")[2].partition("=")[0]
    assert (answer.status, answer.error) == (400, f"{name} must be given once")


@pytest.mark.parametrize("value", ["0", "-1", "abc", "1.0", "%D9%A3", str(2**63), "{id}", "1%2F2"])
async def test_an_orders_id_must_be_a_positive_integer(api: Api, value: str) -> None:
    answer = await api.get(f"/orders/{value}")
    assert (answer.status, answer.error) == (400, "id must be a positive integer")


@pytest.mark.parametrize("headers", [{}, {"X-API-Key": ""}, {"Authorization": "Bearer x"}])
async def test_a_request_without_a_key_is_401(api: Api, headers: dict[str, str]) -> None:
    answer = await api.call("GET", "/orders", headers)
    assert answer.status == 401
    assert answer.error.startswith("Missing API key")


@pytest.mark.parametrize("key", ["your_api_key_here", "dsk_", "clé"])
async def test_an_unknown_key_is_401_in_the_words_of_the_reference(api: Api, key: str) -> None:
    answer = await api.get("/orders", key)
    assert answer.status == 401
    assert answer.text == '{"success":false,"error":"Invalid or expired API key"}'


async def test_a_revoked_key_is_401(api: Api) -> None:
    assert (await api.get("/orders")).status == 200
    api.box.revoke_key("sandbox")
    answer = await api.get("/orders")
    assert (answer.status, answer.error) == (401, "Invalid or expired API key")


async def test_the_key_comes_before_the_path_and_the_method(api: Api) -> None:
    assert (await api.call("GET", "/nowhere", {})).status == 401
    assert (await api.call("POST", "/orders", {})).status == 401


PATHS = {
    "orders": ["/orders", "/orders/1"],
    "revenue": ["/revenue"],
    "products": ["/products"],
    "customers": ["/customers"],
    "analytics": ["/analytics/overview"],
}


@pytest.mark.parametrize("only", PATHS)
async def test_a_restricted_key_is_403_on_every_other_resource(api: Api, only: str) -> None:
    key = api.box.create_key("restricted", only=(only,))
    for resource, paths in PATHS.items():
        for path in paths:
            answer = await api.get(path, key)
            assert answer.status == (200 if resource == only else 403)
            if resource != only:
                assert answer.error == f"This API key does not have access to {resource}"


@pytest.mark.parametrize(
    "path",
    ["", "/", "/nowhere", "/orders/", "/orders/1/items", "/analytics", "/Orders", "//orders"],
)
async def test_an_unknown_path_is_404(api: Api, path: str) -> None:
    answer = await api.get(path)
    assert (answer.status, answer.error) == (404, "Not found")


async def test_a_path_outside_the_api_is_404_without_a_key(api: Api) -> None:
    answer = await api.call("GET", "/../../elsewhere", {})
    assert (answer.status, answer.error) == (404, "Not found")


async def test_an_unknown_order_is_404(api: Api) -> None:
    for order_id in (10, 2**63 - 1):
        answer = await api.get(f"/orders/{order_id}")
        assert (answer.status, answer.error) == (404, "Order not found")


async def test_another_stores_order_is_404(api: Api) -> None:
    store = create_store(api.box.connection, "Second", orders=10, products=5, customers=5)
    key = api.box.create_key("second", store_id=store)
    assert (await api.get("/orders/1", key)).error == "Order not found"
    assert (await api.get("/orders/10", key)).status == 200
    assert (await api.get("/orders/10")).error == "Order not found"


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PURGE"])
@pytest.mark.parametrize("path", ["/orders", "/orders/1", "/analytics/overview", "/openapi.json"])
async def test_every_method_but_get_is_405_with_allow(api: Api, method: str, path: str) -> None:
    answer = await api.call(method, path, {"X-API-Key": api.box.api_key})
    assert (answer.status, answer.error) == (405, "Method not allowed")
    assert answer.headers["Allow"] == "GET"


async def test_head_is_405_without_a_body(api: Api) -> None:
    answer = await api.call("HEAD", "/orders", {"X-API-Key": api.box.api_key})
    assert (answer.status, answer.text) == (405, "")


async def test_a_broken_database_is_500_without_a_traceback(
    api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    api.box.connection.execute("DROP TABLE order_items")
    with caplog.at_level(logging.ERROR):
        answer = await api.get("/orders/1")
    assert (answer.status, answer.error) == (500, "Internal server error")
    assert "no such table" in caplog.text


async def raw(api: Api, request: bytes) -> str:
    """Whatever a connection says to these bytes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", api.box.port)
    writer.write(request)
    answer = await reader.read()
    writer.close()
    return answer.decode()


async def test_a_key_of_stray_bytes_is_401(api: Api) -> None:
    line = b"GET /api/v1/orders HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    answer = await raw(api, line + b"X-API-Key: \xff\xe9\r\n\r\n")
    assert answer.startswith("HTTP/1.1 401 ")
    assert answer.endswith('{"success":false,"error":"Invalid or expired API key"}')


async def test_what_is_not_http_gets_the_envelope_too(api: Api) -> None:
    answer = await raw(api, b"no http\r\n\r\n")
    assert answer.startswith("HTTP/1.0 400 ")
    assert "Content-Type: application/json\r\n" in answer
    assert answer.endswith('{"success":false,"error":"Malformed request"}')


async def test_the_key_shows_in_no_log_and_no_error(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        async with Sandbox(limit=3) as box, calling(box) as api:
            texts = [(await api.get(path)).text for path in ("/orders", "/orders/x", "/no", "/no")]
            assert box.api_key not in caplog.text + "".join(texts) + repr(box)
