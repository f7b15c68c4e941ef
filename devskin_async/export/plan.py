"""What an export would cost."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from attrs import frozen

from ..client import DevSkinClient
from ..ratelimit import StoreBusyError, StoreUnavailableError
from .choose import Day, Status, Verify, choose
from .readers import Readers, forecast
from .reading import Session
from .stage import Stage
from .tables import Resource

_DAY = 86_400.0


@frozen(kw_only=True)
class Planned:
    """What an export would cost.

    Args:
        rows: The rows of each resource, where they are known.
        requests: The requests for each.
        spent: Requests that planning has sent; the export sends them again.
        seconds: How long the export's requests would wait for the rate limit, from now on.
        share: Which part of what the key may send in a day they are.
    """

    rows: dict[str, int]
    requests: dict[str, int]
    spent: int
    seconds: float
    share: float


async def plan(
    store: DevSkinClient,
    resources: Iterable[Resource],
    *,
    status: Status | None = None,
    filter_on_server: bool = False,
    date_from: Day | None = None,
    date_to: Day | None = None,
    verify: Verify = "twice",
    details: bool = False,
) -> Planned:
    """Predict what an export would cost, in a few requests.

    Args:
        store: The client.
        resources: What would be exported; this and all others as for `export`.
        status: Only orders of this status.
        filter_on_server: Whether the API would filter by it.
        date_from: Only orders from this day on.
        date_to: Only orders up to this day.
        verify: How strictly lists would be read.
        details: Whether each order's detail would be read.

    Raises:
        ValueError: An argument is out of its bounds.
    """
    choice, wanted = choose(
        resources,
        status=status,
        filter_on_server=filter_on_server,
        date_from=date_from,
        date_to=date_to,
        verify=verify,
        details=details,
    )
    with tempfile.TemporaryDirectory(prefix="devskin-") as folder:
        async with Stage(Path(folder)) as stage:
            session = Session(store, stage, choice)
            readers = Readers(session, wanted)
            await readers.start()
    with suppress(StoreBusyError, StoreUnavailableError):  # it is as it was last seen then
        await store.reader.sender.scheduler.refresh()
    budget = store.budget
    requests = readers.planned_requests
    total = sum(requests.values())
    return Planned(
        rows=readers.planned_rows,
        requests=requests,
        spent=session.requests,
        seconds=forecast(budget, total) if total else 0.0,
        share=total / (budget.limit * _DAY / budget.per),
    )
