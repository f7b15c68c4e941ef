"""The sandbox's contract as an OpenAPI 3.1 document, without the drift it can be switched to."""

from __future__ import annotations

from typing import Final, TypeAlias

from .parameters import DEFAULT_PERIOD
from .records import (
    DEFAULT_LIMIT,
    MAX_INTEGER,
    MAX_LIMIT,
    PERIODS,
    STATUSES,
)

Node: TypeAlias = "dict[str, Node] | list[Node] | str | int | float | bool"
Schema: TypeAlias = dict[str, Node]

ERRORS: Final = {
    "400": ("BadRequest", "Invalid parameters or malformed request"),
    "401": ("Unauthorized", "Missing or invalid API key"),
    "403": ("Forbidden", "API key does not have access to this resource"),
    "404": ("NotFound", "The requested resource does not exist"),
    "405": ("MethodNotAllowed", "The API is read-only"),
    "429": ("TooManyRequests", "Rate limit exceeded"),
    "500": ("ServerError", "Something went wrong on our end"),
}

INTEGER: Final[Schema] = {"type": "integer", "minimum": 1, "maximum": MAX_INTEGER}
COUNT: Final[Schema] = {"type": "integer", "minimum": 0}
MONEY: Final[Schema] = {"type": "number", "minimum": 0}
TEXT: Final[Schema] = {"type": "string", "minLength": 1}
INSTANT: Final[Schema] = {
    "type": "string",
    "format": "date-time",
    "pattern": r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z$",
}
DAY: Final[Schema] = {"type": "string", "format": "date"}
STATUS: Final[Schema] = {"type": "string", "enum": list(STATUSES)}
PERIOD: Final[Schema] = {"type": "string", "enum": list(PERIODS)}


def openapi_document() -> Schema:
    """Write the contract.

    Returns:
        A document of plain JSON values.
    """
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "DevSkin Marketplace store API (sandbox)",
            "version": "1",
            "description": "Read-only access to one store's data.",
        },
        "servers": [{"url": "/api/v1"}],
        "security": [{"ApiKey": []}],
        "paths": _paths(),
        "components": {
            "securitySchemes": {"ApiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"}},
            "schemas": _schemas(),
            "responses": {
                name: _response(text, _ref("schemas", "Error")) for name, text in ERRORS.values()
            },
        },
    }


def _paths() -> Schema:
    paging = [
        _query("page", "Page number", {**INTEGER, "default": 1}),
        _query(
            "limit",
            "Items per page",
            {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT},
        ),
    ]
    filters = [
        _query("status", "Filter by status", STATUS),
        _query("date_from", "Start date", DAY),
        _query("date_to", "End date", DAY),
    ]
    period = _query("period", "Time period", {**PERIOD, "default": DEFAULT_PERIOD})
    order_id: Schema = {
        "name": "id",
        "in": "path",
        "required": True,
        "description": "Order ID",
        "schema": INTEGER,
    }
    return {
        "/orders": _get("listOrders", "List orders", "OrderPage", [*paging, *filters]),
        "/orders/{id}": _get("getOrder", "Read one order", "OrderData", [order_id], "404"),
        "/revenue": _get("getRevenue", "Revenue day by day", "Revenue", [period]),
        "/products": _get("listProducts", "List products", "ProductPage", paging),
        "/customers": _get("listCustomers", "List customers", "CustomerPage", paging),
        "/analytics/overview": _get("getOverview", "The store's key metrics", "Overview", []),
    }


def _get(operation: str, summary: str, data: str, parameters: list[Schema], *more: str) -> Schema:
    """Write a path that can only be read."""
    statuses = ["400"] if parameters else []
    statuses += ["401", "403", *more, "405", "429", "500"]
    envelope = _object(success={"type": "boolean", "const": True}, data=_ref("schemas", data))
    return {
        "get": {
            "operationId": operation,
            "summary": summary,
            "parameters": list(parameters),
            "responses": {
                "200": _response("Request succeeded", envelope),
                **{status: _ref("responses", ERRORS[status][0]) for status in statuses},
            },
        }
    }


def _schemas() -> Schema:
    return {
        "Error": _object(success={"type": "boolean", "const": False}, error=TEXT),
        **_order_schemas(),
        **_figure_schemas(),
        "Product": _object(
            id=INTEGER,
            name=TEXT,
            slug={"type": "string", "pattern": "^[a-z0-9]+(-[a-z0-9]+)*$"},
            price=MONEY,
            stock=COUNT,
            status={"type": "string", "enum": ["active", "inactive"]},
            created_at=INSTANT,
        ),
        "ProductPage": _page("Product"),
        "Customer": _object(
            id=INTEGER,
            name=TEXT,
            email=TEXT,
            total_orders=COUNT,
            total_spent=MONEY,
            created_at=INSTANT,
        ),
        "CustomerPage": _page("Customer"),
    }


def _order_schemas() -> Schema:
    order: dict[str, Schema] = {
        "id": INTEGER,
        "order_number": {"type": "string", "pattern": r"^ORD-\d{4}-\d{6,}$"},
        "status": STATUS,
        "total": MONEY,
    }
    buyer: dict[str, Schema] = {"customer_name": TEXT, "customer_email": TEXT}
    return {
        "OrderSummary": _object(**order, **buyer, created_at=INSTANT),
        "OrderPage": _page("OrderSummary"),
        "OrderItem": _object(
            product_id=INTEGER, name=TEXT, quantity={"type": "integer", "minimum": 1}, price=MONEY
        ),
        "Address": _object(street=TEXT, city=TEXT, state=TEXT, zip=TEXT),
        "Order": _object(
            **order,
            subtotal=MONEY,
            shipping_cost=MONEY,
            discount=MONEY,
            **buyer,
            items={"type": "array", "items": _ref("schemas", "OrderItem"), "minItems": 1},
            shipping_address=_ref("schemas", "Address"),
            created_at=INSTANT,
            updated_at=INSTANT,
        ),
        "OrderData": _object(order=_ref("schemas", "Order")),
    }


def _figure_schemas() -> Schema:
    return {
        "DailyRevenue": _object(date=DAY, total=MONEY, count={"type": "integer", "minimum": 1}),
        "Revenue": _object(
            period=PERIOD,
            total=MONEY,
            daily={"type": "array", "items": _ref("schemas", "DailyRevenue")},
        ),
        "Overview": _object(
            total_orders=COUNT,
            monthly_orders=COUNT,
            total_revenue=MONEY,
            monthly_revenue=MONEY,
            total_products=COUNT,
        ),
    }


def _page(item: str) -> Schema:
    return _object(
        items={"type": "array", "items": _ref("schemas", item), "maxItems": MAX_LIMIT},
        total=COUNT,
        page=INTEGER,
        limit={"type": "integer", "minimum": 1, "maximum": MAX_LIMIT},
    )


def _object(**properties: Schema) -> Schema:
    """Write an object that has exactly these fields."""
    return {
        "type": "object",
        "properties": {**properties},
        "required": list(properties),
        "additionalProperties": False,
    }


def _query(name: str, description: str, schema: Schema) -> Schema:
    return {"name": name, "in": "query", "description": description, "schema": schema}


def _response(description: str, schema: Schema) -> Schema:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _ref(kind: str, name: str) -> Schema:
    return {"$ref": f"#/components/{kind}/{name}"}
