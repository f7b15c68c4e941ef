"""Makes a record or an error from a response."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from typing import NamedTuple, TypeVar

from .. import convert
from ..errors import (
    APIError,
    AuthenticationError,
    BadRequestError,
    DecodeError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitedError,
    ServerError,
    TransportError,
)
from .endpoints import MismatchedResponseError, Request
from .headers import retry_after

T = TypeVar("T")

MAX_BODY = 32 * 1024 * 1024
MAX_ERROR_BODY = 64 * 1024

_ERRORS: dict[int, type[APIError]] = {
    400: BadRequestError,
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    429: RateLimitedError,
}
# Plain integers: to compare with an HTTPStatus takes many times as long.
SUCCESSFUL = range(200, 300)
_SERVER_ERROR = 500
_TRANSIENT = frozenset({408, 425, 429})
_PERMANENT = frozenset({501, 505})
_MARKUP = re.compile(r"<(script|style).*?</\1\s*>|<[^>]*>", re.ASCII | re.DOTALL | re.IGNORECASE)
_FRAME = re.compile(r"\$\.data\.\w+")
_SHOWN = 200
_LOOKED_AT = 4096
# The fields in which APIs say what was wrong, those of RFC 9457 included.
_REASONS = ("error", "message", "detail", "title", "errors", "code")
_MOST_REASONS = 5
_PAST_END = frozenset({400, 404})


class Response(NamedTuple):
    """A response, whatever its status.

    Args:
        status: The HTTP status.
        headers: The headers, looked up without regard to case.
        body: The whole body; of an error, the first 64 KiB are enough.
        at: When it was sent: its `Date`, or this machine's time without one.
        on_mismatch: Called if it turns out to belong to another request; None calls nothing.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    at: dt.datetime
    on_mismatch: Callable[[], object] | None = None


def decode(request: Request[T], response: Response) -> T:
    """Return what a response holds.

    Raises:
        APIError: The status or the envelope is that of an error.
        DecodeError: The body is JSON of another shape than the reference's.
        TransportError: The body can't be read as JSON.
    """
    if response.status not in SUCCESSFUL:
        if (
            request.past_end is not None
            and response.status in _PAST_END
            and _reason_of(response.body)
        ):
            return request.past_end()
        raise _error(request, response)
    try:
        envelope = request.decode(response.body)
    except TransportError as error:
        shown = _summary(response)
        raise TransportError(
            f"{request}: status {response.status}, but {error} ({shown})"
        ) from None
    except DecodeError as error:
        if (refusal := _refusal(response.body)) is None:
            kind = MismatchedResponseError if _is_of_another_frame(error) else type(error)
            raise kind(error.path, error.expected, error.received, str(request)) from None
    else:
        if envelope.success:
            return envelope.data
        refusal = _refusal(response.body) or "no reason given"
    raise APIError(response.status, refusal, "GET", request.path)


def _is_of_another_frame(error: DecodeError) -> bool:
    """Return whether the outer fields of a body are another request's."""
    missing = error.received == "nothing" and _FRAME.fullmatch(error.path) is not None
    return missing or error.path == "$.data"


def may_retry(error: Exception) -> bool:
    """Return whether the request that failed with `error` may be sent again."""
    if isinstance(error, APIError):
        status = error.status
        return status in _TRANSIENT or (status >= _SERVER_ERROR and status not in _PERMANENT)
    if isinstance(error, TransportError):
        return error.transient
    return isinstance(error, MismatchedResponseError)


def _error(request: Request[T], response: Response) -> APIError:
    status = response.status
    cls = APIError if status < HTTPStatus.INTERNAL_SERVER_ERROR else ServerError
    location = response.headers.get("Location")
    if location and status < HTTPStatus.BAD_REQUEST:
        message = (
            f"redirects to {one_line(location)}; redirects are not followed,"
            " because the API key would be sent along"
        )
    else:
        message = _reason_of(response.body) or _summary(response)
    wait = retry_after(response.headers, response.at)
    return _ERRORS.get(status, cls)(status, message, "GET", request.path, wait)


def _refusal(body: bytes) -> str | None:
    """Return the reason of an envelope with `success: false`; None for any other body."""
    envelope = _object(body)
    if envelope is None or envelope.get("success") is not False:
        return None
    return _reason_of(body) or "no reason given"


def _reason_of(body: bytes) -> str | None:
    """Return the reason in the body of an error, in any of the usual shapes; None without one."""
    envelope = _object(body)
    if envelope is None:
        return None
    reasons = [text for name in _REASONS for text in _texts(envelope.get(name))]
    if reasons:
        return one_line("; ".join(dict.fromkeys(reasons)))
    error = envelope.get("error")
    if error is not None and not isinstance(error, str):
        return convert.describe(error)
    return "no reason given" if envelope.get("success") is False else None


def _texts(reason: object) -> Iterator[str]:
    if isinstance(reason, str):
        if reason.strip():
            yield reason
    elif isinstance(reason, dict):
        yield from (text for name in _REASONS for text in _texts(reason.get(name)))
    elif isinstance(reason, list):
        yield from (text for each in reason[:_MOST_REASONS] for text in _texts(each))


def _object(body: bytes) -> dict[str, object] | None:
    try:
        envelope = convert.parse(body)
    except TransportError:
        return None
    return envelope if isinstance(envelope, dict) else None


def _summary(response: Response) -> str:
    """Describe a body that is not an envelope in one short line."""
    try:
        phrase = HTTPStatus(response.status).phrase
    except ValueError:
        phrase = "unknown status"
    head = _MARKUP.sub(" ", response.body[:_LOOKED_AT].decode(errors="replace"))
    text = one_line(head if len(response.body) <= _LOOKED_AT else f"{head}…")
    kind = response.headers.get("Content-Type", "no content type").partition(";")[0]
    return f"{phrase}; {one_line(kind)}: {text}" if text else f"{phrase}; an empty body"


def one_line(text: str) -> str:
    """Fold a text from outside to one short, printable line."""
    line = "".join(c if c.isprintable() else " " for c in text[:_LOOKED_AT])
    line = " ".join(line.split())
    is_cut = len(line) > _SHOWN or len(text) > _LOOKED_AT
    return f"{line[:_SHOWN]}…" if is_cut else line
