"""Calls over the network.

`http` sends one request by aiohttp, behind the two methods of `Transport`; `sender` has the retry
loop; `single_flight` lets identical calls in flight share one response.
"""

from .http import HTTPTransport, Transport, plain_reason
from .options import Deadline, Queueing, Retry
from .sender import Sender

__all__ = [
    "Deadline",
    "HTTPTransport",
    "Queueing",
    "Retry",
    "Sender",
    "Transport",
    "plain_reason",
]
