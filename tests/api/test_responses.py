"""A response becomes a record, or the error of the tree that says what happened."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from devskin_async import errors
from devskin_async.api import (
    MismatchedResponseError,
    Request,
    Response,
    decode,
    endpoints,
    may_retry,
)
from tests import samples

NOW = dt.datetime(2026, 2, 10, 12, tzinfo=dt.UTC)


def response(status: int, body: bytes | str | dict[str, object], **headers: str) -> Response:
    content_type = "text/html" if isinstance(body, str) else "application/json"
    raw = json.dumps(body) if isinstance(body, dict) else body
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(
        status,
        CIMultiDict({"Content-Type": content_type} | named),
        raw if isinstance(raw, bytes) else raw.encode(),
        NOW,
    )


def refusal(message: object) -> dict[str, object]:
    return {"success": False, "error": message}


@pytest.mark.parametrize(("call", "body"), samples.EXAMPLES, ids=str)
def test_the_references_responses_are_read(call: Request[Any], body: bytes) -> None:
    assert decode(call, response(200, body)) is not None


def test_an_order_is_taken_out_of_its_envelope() -> None:
    assert (
        decode(endpoints.order(1234), response(200, samples.ORDER)).order_number
        == "ORD-2026-001234"
    )


@pytest.mark.parametrize(
    ("call", "body", "message"),
    [
        (endpoints.order(2), samples.ORDER, "GET /orders/2: $.data.order.id: expected 2, got 1234"),
        (endpoints.orders(3, 10), samples.ORDERS, "GET /orders: $.data.page: expected 3, got 1"),
        (endpoints.products(2, 20), samples.PRODUCTS, "$.data.page: expected 2, got 1"),
        (endpoints.customers(2, 20), samples.CUSTOMERS, "$.data.page: expected 2, got 1"),
        (endpoints.revenue("7d"), samples.REVENUE, '$.data.period: expected "7d", got "30d"'),
    ],
)
def test_a_response_to_another_request_is_refused(
    call: Request[Any], body: bytes, message: str
) -> None:
    with pytest.raises(errors.DecodeError) as caught:
        decode(call, response(200, body))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("status", "cls"),
    [
        (400, errors.BadRequestError),
        (401, errors.AuthenticationError),
        (403, errors.PermissionDeniedError),
        (404, errors.NotFoundError),
        (405, errors.APIError),
        (418, errors.APIError),
        (429, errors.RateLimitedError),
        (500, errors.ServerError),
        (503, errors.ServerError),
        (599, errors.ServerError),
    ],
)
def test_a_status_becomes_its_error_with_the_envelopes_message(
    status: int, cls: type[errors.APIError]
) -> None:
    with pytest.raises(errors.APIError) as caught:
        decode(endpoints.order(7), response(status, refusal("Invalid or expired API key")))
    error = caught.value
    assert type(error) is cls
    assert (error.status, error.message) == (status, "Invalid or expired API key")
    assert (error.method, error.path) == ("GET", "/orders/7")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            "<html><head><style>p {}</style></head><h1>Bad\n gateway</h1>nginx</html>",
            "Bad Gateway; text/html: Bad gateway nginx",
        ),
        ("", "Bad Gateway; an empty body"),
        (b"\xff\x1b[31mred", "Bad Gateway; application/json: \N{REPLACEMENT CHARACTER} [31mred"),
        (b"{}", "Bad Gateway; application/json: {}"),
        (b"x" * 5000, "Bad Gateway; application/json: " + "x" * 200 + "…"),
        (refusal({"code": 5}), "an object"),
        (refusal(None), "no reason given"),
    ],
)
def test_an_error_without_an_envelope_is_summed_up_in_one_printable_line(
    body: bytes | str | dict[str, object], message: str
) -> None:
    with pytest.raises(errors.ServerError) as caught:
        decode(endpoints.overview(), response(502, body))
    assert caught.value.message == message


def test_an_error_message_that_would_move_the_cursor_is_cleaned() -> None:
    with pytest.raises(errors.BadRequestError) as caught:
        decode(endpoints.overview(), response(400, refusal("no\x1b[2J\r\nsuch\x00 page")))
    assert caught.value.message == "no [2J such page"


def test_a_status_that_http_does_not_know_is_summed_up_too() -> None:
    with pytest.raises(errors.APIError, match="499 unknown status; an empty body"):
        decode(endpoints.overview(), response(499, b""))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"error": {"message": "no such\nstatus"}}, "no such status"),
        ({"error": {"code": "E42", "message": "no such status"}}, "no such status; E42"),
        ({"success": False, "error": {"message": "no such status"}}, "no such status"),
        ({"message": "no such status"}, "no such status"),
        (
            {"statusCode": 400, "message": ["page is odd", "limit is too"]},
            "page is odd; limit is too",
        ),
        ({"errors": ["page is odd", "limit is too"]}, "page is odd; limit is too"),
        (
            {"errors": [{"detail": "page is odd"}, {"message": "limit is too"}]},
            "page is odd; limit is too",
        ),
        ({"error": "Bad Request", "message": "page is odd"}, "Bad Request; page is odd"),
        ({"title": "Invalid", "detail": "page is odd", "status": 400}, "page is odd; Invalid"),
        ({"detail": "page is odd"}, "page is odd"),
        ({"error": "x" * 300}, "x" * 200 + "…"),
        ({"error": "", "message": "page is odd"}, "page is odd"),
        ({"success": False, "error": " "}, "no reason given"),
        ({"error": ""}, 'Bad Request; application/json: {"error": ""}'),
    ],
)
def test_the_reason_is_shown_in_whatever_shape_it_comes(
    body: dict[str, object], message: str
) -> None:
    for call in (endpoints.overview(), endpoints.raw_overview()):
        with pytest.raises(errors.BadRequestError) as caught:
            decode(call, response(400, body))
        assert caught.value.message == message


PAGES = (
    (endpoints.orders(7, 10, status="paid"), samples.ORDERS),
    (endpoints.products(7, 20), samples.PRODUCTS),
    (endpoints.customers(7, 20), samples.CUSTOMERS),
    (endpoints.raw(endpoints.orders(7, 10)), samples.ORDERS),
)


@pytest.mark.parametrize("status", [400, 404])
@pytest.mark.parametrize(("call", "_body"), PAGES)
def test_a_page_past_the_end_that_the_api_refuses_is_empty(
    call: Request[Any], _body: bytes, status: int
) -> None:
    page = decode(call, response(status, refusal("page out of range")))
    assert (page.items, page.total, page.page) == ((), 0, 7)


@pytest.mark.parametrize(("call", "body"), PAGES)
def test_the_last_page_in_place_of_one_past_the_end_is_an_empty_page(
    call: Request[Any], body: bytes
) -> None:
    envelope = json.loads(body)
    data = envelope["data"]
    data["page"], data["total"] = 5, 5 * data["limit"]
    page = decode(call, response(200, envelope))
    assert (page.items, page.total, page.page) == ((), data["total"], 7)


@pytest.mark.parametrize(
    ("call", "status", "body"),
    [
        (endpoints.orders(1, 10), 400, refusal("no")),
        (endpoints.orders(1, 10), 404, refusal("no")),
        (endpoints.orders(7, 10), 404, "<h1>no such page on this server</h1>"),
        (endpoints.orders(7, 10), 401, refusal("no")),
        (endpoints.orders(7, 10), 500, refusal("no")),
        (endpoints.order(7), 404, refusal("no")),
        (endpoints.revenue("7d"), 400, refusal("no")),
    ],
)
def test_no_other_error_is_taken_for_an_empty_page(
    call: Request[Any], status: int, body: dict[str, object] | str
) -> None:
    with pytest.raises(errors.APIError):
        decode(call, response(status, body))


def test_a_redirect_is_an_error_that_says_why_it_is_not_followed() -> None:
    with pytest.raises(errors.APIError) as caught:
        decode(endpoints.overview(), response(302, "", Location="https://elsewhere.test/"))
    assert caught.value.message == (
        "redirects to https://elsewhere.test/; redirects are not followed,"
        " because the API key would be sent along"
    )


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (refusal("store is closed"), "store is closed"),
        ({"success": False}, "no reason given"),
        ({"success": False, "data": {}}, "no reason given"),
        (json.loads(samples.OVERVIEW) | {"success": False, "error": "half"}, "half"),
    ],
)
def test_success_false_with_status_200_is_an_api_error(
    body: dict[str, object], message: str
) -> None:
    with pytest.raises(errors.APIError) as caught:
        decode(endpoints.overview(), response(200, body))
    assert type(caught.value) is errors.APIError
    assert (caught.value.status, caught.value.message) == (200, message)


def test_an_html_page_with_status_200_is_a_transport_error_that_shows_it() -> None:
    with pytest.raises(errors.TransportError) as caught:
        decode(endpoints.overview(), response(200, "<h1>Sign in to the Wi-Fi</h1>"))
    assert "GET /analytics/overview: status 200, but the body can't be read" in str(caught.value)
    assert "(OK; text/html: Sign in to the Wi-Fi)" in str(caught.value)


@pytest.mark.parametrize("body", [b"[]", b'"x"', b"{}", b'{"success": true}', b'{"items": []}'])
def test_json_that_is_not_the_envelope_is_a_decode_error_that_names_the_request(
    body: bytes,
) -> None:
    with pytest.raises(errors.DecodeError) as caught:
        decode(endpoints.overview(), response(200, body))
    assert caught.value.request == "GET /analytics/overview"
    assert caught.value.path.startswith("$")


@given(
    status=st.integers(100, 599),
    body=st.binary() | st.sampled_from([b'{"success": false}', b"{}", samples.OVERVIEW]),
    headers=st.dictionaries(
        st.sampled_from(["Retry-After", "Location", "Content-Type"]), st.text(), max_size=3
    ),
)
def test_any_response_gives_a_record_or_an_error_of_the_tree(
    status: int, body: bytes, headers: dict[str, str]
) -> None:
    try:
        record = decode(endpoints.overview(), Response(status, headers, body, NOW))
    except (errors.APIError, errors.DecodeError, errors.TransportError) as error:
        assert str(error).isprintable()
    else:
        assert (status // 100, record.total_orders) == (2, 1563)


@pytest.mark.parametrize("status", [429, 503])
def test_a_refusal_carries_its_retry_after(status: int) -> None:
    with pytest.raises(errors.APIError) as caught:
        decode(endpoints.overview(), response(status, refusal("slow down"), retry_after="12"))
    assert caught.value.retry_after == 12


@pytest.mark.parametrize("status", range(300, 600))
def test_transient_statuses_may_be_retried_and_no_others(status: int) -> None:
    with pytest.raises(errors.APIError) as caught:
        decode(endpoints.overview(), response(status, refusal("no")))
    passing = status in {408, 425, 429} or (status >= 500 and status not in {501, 505})
    assert may_retry(caught.value) is passing


def test_a_broken_response_may_be_retried_and_a_wrong_one_not() -> None:
    assert may_retry(errors.TransportError("cut short"))
    assert not may_retry(errors.DecodeError("$", "an object", "null"))
    assert may_retry(MismatchedResponseError("$.data.page", "3", "2"))
    assert not may_retry(ValueError("a bug"))
