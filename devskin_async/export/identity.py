"""Which store was read: one address serves them all, and only the key tells them apart."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from pathlib import Path

from attrs import field, frozen

from ..client import DevSkinClient
from ..errors import ConfigurationError, NotFoundError


@frozen
class StoreMark:
    """What tells a store from others.

    Args:
        salt: Drawn for each mark.
        digest: Of the salt and the key; the key can't be told from it.
        orders: The numbers of some orders by their ids, to know the store by with another key.
    """

    salt: str
    digest: str
    orders: dict[int, str] = field(factory=dict)

    def is_of(self, store: DevSkinClient) -> bool:
        """Say whether it was made with a client's key."""
        return self.digest == _digest(self.salt, store)


def mark(store: DevSkinClient, orders: Mapping[int, str] | None = None) -> StoreMark:
    """Make the mark of a client's store."""
    salt = secrets.token_hex(16)
    return StoreMark(salt, _digest(salt, store), dict(orders or {}))


async def check_same_store(store: DevSkinClient, known: StoreMark, folder: Path) -> None:
    """See that a client opens the store of a mark, if need be by its orders.

    Raises:
        ConfigurationError: It does not look so.
    """
    if known.is_of(store):
        return
    for order_id, number in known.orders.items():
        try:
            order = await store.orders.get(order_id)
        except NotFoundError:
            continue
        if order.order_number == number:
            return
        break
    raise ConfigurationError(
        f"{folder} was written with another API key, and this key's store does not look the same:"
        " give another folder, or --fresh"
    )


def _digest(salt: str, store: DevSkinClient) -> str:
    return hashlib.sha256(f"{salt} {store.reader.sender.store_id}".encode()).hexdigest()
