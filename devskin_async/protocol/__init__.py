"""The wire, without any I/O: `calls` become requests, `answers` become records or errors."""

from . import calls
from .answers import MAX_BODY, MAX_ERROR_BODY, Answer, date_of, may_retry, read, succeeded, told
from .calls import DEFAULT_LIMIT, MAX_INTEGER, MAX_LIMIT, Call, page_count

__all__ = [
    "DEFAULT_LIMIT",
    "MAX_BODY",
    "MAX_ERROR_BODY",
    "MAX_INTEGER",
    "MAX_LIMIT",
    "Answer",
    "Call",
    "calls",
    "date_of",
    "may_retry",
    "page_count",
    "read",
    "succeeded",
    "told",
]
