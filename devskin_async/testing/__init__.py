"""For tests of programs that use the client: responses by a function, a clock, full budgets."""

from ..api import Request, Response
from ..ratelimit import forget_budgets
from .mock_transport import MockTransport, respond
from .virtual_time import VirtualTimeLoop, virtual_time

__all__ = [
    "MockTransport",
    "Request",
    "Response",
    "VirtualTimeLoop",
    "forget_budgets",
    "respond",
    "virtual_time",
]
