"""Calls over the network.

`http` sends one request by aiohttp, behind the two methods of `Transport`; `sender` has the retry
loop; `attempts` logs each attempt and calls listeners; `single_flight` lets identical calls in
flight share one response; `proxies` finds the proxy for an address.
"""

from .http import HTTPTransport, Transport, plain_reason
from .options import Deadline, RequestOptions, Retry
from .proxies import Proxy, find_proxy, is_loopback
from .sender import Sender

__all__ = [
    "Deadline",
    "HTTPTransport",
    "Proxy",
    "RequestOptions",
    "Retry",
    "Sender",
    "Transport",
    "find_proxy",
    "is_loopback",
    "plain_reason",
]
