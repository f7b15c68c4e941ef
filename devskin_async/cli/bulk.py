"""What `devskin export` and `devskin sync` share: options, and how they run and end."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Annotated, Literal, TypeAlias, get_args

from attrs import frozen
from cyclopts import Group, Parameter

from ..client import DevSkinClient
from ..errors import APIError, DecodeError, DevSkinError, TransportError
from ..export import Exported, OnProgress, Resource, Verify
from ..export.database import START_OVER
from ..export.details import SET_ASIDE
from ..export.journal import FOLDER, Journal
from ..ratelimit import Lane
from .failures import UNPROVEN, Hint, Terminated
from .options import PATIENT, Connection, Flag, open_store
from .progress import Screen
from .render import show, stderr
from .reports import closing
from .waits import Waits

Choice = Literal["all", "orders", "products", "customers", "revenue", "overview"]
Resources: TypeAlias = Annotated[Choice, Parameter(name="RESOURCE")]

# What may be different when it is tried again; of a row that can't be decoded it is not.
_PASSING = (
    APIError, TransportError, OSError, KeyboardInterrupt, Terminated, asyncio.CancelledError,
)  # fmt: skip
# Where rows are in an answer, and in a table whose columns can't hold one.
_ROWS = (
    "$.data.items[", "$.data.order.", "$.data.daily[",
    *(f"{name}[" for name in (*get_args(Resource), "order_items")),
)  # fmt: skip
_MOST_HOURS = 100_000.0
HOW: Group = Group("How it reads", sort_key=3)


@Parameter(name="*", group=HOW)
@frozen(kw_only=True)
class Care:
    """How something is read.

    Args:
        verify: How many times a list of several pages is read to prove it complete.
        max_age: Hours for which what an interrupted run has read is used.
        fresh: Discard what an interrupted run has read, and start over.
    """

    verify: Verify = "twice"
    max_age: Annotated[float, Parameter(name="--max-age")] = 6.0
    fresh: Annotated[bool, Flag] = False

    @property
    def age(self) -> dt.timedelta:
        """The age.

        Raises:
            ValueError: It is none.
        """
        if not 0 <= self.max_age <= _MOST_HOURS:
            raise ValueError(f"--max-age must be a number of hours, not {self.max_age:g}")
        return dt.timedelta(hours=self.max_age)


AS_USUAL = Care()


@frozen(kw_only=True)
class Job:
    """One run of an export.

    Args:
        connection: Which store to read, and how.
        resources: What to read.
        out: The folder.
        care: How to read.
        rejects: Where rejected rows go, if anywhere.
    """

    connection: Connection
    resources: Sequence[Resource]
    out: Path
    care: Care
    rejects: Path | None = None


def chosen(choices: Sequence[Choice]) -> list[Resource]:
    """Give the resources that words choose, in their usual order."""
    names: Sequence[Resource] = get_args(Resource)
    return [name for name in names if not {name, "all"}.isdisjoint(choices)]


async def carry_out(
    job: Job, work: Callable[[DevSkinClient, OnProgress], Awaitable[Exported]]
) -> int:
    """Run an export, show how far it is, and say how it ended.

    Args:
        job: What it is.
        work: Does it.

    Returns:
        The exit code: `UNPROVEN` where something is not proven to be complete, or was set aside.
    """
    console = stderr()
    # The screen says how long all of it takes.
    waits = Waits(console, own_limit=False, lane=Lane.BULK)
    async with open_store(job.connection, PATIENT, waits) as store:
        with Screen(store, job.resources, console) as screen, waits.shown_by(screen.tick):
            try:
                done = await work(store, screen.update)
            except BaseException as error:
                if hint := _hint(error, job):
                    error.add_note(hint)
                raise
    show(console, *closing(done, rejects=job.rejects, sandbox=job.connection.sandbox))
    return UNPROVEN if done.unproven or done.set_aside else 0


def _hint(error: BaseException, job: Job) -> Hint | None:
    """Say what helps after an error, if that is known."""
    if isinstance(error, DecodeError):
        row = error.path.startswith(_ROWS)
        if row and job.rejects is None:
            return Hint("--rejects DIR of devskin export sets such rows aside.")
    notes = getattr(error, "__notes__", ())
    if START_OVER in notes:
        return Hint("Use --fresh to start over.")
    if SET_ASIDE in notes:
        return Hint(
            "Use --rejects DIR to set such an order aside; the list's row is written instead."
        )
    # A sandbox's store is gone with it, and the next has another address.
    lasts = job.care.max_age and not job.connection.sandbox
    if not lasts or not isinstance(error, _PASSING) or not _is_kept(job.out):
        return None
    if job.care.fresh:
        return Hint("What was read is kept: without --fresh, the same command goes on from there.")
    return Hint("What was read is kept: the same command goes on from there.")


def _is_kept(out: Path) -> bool:
    """Say whether a folder has the journal of an export that has read something."""
    if not (out / FOLDER).is_dir():
        return False
    try:
        with Journal(out) as journal:
            return bool(journal.scopes())
    except (DevSkinError, OSError):
        return False
