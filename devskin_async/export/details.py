"""Each order's detail: one request an order, kept one by one."""

from __future__ import annotations

from functools import partial

import msgspec

from .. import convert
from .._order_rows import DetailedOrder, detailed, order_lines
from ..api import MAX_INTEGER, endpoints
from ..errors import (
    AuthenticationError,
    BudgetExceededError,
    ConfigurationError,
    DecodeError,
    DevSkinError,
    NotFoundError,
    RateLimitedError,
)
from ..records import Order
from .journal import Journal
from .manifest import added_up
from .reading import Session, now, work_off
from .rows import Row, line_id, read_rows
from .slice_notes import SCOPE as ORDERS
from .tables import ORDER_ITEMS, Table
from .units import Unit

SCOPE = "details"
GONE = b'"gone"'
SET_ASIDE = "pass rejects= to keep the list's row for such an order"

# What is wrong with more than one order.
_OF_MORE = (AuthenticationError, BudgetExceededError, ConfigurationError, RateLimitedError)
_MANY = 20  # that failed one after the other

_FLAT = Table("orders", DetailedOrder)


class Details:
    """Reads the detail of each order that the journal has.

    Args:
        session: What it is read with.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self.total: int = 0
        self.rows: int = 0
        self._failed: dict[int, DevSkinError] = {}
        self._in_a_row = 0  # that failed

    @property
    def requests_left(self) -> int:
        """How many requests are to come."""
        return self.total - self.rows

    async def read(self) -> None:
        """Read what is not in the journal."""
        stage = self._session.stage
        self.total = await stage.run(_count, stage.journal)
        self.rows = 0
        batches = stage.journal.batches(ORDERS)
        while (lines := await stage.run(next, batches, None)) is not None:
            missing = await stage.run(_missing, stage.journal, lines)
            self.rows += len(lines) - len(missing)
            await work_off(
                partial(next, iter(missing), None), self._read, self._session.concurrency
            )
        if self._failed:
            await self._set_aside()

    async def _read(self, order_id: int) -> None:
        try:
            answer = await self._session.send(endpoints.raw_order(order_id))
            row = self._row(order_id, answer.order)
        except NotFoundError:
            unit = Unit(scope=SCOPE, number=order_id, at=now(), about=GONE)
        except DevSkinError as error:
            await self._fail(order_id, error)
            return
        else:
            unit = Unit(
                scope=SCOPE,
                number=order_id,
                rows=[row],
                at=now(),
                about=msgspec.json.encode(row.unknown),
            )
        await self._session.keep(unit)
        self._in_a_row = 0
        self.rows += 1
        self._session.tell()

    async def _fail(self, order_id: int, error: DevSkinError) -> None:
        """Remember an order whose detail can't be read, or end where more is wrong than that.

        Raises:
            DevSkinError: It is not to be set aside, or the API does not answer at all.
        """
        if isinstance(error, _OF_MORE):
            raise error
        if not self._session.choice.lenient:
            error.add_note(SET_ASIDE)
            raise error
        self._failed[order_id] = error
        self._in_a_row += 1
        if self._in_a_row >= _MANY:
            if not self.rows:
                raise error  # a key that may read no details, for instance
            await self._see_that_it_answers()
            self._in_a_row = 0

    async def _see_that_it_answers(self) -> None:
        """Ask for something else, which fails too where it is not the orders that are broken."""
        await self._session.send(endpoints.orders(1, 1))

    async def _set_aside(self) -> None:
        """Keep the errors: only now, so that an export that ended with them tries again."""
        await self._see_that_it_answers()
        for order_id, error in sorted(self._failed.items()):
            wrong = DecodeError("$", "the order's detail", str(error))
            row = Row(order_id, b'{"id": %d}' % order_id, None, wrong)
            await self._session.keep(
                Unit(scope=SCOPE, number=order_id, rows=[row], at=now(), about=b"[]")
            )
        self.rows += len(self._failed)
        self._failed.clear()
        self._session.tell()

    def _row(self, order_id: int, raw: msgspec.Raw) -> Row:
        (row,) = read_rows([raw], Order)
        error, call = row.error, f"GET /orders/{order_id}"
        if error is None and row.id != order_id:
            # An answer to another question, such as one left over on a kept connection.
            told = convert.describe(row.id)
            raise DecodeError("$.data.order.id", str(order_id), told, call)
        if error is not None and not self._session.choice.lenient:
            path = f"$.data.order{error.path[1:]}"
            raise DecodeError(path, error.expected, error.received, call)
        if isinstance(row.record, Order):
            place = "$.data.order"
            self._session.check(_FLAT, [detailed(row.record)], place, alone=True)
            self._session.check(ORDER_ITEMS, order_lines(row.record), f"{place}.items")
        # A row that can't be decoded may claim any id.
        return row._replace(id=order_id)


def detail_lines(journal: Journal, lines: list[bytes]) -> list[bytes | None]:
    """Give the details of orders.

    Args:
        journal: What has them.
        lines: The orders, as lists show them.

    Returns:
        Of each order its detail; None where that was gone, or could not be decoded.
    """
    details: list[bytes | None] = []
    for line in lines:
        order = _order_id(line)
        unit = journal.unit(SCOPE, order) if order <= MAX_INTEGER else None
        found = [] if unit is None else journal.lines(unit)
        details.append(found[0] if found else None)
    return details


def unknown_in_details(journal: Journal) -> dict[str, int]:
    """Count what details had that the reference does not know."""
    told = journal.abouts(SCOPE)
    return added_up(
        dict.fromkeys(msgspec.json.decode(about, type=list[str]), count)
        for about, count in told.items()
        if about != GONE
    )


def gone(journal: Journal) -> int:
    """Count the orders whose detail was not there any more."""
    return journal.count(SCOPE, GONE)


def _order_id(line: bytes) -> int:
    return int(line_id(line))


def _count(journal: Journal) -> int:
    return sum(map(len, journal.batches(ORDERS)))


def _missing(journal: Journal, lines: list[bytes]) -> list[int]:
    return [
        order
        for order in map(_order_id, lines)
        if order <= MAX_INTEGER and journal.unit(SCOPE, order) is None
    ]
