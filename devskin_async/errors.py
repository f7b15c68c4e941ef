"""What can go wrong, as one tree.

```
DevSkinError
├── ConfigurationError          the client is set up or used wrongly; nothing was sent
├── APIError                    the API responded with an error (status, message, method, path)
│   ├── BadRequestError         400
│   ├── AuthenticationError     401
│   ├── PermissionDeniedError   403
│   ├── NotFoundError           404
│   ├── RateLimitedError        429 (retry_after)
│   └── ServerError             5xx
├── TransportError              no complete response: connection, TLS, timeout, broken body
├── DecodeError                 a response came that is not what the reference describes
│   └── InconsistentListError   the pages of a list contradict each other or their totals
├── BudgetExceededError         the rate limit's wait is longer than allowed (retry_after)
└── WebhookError
    ├── InvalidSignatureError
    ├── MalformedEventError
    └── StaleEventError
```

An argument that can't be right is a `ValueError` that names it, raised before anything is sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._capture import CapturedResponse


class DevSkinError(Exception):
    """Base of every error that this library raises on purpose.

    Attributes:
        response: The response to the call's last attempt; None if there was none.
        attempts: How often the call was sent.
        queued: Seconds that it waited for the rate limit, all attempts together.
    """

    response: CapturedResponse | None = None
    attempts: int = 0
    queued: float = 0.0


class ConfigurationError(DevSkinError):
    """The client is set up or used wrongly; the message says what to do."""


class APIError(DevSkinError):
    """The API responded with an error.

    Args:
        status: The HTTP status; it is 200 if only the envelope says `success: false`.
        message: The envelope's `error`, or a summary of a body that is not an envelope.
        method: The request's method.
        path: The request's path below the base URL, without its query.
        retry_after: Seconds until the API asks to be called again, 0 to 300; None if it did
            not say.
    """

    def __init__(
        self, status: int, message: str, method: str, path: str, retry_after: float | None = None
    ) -> None:
        super().__init__(status, message, method, path, retry_after)
        self.status = status
        self.message = message
        self.method = method
        self.path = path
        self.retry_after = retry_after

    def __str__(self) -> str:
        return f"{self.method} {self.path}: {self.status} {self.message}"


class BadRequestError(APIError):
    """400: the API refused a parameter."""


class AuthenticationError(APIError):
    """401: the API key is missing, unknown or revoked."""


class PermissionDeniedError(APIError):
    """403: the API key may not read this resource."""


class NotFoundError(APIError):
    """404: there is no such resource in this store."""


class RateLimitedError(APIError):
    """429: the key's budget is used up, also after the retries."""


class ServerError(APIError):
    """5xx: something went wrong on the API's side."""


class TransportError(DevSkinError):
    """No complete response came: connection, TLS, timeout, deadline, or a broken body.

    Args:
        message: The request, and what went wrong.
        sent: Whether the request may have reached the API; False if no connection was made.
        transient: Whether the same request may succeed when it is sent again; False if the
            server's certificate is not trusted, or a proxy refuses with a 4xx status.
    """

    def __init__(self, message: str, *, sent: bool = True, transient: bool = True) -> None:
        super().__init__(message)
        self.sent = sent
        self.transient = transient


class DecodeError(DevSkinError):
    """A response came that is not what the reference describes.

    Args:
        path: Where in the body, such as `$.data.items[17].total`.
        expected: What the reference promises there.
        received: What came, shortened.
        request: The request, such as `GET /orders`; None if it is not known.
    """

    def __init__(self, path: str, expected: str, received: str, request: str | None = None) -> None:
        super().__init__(path, expected, received, request)
        self.path = path
        self.expected = expected
        self.received = received
        self.request = request

    def __str__(self) -> str:
        where = f"{self.request}: {self.path}" if self.request else self.path
        return f"{where}: expected {self.expected}, got {self.received}"


class InconsistentListError(DecodeError):
    """The pages of a list contradict each other or their totals.

    It is raised after the last row: some rows may be missing, or have come twice.
    """


class BudgetExceededError(DevSkinError):
    """The wait for the rate limit is longer than the caller allows.

    Nothing was sent, or what was sent was refused or failed; the message says which.

    Args:
        message: The request, and how long it waited or would have to wait.
        retry_after: The predicted wait in seconds, from now.
    """

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message, retry_after)
        self.message = message
        self.retry_after = retry_after

    def __str__(self) -> str:
        return self.message


class WebhookError(DevSkinError):
    """A webhook request can't be accepted."""


class InvalidSignatureError(WebhookError):
    """The signature is missing, malformed, or made with another secret."""


class MalformedEventError(WebhookError):
    """The body is signed correctly and is not an event.

    Args:
        path: Where in the body, such as `$.data.total`.
        expected: What the reference promises there.
        received: What came, shortened.
    """

    def __init__(self, path: str, expected: str, received: str) -> None:
        super().__init__(path, expected, received)
        self.path = path
        self.expected = expected
        self.received = received

    def __str__(self) -> str:
        return f"{self.path}: expected {self.expected}, got {self.received}"


class StaleEventError(WebhookError):
    """The event's timestamp is outside the allowed tolerance."""
