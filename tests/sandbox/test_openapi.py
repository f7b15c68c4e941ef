"""The contract, and the server held against it by schemathesis."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from datetime import date
from typing import Any

import jsonschema_rs
import pytest
import schemathesis
from hypothesis import HealthCheck, assume, given, settings
from schemathesis.core.result import Ok

from devskin_async.sandbox import Sandbox
from devskin_async.sandbox.openapi import openapi_document
from tests.sandbox.support import Api, Body, calling

OPERATIONS = [
    "GET /orders",
    "GET /orders/{id}",
    "GET /revenue",
    "GET /products",
    "GET /customers",
    "GET /analytics/overview",
]
Case = schemathesis.Case[Any]
Operation = schemathesis.APIOperation[Any, Any, Any, Any]
POSITIVE, NEGATIVE = schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE


@pytest.fixture
async def small() -> AsyncIterator[Api]:
    async with Sandbox(orders=40, limiter="none") as box, calling(box) as caller:
        yield caller


async def test_the_contract_is_served_without_a_key(small: Api) -> None:
    answer = await small.call("GET", "/openapi.json", {})
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/json"
    assert json.loads(answer.text) == openapi_document()


def test_the_contract_is_of_openapi_3_1_with_the_six_endpoints() -> None:
    document = openapi_document()
    assert document["openapi"] == "3.1.0"
    schema = schemathesis.openapi.from_dict(dict(document))
    schema.validate()
    assert [operation.label for operation in operations(schema)] == OPERATIONS


def test_every_schema_of_the_contract_is_a_json_schema() -> None:
    document = json.loads(json.dumps(openapi_document()))
    for schema in document["components"]["schemas"].values():
        jsonschema_rs.meta.validate({**schema, "components": document["components"]})


def resolve(document: Body, node: Body) -> Body:
    while "$ref" in node:
        found = document
        for word in node["$ref"].removeprefix("#/").split("/"):
            found = found[word]
        node = found
    return node


def test_every_operation_documents_its_errors_in_the_envelope() -> None:
    document: Body = json.loads(json.dumps(openapi_document()))
    for path, item in document["paths"].items():
        responses = item["get"]["responses"]
        expected = {"200", "401", "403", "405", "429", "500"}
        expected |= {"400"} if path != "/analytics/overview" else set()
        expected |= {"404"} if path == "/orders/{id}" else set()
        assert set(responses) == expected
        for status in expected - {"200"}:
            content = resolve(document, responses[status])["content"]
            envelope = resolve(document, content["application/json"]["schema"])
            assert envelope["required"] == ["success", "error"]


def test_every_operation_needs_the_key_in_its_header() -> None:
    document: Body = json.loads(json.dumps(openapi_document()))
    assert document["security"] == [{"ApiKey": []}]
    assert document["components"]["securitySchemes"] == {
        "ApiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"}
    }


def test_parameters_have_the_bounds_and_defaults_of_the_reference() -> None:
    document: Body = json.loads(json.dumps(openapi_document()))

    def parameters(path: str) -> dict[str, Body]:
        return {p["name"]: p["schema"] for p in document["paths"][path]["get"]["parameters"]}

    for path in ("/orders", "/products", "/customers"):
        page, limit = parameters(path)["page"], parameters(path)["limit"]
        assert (page["minimum"], page["default"]) == (1, 1)
        assert (limit["minimum"], limit["maximum"], limit["default"]) == (1, 100, 20)
    assert parameters("/revenue")["period"] == {
        "type": "string",
        "enum": ["7d", "30d", "90d", "1y"],
        "default": "30d",
    }
    statuses = ["pending", "paid", "shipped", "completed", "cancelled"]
    assert parameters("/orders")["status"]["enum"] == statuses
    assert list(parameters("/orders")) == ["page", "limit", "status", "date_from", "date_to"]
    assert parameters("/analytics/overview") == {}


def operations(schema: schemathesis.BaseSchema) -> list[Operation]:
    found = []
    for result in schema.get_all_operations():
        assert isinstance(result, Ok), result
        found.append(result.ok())
    return found


async def hold_against_contract(
    api: Api, label: str, mode: schemathesis.GenerationMode
) -> Counter[int]:
    """Call an operation with generated parameters; schemathesis checks each answer.

    With a wrong parameter the key is left out of the contract: else schemathesis would take the
    key it gets for a part of what it made wrong.
    """
    document = openapi_document()
    if mode is NEGATIVE:
        del document["security"]
    schema = schemathesis.openapi.from_dict(dict(document))
    schema.config.update(base_url=api.box.base_url)
    operation = next(found for found in operations(schema) if found.label == label)
    statuses = Counter[int]()

    @settings(
        max_examples=60,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def check(case: Case) -> None:
        if mode is POSITIVE:
            assume(in_order(case.query or {}))
        answer = case.call_and_validate(headers={"X-API-Key": api.box.api_key})
        statuses[answer.status_code] += 1

    await asyncio.to_thread(check)
    return statuses


def in_order(query: Body) -> bool:
    """Whether a range of dates goes forward, which OpenAPI has no words for."""
    days = [date.fromisoformat(query[name]) for name in ("date_from", "date_to") if name in query]
    return days == sorted(days)


@pytest.mark.parametrize("label", OPERATIONS)
async def test_what_the_contract_allows_is_answered_by_the_contract(small: Api, label: str) -> None:
    statuses = await hold_against_contract(small, label, POSITIVE)
    assert statuses[200] > 0
    assert set(statuses) <= {200, 404}
    assert 401 in {seen.status for seen in small.box.requests}  # it tried without the key, too


@pytest.mark.parametrize("label", OPERATIONS[:-1])
async def test_what_the_contract_forbids_is_refused_by_the_contract(small: Api, label: str) -> None:
    statuses = await hold_against_contract(small, label, NEGATIVE)
    assert statuses[400] > 0
    assert set(statuses) <= {200, 400}  # 200 where only an unknown parameter was added
