"""Errors carry what happened, print in one line, and survive pickling."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import pytest

from devskin_async import errors

API_ERRORS = (
    errors.APIError,
    errors.BadRequestError,
    errors.AuthenticationError,
    errors.PermissionDeniedError,
    errors.NotFoundError,
    errors.RateLimitedError,
    errors.ServerError,
)
EXAMPLES = (
    *(cls(429, "slow down", "GET", "/orders", 2.5) for cls in API_ERRORS),
    errors.ConfigurationError("no API key"),
    errors.TransportError("connection refused"),
    errors.DecodeError("$.data.total", "a number", "null", "GET /orders"),
    errors.BudgetExceededError("would wait 12 s", 12.0),
    errors.InvalidSignatureError("no signature"),
    errors.MalformedEventError("$.data.total", "a number", "null"),
    errors.StaleEventError("too old"),
)


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_every_error_is_a_devskin_error(error: errors.DevSkinError) -> None:
    assert isinstance(error, errors.DevSkinError)


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("clone", [copy.copy, lambda e: pickle.loads(pickle.dumps(e))])
def test_an_error_survives_copying_and_pickling(
    error: errors.DevSkinError, clone: Callable[[Exception], Exception]
) -> None:
    twin = clone(error)
    assert type(twin) is type(error)
    assert str(twin) == str(error)
    assert vars(twin) == vars(error)


def test_an_api_error_names_the_request_and_its_response() -> None:
    error = errors.NotFoundError(404, "Order not found", "GET", "/orders/7")
    assert str(error) == "GET /orders/7: 404 Order not found"
    assert (error.status, error.message, error.method, error.path, error.retry_after) == (
        404,
        "Order not found",
        "GET",
        "/orders/7",
        None,
    )


def test_a_decode_error_names_the_place_and_the_request() -> None:
    error = errors.DecodeError("$.data.items[17].total", "a number", '"x"')
    assert str(error) == '$.data.items[17].total: expected a number, got "x"'
    error = errors.DecodeError("$", "an object", "null", "GET /orders")
    assert str(error) == "GET /orders: $: expected an object, got null"


def test_a_budget_error_says_when_to_retry() -> None:
    error = errors.BudgetExceededError("the wait would be 12 s", 12.0)
    assert (str(error), error.retry_after) == ("the wait would be 12 s", 12.0)


def test_the_tree_in_the_docstring_names_every_error() -> None:
    tree = errors.__doc__ or ""
    classes = {name for name, value in vars(errors).items() if isinstance(value, type)}
    assert classes == {word for word in tree.split() if word.endswith("Error")} - {"`ValueError`"}
