"""An answer becomes a record or an error."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
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
from ..ratelimit import Told, quota_told
from .calls import Call

T = TypeVar("T")

MAX_BODY = 32 * 1024 * 1024
MAX_ERROR_BODY = 64 * 1024
MAX_RETRY_AFTER = 300.0

_ERRORS: dict[int, type[APIError]] = {
    400: BadRequestError,
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    429: RateLimitedError,
}
# Plain integers: to compare with an HTTPStatus takes many times as long.
_SUCCESSFUL = range(200, 300)
_TOO_MANY_REQUESTS = 429
_RETRIED = frozenset({429, 500, 502, 503, 504})
_SECONDS = re.compile(r"\d+(\.\d+)?", re.ASCII)
_MARKUP = re.compile(r"<(script|style).*?</\1\s*>|<[^>]*>", re.ASCII | re.DOTALL | re.IGNORECASE)
_SHOWN = 200


class Answer(NamedTuple):
    """What came back.

    Args:
        status: The HTTP status.
        headers: The headers, looked up without regard to case.
        body: The whole body; of an error, the first 64 KiB are enough.
        at: The instant at which it came, for a `Retry-After` that is a date.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    at: dt.datetime


def read(call: Call[T], answer: Answer) -> T:
    """Give what the answer holds.

    Raises:
        APIError: The API answered with an error, by its status or by its envelope.
        DecodeError: The body is JSON of another shape than the reference's.
        TransportError: The body can't be read as JSON.
    """
    if not succeeded(answer.status):
        raise _error(call, answer)
    try:
        envelope = call.envelope(answer.body)
    except TransportError as error:
        shown = _summary(answer)
        raise TransportError(f"{call}: answered {answer.status}, but {error} ({shown})") from None
    except DecodeError as error:
        if (refusal := _refusal(answer.body)) is None:
            raise DecodeError(error.path, error.expected, error.received, str(call)) from None
    else:
        if envelope.success:
            return envelope.data
        refusal = _refusal(answer.body) or "no reason given"
    raise APIError(answer.status, refusal, "GET", call.path)


def succeeded(status: int) -> bool:
    """Say whether an answer of this status holds what was asked for."""
    return status in _SUCCESSFUL


def may_retry(error: Exception) -> bool:
    """Say whether the request that ended in `error` may be sent again."""
    if isinstance(error, APIError):
        return error.status in _RETRIED
    return isinstance(error, TransportError)


def retry_after(headers: Mapping[str, str], at: dt.datetime) -> float | None:
    """Read `Retry-After`, which is seconds or a date (RFC 9110, section 10.2.3).

    Returns:
        Seconds from `at`, 0 to 300: no answer makes a client sleep longer. None where the
        header is missing, or neither seconds nor a date.
    """
    value = headers.get("Retry-After")
    if value is None:
        return None
    text = value.strip()
    if _SECONDS.fullmatch(text):
        return min(float(text), MAX_RETRY_AFTER)
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    # A date with the zone "-0000" comes naive; HTTP's dates are in UTC (RFC 9110, section 5.6.7).
    aware = date.replace(tzinfo=dt.UTC) if date.tzinfo is None else date
    seconds = (aware - at).total_seconds()
    return min(max(seconds, 0.0), MAX_RETRY_AFTER)


def date_of(answer: Answer) -> str | None:
    """Give the header `Date` of an answer that comes from no cache."""
    fresh = answer.headers.get("Age", "0").strip() in ("", "0")
    return answer.headers.get("Date") if fresh else None


def told(answer: Answer) -> Told:
    """Give what an answer tells of the rate limit."""
    refused = answer.status == _TOO_MANY_REQUESTS
    remaining, reset_after = quota_told(answer.headers, answer.at)
    wait = retry_after(answer.headers, answer.at)
    if wait is None and remaining == 0 and reset_after is not None:
        wait = min(reset_after, MAX_RETRY_AFTER)
    return Told(refused, wait, remaining, reset_after)


def _error(call: Call[T], answer: Answer) -> APIError:
    status = answer.status
    cls = APIError if status < HTTPStatus.INTERNAL_SERVER_ERROR else ServerError
    location = answer.headers.get("Location")
    if location and status < HTTPStatus.BAD_REQUEST:
        message = f"redirects to {_line(location)}, not followed: the API key would travel along"
    else:
        message = _refusal(answer.body) or _summary(answer)
    wait = retry_after(answer.headers, answer.at)
    return _ERRORS.get(status, cls)(status, message, "GET", call.path, wait)


def _refusal(body: bytes) -> str | None:
    """Give the `error` of an envelope that says `success: false`; None if it is none."""
    try:
        envelope = convert.parse(body)
    except TransportError:
        return None
    if not isinstance(envelope, dict) or envelope.get("success") is not False:
        return None
    error = envelope.get("error")
    if error is None:
        return "no reason given"
    return _line(error if isinstance(error, str) else convert.describe(error))


def _summary(answer: Answer) -> str:
    """Describe a body that is no envelope in one short line."""
    try:
        phrase = HTTPStatus(answer.status).phrase
    except ValueError:
        phrase = "unknown status"
    text = _line(_MARKUP.sub(" ", answer.body[:4096].decode(errors="replace")))
    kind = answer.headers.get("Content-Type", "no content type").partition(";")[0]
    return f"{phrase}; {_line(kind)}: {text}" if text else f"{phrase}; an empty body"


def _line(text: str) -> str:
    """Fold a text from outside to one short, printable line."""
    line = "".join(c if c.isprintable() else " " for c in text[: _SHOWN * 20])
    line = " ".join(line.split())
    return line if len(line) <= _SHOWN else f"{line[:_SHOWN]}…"
