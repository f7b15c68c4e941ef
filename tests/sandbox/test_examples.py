"""The reference's own examples run against the sandbox, with only the base URL and key changed."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path

import pytest

from devskin_async.sandbox import Sandbox
from tests.sandbox.support import TODAY, Api, calling

BASE_URL = "https://api-marketplace.devskin.com/api/v1"
KEY = "your_api_key_here"

CURL = r"""
# List paid orders from the last 30 days
curl -X GET \
  "https://api-marketplace.devskin.com/api/v1/orders?status=paid&date_from=2026-01-14&date_to=2026-02-13&limit=50" \
  -H "X-API-Key: your_api_key_here" \
  -H "Content-Type: application/json"

# Get revenue summary for the last 90 days
curl -X GET \
  "https://api-marketplace.devskin.com/api/v1/revenue?period=90d" \
  -H "X-API-Key: your_api_key_here"

# Get analytics overview
curl -X GET \
  "https://api-marketplace.devskin.com/api/v1/analytics/overview" \
  -H "X-API-Key: your_api_key_here"
"""  # noqa: E501 - as in the reference

CURL_OF_EACH_ENDPOINT = r"""
curl -X GET "https://api-marketplace.devskin.com/api/v1/orders?page=1&limit=10&status=paid" \
  -H "X-API-Key: your_api_key_here"
curl -X GET "https://api-marketplace.devskin.com/api/v1/orders/1234" \
  -H "X-API-Key: your_api_key_here"
curl -X GET "https://api-marketplace.devskin.com/api/v1/revenue?period=30d" \
  -H "X-API-Key: your_api_key_here"
curl -X GET "https://api-marketplace.devskin.com/api/v1/products?page=1&limit=20" \
  -H "X-API-Key: your_api_key_here"
curl -X GET "https://api-marketplace.devskin.com/api/v1/customers?page=1&limit=20" \
  -H "X-API-Key: your_api_key_here"
curl -X GET "https://api-marketplace.devskin.com/api/v1/analytics/overview" \
  -H "X-API-Key: your_api_key_here"
"""

JAVASCRIPT = """
const API_KEY = 'your_api_key_here';
const BASE_URL = 'https://api-marketplace.devskin.com/api/v1';

async function fetchAPI(endpoint, params = {}) {
  const url = new URL(`${BASE_URL}/${endpoint}`);
  Object.entries(params).forEach(([key, val]) =>
    url.searchParams.append(key, val)
  );

  const response = await fetch(url, {
    headers: {
      'X-API-Key': API_KEY,
      'Content-Type': 'application/json'
    }
  });

  if (!response.ok) {
    throw new Error(`API error: ${response.status}`);
  }

  return response.json();
}

// List recent paid orders
const orders = await fetchAPI('orders', {
  status: 'paid',
  limit: '50',
  date_from: '2026-01-14'
});
console.log(`Found ${orders.data.total} orders`);

// Get revenue for last 30 days
const revenue = await fetchAPI('revenue', { period: '30d' });
console.log(`Total revenue: $${revenue.data.total}`);

// Get analytics overview
const analytics = await fetchAPI('analytics/overview');
console.log(`Total products: ${analytics.data.total_products}`);
"""

PYTHON = """
import requests

API_KEY = 'your_api_key_here'
BASE_URL = 'https://api-marketplace.devskin.com/api/v1'

headers = {
    'X-API-Key': API_KEY,
    'Content-Type': 'application/json'
}

def fetch_api(endpoint, params=None):
    response = requests.get(
        f'{BASE_URL}/{endpoint}',
        headers=headers,
        params=params
    )
    response.raise_for_status()
    return response.json()

# List recent paid orders
orders = fetch_api('orders', {
    'status': 'paid',
    'limit': 50,
    'date_from': '2026-01-14'
})
print(f"Found {orders['data']['total']} orders")

# Get revenue for last 30 days
revenue = fetch_api('revenue', {'period': '30d'})
print(f"Total revenue: ${revenue['data']['total']}")

# Get analytics overview
analytics = fetch_api('analytics/overview')
print(f"Total products: {analytics['data']['total_products']}")

# List all customers
customers = fetch_api('customers', {'limit': 100})
for customer in customers['data']['items']:
    print(f"  {customer['name']} - {customer['email']}")
"""


@pytest.fixture
async def store() -> AsyncIterator[Api]:
    """The default sandbox, limit and all, on the day the examples were written."""
    async with Sandbox(today=TODAY) as box, calling(box) as caller:
        yield caller


async def run(store: Api, tmp_path: Path, name: str, text: str, *command: str) -> str:
    """Run an example as a program of its own and give what it printed."""
    assert BASE_URL in text
    assert KEY in text
    program = tmp_path / name
    program.write_text(text.replace(BASE_URL, store.box.base_url).replace(KEY, store.box.api_key))
    process = await asyncio.create_subprocess_exec(
        *command,
        str(program),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={"PATH": "/usr/bin:/bin", "PYTHONIOENCODING": "utf-8", "NO_PROXY": "*"},
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return out.decode()


def program(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"there is no {name} here")
    return path


def envelopes(text: str) -> list[dict[str, object]]:
    """Read JSON texts that follow each other without anything between them."""
    decoder = json.JSONDecoder(parse_float=Decimal)
    found, position = [], 0
    while position < len(text):
        value, position = decoder.raw_decode(text, position)
        found.append(value)
    return found


async def test_the_curl_example_runs(store: Api, tmp_path: Path) -> None:
    program("curl")
    printed = await run(store, tmp_path, "example.sh", CURL, program("sh"))
    assert envelopes(printed) == [
        (await store.get(path)).body
        for path in (
            "/orders?status=paid&date_from=2026-01-14&date_to=2026-02-13&limit=50",
            "/revenue?period=90d",
            "/analytics/overview",
        )
    ]


async def test_the_curl_command_of_each_endpoint_runs(store: Api, tmp_path: Path) -> None:
    program("curl")
    printed = await run(store, tmp_path, "example.sh", CURL_OF_EACH_ENDPOINT, program("sh"))
    assert [list(envelope["data"]) for envelope in envelopes(printed)] == [  # type: ignore[call-overload]  # JSON
        ["items", "total", "page", "limit"],
        ["order"],
        ["period", "total", "daily"],
        ["items", "total", "page", "limit"],
        ["items", "total", "page", "limit"],
        ["total_orders", "monthly_orders", "total_revenue", "monthly_revenue", "total_products"],
    ]


async def figures(store: Api) -> tuple[int, Decimal]:
    orders = await store.data("/orders?status=paid&date_from=2026-01-14")
    revenue = await store.data("/revenue?period=30d")
    assert orders["total"] > 0
    return orders["total"], revenue["total"]


async def test_the_javascript_example_runs(store: Api, tmp_path: Path) -> None:
    printed = await run(store, tmp_path, "example.mjs", JAVASCRIPT, program("node"))
    found, revenue = await figures(store)
    assert printed.splitlines() == [
        f"Found {found} orders",
        f"Total revenue: ${revenue.normalize():f}",
        "Total products: 87",
    ]


async def test_the_python_example_runs(store: Api, tmp_path: Path) -> None:
    printed = await run(store, tmp_path, "example.py", PYTHON, sys.executable)
    found, revenue = await figures(store)
    customers = (await store.data("/customers?limit=100"))["items"]
    assert printed.splitlines() == [
        f"Found {found} orders",
        f"Total revenue: ${float(revenue)}",
        "Total products: 87",
        *(f"  {customer['name']} - {customer['email']}" for customer in customers),
    ]
