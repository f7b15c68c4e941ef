"""`devskin budget`: how the budget of a key stands, and who uses it."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Sequence
from contextlib import suppress
from typing import Annotated, TypeAlias

from attrs import frozen
from rich.console import RenderableType
from rich.text import Text

from ..client import DevSkinClient
from ..errors import ConfigurationError, DevSkinError
from ..ratelimit import MACHINE, PROCESS, Budget, StoreBusyError, Use
from ..ratelimit.valkey_url import ValkeyURL
from .drawing import Drawing
from .options import DEFAULTS, Connection, Flag, open_store
from .render import (
    Column,
    counted,
    facts,
    lasting,
    number,
    show,
    stderr,
    stdout,
    table,
    words,
    write_json,
)
from .waits import Waits

Part: TypeAlias = RenderableType

_EVERY = 0.5  # seconds
_BUSY_TIMEOUT = 2.0  # seconds in which a step of another process is long over
_BUSY = (0.001, 0.005)

_USES: Sequence[Column[Use]] = (
    Column("Process", lambda use: words(use.process)),
    Column("Lane", lambda use: Text(use.lane.value)),
    Column("In flight", lambda use: number(use.in_flight), "right"),
    Column("Answered", lambda use: number(use.answered), "right"),
    Column("Waiting", lambda use: number(use.waiting), "right"),
)


class BudgetUnreadableError(DevSkinError):
    """The budget of a key can't be looked at now."""


@frozen(kw_only=True)
class Look:
    """A key's budget at one moment, as JSON has it.

    Args:
        limit: Requests allowed in any span of `per` seconds.
        per: The span in seconds.
        in_flight: Slots of requests that are not answered yet.
        answered: Slots of requests that are answered, which are not free yet.
        available: Slots that are free.
        waiting: Requests that wait for a slot.
        paused_for: Seconds for which nothing is sent; 0 for no pause.
        pause_reason: Why, where the API did not ask for it; else an empty string.
        next_free_in: Seconds until the next slot that is held is free; None where none is held
            or a response must come first.
        processes: Processes that take part in it or still hold slots, this one aside.
        where: Where it is kept: "machine" or "valkey".
        uses: What each process has of it, by lane.
    """

    limit: int
    per: float
    in_flight: int
    answered: int
    available: int
    waiting: int
    paused_for: float
    pause_reason: str
    next_free_in: float | None
    processes: int
    where: str
    uses: tuple[Use, ...]

    @classmethod
    def at(cls, budget: Budget, pause_reason: str) -> Look:
        """Take from a snapshot what concerns all processes."""
        free_in = budget.next_free_in
        return cls(
            limit=budget.limit,
            per=budget.per,
            in_flight=budget.in_flight,
            answered=sum(use.answered for use in budget.uses),
            available=budget.available,
            waiting=sum(use.waiting for use in budget.uses),
            paused_for=round(budget.paused_for, 3),
            pause_reason=pause_reason,
            next_free_in=None if free_in is None else round(free_in, 3),
            processes=budget.processes - 1,
            where=budget.where,
            uses=budget.uses,
        )


async def budget(
    *,
    watch: Annotated[bool, Flag] = False,
    json: Annotated[bool, Flag] = False,
    connection: Connection = DEFAULTS,
) -> None:
    """Show how many requests a key may send now, and which processes use the rest.

    A request takes a slot, which is free again a minute after the response.
    Nothing is sent to the API.

    Example: devskin budget --watch

    Args:
        watch: Update the table twice a second, until Ctrl-C or another signal, with exit code 0.
        json: Print one JSON document in place of the table; with --watch, twice a second.
        connection: Whose budget, and where it is kept.
    """
    console = stdout()
    drawing = Drawing(console)
    if watch and not json and not drawing.is_possible:
        raise ValueError("--watch draws on a terminal; for a file or a pipe add --json")
    if connection.sandbox:
        raise ValueError("--sandbox starts a store that no other process uses: leave it out")
    if not connection.has_key:
        raise ConfigurationError("no API key: set DEVSKIN_API_KEY to the key whose budget to show")
    waits = Waits(stderr(), own_limit=False)
    async with open_store(connection, waits=waits) as store:
        _check_shared(store, connection)
        if not watch:
            look = await _look(store, waits)
            if json:
                write_json(look)
            else:
                show(console, *_shown(look, connection))
            return
        with suppress(asyncio.CancelledError):  # Ctrl-C and SIGTERM are how it ends
            while True:
                if json:
                    write_json(await _look(store, waits))
                else:
                    drawing.draw(*await _parts(store, waits, connection))
                await asyncio.sleep(_EVERY)
        drawing.keep()


def _check_shared(store: DevSkinClient, connection: Connection) -> None:
    """Check that there is anything of other processes to see.

    Raises:
        ValueError: `--budget` or `DEVSKIN_BUDGET` asks for a budget that nobody else can see.
        ConfigurationError: This machine can keep no other.
    """
    if store.budget.where != PROCESS:
        return
    unseen = "the slots are in the memory of each process, where no other can see them"
    wanted = f"{unseen}; give machine, or the address of a Valkey server"
    if connection.budget == PROCESS:
        raise ValueError(f"--budget {PROCESS}: {wanted}")
    if os.environ.get("DEVSKIN_BUDGET") == PROCESS:
        raise ValueError(f"DEVSKIN_BUDGET={PROCESS}: {wanted}")
    raise ConfigurationError(
        f"{unseen}, since no file can be kept on this machine; give the address of a Valkey server"
    )


async def _look(store: DevSkinClient, waits: Waits) -> Look:
    """Look at the budget, and again while another process is at it.

    Raises:
        BudgetUnreadableError: It can't be reached.
    """
    scheduler = store.reader.sender.scheduler
    try:
        async with asyncio.timeout(_BUSY_TIMEOUT):
            while True:
                try:
                    await scheduler.refresh()
                    break
                except StoreBusyError:
                    await asyncio.sleep(random.uniform(*_BUSY))  # noqa: S311  # no secret
    except TimeoutError:
        raise BudgetUnreadableError(
            f"another process has held the budget's file for {_BUSY_TIMEOUT:g} s: it may be "
            "stopped (Ctrl-Z); resume it, or end it"
        ) from None
    if waits.outage is not None:
        raise _unreachable(waits.outage.reason)
    return Look.at(scheduler.budget(), scheduler.pause_reason())


def _unreachable(reason: str) -> BudgetUnreadableError:
    return BudgetUnreadableError(f"the budget is unreachable: {reason}")


async def _parts(store: DevSkinClient, waits: Waits, connection: Connection) -> Sequence[Part]:
    try:
        return _shown(await _look(store, waits), connection)
    except BudgetUnreadableError as error:  # it may come back
        return (words(str(error)),)


def _shown(look: Look, connection: Connection) -> Sequence[Part]:
    """Show a budget: its figures, and who uses it."""
    pairs = [
        ("Limit", Text(f"{counted(look.limit, 'request')} in {look.per:g} s")),
        ("In flight", number(look.in_flight)),
        ("Answered, not free yet", number(look.answered)),
        ("Free", number(look.available)),
        ("Waiting", number(look.waiting)),
        ("Next slot free", Text(_next_free(look))),
        ("Pause", Text(_pause(look))),
        ("Kept", Text(_place(look, connection))),
        ("Shared by", Text(_sharers(look))),
    ]
    head = facts(pairs, justify="left")
    return (head, "", table(_USES, look.uses)) if look.uses else (head,)


def _place(look: Look, connection: Connection) -> str:
    """Say where it is kept, without a password."""
    if look.where == MACHINE:
        return "on this machine, for all processes of this user"
    server = ValkeyURL.parse(connection.budget or os.environ["DEVSKIN_BUDGET"]).shown
    return f"on {server}, for all who use it"


def _next_free(look: Look) -> str:
    if look.next_free_in is not None:
        return f"in {lasting(look.next_free_in)}"
    if look.in_flight:
        return f"{lasting(look.per)} after the next response"
    return "all are free once the pause is over" if look.paused_for else "all are free"


def _pause(look: Look) -> str:
    why = f": {look.pause_reason}" if look.pause_reason else ""
    return f"{lasting(look.paused_for)}{why}" if look.paused_for else "none"


def _sharers(look: Look) -> str:
    return f"{look.processes:,} processes" if look.processes != 1 else "1 process"
