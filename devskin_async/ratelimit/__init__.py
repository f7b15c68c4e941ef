"""The budget of requests: `policy` values, `window` decisions, the `scheduler` that runs them."""

from .policy import Budget, RateLimit
from .scheduler import Scheduler, Slot
from .window import Window

__all__ = ["Budget", "RateLimit", "Scheduler", "Slot", "Window"]
