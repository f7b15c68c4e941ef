"""An answer becomes a record, or the error of the tree that says what happened."""

from __future__ import annotations

import datetime as dt
import json
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from devskin_async import errors
from devskin_async.protocol import Answer, Call, EchoError, calls, may_retry, present, read, told
from devskin_async.protocol.answers import retry_after
from tests import samples

NOW = dt.datetime(2026, 2, 10, 12, tzinfo=dt.UTC)


def answer(status: int, body: bytes | str | dict[str, object], **headers: str) -> Answer:
    content_type = "text/html" if isinstance(body, str) else "application/json"
    raw = json.dumps(body) if isinstance(body, dict) else body
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(
        status,
        CIMultiDict({"Content-Type": content_type} | named),
        raw if isinstance(raw, bytes) else raw.encode(),
        NOW,
    )


def refusal(message: object) -> dict[str, object]:
    return {"success": False, "error": message}


@pytest.mark.parametrize(("call", "body"), samples.EXAMPLES, ids=str)
def test_the_references_answers_are_read(call: Call[Any], body: bytes) -> None:
    assert read(call, answer(200, body)) is not None


def test_an_order_is_taken_out_of_its_frame() -> None:
    assert read(calls.order(1234), answer(200, samples.ORDER)).order_number == "ORD-2026-001234"


@pytest.mark.parametrize(
    ("call", "body", "message"),
    [
        (calls.order(2), samples.ORDER, "GET /orders/2: $.data.order.id: expected 2, got 1234"),
        (calls.orders(3, 10), samples.ORDERS, "GET /orders: $.data.page: expected 3, got 1"),
        (calls.products(2, 20), samples.PRODUCTS, "$.data.page: expected 2, got 1"),
        (calls.customers(2, 20), samples.CUSTOMERS, "$.data.page: expected 2, got 1"),
        (calls.revenue("7d"), samples.REVENUE, '$.data.period: expected "7d", got "30d"'),
    ],
)
def test_an_answer_to_another_question_is_refused(
    call: Call[Any], body: bytes, message: str
) -> None:
    with pytest.raises(errors.DecodeError) as caught:
        read(call, answer(200, body))
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
        read(calls.order(7), answer(status, refusal("Invalid or expired API key")))
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
        read(calls.overview(), answer(502, body))
    assert caught.value.message == message


def test_an_error_message_that_would_move_the_cursor_is_cleaned() -> None:
    with pytest.raises(errors.BadRequestError) as caught:
        read(calls.overview(), answer(400, refusal("no\x1b[2J\r\nsuch\x00 page")))
    assert caught.value.message == "no [2J such page"


def test_a_status_that_http_does_not_know_is_summed_up_too() -> None:
    with pytest.raises(errors.APIError, match="499 unknown status; an empty body"):
        read(calls.overview(), answer(499, b""))


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
    ],
)
def test_the_reason_is_shown_in_whatever_shape_it_comes(
    body: dict[str, object], message: str
) -> None:
    for call in (calls.overview(), calls.raw_overview()):
        with pytest.raises(errors.BadRequestError) as caught:
            read(call, answer(400, body))  # type: ignore[misc]  # calls of two kinds
        assert caught.value.message == message


PAGES = (
    (calls.orders(7, 10, status="paid"), samples.ORDERS),
    (calls.products(7, 20), samples.PRODUCTS),
    (calls.customers(7, 20), samples.CUSTOMERS),
    (calls.raw(calls.orders(7, 10)), samples.ORDERS),
)


@pytest.mark.parametrize("status", [400, 404])
@pytest.mark.parametrize(("call", "_body"), PAGES)
def test_a_page_past_the_end_that_the_api_refuses_is_empty(
    call: Call[Any], _body: bytes, status: int
) -> None:
    page = read(call, answer(status, refusal("page out of range")))
    assert (page.items, page.total, page.page) == ((), 0, 7)


@pytest.mark.parametrize(("call", "body"), PAGES)
def test_the_last_page_in_place_of_one_past_the_end_is_an_empty_page(
    call: Call[Any], body: bytes
) -> None:
    envelope = json.loads(body)
    data = envelope["data"]
    data["page"], data["total"] = 5, 5 * data["limit"]
    page = read(call, answer(200, envelope))
    assert (page.items, page.total, page.page) == ((), data["total"], 7)


@pytest.mark.parametrize(
    ("call", "status", "body"),
    [
        (calls.orders(1, 10), 400, refusal("no")),
        (calls.orders(1, 10), 404, refusal("no")),
        (calls.orders(7, 10), 404, "<h1>no such page on this server</h1>"),
        (calls.orders(7, 10), 401, refusal("no")),
        (calls.orders(7, 10), 500, refusal("no")),
        (calls.order(7), 404, refusal("no")),
        (calls.revenue("7d"), 400, refusal("no")),
    ],
)
def test_no_other_error_is_taken_for_an_empty_page(
    call: Call[Any], status: int, body: dict[str, object] | str
) -> None:
    with pytest.raises(errors.APIError):
        read(call, answer(status, body))


@pytest.mark.parametrize("clock", [-3600, -5, 0, 5, 3600, 86_400 * 365])
@pytest.mark.parametrize(
    "headers",
    [
        {"Retry-After": format_datetime(NOW + dt.timedelta(seconds=5), usegmt=True)},
        {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(int(NOW.timestamp()) + 5)},
        {"RateLimit-Remaining": "0", "RateLimit-Reset": str(int(NOW.timestamp() + 5) * 1000)},
    ],
)
def test_a_pause_is_as_long_as_the_server_means_whatever_this_machines_clock_says(
    headers: dict[str, str], clock: int
) -> None:
    dated = CIMultiDict({"Date": format_datetime(NOW, usegmt=True)} | headers)
    at = present(dated, NOW + dt.timedelta(seconds=clock))
    assert told(Answer(429, dated, b"", at)).retry_after == 5


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Date": "yesterday"},
        {"Date": "Tue, 10 Feb 99999 12:00:00 GMT"},
        {"Date": "Tue, 10 Feb 2026 11:00:00 GMT", "Age": "3600"},
    ],
)
def test_without_a_date_of_its_own_an_answer_is_of_this_machines_present(
    headers: dict[str, str],
) -> None:
    assert present(CIMultiDict(headers), NOW) == NOW


@given(
    clock=st.integers(-(10**9), 10**9),
    reset=st.integers(0, 10**14),
    remaining=st.integers(0, 3),
    after=st.integers(-(10**6), 10**6),
)
def test_no_pause_beyond_five_minutes_is_believed(
    clock: int, reset: int, remaining: int, after: int
) -> None:
    headers = CIMultiDict(
        {
            "Retry-After": format_datetime(NOW + dt.timedelta(seconds=after), usegmt=True),
            "X-RateLimit-Remaining": str(remaining),
            "X-RateLimit-Reset": str(reset),
        }
    )
    heard = told(Answer(429, headers, b"", present(headers, NOW + dt.timedelta(seconds=clock))))
    assert 0 <= (heard.retry_after or 0) <= 300
    assert heard.reset_after is not None
    assert 0 <= heard.reset_after <= 300


def test_a_redirect_is_an_error_that_says_why_it_is_not_followed() -> None:
    with pytest.raises(errors.APIError) as caught:
        read(calls.overview(), answer(302, "", Location="https://elsewhere.test/"))
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
        read(calls.overview(), answer(200, body))
    assert type(caught.value) is errors.APIError
    assert (caught.value.status, caught.value.message) == (200, message)


def test_an_html_page_with_status_200_is_a_transport_error_that_shows_it() -> None:
    with pytest.raises(errors.TransportError) as caught:
        read(calls.overview(), answer(200, "<h1>Sign in to the Wi-Fi</h1>"))
    assert "GET /analytics/overview: answered 200, but the body can't be read" in str(caught.value)
    assert "(OK; text/html: Sign in to the Wi-Fi)" in str(caught.value)


@pytest.mark.parametrize("body", [b"[]", b'"x"', b"{}", b'{"success": true}', b'{"items": []}'])
def test_json_that_is_not_the_envelope_is_a_decode_error_that_names_the_request(
    body: bytes,
) -> None:
    with pytest.raises(errors.DecodeError) as caught:
        read(calls.overview(), answer(200, body))
    assert caught.value.request == "GET /analytics/overview"
    assert caught.value.path.startswith("$")


@given(
    status=st.integers(100, 599),
    body=st.binary() | st.sampled_from([b'{"success": false}', b"{}", samples.OVERVIEW]),
    headers=st.dictionaries(
        st.sampled_from(["Retry-After", "Location", "Content-Type"]), st.text(), max_size=3
    ),
)
def test_any_answer_gives_a_record_or_an_error_of_the_tree(
    status: int, body: bytes, headers: dict[str, str]
) -> None:
    try:
        record = read(calls.overview(), Answer(status, headers, body, NOW))
    except (errors.APIError, errors.DecodeError, errors.TransportError) as error:
        assert str(error).isprintable()
    else:
        assert (status // 100, record.total_orders) == (2, 1563)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("7", 7),
        (" 7 ", 7),
        ("1.5", 1.5),
        ("299", 299),
        ("301", 300),
        ("9" * 5000, 300),
        (format_datetime(NOW + dt.timedelta(seconds=42), usegmt=True), 42),
        (format_datetime(NOW - dt.timedelta(days=1), usegmt=True), 0),
        ("Tue, 10 Feb 2026 12:00:09 -0000", 9),
        ("Tue, 10 Feb 2099 12:00:00 GMT", 300),
        ("", None),
        ("-5", None),
        ("inf", None),
        ("nan", None),
        ("٣", None),
        ("soon", None),
        ("Tue, 99 Feb 2026 12:00:00 GMT", None),
        ("Tue, 10 Feb 99999 12:00:00 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date_between_0_and_5_minutes(
    text: str, seconds: float | None
) -> None:
    assert retry_after({"Retry-After": text}, NOW) == seconds


def test_retry_after_may_be_missing() -> None:
    assert retry_after({}, NOW) is None


@given(text=st.text())
def test_no_retry_after_is_negative_or_above_5_minutes(text: str) -> None:
    seconds = retry_after({"Retry-After": text}, NOW)
    assert seconds is None or 0 <= seconds <= 300


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({}, None),
        ({"Retry-After": "7"}, 7),
        ({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "20"}, 20),
        ({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "4000"}, 300),
        ({"X-RateLimit-Remaining": "3", "X-RateLimit-Reset": "20"}, None),
        ({"Retry-After": "7", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "20"}, 7),
    ],
)
def test_a_refusal_tells_how_long_to_wait_by_retry_after_or_by_its_reset(
    headers: dict[str, str], wait: float | None
) -> None:
    refused = told(Answer(429, CIMultiDict(headers), b"", NOW))
    assert (refused.refused, refused.retry_after) == (True, wait)
    assert not told(Answer(200, CIMultiDict(headers), b"", NOW)).refused


@pytest.mark.parametrize("status", [429, 503])
def test_a_refusal_carries_its_retry_after(status: int) -> None:
    with pytest.raises(errors.APIError) as caught:
        read(calls.overview(), answer(status, refusal("slow down"), retry_after="12"))
    assert caught.value.retry_after == 12


@pytest.mark.parametrize("status", range(300, 600))
def test_statuses_that_pass_by_themselves_may_be_retried_and_no_others(status: int) -> None:
    with pytest.raises(errors.APIError) as caught:
        read(calls.overview(), answer(status, refusal("no")))
    passing = status in {408, 425, 429} or (status >= 500 and status not in {501, 505})
    assert may_retry(caught.value) is passing


def test_a_broken_answer_may_be_retried_and_a_wrong_one_not() -> None:
    assert may_retry(errors.TransportError("cut short"))
    assert not may_retry(errors.DecodeError("$", "an object", "null"))
    assert may_retry(EchoError("$.data.page", "3", "2"))
    assert not may_retry(ValueError("a bug"))
