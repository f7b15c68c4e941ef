"""The wire, without any I/O: `calls` become requests, `answers` become records or errors."""

from . import calls
from .answers import MAX_BODY, Answer, may_retry, read
from .calls import Call

__all__ = ["MAX_BODY", "Answer", "Call", "calls", "may_retry", "read"]
