"""For tests of programs that use the client: responses by a function, and a clock that jumps."""

from ..api import Request, Response
from .mock_transport import MockTransport, respond
from .virtual_time import VirtualTimeLoop, virtual_time

__all__ = [
    "MockTransport",
    "Request",
    "Response",
    "VirtualTimeLoop",
    "respond",
    "virtual_time",
]
