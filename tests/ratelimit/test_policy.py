"""The limit's values are checked when they are given."""

from __future__ import annotations

from typing import Any

import pytest

from devskin_async import RateLimit


def test_the_default_is_the_references_100_a_minute() -> None:
    assert RateLimit() == RateLimit(requests=100, per=60.0, burst=100, reserve=10)


def test_a_lower_limit_needs_no_reserve_of_its_own() -> None:
    assert RateLimit(5).reserve == 10  # of which 4 are kept


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"requests": 0}, "requests"),
        ({"requests": -1}, "requests"),
        ({"per": 0}, "per"),
        ({"per": -1.0}, "per"),
        ({"per": float("inf")}, "per"),
        ({"per": float("nan")}, "per"),
        ({"burst": 0}, "burst"),
        ({"reserve": -1}, "reserve"),
        ({"requests": 1.5}, "requests"),
        ({"requests": True}, "requests"),
        ({"burst": "many"}, "burst"),
        ({"per": "long"}, "per"),
        ({"per": True}, "per"),
        ({"per": 10**400}, "per"),
        ({"reserve": 100}, r"reserve must be less than requests \(100\), not 100: bulk work would"),
        ({"requests": 5, "reserve": 6}, r"reserve must be less than requests \(5\), not 6"),
    ],
)
def test_a_limit_that_can_not_be_kept_is_a_value_error_that_names_it(
    values: dict[str, Any], name: str
) -> None:
    with pytest.raises(ValueError, match=name):
        RateLimit(**values)
