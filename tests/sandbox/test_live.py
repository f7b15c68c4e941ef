"""A store in use: what one order placed, moved on or removed does."""

from __future__ import annotations

import logging
import sqlite3
import zoneinfo
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime, tzinfo
from pathlib import Path

import pytest

from devskin_async.sandbox import (
    LiveStore,
    OrderChange,
    Sandbox,
    SandboxError,
    create_store,
    open_database,
)
from devskin_async.sandbox.view import View
from tests.sandbox.support import TODAY, Api

NOON = int(datetime(2026, 2, 13, 12, tzinfo=UTC).timestamp() * 1000)
PATH = {("pending", "paid"), ("paid", "shipped"), ("shipped", "completed")}
CANCELS = {("pending", "cancelled"), ("paid", "cancelled")}


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    """A database with one generated store."""
    connection = open_database()
    create_store(connection, "A store", orders=200, products=9, customers=20, today=TODAY)
    yield connection
    connection.close()


def in_use(connection: sqlite3.Connection, store: int = 1, seed: int = 1) -> LiveStore:
    return LiveStore(connection, store, seed=seed, now=lambda: NOON)


def ids_of(connection: sqlite3.Connection, store: int = 1) -> list[int]:
    rows = connection.execute("SELECT id FROM orders WHERE store_id = ? ORDER BY id", (store,))
    return [row[0] for row in rows]


def status_of(connection: sqlite3.Connection, order_id: int) -> str:
    (status,) = connection.execute("SELECT status FROM orders WHERE id = ?", (order_id,)).fetchone()
    return str(status)


async def test_a_new_order_is_found_by_the_api_pending_and_of_today(api: Api) -> None:
    before = (await api.data("/orders"))["total"]
    order_id = api.box.live.insert()
    newest = await api.data("/orders?limit=1")
    assert newest["total"] == before + 1
    assert newest["items"][0]["id"] == order_id
    order = (await api.data(f"/orders/{order_id}"))["order"]
    assert order["order_number"] == "ORD-2026-001564"
    assert order["status"] == "pending"
    assert order["created_at"] == order["updated_at"]
    assert date.fromisoformat(order["created_at"][:10]) == TODAY
    assert order["items"]


async def test_a_removed_order_is_gone_from_the_api_with_its_lines(api: Api) -> None:
    before = (await api.data("/orders"))["total"]
    order_id = api.box.live.remove()
    assert (await api.data("/orders"))["total"] == before - 1
    assert (await api.get(f"/orders/{order_id}")).status == 404
    lines = api.box.connection.execute("SELECT * FROM order_items WHERE order_id = ?", (order_id,))
    assert lines.fetchall() == []


async def test_a_changed_order_has_its_new_status_in_the_api(api: Api) -> None:
    told: list[OrderChange] = []
    api.box.live.listeners.add(told.append)
    order_id = api.box.live.change()
    (change,) = told
    assert change.order_id == order_id
    order = (await api.data(f"/orders/{order_id}"))["order"]
    assert order["status"] == change.new != change.old
    assert date.fromisoformat(order["updated_at"][:10]) == TODAY


def test_ids_and_numbers_rise_by_one(connection: sqlite3.Connection) -> None:
    live = in_use(connection)
    assert [live.insert() for _ in range(50)] == list(range(201, 251))
    numbers = connection.execute("SELECT order_number FROM orders WHERE id > 200 ORDER BY id")
    assert [row[0] for row in numbers] == [f"ORD-2026-{n:06d}" for n in range(201, 251)]


def test_no_id_or_number_is_given_twice_though_orders_go(connection: sqlite3.Connection) -> None:
    live = in_use(connection)
    given = []
    for _ in range(150):
        live.remove()
        live.remove()
        order_id = live.insert()
        number = connection.execute("SELECT order_number FROM orders WHERE id = ?", (order_id,))
        given.append((order_id, number.fetchone()[0]))
    assert given == [(200 + n, f"ORD-2026-{200 + n:06d}") for n in range(1, 151)]


def test_two_stores_number_their_orders_apart_and_share_ids(
    connection: sqlite3.Connection,
) -> None:
    second = create_store(connection, "Second", orders=5, products=3, customers=4, today=TODAY)
    ids = [in_use(connection).insert(), in_use(connection, second).insert()]
    rows = connection.execute("SELECT store_id, order_number FROM orders WHERE id > 205")
    assert ids == [206, 207]
    assert rows.fetchall() == [(1, "ORD-2026-000201"), (second, "ORD-2026-000006")]


def test_what_happens_in_one_store_leaves_the_other_alone(connection: sqlite3.Connection) -> None:
    second = create_store(connection, "Second", orders=60, products=3, customers=4, today=TODAY)
    rows_of_first = "SELECT * FROM orders WHERE store_id = 1 ORDER BY id"
    before = connection.execute(rows_of_first).fetchall()
    live = in_use(connection, second)
    for _ in range(100):
        live.insert()
        live.change()
        live.remove()
    assert connection.execute(rows_of_first).fetchall() == before
    crossed = connection.execute(
        "SELECT o.id FROM orders AS o JOIN customers AS c ON c.id = o.customer_id"
        " JOIN order_items AS i ON i.order_id = o.id JOIN products AS p ON p.id = i.product_id"
        " WHERE o.store_id <> c.store_id OR o.store_id <> p.store_id"
    )
    assert crossed.fetchall() == []


def test_the_sums_of_new_orders_agree_with_their_lines(connection: sqlite3.Connection) -> None:
    live = in_use(connection)
    for _ in range(300):
        live.insert()
    wrong = connection.execute(
        "SELECT o.id FROM orders AS o LEFT JOIN order_items AS i ON i.order_id = o.id"
        " WHERE o.id > 200 GROUP BY o.id HAVING o.subtotal IS NOT sum(i.quantity * i.price)"
        " OR o.total <> o.subtotal + o.shipping_cost - o.discount OR o.total <= 0"
    )
    assert wrong.fetchall() == []
    wrong = connection.execute(
        "SELECT i.order_id FROM order_items AS i LEFT JOIN products AS p ON p.id = i.product_id"
        " WHERE (i.name, i.price) IS NOT (p.name, p.price)"
    )
    assert wrong.fetchall() == []
    assert connection.execute("PRAGMA foreign_key_check").fetchall() == []


def test_new_orders_are_as_varied_as_those_of_a_new_store(connection: sqlite3.Connection) -> None:
    live = in_use(connection)
    for _ in range(500):
        live.insert()
    figures = (
        "SELECT avg(subtotal), avg(shipping_cost > 0), avg(discount > 0),"
        " (SELECT avg(n) FROM (SELECT count(*) AS n FROM order_items WHERE {0} GROUP BY order_id))"
        " FROM orders WHERE {1}"
    )
    generated = connection.execute(figures.format("order_id <= 200", "id <= 200")).fetchone()
    placed = connection.execute(figures.format("order_id > 200", "id > 200")).fetchone()
    assert placed == pytest.approx(generated, rel=0.35)
    bought = connection.execute("SELECT DISTINCT product_id FROM order_items WHERE order_id > 200")
    assert len(bought.fetchall()) == 9
    by_customer = [
        n
        for (n,) in connection.execute(
            "SELECT count(*) FROM orders WHERE id > 200 GROUP BY customer_id ORDER BY customer_id"
        )
    ]
    assert len(by_customer) == 20
    assert sum(by_customer[:10]) > 1.5 * sum(by_customer[10:])  # some come back often


def test_most_new_orders_go_where_their_customer_lives(connection: sqlite3.Connection) -> None:
    live = in_use(connection)
    connection.execute(
        "UPDATE orders SET street = (SELECT street FROM orders AS o"
        " WHERE o.customer_id = orders.customer_id ORDER BY id LIMIT 1)"
    )
    homes = set(connection.execute("SELECT customer_id, street FROM orders WHERE id <= 200"))
    buyers = {buyer for buyer, _ in homes}
    streets = {street for _, street in homes}
    order_ids = [live.insert() for _ in range(300)]
    placed = [
        connection.execute("SELECT customer_id, street FROM orders WHERE id = ?", (n,)).fetchone()
        for n in order_ids
    ]
    known = [place for place in placed if place[0] in buyers]
    at_home = [place for place in known if place in homes]
    assert 0.6 * len(known) < len(at_home) < len(known)
    assert any(street in streets for buyer, street in known if (buyer, street) not in homes)


def test_a_customer_without_orders_gets_an_address(connection: sqlite3.Connection) -> None:
    store = create_store(connection, "Empty", orders=0, products=2, customers=2, today=TODAY)
    order_id = in_use(connection, store).insert()
    address = connection.execute(
        "SELECT street, city, state, zip, order_number FROM orders WHERE id = ?", (order_id,)
    ).fetchone()
    assert all(address)
    assert address[-1] == "ORD-2026-000001"


def test_an_order_has_a_product_once_though_others_are_gone(connection: sqlite3.Connection) -> None:
    connection.execute("DELETE FROM order_items")
    connection.execute("DELETE FROM products WHERE id BETWEEN 2 AND 8")
    live = in_use(connection)
    for _ in range(100):
        live.insert()
    lines = connection.execute("SELECT order_id, product_id FROM order_items").fetchall()
    assert len(lines) == len(set(lines)) > 100
    assert {product for _, product in lines} == {1, 9}


def test_nobody_buys_before_they_exist_or_what_does_not_exist_yet(
    connection: sqlite3.Connection,
) -> None:
    for table in ("customers", "products"):
        connection.execute(f"UPDATE {table} SET created_at = ? WHERE id > 3", (NOON + 1,))
    live = in_use(connection)
    for _ in range(100):
        live.insert()
    early = connection.execute(
        "SELECT o.id FROM orders AS o JOIN order_items AS i ON i.order_id = o.id"
        " WHERE o.id > 200 AND (o.customer_id > 3 OR i.product_id > 3)"
    )
    assert early.fetchall() == []


@pytest.mark.parametrize("sizes", [{"products": 0}, {"customers": 0}])
def test_a_store_without_products_or_customers_takes_no_order(sizes: dict[str, int]) -> None:
    connection = open_database()
    store = create_store(connection, "A store", orders=0, **sizes)  # type: ignore[arg-type]  # mypy takes any key for today
    live = LiveStore(connection, store)
    told: list[OrderChange] = []
    live.listeners.add(told.append)
    for step in (live.check, live.insert):
        with pytest.raises(SandboxError, match=r"^a new order needs a product and a customer$"):
            step()
    assert connection.execute("SELECT count(*) FROM orders").fetchone() == (0,)
    assert told == []
    connection.close()


def test_statuses_only_go_along_the_path(connection: sqlite3.Connection) -> None:
    live = in_use(connection)
    told: list[OrderChange] = []
    live.listeners.add(told.append)
    status = dict(connection.execute("SELECT id, status FROM orders"))
    while live.change() is not None:
        change = told[-1]
        assert change.old == status[change.order_id]
        assert change.new == status_of(connection, change.order_id)
        status[change.order_id] = str(change.new)
    steps = Counter((change.old, change.new) for change in told)
    assert PATH <= set(steps) <= PATH | CANCELS
    assert set(status.values()) == {"completed", "cancelled"}


def test_few_orders_are_cancelled_and_none_after_it_was_shipped(
    connection: sqlite3.Connection,
) -> None:
    live = in_use(connection)
    told: list[OrderChange] = []
    live.listeners.add(told.append)
    for _ in range(1_000):
        live.insert()
    told.clear()
    while live.change() is not None:
        pass
    cancelled = Counter(change.old for change in told if change.new == "cancelled")
    assert set(cancelled) == {"pending", "paid"}
    assert 50 < cancelled.total() < 150


def test_the_three_steps_are_taken_equally_often(connection: sqlite3.Connection) -> None:
    live = in_use(connection)
    told: list[OrderChange] = []
    for _ in range(300):
        live.insert()
    live.listeners.add(told.append)
    for _ in range(600):
        live.change()
    taken = Counter(change.old for change in told)
    assert all(160 < taken[status] < 240 for status in ("pending", "paid", "shipped"))


def test_recent_orders_move_on_and_long_forgotten_ones_do_not(
    connection: sqlite3.Connection,
) -> None:
    connection.execute("UPDATE orders SET status = 'completed'")
    connection.execute("UPDATE orders SET status = 'paid' WHERE id <= 60")
    newest = connection.execute(
        "SELECT id FROM orders WHERE status = 'paid' ORDER BY created_at DESC LIMIT 50"
    )
    recent = {row[0] for row in newest}
    first = set()
    for seed in range(300):
        connection.execute("BEGIN")
        first.add(in_use(connection, seed=seed).change())
        connection.execute("ROLLBACK")
    assert first <= recent
    assert len(first) > 40


def test_a_change_is_made_now_but_never_before_its_order(connection: sqlite3.Connection) -> None:
    live = LiveStore(connection, 1, now=lambda: 0)
    for _ in range(50):
        live.change()
    early = connection.execute("SELECT id FROM orders WHERE updated_at < created_at")
    assert early.fetchall() == []
    order_id = in_use(connection).change()
    (at,) = connection.execute("SELECT updated_at FROM orders WHERE id = ?", (order_id,)).fetchone()
    assert at == NOON


def test_orders_of_any_age_are_removed_down_to_the_last_one(connection: sqlite3.Connection) -> None:
    live = in_use(connection)
    removed = [live.remove() for _ in range(199)]
    assert sorted(filter(None, removed)) == list(range(1, 200))
    assert removed != sorted(filter(None, removed))
    assert live.remove() is None
    assert ids_of(connection) == [200]
    lines = connection.execute("SELECT DISTINCT order_id FROM order_items")
    assert lines.fetchall() == [(200,)]


def test_an_empty_store_has_nothing_to_change_or_remove() -> None:
    connection = open_database()
    live = LiveStore(connection, create_store(connection, "A store", orders=0))
    told: list[OrderChange] = []
    live.listeners.add(told.append)
    assert (live.change(), live.remove(), told) == (None, None, [])
    connection.close()


def test_the_same_seed_makes_the_same_changes() -> None:
    dumps = set()
    for seed in (5, 5, 6):
        connection = open_database()
        create_store(connection, "A store", orders=50, products=9, customers=9, today=TODAY)
        live = in_use(connection, seed=seed)
        for _ in range(30):
            live.insert()
            live.change()
            live.remove()
        dumps.add("\n".join(connection.iterdump()))
        connection.close()
    assert len(dumps) == 2


def test_listeners_are_told_of_each_event_once_it_is_written(
    connection: sqlite3.Connection,
) -> None:
    live = in_use(connection)
    told: list[OrderChange] = []

    def listen(change: OrderChange) -> None:
        assert not connection.in_transaction
        told.append(change)

    live.listeners.add(listen)
    placed = live.insert()
    connection.execute("UPDATE orders SET status = 'completed' WHERE id <> ?", (placed,))
    live.change()
    new = status_of(connection, placed)
    removed = live.remove()
    assert told == [
        OrderChange(placed, None, "pending"),
        OrderChange(placed, "pending", new),
        OrderChange(removed or 0, "completed", None),
    ]
    live.listeners.remove(listen)
    live.insert()
    assert len(told) == 3


def test_a_listener_that_raises_is_logged_and_stops_nobody(
    connection: sqlite3.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    live = in_use(connection)
    told: list[OrderChange] = []

    def fail(change: OrderChange) -> None:
        raise ZeroDivisionError

    live.listeners |= {fail, told.append}
    assert live.insert() == 201
    assert told == [OrderChange(201, None, "pending")]
    (line,) = caplog.records
    assert line.levelno == logging.ERROR
    assert line.exc_info is not None
    assert line.exc_info[0] is ZeroDivisionError


def test_a_listener_may_take_itself_off(connection: sqlite3.Connection) -> None:
    live = in_use(connection)
    told: list[OrderChange] = []

    def once(change: OrderChange) -> None:
        told.append(change)
        live.listeners.remove(once)

    live.listeners.add(once)
    live.insert()
    live.insert()
    assert [change.order_id for change in told] == [201]


def test_a_step_that_cant_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    connection = open_database(tmp_path / "store.db")
    create_store(connection, "A store", orders=20)
    live = LiveStore(connection, 1)
    told: list[OrderChange] = []
    live.listeners.add(told.append)
    before = list(connection.iterdump())
    connection.execute("PRAGMA busy_timeout = 0")
    other = sqlite3.connect(tmp_path / "store.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    for step in (live.insert, live.change, live.remove):
        with pytest.raises(SandboxError, match=r"^cannot write the database: database is locked$"):
            step()
    other.close()
    assert list(connection.iterdump()) == before
    assert told == []
    connection.close()


def test_a_step_costs_no_more_in_a_big_store() -> None:
    """Counted in hundreds of SQLite's own instructions, as time would tell of the machine."""
    connection = open_database()
    for name in ("First", "Second"):
        create_store(connection, name, orders=20_000, products=500, customers=5_000, today=TODAY)
    live = in_use(connection, 2)
    work = 0

    def count() -> None:
        nonlocal work
        work += 1

    connection.set_progress_handler(count, 100)
    for step in (live.insert, live.change, live.remove):
        for _ in range(20):
            work = 0
            step()
            assert work < 25, step
    connection.close()


@pytest.mark.parametrize(
    ("zone", "today", "now"),
    [
        ("UTC", None, "2026-02-11T02:30:00.123Z"),
        ("America/Sao_Paulo", None, "2026-02-11T02:30:00.123Z"),
        ("UTC", TODAY, "2026-02-13T02:30:00.123Z"),
        ("America/Sao_Paulo", TODAY, "2026-02-14T02:30:00.123Z"),
    ],
)
def test_the_present_is_that_time_of_the_stores_today(
    zone: str, today: date | None, now: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Standing(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]  # stands
            return datetime(2026, 2, 11, 2, 30, 0, 123_456, tzinfo=UTC).astimezone(tz)

    monkeypatch.setattr("devskin_async.sandbox.view.datetime", Standing)
    view = View(
        order="newest",
        date_to="inclusive",
        zone=zoneinfo.ZoneInfo(zone),
        today=today,
        refunds=False,
    )
    assert view.now() == round(datetime.fromisoformat(now).timestamp() * 1000)


async def test_a_sandbox_that_is_not_running_has_no_store_in_use() -> None:
    box = Sandbox(orders=3)
    with pytest.raises(SandboxError, match=r"^the sandbox is not running$"):
        _ = box.live
    async with box:
        assert box.live is box.live
    with pytest.raises(SandboxError, match=r"^the sandbox is not running$"):
        _ = box.live
