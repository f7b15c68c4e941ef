"""An API that moved on: nulls, missing fields, new fields and statuses nobody was told of.

What changes depends on a record's id alone, so that the same record always looks the same. Only
what a record can do without goes missing: names, emails, slugs, addresses, a product's status.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

from .view import REFUNDED_EVERY

if TYPE_CHECKING:
    from .records import JsonObject

OPTIONAL: Final = frozenset(
    {"customer_name", "customer_email", "name", "email", "slug", "shipping_address"}
)
"""What a record can do without; a product can do without its status too."""
ADDED: Final[JsonObject] = {"currency": "BRL", "tags": ["new"]}


def drifted(data: JsonObject) -> JsonObject:
    """Give an answer's data the look of a later version of the API.

    Args:
        data: An envelope's data as the reference shows it; it is not changed.

    Returns:
        The same data, drifted.
    """
    changed: JsonObject = {**data, "api_revision": 2}
    if isinstance(items := data.get("items"), list):
        changed["items"] = [_record(cast("JsonObject", item)) for item in items]
    if isinstance(order := data.get("order"), dict):
        changed["order"] = _record(order)
    return changed


def _record(record: JsonObject) -> JsonObject:
    """Change a record: of four, one gets nulls, one loses fields, two gain some."""
    number = cast("int", record["id"])
    changed = dict(record)
    if changed.get("status") == "cancelled" and number % REFUNDED_EVERY == 0:
        changed["status"] = "refunded"
    if isinstance(lines := changed.get("items"), list):
        changed["items"] = [_altered(cast("JsonObject", line), number) for line in lines]
    return _altered(changed, number)


def _altered(record: JsonObject, number: int) -> JsonObject:
    optional = OPTIONAL | {"status"} if "stock" in record else OPTIONAL
    match number % 4:
        case 0:
            return {name: None if name in optional else value for name, value in record.items()}
        case 1:
            return {name: value for name, value in record.items() if name not in optional}
        case _:
            return record | ADDED
