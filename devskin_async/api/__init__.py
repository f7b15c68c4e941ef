"""The API without any I/O: `endpoints` makes requests, `responses` makes records or errors."""

from . import endpoints
from .arguments import MAX_INTEGER, MAX_LIMIT, positive
from .endpoints import DEFAULT_LIMIT, MismatchedResponseError, Request, page_count
from .headers import age, parse_rate_limit_headers, response_time
from .page_numbers import PageNumbers
from .responses import (
    MAX_BODY,
    MAX_ERROR_BODY,
    SUCCESSFUL,
    Response,
    decode,
    may_retry,
    one_line,
)

__all__ = [
    "DEFAULT_LIMIT",
    "MAX_BODY",
    "MAX_ERROR_BODY",
    "MAX_INTEGER",
    "MAX_LIMIT",
    "SUCCESSFUL",
    "MismatchedResponseError",
    "PageNumbers",
    "Request",
    "Response",
    "age",
    "decode",
    "endpoints",
    "may_retry",
    "one_line",
    "page_count",
    "parse_rate_limit_headers",
    "positive",
    "response_time",
]
