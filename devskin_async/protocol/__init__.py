"""The wire, without any I/O: `calls` become requests, `answers` become records or errors."""

from . import calls
from .answers import (
    MAX_BODY,
    MAX_ERROR_BODY,
    Answer,
    age,
    may_retry,
    one_line,
    present,
    read,
    succeeded,
    told,
)
from .calls import DEFAULT_LIMIT, MAX_INTEGER, MAX_LIMIT, Call, EchoError, page_count
from .page_numbers import PageNumbers

__all__ = [
    "DEFAULT_LIMIT",
    "MAX_BODY",
    "MAX_ERROR_BODY",
    "MAX_INTEGER",
    "MAX_LIMIT",
    "Answer",
    "Call",
    "EchoError",
    "PageNumbers",
    "age",
    "calls",
    "may_retry",
    "one_line",
    "page_count",
    "present",
    "read",
    "succeeded",
    "told",
]
