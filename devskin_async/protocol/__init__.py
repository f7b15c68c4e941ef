"""The wire, without any I/O: `calls` become requests, `answers` become records or errors."""

from . import calls
from .answers import MAX_BODY, MAX_ERROR_BODY, Answer, may_retry, read, succeeded, told
from .calls import DEFAULT_LIMIT, MAX_INTEGER, MAX_LIMIT, Call, page_count
from .page_numbers import PageNumbers

__all__ = [
    "DEFAULT_LIMIT",
    "MAX_BODY",
    "MAX_ERROR_BODY",
    "MAX_INTEGER",
    "MAX_LIMIT",
    "Answer",
    "Call",
    "PageNumbers",
    "calls",
    "may_retry",
    "page_count",
    "read",
    "succeeded",
    "told",
]
