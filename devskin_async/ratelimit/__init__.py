"""The budget of requests.

`policy` holds values; `window`, `fairness`, `forecast`, `shaping` and `quota` decide from the time
alone; `store` keeps the slots; the `scheduler` runs them in an event loop and tells `events`.
"""

from .events import Adapted, Event, Granted, OnEvent, Paused, Queued, Refused, Retried
from .fairness import FairQueue, Job
from .policy import Budget, Lane, RateLimit, check_seconds, check_whole
from .quota import LONGEST_PAUSE, RateLimitInfo
from .scheduler import Scheduler
from .sharing import shared_scheduler
from .slot import Slot, SlotJob
from .store import MemoryStore, SlotStore
from .window import Window

__all__ = [
    "LONGEST_PAUSE",
    "Adapted",
    "Budget",
    "Event",
    "FairQueue",
    "Granted",
    "Job",
    "Lane",
    "MemoryStore",
    "OnEvent",
    "Paused",
    "Queued",
    "RateLimit",
    "RateLimitInfo",
    "Refused",
    "Retried",
    "Scheduler",
    "Slot",
    "SlotJob",
    "SlotStore",
    "Window",
    "check_seconds",
    "check_whole",
    "shared_scheduler",
]
