"""Quirks of an answer's data: each a function from a record to the record as it is then sent.

What changes depends on a record's id alone, so that the same record always looks the same.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from math import inf, nextafter
from typing import Final, TypeAlias, cast

from .quirks import Quirk, Quirks
from .records import Json, JsonObject

Change: TypeAlias = Callable[[JsonObject, bool, str], JsonObject]
"""From a record, whether it is one of the chosen third, and the quirk's value, to a new record."""

EVERY: Final = 3
"""Of this many ids, one belongs to a record that is chosen; what has no id is chosen too."""

CUT_EMOJI_MARK: Final = "\ue000"
"""Stands for half an emoji until it is written, since no encoder writes one."""

NAMES: Final = ("name", "customer_name")
INSTANTS: Final = ("created_at", "updated_at")
EMPTIED: Final = frozenset(
    {"stock", "discount", "shipping_cost", "updated_at", "total_spent", "monthly_revenue"}
)
EMPTIED_BESIDE: Final = {"total": "daily", "total_orders": "total_spent"}
"""Those that are emptied only in a record that has another field: other records count with them."""


def altered(data: JsonObject, quirks: Quirks) -> JsonObject:
    """Give an answer's data, or an event's, the quirks that were switched on.

    Args:
        data: As the reference shows it; it is not changed.
        quirks: Which ones.

    Returns:
        The data as it is to be sent.
    """
    changes = [
        (change, quirks.word(quirk)) for quirk, change in _CHANGES.items() if quirk in quirks
    ]
    return cast("JsonObject", _visited(data, 0, changes)) if changes else data


def _visited(value: Json, number: int, changes: list[tuple[Change, str]]) -> Json:
    """Change every object in a value; one without an id belongs to the one around it."""
    if isinstance(value, list):
        return [_visited(each, number, changes) for each in value]
    if not isinstance(value, dict):
        return value
    number = cast("int", value.get("id", number))
    record = {name: _visited(each, number, changes) for name, each in value.items()}
    for change, word in changes:
        record = change(record, number % EVERY == 0, word)
    return record


def _emptied(record: JsonObject) -> set[str]:
    """Name the fields of a record that SQL could leave empty."""
    return {name for name in record if name in EMPTIED or EMPTIED_BESIDE.get(name) in record}


def _null(record: JsonObject, chosen: bool, _: str) -> JsonObject:
    return record | dict.fromkeys(_emptied(record)) if chosen else record


def _absent(record: JsonObject, chosen: bool, _: str) -> JsonObject:
    gone = _emptied(record) if chosen else set()
    return {name: value for name, value in record.items() if name not in gone}


def _cut_emoji(record: JsonObject, chosen: bool, _: str) -> JsonObject:
    names = [name for name in NAMES if chosen and isinstance(record.get(name), str)]
    return record | {name: f"{record[name]} {CUT_EMOJI_MARK}" for name in names}


def _amounts(record: JsonObject, change: Callable[[Decimal], Json]) -> JsonObject:
    return record | {
        name: change(value) for name, value in record.items() if isinstance(value, Decimal)
    }


def _float_noise(record: JsonObject, _: bool, __: str) -> JsonObject:
    return _amounts(record, lambda amount: amount and Decimal(repr(nextafter(float(amount), inf))))


def _third_decimal(record: JsonObject, chosen: bool, _: str) -> JsonObject:
    return _amounts(record, lambda amount: amount + Decimal("0.005")) if chosen else record


def _half_quantity(record: JsonObject, chosen: bool, _: str) -> JsonObject:
    quantity = record.get("quantity")
    if not chosen or not isinstance(quantity, int):
        return record
    return record | {"quantity": quantity + Decimal("0.5")}


def _numbers_as_text(record: JsonObject, _: bool, __: str) -> JsonObject:
    """Write the numbers of a record as text, but those of a list's frame and those that name."""
    return record | {
        name: str(value)
        for name, value in record.items()
        if isinstance(value, int | Decimal) and "page" not in record and not name.endswith("id")
    }


def _frame(record: JsonObject, _: bool, word: str) -> JsonObject:
    if "page" not in record:
        return record
    write = str if word == "text" else lambda number: Decimal(f"{number}.0")
    return record | {name: write(record[name]) for name in ("total", "page", "limit")}


def _revenue_instants(record: JsonObject, _: bool, __: str) -> JsonObject:
    return record | {"date": f"{record['date']}T00:00:00.000Z"} if "date" in record else record


def _empty_address(record: JsonObject, chosen: bool, word: str) -> JsonObject:
    if not chosen or "shipping_address" not in record:
        return record
    return record | {"shipping_address": [] if word == "list" else ""}


def _times(record: JsonObject, _: bool, word: str) -> JsonObject:
    old, new = ("Z", "+00") if word == "short-offset" else (":59.", ":60.")
    return record | {
        name: value.replace(old, new)
        for name in INSTANTS
        if isinstance(value := record.get(name), str)
    }


_CHANGES: Final[dict[Quirk, Change]] = {
    Quirk.NULL: _null,
    Quirk.ABSENT: _absent,
    Quirk.CUT_EMOJI: _cut_emoji,
    Quirk.FLOAT_NOISE: _float_noise,
    Quirk.THIRD_DECIMAL: _third_decimal,
    Quirk.HALF_QUANTITY: _half_quantity,
    Quirk.NUMBERS_AS_TEXT: _numbers_as_text,
    Quirk.FRAME: _frame,
    Quirk.REVENUE_INSTANTS: _revenue_instants,
    Quirk.EMPTY_ADDRESS: _empty_address,
    Quirk.TIMES: _times,
}
"""In the order in which they are applied."""
