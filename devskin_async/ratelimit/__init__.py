"""The budget of requests.

`policy` has the public values. `reports`, `state`, `grants`, `shaping`, `fairness` and `forecast`
are pure: the time is an argument. A `store` keeps the state; `local_participant` reports what one
event loop does; the `scheduler` grants slots to callers and emits `events`; `sharing` finds a key's
budget.
"""

from .events import (
    Adapted,
    Answered,
    Degraded,
    Event,
    Granted,
    Listeners,
    OnEvent,
    Paused,
    Queued,
    Refused,
    Restored,
    Retried,
    Sent,
)
from .fairness import FairQueue, Flow
from .naming import budget_name
from .policy import Budget, Lane, RateLimit, Use, check_seconds, check_whole
from .quota import LONGEST_PAUSE, RateLimitInfo
from .scheduler import Scheduler
from .sharing import MACHINE, PROCESS, forget_budgets, shared_scheduler
from .slot import RequestFlow, Slot
from .store import MemoryStore, Store, StoreBusyError, StoreUnavailableError

__all__ = [
    "LONGEST_PAUSE",
    "MACHINE",
    "PROCESS",
    "Adapted",
    "Answered",
    "Budget",
    "Degraded",
    "Event",
    "FairQueue",
    "Flow",
    "Granted",
    "Lane",
    "Listeners",
    "MemoryStore",
    "OnEvent",
    "Paused",
    "Queued",
    "RateLimit",
    "RateLimitInfo",
    "Refused",
    "RequestFlow",
    "Restored",
    "Retried",
    "Scheduler",
    "Sent",
    "Slot",
    "Store",
    "StoreBusyError",
    "StoreUnavailableError",
    "Use",
    "budget_name",
    "check_seconds",
    "check_whole",
    "forget_budgets",
    "shared_scheduler",
]
