"""The responses that the API's reference shows, as bytes."""

from __future__ import annotations

from devskin_async import Customer, Order, OrderSummary, Overview, Page, Product, Revenue
from devskin_async.api import Request, endpoints

ORDERS = b"""{"success": true, "data": {"items": [{"id": 1234, "order_number": "ORD-2026-001234",
"status": "paid", "total": 199.90, "customer_name": "John Doe", "customer_email": "john@doe.test",
"created_at": "2026-02-10T14:30:00.000Z"}], "total": 156, "page": 1, "limit": 10}}"""

ORDER = b"""{"success": true, "data": {"order": {"id": 1234, "order_number": "ORD-2026-001234",
"status": "paid", "total": 199.90, "subtotal": 189.90, "shipping_cost": 10.00, "discount": 0,
"customer_name": "John Doe", "customer_email": "john@doe.test",
"items": [{"product_id": 42, "name": "Premium Widget", "quantity": 2, "price": 94.95}],
"shipping_address": {"street": "123 Main St", "city": "Sao Paulo", "state": "SP",
"zip": "01310-100"},
"created_at": "2026-02-10T14:30:00.000Z", "updated_at": "2026-02-10T15:00:00.000Z"}}}"""

REVENUE = b"""{"success": true, "data": {"period": "30d", "total": 24580.50, "daily": [
{"date": "2026-02-13", "total": 1250.00, "count": 8},
{"date": "2026-02-12", "total": 890.50, "count": 5}]}}"""

PRODUCTS = b"""{"success": true, "data": {"items": [{"id": 42, "name": "Premium Widget",
"slug": "premium-widget", "price": 94.95, "stock": 150, "status": "active",
"created_at": "2026-01-15T10:00:00.000Z"}], "total": 87, "page": 1, "limit": 20}}"""

CUSTOMERS = b"""{"success": true, "data": {"items": [{"id": 501, "name": "Jane Smith",
"email": "jane@smith.test", "total_orders": 12, "total_spent": 2450.80,
"created_at": "2025-11-20T09:15:00.000Z"}], "total": 342, "page": 1, "limit": 20}}"""

OVERVIEW = b"""{"success": true, "data": {"total_orders": 1563, "monthly_orders": 127,
"total_revenue": 185420.50, "monthly_revenue": 24580.50, "total_products": 87}}"""

AnyCall = (
    Request[Page[OrderSummary]]
    | Request[Order]
    | Request[Revenue]
    | Request[Page[Product]]
    | Request[Page[Customer]]
    | Request[Overview]
)

EXAMPLES: tuple[tuple[AnyCall, bytes], ...] = (
    (endpoints.orders(1, 10), ORDERS),
    (endpoints.order(1234), ORDER),
    (endpoints.revenue("30d"), REVENUE),
    (endpoints.products(1, 20), PRODUCTS),
    (endpoints.customers(1, 20), CUSTOMERS),
    (endpoints.overview(), OVERVIEW),
)
