"""Whether what an earlier session has read is of use to this one."""

from __future__ import annotations

import msgspec
from attrs import evolve, frozen

from ..api import MAX_LIMIT, Request, endpoints
from ..errors import ConfigurationError
from ..records import Page
from .database import START_OVER
from .identity import StoreMark, mark
from .journal import Journal
from .reading import Session, now
from .slice_notes import AFTER, SliceNote
from .slice_notes import SCOPE as ORDERS
from .survey import Survey, orders_call
from .tables import Resource

_SLACK = 60.0  # seconds that a clock may have been set back


@frozen(kw_only=True)
class Terms:
    """What must be the same for an earlier session's rows to be of use.

    Args:
        base_url: The API.
        status: The filter.
        filter_on_server: Who filters.
        first: The first day of the orders, as an ordinal; None is open.
        last: The last day; None is open.
        lenient: Whether rows that can't be decoded are set aside.
        once: Whether one reading of a list is enough.
    """

    base_url: str
    status: str | None
    filter_on_server: bool
    first: int | None
    last: int | None
    lenient: bool
    once: bool


async def resume(session: Session, terms: Terms, max_age: float) -> int:
    """Make the journal ready for this session: what is of no use to it is forgotten.

    Args:
        session: The session.
        terms: What it is to read.
        max_age: Seconds after which something is read again.

    Returns:
        How many units it can build on.

    Raises:
        ConfigurationError: The journal is of another store.
    """
    stage = session.stage
    journal = stage.journal
    units = await stage.run(_prepare, journal, terms, max_age)
    noted = await stage.run(journal.note, "store")
    known = None if noted is None else msgspec.json.decode(noted, type=StoreMark)
    if known is None or not known.is_of(session.store):
        if units and known is not None:
            await _check_same_store(session)
        stage.note("store", msgspec.json.encode(mark(session.store)))
    stage.note("terms", msgspec.json.encode(terms))
    await stage.save()
    return units


def _good_enough(terms: Terms) -> list[Terms]:
    """List the terms whose rows are of use: what was read more strictly is."""
    return [
        evolve(terms, lenient=lenient, once=once)
        for lenient in {False, terms.lenient}
        for once in {False, terms.once}
    ]


def _prepare(journal: Journal, terms: Terms, max_age: float) -> int:
    noted = journal.note("terms")
    before = None if noted is None else msgspec.json.decode(noted, type=Terms)
    if before is not None and before not in _good_enough(terms):
        journal.clear()
    at = now()
    if journal.note(ORDERS) is None:
        journal.drop(ORDERS)
    for scope in journal.scopes():
        if journal.drop(scope, (at - max_age, at + _SLACK)) and scope == ORDERS:
            journal.forget(AFTER)
    scopes = journal.scopes()
    if not scopes:
        # Totals that were noted without any rows are of no use, and may be old.
        journal.clear()
    elif ORDERS not in scopes:
        journal.forget(ORDERS)
    return sum(map(journal.count, scopes))


async def _check_same_store(session: Session) -> None:
    """See that another key opens the same store: read something again, and compare the ids."""
    journal = session.stage.journal
    sample = await session.stage.run(_sample, journal)
    if sample is not None:
        resource, call, ids = sample
        page = await session.ask(resource, call)
        if not ids.isdisjoint({row.id for row in page.rows}):
            return
    error = ConfigurationError(
        f"the unfinished export in {journal.folder} was read with another API key, and this key's"
        " store does not look the same"
    )
    error.add_note(START_OVER)
    raise error


def _sample(
    journal: Journal,
) -> tuple[Resource, Request[Page[msgspec.Raw]], set[object]] | None:
    """Choose a page that was read, how it is read again, and the ids that it had."""
    for scope in journal.scopes():
        units = [unit for unit in journal.units(scope) if journal.unit_ids(unit)]
        if not units:
            continue
        unit = units[0]
        ids: set[object] = set(journal.unit_ids(unit))
        if scope == ORDERS:
            survey = msgspec.json.decode(journal.note(ORDERS) or b"", type=Survey)
            found = msgspec.json.decode(unit.about, type=SliceNote).slice
            return "orders", orders_call(found, 1, None, inclusive=survey.inclusive), ids
        if scope.startswith("products"):
            return "products", endpoints.raw(endpoints.products(1, MAX_LIMIT)), ids
        if scope.startswith("customers"):
            return "customers", endpoints.raw(endpoints.customers(1, MAX_LIMIT)), ids
    return None
