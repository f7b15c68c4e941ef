"""The sandbox's own words: what the wire allows, and how a value is written on it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final, Literal, TypeAlias

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | Decimal | None"
JsonObject: TypeAlias = dict[str, Json]

LimiterKind = Literal[
    "fixed-window",
    "first-request",
    "sliding-log",
    "sliding-counter",
    "token-bucket",
    "small-bucket",
    "none",
]
QuotaHeaders = Literal[
    "none",
    "retry-after",
    "retry-after-date",
    "x-ratelimit",
    "x-ratelimit-delta",
    "ratelimit",
    "ratelimit-structured",
]
FaultKind = Literal[
    "500",
    "502-html",
    "reset",
    "truncated",
    "slow",
    "408",
    "425",
    "429",
    "503",
    "520",
    "521",
    "522",
    "523",
    "524",
    "525",
    "526",
    "527",
    "528",
    "529",
    "530",
    "closed",
    "garbage",
    "bad-length",
    "bad-chunk",
    "bad-gzip",
]
ListOrder = Literal["newest", "oldest", "id"]
DateTo = Literal["inclusive", "exclusive"]

STATUSES: Final = ("pending", "paid", "shipped", "completed", "cancelled")
COUNTED: Final = ("paid", "shipped", "completed")
"""The statuses whose money has come in: only these make revenue, everywhere it is told."""

PERIODS: Final = {"7d": 7, "30d": 30, "90d": 90, "1y": 365}
"""Days a revenue period covers, today included."""

RESOURCES: Final = ("orders", "revenue", "products", "customers", "analytics")
"""What a key can be restricted to; a path's first word says which one it needs."""

DEFAULT_LIMIT: Final = 20
MAX_LIMIT: Final = 100
MAX_INTEGER: Final = 2**63 - 1
DAY_MS: Final = 86_400_000
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class SandboxError(Exception):
    """The sandbox can't do what was asked; the message is one line for whoever asked."""


def money(cents: int) -> Decimal:
    """Write an amount with its two digits, as the reference does.

    Args:
        cents: The amount in hundredths.

    Returns:
        A decimal of exactly two places: 19990 is 199.90, and 0 is 0.00.
    """
    return Decimal(cents).scaleb(-2)


def instant(milliseconds: int) -> str:
    """Write an instant as the reference does.

    Args:
        milliseconds: Since 1970 in UTC.

    Returns:
        Text such as 2026-02-10T14:30:00.000Z.
    """
    moment = EPOCH + timedelta(milliseconds=milliseconds)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
