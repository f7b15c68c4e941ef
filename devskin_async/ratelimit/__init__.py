"""The budget of requests.

`policy` holds values, `window`, `fairness` and `forecast` decide from the time alone, the
`scheduler` runs them in an event loop.
"""

from .fairness import FairQueue, Job
from .policy import Budget, Lane, RateLimit
from .scheduler import Scheduler, Slot, SlotJob
from .window import Window

__all__ = [
    "Budget",
    "FairQueue",
    "Job",
    "Lane",
    "RateLimit",
    "Scheduler",
    "Slot",
    "SlotJob",
    "Window",
]
