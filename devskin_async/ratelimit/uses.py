"""What each process uses of a budget, as `devskin budget` shows it."""

from __future__ import annotations

from collections import Counter
from typing import TypeAlias

from .policy import Use
from .reports import LANES
from .state import BudgetState

_Of: TypeAlias = tuple[str, int]


def uses(state: BudgetState) -> tuple[Use, ...]:
    """Return what each process uses of a budget, by lane; one that uses nothing is left out."""
    in_flight = Counter[_Of]((_process(each.participant), each.lane) for each in state.in_flight)
    answered = Counter[_Of]((_process(each.participant), each.lane) for each in state.answered)
    waiting = Counter[_Of]()
    for name, each in state.participants.items():
        if each.waits_until > state.now:
            for lane, count in enumerate(each.waiting):
                waiting[_process(name), lane] += count
    return tuple(
        Use(
            process=process,
            lane=LANES[lane],
            in_flight=in_flight[process, lane],
            answered=answered[process, lane],
            waiting=waiting[process, lane],
        )
        for process, lane in sorted(+(in_flight + answered + waiting))
    )


def _process(participant: str) -> str:
    """Return the host and the process id of a participant."""
    return participant.rpartition(".")[0].rpartition(":")[0]
