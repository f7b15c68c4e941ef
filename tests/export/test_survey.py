"""What is found out before orders are cut into slices, whatever the server leaves open."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator, Mapping, Sequence
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec
import pytest
from attrs import evolve

from devskin_async import AuthenticationError, OrderStatus, TransportError
from devskin_async.export.orders import Orders
from devskin_async.export.reading import Choice, RowPage, Session
from devskin_async.export.rows import Row, read_rows
from devskin_async.export.slice_notes import SCOPE, certify_orders
from devskin_async.export.slices import EARLIEST, EVERYTHING, Slice
from devskin_async.export.survey import (
    Survey,
    counted_days,
    day_of,
    instants_of,
    is_inclusive,
    last_page,
    orders_call,
    spread,
)
from devskin_async.export.units import Unit
from devskin_async.records import OrderSummary
from devskin_async.sandbox import DateTo, ListOrder, Sandbox

from .support import Before, ids_of, order, session_of

ZONES = ["UTC", "Pacific/Kiritimati", "Pacific/Niue"]
ORDERS = 700


def stored(box: Sandbox, zone: str = "UTC") -> dict[int, int]:
    """Give the days of a store's orders where the store is, by their ids."""
    rows = box.connection.execute("SELECT id, created_at FROM orders ORDER BY id")
    place = ZoneInfo(zone)
    return {
        order_id: dt.datetime.fromtimestamp(at / 1000, place).toordinal() for order_id, at in rows
    }


def move(box: Sandbox, day: dt.date, to: dt.date) -> None:
    """Move the orders of a day in UTC to another."""
    box.connection.execute(
        "UPDATE orders SET created_at = created_at + ?"
        " WHERE date(created_at / 1000, 'unixepoch') = ?",
        ((to - day).days * 86_400_000, day.isoformat()),
    )


async def survey_of(session: Session, wanted: Slice = EVERYTHING) -> Survey:
    await Orders(session, wanted).start()
    noted = session.stage.journal.note(SCOPE)
    assert noted is not None
    return msgspec.json.decode(noted, type=Survey)


async def ids_read(session: Session, wanted: Slice = EVERYTHING) -> list[int]:
    orders = Orders(session, wanted)
    await orders.start()
    await orders.read()
    return sorted(map(int, ids_of(session.stage.journal.batches(SCOPE))))


@pytest.fixture
async def box() -> AsyncIterator[Sandbox]:
    async with Sandbox(orders=ORDERS, products=20, customers=30, limiter="none") as running:
        yield running


def test_the_last_day_is_asked_for_as_the_server_counts_it() -> None:
    days = Slice(dt.date(2026, 1, 5).toordinal(), dt.date(2026, 1, 7).toordinal())
    inclusive = dict(orders_call(days, 2, None, inclusive=True).query)
    exclusive = dict(orders_call(days, 1, "paid", inclusive=False).query)
    assert (inclusive["date_from"], inclusive["date_to"]) == ("2026-01-05", "2026-01-07")
    assert (inclusive["page"], inclusive["limit"]) == ("2", "100")
    assert (exclusive["date_to"], exclusive["status"]) == ("2026-01-08", "paid")


def test_an_open_end_is_not_asked_for() -> None:
    query = dict(orders_call(EVERYTHING, 1, None, inclusive=False).query)
    assert set(query) == {"page", "limit"}


def test_the_days_of_orders_are_those_in_utc() -> None:
    raw = [
        order(created_at="2026-02-10T23:59:59.999Z"),
        order(created_at="2026-02-10T23:59:59-01:00"),
        b"null",
    ]
    first = dt.date(2026, 2, 10).toordinal()
    instants = instants_of(read_rows(raw, OrderSummary))
    assert list(map(day_of, instants)) == [first, first + 1]


def test_an_instant_before_the_calendar_is_of_its_first_day() -> None:
    (instant,) = instants_of(
        read_rows([order(created_at="0001-01-01T00:00:00+05:00")], OrderSummary)
    )
    assert day_of(instant) == EARLIEST


@pytest.mark.parametrize("date_to", ["inclusive", "exclusive"])
@pytest.mark.parametrize("zone", ZONES)
async def test_it_is_found_out_whether_a_range_includes_its_last_day(
    tmp_path: Path, date_to: DateTo, zone: str
) -> None:
    box = Sandbox(orders=ORDERS, customers=20, limiter="none", date_to=date_to, time_zone=zone)
    async with box, session_of(box, tmp_path) as session:
        survey = await survey_of(session)
    assert survey.inclusive is (date_to == "inclusive")
    assert survey.total == ORDERS


@pytest.mark.parametrize("list_order", ["newest", "oldest", "id"])
@pytest.mark.parametrize("date_to", ["inclusive", "exclusive"])
@pytest.mark.parametrize("zone", ZONES)
async def test_all_orders_are_read_and_proven_wherever_the_store_is(
    tmp_path: Path, date_to: DateTo, zone: str, list_order: ListOrder
) -> None:
    box = Sandbox(
        orders=ORDERS,
        customers=20,
        limiter="none",
        date_to=date_to,
        time_zone=zone,
        order=list_order,
    )
    async with box, session_of(box, tmp_path) as session:
        assert await ids_read(session) == list(stored(box))
        certificate = certify_orders(session.stage.journal, session.tally)
        assert (certificate.proof, certificate.duplicates) == ("sliced", 0)
        assert sum(each.total for each in certificate.slices) == ORDERS
        ends = [(each.first, each.last) for each in certificate.slices]
        assert (ends[0][0], ends[-1][1]) == (None, None)
        assert all(
            last is not None and first == last + dt.timedelta(days=1)
            for (_, last), (first, _) in pairwise(ends)
        )


@pytest.mark.parametrize("date_to", ["inclusive", "exclusive"])
@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("length", [0, 40])
async def test_a_range_has_the_orders_of_its_days_where_the_store_is(
    tmp_path: Path, date_to: DateTo, zone: str, length: int
) -> None:
    box = Sandbox(orders=ORDERS, customers=20, limiter="none", date_to=date_to, time_zone=zone)
    async with box, session_of(box, tmp_path) as session:
        days = stored(box, zone)
        middle = sorted(days.values())[ORDERS // 2]
        wanted = Slice(middle - length, middle)
        inside = [each for each, day in days.items() if middle - length <= day <= middle]
        assert inside
        assert await ids_read(session, wanted) == inside


async def test_a_range_without_orders_is_not_filled_with_those_of_the_day_after_it(
    box: Sandbox, tmp_path: Path
) -> None:
    quiet = dt.date.fromordinal(sorted(stored(box).values())[ORDERS // 2])
    move(box, quiet, quiet + dt.timedelta(days=1))
    today = dt.datetime.now(dt.UTC).date()
    for back in (-1, 0, 1, 2):
        move(box, today - dt.timedelta(days=back), today - dt.timedelta(days=30))
    wanted = Slice(quiet.toordinal(), quiet.toordinal())
    async with session_of(box, tmp_path) as session:
        assert await ids_read(session, wanted) == []


@pytest.mark.parametrize("list_order", ["newest", "oldest", "id"])
async def test_the_oldest_order_and_the_newest_are_found(
    tmp_path: Path, list_order: ListOrder
) -> None:
    box = Sandbox(orders=ORDERS, customers=20, limiter="none", order=list_order)
    async with box, session_of(box, tmp_path) as session:
        page = await session.ask("orders", orders_call(EVERYTHING, 1, None, inclusive=True))
        found = spread([page, await last_page(session, EVERYTHING, None, page)])
        assert found is not None
        days = stored(box).values()
        assert tuple(map(day_of, found)) == (min(days), max(days))


def test_an_empty_range_has_no_oldest_order() -> None:
    assert spread([RowPage([], 0, 100)]) is None


async def test_a_small_store_is_read_with_the_survey(tmp_path: Path) -> None:
    async with Sandbox(orders=99, limiter="none") as box, session_of(box, tmp_path) as session:
        assert await ids_read(session) == list(stored(box))
        assert certify_orders(session.stage.journal, session.tally).proof == "atomic"
        assert box.counts.requests == 1


async def test_one_page_that_is_full_is_read_with_a_look_at_the_next(tmp_path: Path) -> None:
    async with Sandbox(orders=100, limiter="none") as box, session_of(box, tmp_path) as session:
        assert await ids_read(session) == list(stored(box))
        assert certify_orders(session.stage.journal, session.tally).proof == "atomic"
        assert box.counts.requests == 2


async def test_an_empty_store_is_read_with_the_survey(tmp_path: Path) -> None:
    async with Sandbox(orders=0, limiter="none") as box, session_of(box, tmp_path) as session:
        assert await ids_read(session) == []
        certificate = certify_orders(session.stage.journal, session.tally)
        assert (certificate.proof, certificate.total_after) == ("atomic", 0)
        assert box.counts.requests == 1


async def test_the_day_that_was_asked_for_in_the_survey_is_not_asked_for_again(
    box: Sandbox, tmp_path: Path
) -> None:
    async with session_of(box, tmp_path) as session:
        await ids_read(session)
    asked = [request.path_qs for request in box.requests]
    whole = [path for path in asked if "date" not in path]
    assert len(whole) == 4  # the first page, the last one, revenue, and the total at the end
    assert len(asked) - len(set(asked)) == 1


async def test_what_made_revenue_is_told_by_day(box: Sandbox, tmp_path: Path) -> None:
    async with session_of(box, tmp_path) as session:
        counted = await counted_days(session, ORDERS)
    days = stored(box)
    assert counted
    assert all(0 < count <= list(days.values()).count(day) for day, count in counted.items())


async def test_few_orders_are_not_worth_asking_for_revenue(box: Sandbox, tmp_path: Path) -> None:
    async with session_of(box, tmp_path) as session:
        assert await counted_days(session, 300) == {}
    assert box.counts.requests == 0


async def test_a_key_that_may_not_read_revenue_reads_all_orders(
    box: Sandbox, tmp_path: Path
) -> None:
    key = box.create_key("orders only", only=["orders"])
    async with session_of(box, tmp_path, key=key) as session:
        assert await counted_days(session, ORDERS) == {}
        assert await ids_read(session) == list(stored(box))


async def test_revenue_that_fails_leaves_the_guess_without_it(box: Sandbox, tmp_path: Path) -> None:
    async with session_of(box, tmp_path) as session:
        box.fail_next(*("500",) * 20)
        assert await counted_days(session, ORDERS) == {}


async def test_a_key_that_is_not_accepted_ends_the_survey(box: Sandbox, tmp_path: Path) -> None:
    async with session_of(box, tmp_path, key="unknown") as session:
        with pytest.raises(AuthenticationError):
            await counted_days(session, ORDERS)


async def test_a_connection_that_is_lost_ends_the_survey(tmp_path: Path) -> None:
    async with Sandbox(orders=ORDERS, limiter="none") as box, session_of(box, tmp_path) as session:
        box.fail_next(*("reset",) * 20)
        with pytest.raises(TransportError):
            await counted_days(session, ORDERS)


async def test_an_order_of_the_first_day_that_there_is_does_no_harm(tmp_path: Path) -> None:
    box = Sandbox(orders=10, limiter="none", date_to="exclusive")
    async with box, session_of(box, tmp_path) as session:
        record = OrderSummary(
            id=1,
            order_number="ORD-1",
            status=OrderStatus.PAID,
            total=Decimal(1),
            created_at=dt.datetime(1, 1, 1, tzinfo=dt.UTC),
        )
        found = await is_inclusive(session, None, [Row(1, b"{}", record)])
        assert found == (False, None)


async def test_an_answer_that_repeats_a_row_in_place_of_another_proves_nothing(
    tmp_path: Path,
) -> None:
    async with Sandbox(orders=5, limiter="none") as box, session_of(box, tmp_path) as session:
        box.connection.execute(
            "UPDATE orders SET created_at = (SELECT max(created_at) FROM orders)"
        )
        ask = session.ask

        async def asking(*arguments: object) -> RowPage:
            page = await ask(*arguments)  # type: ignore[arg-type]
            return evolve(page, rows=[*page.rows[:-1], *page.rows[:1]])

        session.ask = asking  # type: ignore[method-assign, assignment]
        assert len(await ids_read(session)) == 4
        assert certify_orders(session.stage.journal, session.tally).proof == "unproven"


class Stop(Exception):  # noqa: N818 - it stands for any end
    """What ends a session."""


def stop() -> None:
    raise Stop


@pytest.mark.parametrize("sent", [1, 2, 3, 4, 5, 6, 9])
async def test_a_survey_or_a_reading_that_was_interrupted_goes_on(
    box: Sandbox, tmp_path: Path, sent: int
) -> None:
    async with session_of(box, tmp_path, concurrency=2) as session:
        Before(session, {sent: stop})
        with pytest.raises(Stop):
            await ids_read(session)
    async with session_of(box, tmp_path) as session:
        assert await ids_read(session) == list(stored(box))
        assert certify_orders(session.stage.journal, session.tally).proof == "sliced"


@pytest.mark.parametrize("orders", [50, ORDERS])
async def test_what_a_survey_has_read_is_kept_together_with_the_survey(
    tmp_path: Path, orders: int
) -> None:
    kept: list[tuple[int, bool]] = []
    async with Sandbox(orders=orders, limiter="none") as box, session_of(box, tmp_path) as session:
        keep = session.stage.journal.keep

        def keeping(units: Sequence[Unit], notes: Mapping[str, bytes]) -> list[int]:
            kept.append((len(units), SCOPE in notes))
            return keep(units, notes)

        session.stage.journal.keep = keeping  # type: ignore[method-assign, assignment]
        await Orders(session).start()
    assert kept == [(1, True)]


async def test_orders_of_a_status_are_read_whoever_filters(box: Sandbox, tmp_path: Path) -> None:
    paid = [
        row[0]
        for row in box.connection.execute("SELECT id FROM orders WHERE status = 'paid' ORDER BY id")
    ]
    for on_server in (False, True):
        choice = Choice(status="paid", filter_on_server=on_server)
        async with session_of(box, tmp_path / str(on_server), choice) as session:
            assert await ids_read(session) == paid


@pytest.mark.parametrize("exact", [False, True])
async def test_a_last_day_that_is_taken_for_its_first_moment_is_no_whole_day(
    exact: bool, tmp_path: Path
) -> None:
    # All of the last day but its first millisecond is left out.
    box = Sandbox(orders=ORDERS, limiter="none", quirks=("day-cut=86399.999",))
    async with box, session_of(box, tmp_path) as session:
        if exact:
            box.connection.execute(
                "UPDATE orders SET created_at = created_at - created_at % 86400000 WHERE id ="
                " (SELECT id FROM orders ORDER BY created_at DESC LIMIT 1 OFFSET 99)"
            )
        assert await ids_read(session) == list(stored(box))
