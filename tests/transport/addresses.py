"""The addresses that the tests with a mocked aiohttp serve."""

from __future__ import annotations

API = "https://api-marketplace.devskin.com/api/v1"
OVERVIEW = f"{API}/analytics/overview"
