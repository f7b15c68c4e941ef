"""A local DevSkin store with the API's own rules: data, keys, limits and faults, offline."""

try:
    from .database import StoreInfo, list_stores, open_database
    from .delivery_log import Delivery, DeliveryState
    from .endpoints import Endpoint
    from .faults import Faults
    from .generate import create_store
    from .keys import KeyInfo
    from .live import LiveStore, OrderChange
    from .quirks import Quirk
    from .records import (
        DateTo,
        FaultKind,
        LimiterKind,
        ListOrder,
        QuotaHeaders,
        SandboxError,
    )
    from .sandbox import Sandbox
    from .sending import WebhookSending
    from .server import Counts, SeenRequest
    from .traffic import Traffic
    from .webhooks import Webhooks
except ModuleNotFoundError as _missing:
    _package = (_missing.name or "").partition(".")[0]
    if _package not in ("limits", "mimesis", "throttled"):
        raise
    raise ModuleNotFoundError(
        f'the sandbox needs {_package}: python -m pip install ".[sandbox]" in a checkout, or '
        '"devskin-async[sandbox]" from an index',
        name=_package,
    ) from None

__all__ = [
    "Counts",
    "DateTo",
    "Delivery",
    "DeliveryState",
    "Endpoint",
    "FaultKind",
    "Faults",
    "KeyInfo",
    "LimiterKind",
    "ListOrder",
    "LiveStore",
    "OrderChange",
    "Quirk",
    "QuotaHeaders",
    "Sandbox",
    "SandboxError",
    "SeenRequest",
    "StoreInfo",
    "Traffic",
    "WebhookSending",
    "Webhooks",
    "create_store",
    "list_stores",
    "open_database",
]
