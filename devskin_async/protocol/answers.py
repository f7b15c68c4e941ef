"""An answer becomes a record or an error."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator, Mapping
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
from ..ratelimit import LONGEST_PAUSE, RateLimitInfo
from ._quota import quota_told
from .calls import Call, EchoError

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
_SUCCESSFUL = range(200, 300)
_TOO_MANY_REQUESTS = 429
_SERVER_ERROR = 500
_TRANSIENT = frozenset({408, 425, 429})
_PERMANENT = frozenset({501, 505})
_SECONDS = re.compile(r"\d+(\.\d+)?", re.ASCII)
_MARKUP = re.compile(r"<(script|style).*?</\1\s*>|<[^>]*>", re.ASCII | re.DOTALL | re.IGNORECASE)
_FRAME = re.compile(r"\$\.data\.\w+")
_SHOWN = 200
# Where APIs say what was wrong: their own, and RFC 9457's problem details.
_REASONS = ("error", "message", "detail", "title", "errors", "code")
_MOST_REASONS = 5
_PAST_END = frozenset({400, 404})


class Answer(NamedTuple):
    """What came back.

    Args:
        status: The HTTP status.
        headers: The headers, looked up without regard to case.
        body: The whole body; of an error, the first 64 KiB are enough.
        at: The instant at which it was given, by the server's clock where it tells it.
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
        error = _error(call, answer)
        if call.past_end is not None and answer.status in _PAST_END and _reason_of(answer.body):
            return call.past_end
        raise error
    try:
        envelope = call.envelope(answer.body)
    except TransportError as error:
        shown = _summary(answer)
        raise TransportError(f"{call}: answered {answer.status}, but {error} ({shown})") from None
    except DecodeError as error:
        if (refusal := _refusal(answer.body)) is None:
            kind = EchoError if _is_of_another_frame(error) else type(error)
            raise kind(error.path, error.expected, error.received, str(call)) from None
    else:
        if envelope.success:
            return envelope.data
        refusal = _refusal(answer.body) or "no reason given"
    raise APIError(answer.status, refusal, "GET", call.path)


def _is_of_another_frame(error: DecodeError) -> bool:
    """Say whether an answer lacks what its frame begins with, as one to another request does."""
    missing = error.received == "nothing" and _FRAME.fullmatch(error.path) is not None
    return missing or error.path == "$.data"


def succeeded(status: int) -> bool:
    """Say whether an answer of this status holds what was asked for."""
    return status in _SUCCESSFUL


def may_retry(error: Exception) -> bool:
    """Say whether the request that ended in `error` may be sent again."""
    if isinstance(error, APIError):
        status = error.status
        return status in _TRANSIENT or (status >= _SERVER_ERROR and status not in _PERMANENT)
    if isinstance(error, TransportError):
        return error.transient
    return isinstance(error, EchoError)


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
        return min(float(text), LONGEST_PAUSE)
    if (date := _date(text)) is None:
        return None
    return min(max((date - at).total_seconds(), 0.0), LONGEST_PAUSE)


def _date(text: str) -> dt.datetime | None:
    try:
        date = parsedate_to_datetime(text)
        # With the zone "-0000" it comes naive; HTTP's are in UTC (RFC 9110, section 5.6.7).
        return date.replace(tzinfo=dt.UTC) if date.tzinfo is None else date.astimezone(dt.UTC)
    except (ValueError, OverflowError):
        return None


def present(headers: Mapping[str, str], clock: dt.datetime) -> dt.datetime:
    """Say when an answer was given: by its `Date`, or by this machine's clock without one.

    Dates and Unix times in other headers are the server's, whose clock may be another. An answer
    with an `Age` over 0 was given by a cache, and its `Date` is not the present.

    Args:
        headers: The answer's headers, looked up without regard to case.
        clock: The present by this machine's clock.
    """
    date = None if age(headers) else _date(headers.get("Date", ""))
    return clock if date is None else date


def age(headers: Mapping[str, str]) -> float:
    """Say for how many seconds a cache had kept an answer (RFC 9111, section 5.1); 0 for none."""
    text = headers.get("Age", "").strip()
    return float(text) if text.isascii() and text.isdigit() else 0.0


def told(answer: Answer) -> RateLimitInfo:
    """Give what an answer tells of the rate limit."""
    refused = answer.status == _TOO_MANY_REQUESTS
    remaining, reset_after = quota_told(answer.headers, answer.at)
    wait = retry_after(answer.headers, answer.at)
    if wait is None and remaining == 0 and reset_after is not None:
        wait = reset_after
    return RateLimitInfo(refused, wait, remaining, reset_after)


def _error(call: Call[T], answer: Answer) -> APIError:
    status = answer.status
    cls = APIError if status < HTTPStatus.INTERNAL_SERVER_ERROR else ServerError
    location = answer.headers.get("Location")
    if location and status < HTTPStatus.BAD_REQUEST:
        message = (
            f"redirects to {one_line(location)}; redirects are not followed,"
            " because the API key would be sent along"
        )
    else:
        message = _reason_of(answer.body) or _summary(answer)
    wait = retry_after(answer.headers, answer.at)
    return _ERRORS.get(status, cls)(status, message, "GET", call.path, wait)


def _refusal(body: bytes) -> str | None:
    """Give the reason of an envelope that says `success: false`; None if it is none."""
    envelope = _object(body)
    if envelope is None or envelope.get("success") is not False:
        return None
    return _reason_of(body) or "no reason given"


def _reason_of(body: bytes) -> str | None:
    """Give the reason that the body of an error has, in any of the usual shapes; None without."""
    envelope = _object(body)
    if envelope is None:
        return None
    reasons = [text for name in _REASONS for text in _texts(envelope.get(name))]
    if reasons:
        return one_line("; ".join(dict.fromkeys(reasons)))
    if (error := envelope.get("error")) is not None:
        return convert.describe(error)
    return "no reason given" if envelope.get("success") is False else None


def _texts(reason: object) -> Iterator[str]:
    if isinstance(reason, str):
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


def _summary(answer: Answer) -> str:
    """Describe a body that is no envelope in one short line."""
    try:
        phrase = HTTPStatus(answer.status).phrase
    except ValueError:
        phrase = "unknown status"
    text = one_line(_MARKUP.sub(" ", answer.body[:4096].decode(errors="replace")))
    kind = answer.headers.get("Content-Type", "no content type").partition(";")[0]
    return f"{phrase}; {one_line(kind)}: {text}" if text else f"{phrase}; an empty body"


def one_line(text: str) -> str:
    """Fold a text from outside to one short, printable line."""
    line = "".join(c if c.isprintable() else " " for c in text[: _SHOWN * 20])
    line = " ".join(line.split())
    return line if len(line) <= _SHOWN else f"{line[:_SHOWN]}…"
