"""A list of several pages is read until two passes agree, whatever happens to it meanwhile."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any, cast

import pytest
from attrs import define, evolve, field
from hypothesis import given, settings
from hypothesis import strategies as st

from devskin_async import DecodeError, OrderSummary
from devskin_async.api import MAX_LIMIT, endpoints
from devskin_async.export.counting import is_counted
from devskin_async.export.lists import Listed
from devskin_async.export.passes import MOST_PASSES, Passes, Reading
from devskin_async.export.reading import Choice, RowPage, Session, Tally
from devskin_async.export.rows import read_rows
from devskin_async.export.stage import Stage
from devskin_async.export.units import Unit
from devskin_async.sandbox import ListOrder, Sandbox

from .support import Before, ids_of, order, row, session_of


def orders_of(session: Session, *, once: bool = False, status: str | None = None) -> Passes:
    return Passes(
        session,
        "orders",
        "list",
        lambda page: endpoints.raw(endpoints.orders(page, MAX_LIMIT)),
        once=once,
        status=status,
    )


def customers_of(session: Session) -> Passes:
    return Passes(
        session,
        "customers",
        "customers",
        lambda page: endpoints.raw(endpoints.customers(page, MAX_LIMIT)),
        once=False,
    )


def order_ids(box: Sandbox) -> list[int]:
    return [row[0] for row in box.connection.execute("SELECT id FROM orders ORDER BY id")]


def remove(box: Sandbox, order_id: int) -> None:
    box.connection.execute("DELETE FROM order_items WHERE order_id = ?", (order_id,))
    box.connection.execute("DELETE FROM orders WHERE id = ?", (order_id,))


async def rows_read(session: Session, reading: Reading) -> list[int]:
    """Give the ids of the rows of a reading, as whoever adopts its scopes gets them."""
    for part, scope in enumerate(reading.scopes):
        await session.stage.keep(Unit(scope="adopter", number=part, adopts=scope, at=0))
    return sorted(map(int, ids_of(session.stage.journal.batches("adopter"))))


@pytest.fixture(params=["newest", "oldest"])
async def box(request: pytest.FixtureRequest) -> AsyncIterator[Sandbox]:
    order: ListOrder = request.param
    async with Sandbox(
        orders=350, products=5, customers=20, limiter="none", order=order
    ) as running:
        yield running


async def test_one_page_is_atomic(tmp_path: Path) -> None:
    async with Sandbox(orders=100, limiter="none") as box, session_of(box, tmp_path) as session:
        reading = await orders_of(session).read()
        assert (reading.proof, reading.pages, reading.passes) == ("atomic", 1, 1)
        assert (reading.before, reading.after) == (100, 100)
        assert await rows_read(session, reading) == order_ids(box)
        assert box.counts.requests == 2  # whether a full page is the last shows the next


async def test_a_page_that_is_not_full_is_the_last(tmp_path: Path) -> None:
    async with Sandbox(orders=99, limiter="none") as box, session_of(box, tmp_path) as session:
        assert (await orders_of(session).read()).proof == "atomic"
        assert box.counts.requests == 1


async def test_an_empty_list_is_atomic(tmp_path: Path) -> None:
    async with Sandbox(orders=0, limiter="none") as box, session_of(box, tmp_path) as session:
        reading = await orders_of(session).read()
        assert (reading.proof, reading.after) == ("atomic", 0)
        assert await rows_read(session, reading) == []


async def test_several_pages_are_read_twice(box: Sandbox, tmp_path: Path) -> None:
    async with session_of(box, tmp_path) as session:
        reading = await orders_of(session).read()
        assert (reading.proof, reading.pages, reading.passes) == ("two-pass", 4, 2)
        assert await rows_read(session, reading) == order_ids(box)
        assert (box.counts.requests, session.tally.repairs) == (8, 0)


async def test_where_one_pass_is_enough_its_ids_are_counted(box: Sandbox, tmp_path: Path) -> None:
    async with session_of(box, tmp_path) as session:
        reading = await orders_of(session, once=True).read()
        assert (reading.proof, reading.pages, reading.passes) == ("counted", 4, 1)
        assert await rows_read(session, reading) == order_ids(box)
        assert box.counts.requests == 4


async def test_what_changed_between_two_passes_is_read_once_more(
    box: Sandbox, tmp_path: Path
) -> None:
    async with session_of(box, tmp_path) as session:
        Before(session, {5: box.live.insert})
        reading = await orders_of(session).read()
        assert (reading.proof, reading.passes) == ("two-pass", 3)
        assert (reading.before, reading.after) == (350, 351)
        assert await rows_read(session, reading) == order_ids(box)
        assert session.tally.repairs == 1


async def test_a_row_that_is_replaced_between_two_passes_is_noticed_though_the_total_holds(
    box: Sandbox, tmp_path: Path
) -> None:
    def replace() -> None:
        box.live.insert()
        remove(box, order_ids(box)[120])

    async with session_of(box, tmp_path) as session:
        Before(session, {5: replace})
        reading = await orders_of(session).read()
        assert (reading.proof, reading.passes) == ("two-pass", 3)
        assert await rows_read(session, reading) == order_ids(box)


async def test_an_answer_with_another_total_ends_its_pass(box: Sandbox, tmp_path: Path) -> None:
    async with session_of(box, tmp_path, concurrency=1) as session:
        Before(session, {2: box.live.insert})
        reading = await orders_of(session).read()
        assert (reading.proof, reading.passes) == ("two-pass", 3)
        assert box.counts.requests == 2 + 4 + 4
        assert await rows_read(session, reading) == order_ids(box)


@pytest.mark.parametrize("at", range(2, 9))
async def test_a_removal_at_any_moment_loses_none_of_the_others(
    box: Sandbox, tmp_path: Path, at: int
) -> None:
    async with session_of(box, tmp_path, concurrency=1) as session:
        Before(session, {at: lambda: remove(box, order_ids(box)[175])})
        reading = await orders_of(session).read()
        assert reading.proof == "two-pass"
        read = await rows_read(session, reading)
        assert set(order_ids(box)) <= set(read)
        assert len(set(read)) == len(read)


@pytest.mark.parametrize("at", range(2, 8))
async def test_a_removal_that_an_insertion_hides_in_the_total_loses_none_of_the_others(
    box: Sandbox, tmp_path: Path, at: int
) -> None:
    def replace() -> None:
        box.live.insert()
        remove(box, order_ids(box)[20])

    async with session_of(box, tmp_path, concurrency=1) as session:
        stayed = set(order_ids(box))
        Before(session, {at: replace, at + 2: replace})
        reading = await orders_of(session).read()
        assert reading.proof == "two-pass"
        read = await rows_read(session, reading)
        assert stayed & set(order_ids(box)) <= set(read)
        assert len(set(read)) == len(read)


async def test_a_list_that_changes_all_the_time_ends_unproven_with_all_that_was_seen(
    box: Sandbox, tmp_path: Path
) -> None:
    async with session_of(box, tmp_path, concurrency=1) as session:
        stayed = set(order_ids(box))
        Before(session, lambda _: box.live.insert())
        reading = await orders_of(session).read()
        assert (reading.proof, reading.passes) == ("unproven", MOST_PASSES)
        assert reading.scopes == ("list#4", "list#3", "list#2", "list#1")
        read = await rows_read(session, reading)
        assert stayed <= set(read)
        assert len(set(read)) == len(read)
        assert session.tally.repairs == MOST_PASSES - 2


async def test_the_last_pass_is_read_to_its_end_though_it_proves_nothing(
    box: Sandbox, tmp_path: Path
) -> None:
    async with session_of(box, tmp_path, concurrency=1) as session:
        Before(session, lambda _: box.live.insert())
        reading = await orders_of(session).read()
        assert reading.pages == 4
        assert box.counts.requests == 3 * 2 + 4


async def test_a_list_that_comes_to_rest_is_proven_in_the_last_pass(
    box: Sandbox, tmp_path: Path
) -> None:
    async with session_of(box, tmp_path, concurrency=1) as session:
        Before(session, dict.fromkeys((2, 4), box.live.insert))
        reading = await orders_of(session).read()
        assert (reading.proof, reading.passes) == ("two-pass", 4)
        assert await rows_read(session, reading) == order_ids(box)


class Stop(Exception):  # noqa: N818 - it stands for any end
    """What ends a session."""


def stop() -> None:
    raise Stop


@pytest.mark.parametrize("sent", [1, 3, 5, 8])
async def test_a_reading_that_was_interrupted_goes_on_at_the_pages_that_are_missing(
    box: Sandbox, tmp_path: Path, sent: int
) -> None:
    async with session_of(box, tmp_path, concurrency=1) as session:
        Before(session, {sent: stop})
        with pytest.raises(Stop):
            await orders_of(session).read()
    assert box.counts.requests == sent - 1
    async with session_of(box, tmp_path, concurrency=1) as session:
        reading = await orders_of(session).read()
        assert (reading.proof, reading.passes) == ("two-pass", 2)
        assert await rows_read(session, reading) == order_ids(box)
    assert box.counts.requests == 8
    asked = [request.path_qs for request in box.requests]
    assert sorted(asked[:4]) == sorted(asked[4:])


async def test_a_reading_that_was_cancelled_goes_on_at_the_pages_that_are_missing(
    box: Sandbox, tmp_path: Path
) -> None:
    async with session_of(box, tmp_path) as session:
        task = asyncio.create_task(orders_of(session).read())
        Before(session, {7: task.cancel})
        with pytest.raises(asyncio.CancelledError):
            await task
    async with session_of(box, tmp_path) as session:
        reading = await orders_of(session).read()
        assert reading.proof == "two-pass"
        assert await rows_read(session, reading) == order_ids(box)
    assert box.counts.requests < 8 + 4


async def test_a_change_while_nobody_reads_is_noticed_when_it_goes_on(
    box: Sandbox, tmp_path: Path
) -> None:
    async with session_of(box, tmp_path, concurrency=1) as session:
        Before(session, {4: stop})
        with pytest.raises(Stop):
            await orders_of(session).read()
    box.live.insert()
    remove(box, order_ids(box)[20])
    async with session_of(box, tmp_path, concurrency=1) as session:
        reading = await orders_of(session).read()
        assert reading.proof == "two-pass"
        assert await rows_read(session, reading) == order_ids(box)


async def test_a_proof_that_was_there_before_a_kill_needs_no_request(
    box: Sandbox, tmp_path: Path
) -> None:
    async with session_of(box, tmp_path) as session:
        before = await orders_of(session).read()
    async with session_of(box, tmp_path) as session:
        assert await orders_of(session).read() == before
    assert box.counts.requests == 8


async def test_pages_of_a_pass_that_grew_too_old_prove_nothing_with_a_pass_that_came_after(
    tmp_path: Path,
) -> None:
    box = Sandbox(orders=0, customers=250, products=20, limiter="none", order="oldest")

    def ids() -> list[int]:
        return [row[0] for row in box.connection.execute("SELECT id FROM customers ORDER BY id")]

    async with box:
        async with session_of(box, tmp_path, concurrency=1) as session:
            Before(session, {6: stop})
            with pytest.raises(Stop):
                await customers_of(session).read()
            # Page 3 of the first pass has grown too old, as those are by which a session stops
            # being of use; its answer may have come before page 2's.
            journal = session.stage.journal
            page = journal.unit("customers#1", 3)
            assert page is not None
            journal._connection.execute("UPDATE units SET at = 0 WHERE id = ?", (page.id,))
            # The second pass's pages go too.
            assert journal.drop("customers#1", (1.0, 1e12)) == 3
        # Meanwhile one leaves the second page, so that another moves on to it; and one comes.
        stayed = set(ids())
        last = box.connection.execute("SELECT * FROM customers ORDER BY id DESC LIMIT 1")
        row = [*last.fetchone()]
        row[0] += 1
        row[3] = "new@customer.test"
        marks = ", ".join("?" * len(row))
        box.connection.execute(f"INSERT INTO customers VALUES ({marks})", row)
        gone = ids()[150]
        box.connection.execute("DELETE FROM customers WHERE id = ?", (gone,))
        async with session_of(box, tmp_path, concurrency=1) as session:
            reading = await customers_of(session).read()
            assert reading.proof == "two-pass"
            read = await rows_read(session, reading)
        assert stayed - {gone} <= set(read)


async def test_rows_that_are_set_aside_count_among_those_that_are_proven(tmp_path: Path) -> None:
    async with Sandbox(orders=250, limiter="none") as box:
        box.connection.execute("UPDATE orders SET order_number = X'00' || id WHERE id = 7")
        async with session_of(box, tmp_path, Choice(lenient=True)) as session:
            read = session.read

            def reading_one_wrong(*arguments: object) -> object:
                rows = read(*arguments)  # type: ignore[arg-type]
                wrong = DecodeError("$.total", "a number", "null")
                return [
                    row._replace(record=None, error=wrong) if row.id == 7 else row for row in rows
                ]

            session.read = reading_one_wrong  # type: ignore[method-assign, assignment]
            reading = await orders_of(session).read()
            assert reading.proof == "two-pass"
            assert await rows_read(session, reading) == [n for n in order_ids(box) if n != 7]
            assert session.stage.journal.rejected_in("adopter") == 1


async def test_only_orders_of_a_status_are_kept_but_all_are_proven(
    box: Sandbox, tmp_path: Path
) -> None:
    async with session_of(box, tmp_path) as session:
        reading = await orders_of(session, status="paid").read()
        assert (reading.proof, reading.after) == ("two-pass", 350)
        paid = box.connection.execute("SELECT id FROM orders WHERE status = 'paid' ORDER BY id")
        assert await rows_read(session, reading) == [row[0] for row in paid]


async def test_what_the_reference_does_not_know_is_counted_in_the_last_pass(
    tmp_path: Path,
) -> None:
    async with Sandbox(orders=250, limiter="none", drift=True) as box:
        async with session_of(box, tmp_path) as session:
            once = await orders_of(session, once=True).read()
        async with session_of(box, tmp_path / "twice") as session:
            twice = await orders_of(session).read()
    assert once.unknown
    assert twice.unknown.keys() == once.unknown.keys()
    assert all(0 < count <= 250 for count in twice.unknown.values())


async def test_a_total_that_does_not_fit_the_rows_is_never_taken_for_a_proof(
    box: Sandbox, tmp_path: Path
) -> None:
    async with session_of(box, tmp_path) as session:
        ask = session.ask

        async def asking(*arguments: object) -> object:
            page = await ask(*arguments)  # type: ignore[arg-type]
            return evolve(page, total=page.total + 1)

        session.ask = asking  # type: ignore[method-assign, assignment]
        reading = await orders_of(session).read()
        assert (reading.proof, reading.passes) == ("unproven", 2)  # a third would show the same
        assert await rows_read(session, reading) == order_ids(box)


async def test_how_far_it_is_is_told_from_the_first_page_on(box: Sandbox, tmp_path: Path) -> None:
    async with session_of(box, tmp_path) as session:
        passes = orders_of(session)
        assert (passes.total, passes.rows, passes.requests_left) == (0, 0, 1)
        await passes.start()
        assert (passes.total, passes.rows, passes.requests_left) == (350, 100, 7)
        await passes.read()
        assert (passes.total, passes.rows, passes.requests_left) == (350, 350, 0)


async def test_the_requests_that_are_left_become_fewer_one_by_one(
    box: Sandbox, tmp_path: Path
) -> None:
    async with session_of(box, tmp_path, concurrency=1) as session:
        passes = orders_of(session)
        await passes.start()
        left: list[int] = []
        session.tell = lambda: left.append(passes.requests_left)
        await passes.read()
        assert left == sorted(left, reverse=True)


async def test_all_passes_of_an_unproven_list_are_adopted_at_once(tmp_path: Path) -> None:
    box = Sandbox(orders=0, customers=250, limiter="none", order="oldest")

    def remove_the_oldest() -> None:
        box.connection.execute("DELETE FROM customers WHERE id = (SELECT min(id) FROM customers)")

    async with box, session_of(box, tmp_path, concurrency=1) as session:
        Before(session, lambda _: remove_the_oldest())
        adopted: list[list[str | None]] = []
        keep = session.stage.keep

        async def keeping(*units: Unit) -> list[int]:
            adopted.append([unit.adopts for unit in units if unit.adopts])
            return await keep(*units)

        session.stage.keep = keeping  # type: ignore[method-assign]
        await Listed(session, "customers").read()
        # A kill between two of them would lose what only the earlier passes have seen.
        assert list(filter(None, adopted)) == [[f"customers#{n}" for n in (4, 3, 2, 1)]]
        journal = session.stage.journal
        seen = {each for number in range(1, 5) for each in journal.ids(f"customers#{number}")}
        read = ids_of(journal.batches("customers"))
        assert set(read) == seen
        assert len(read) == len(seen)


# Against a model: a short list in memory, to which anything may happen before any request


@define
class Short:
    """A list of few rows, three to a page; what is to happen to it, and when.

    Args:
        rows: Its rows in their order, numbers that are given once.
        happens: Before which request what happens: where a row comes, or which one goes.
        sent: How many requests have come.
        ends: Before which request the session ends; 0 is never.
    """

    rows: list[int]
    happens: Mapping[int, Sequence[tuple[bool, int]]]
    ends: int = 0
    sent: int = 0
    given: int = 1000
    stayed: set[int] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.stayed = set(self.rows)

    async def ask(self, resource: object, number: int) -> RowPage:
        self.sent += 1
        for comes, place in self.happens.get(self.sent, ()):
            if comes:
                self.given += 1
                self.rows.insert(place % (len(self.rows) + 1), self.given)
            elif self.rows:
                self.stayed.discard(self.rows.pop(place % len(self.rows)))
        if self.sent == self.ends:
            raise Stop
        answer = [row(each) for each in self.rows[number * 3 - 3 : number * 3]]
        total = len(self.rows)
        for _ in range(place_of(self.sent)):
            await asyncio.sleep(0)
        return RowPage(answer, total, 3)


def place_of(sent: int) -> int:
    """Let answers overtake each other."""
    return (sent * 7) % 4


def session_with(stage: Stage, short: Short, concurrency: int) -> Session:
    """Stand in for a session that reads a short list."""
    stand_in = SimpleNamespace(
        stage=stage,
        concurrency=concurrency,
        tally=Tally(),
        tell=lambda: None,
        ask=short.ask,
        keep=stage.keep,
    )
    return cast(Session, stand_in)


events = st.dictionaries(
    st.integers(2, 24),
    st.lists(st.tuples(st.booleans(), st.integers(0, 30)), max_size=3),
    max_size=6,
)


@given(
    size=st.integers(0, 14), happens=events, ends=st.integers(0, 14), concurrency=st.integers(1, 4)
)
@settings(max_examples=60)
async def test_whatever_happens_no_row_that_stayed_is_missing_from_what_is_proven(
    size: int, happens: dict[int, list[tuple[bool, int]]], ends: int, concurrency: int
) -> None:
    short = Short(list(range(size)), happens, ends)
    with TemporaryDirectory() as folder:
        reading: Reading | None = None
        while reading is None:
            async with Stage(Path(folder)) as stage:
                session = session_with(stage, short, concurrency)
                passes = Passes(
                    session, "orders", "list", lambda number: cast(Any, number), once=False
                )
                with suppress(Stop):
                    reading = await passes.read()
                    read = await rows_read(session, reading)
    assert len(set(read)) == len(read)
    if reading.proof != "unproven":
        assert short.stayed <= set(read)
        assert len(read) == reading.after


@given(
    settled=st.integers(0, 12),
    unsettled=st.integers(0, 5),
    happens=events,
    reverse=st.booleans(),
    closed=st.booleans(),
)
@settings(max_examples=300)
async def test_whatever_happens_no_row_that_stayed_is_missing_from_what_is_counted(
    settled: int,
    unsettled: int,
    happens: dict[int, list[tuple[bool, int]]],
    reverse: bool,
    closed: bool,
) -> None:
    """Nothing can come among what is settled; all else can happen to a list."""
    noon = dt.datetime(2026, 2, 10, 12, tzinfo=dt.UTC)
    unsettled = 0 if closed else unsettled
    rows = list(range(unsettled, 0, -1)) + [-each for each in range(settled)]
    allowed = {
        sent: [(comes, 0 if comes else place) for comes, place in each if not (comes and closed)]
        for sent, each in happens.items()
    }
    short = Short(rows, allowed)

    def listed(page: RowPage) -> RowPage:
        """Give the rows their time: those below 1 were there long ago."""
        return evolve(
            page,
            rows=[
                read_rows([made_order(int(each.id), noon)], OrderSummary)[0] for each in page.rows
            ],
        )

    first = listed(await short.ask("orders", 1))
    pages = [first]
    numbers = list(range(2, first.pages + 1))
    ordered = reversed(numbers) if reverse else numbers
    pages += [listed(await short.ask("orders", number)) for number in ordered]
    if is_counted(pages, None if closed else noon):
        found = {each.id for page in pages for each in page.rows}
        assert short.stayed <= found


def made_order(order_id: int, noon: dt.datetime) -> bytes:
    created_at = noon + dt.timedelta(hours=1 if order_id > 0 else -1)
    return order(order_id=order_id, created_at=created_at.isoformat())
