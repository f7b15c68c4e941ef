"""What a receiver answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec
from attrs import field, frozen

RETRY_AFTER: Final = 5
"""Seconds after which a sender may try again what there was no room for."""


@frozen
class Reply:
    """The answer to a webhook request.

    Args:
        status: The HTTP status.
        body: The body, JSON.
        headers: Its headers.
    """

    status: int
    body: bytes
    headers: Mapping[str, str] = field(factory=lambda: {"Content-Type": "application/json"})


def refusal(status: int, error: str, **headers: str) -> Reply:
    """Make the reply to a request that is not accepted.

    Args:
        status: The HTTP status.
        error: Why, for the sender.
        headers: Further headers, with an underscore for a hyphen.
    """
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    body = msgspec.json.encode({"error": error})
    return Reply(status, body, {"Content-Type": "application/json", **named})


RECEIVED: Final = Reply(200, b'{"received":true}')
INVALID_SIGNATURE: Final = refusal(401, "Invalid signature")
NOT_POST: Final = refusal(405, "Webhooks are sent with POST", Allow="POST")
TOO_LARGE: Final = refusal(413, "The body is too large")
BROKEN: Final = refusal(400, "The body did not arrive whole")
FAILED: Final = refusal(500, "The event could not be handled")
BUSY: Final = refusal(503, "Too busy, try again later", Retry_After=str(RETRY_AFTER))
