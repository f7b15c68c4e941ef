"""Webhooks received: verified, read, handled once.

`WebhookReceiver` is the whole of it; `sign`, `verify` and `parse` are its parts.
"""

from __future__ import annotations

from .aiohttp_web import aiohttp_handler
from .asgi import asgi_app
from .blocking import BlockingReceiver
from .events import OrderEvent, WebhookEvent, parse
from .receiver import WebhookReceiver
from .replies import Reply
from .seen import MemorySeen, Seen, Told
from .signature import HEADER, sign, verify
from .sqlite_seen import SQLiteSeen

__all__ = [
    "HEADER",
    "BlockingReceiver",
    "MemorySeen",
    "OrderEvent",
    "Reply",
    "SQLiteSeen",
    "Seen",
    "Told",
    "WebhookEvent",
    "WebhookReceiver",
    "aiohttp_handler",
    "asgi_app",
    "parse",
    "sign",
    "verify",
]
