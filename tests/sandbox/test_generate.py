"""The same seed, sizes and day give the same store."""

from __future__ import annotations

import random
from datetime import UTC, date, datetime, timedelta
from functools import partial

import pytest

from devskin_async.sandbox import Faults, SandboxError, create_store, list_stores, open_database
from devskin_async.sandbox.faults import FaultPlan
from devskin_async.sandbox.seeds import seeded
from tests.sandbox.support import TODAY


def dump(**options: int | date) -> str:
    connection = open_database()
    create_store(connection, "A store", **{"today": TODAY, **options})  # type: ignore[arg-type]  # mixed on purpose
    text = "\n".join(connection.iterdump())
    connection.close()
    return text


def test_the_same_seed_gives_the_same_store() -> None:
    assert dump(seed=7) == dump(seed=7)


@pytest.mark.parametrize(
    "other", [{"seed": 8}, {"today": date(2026, 2, 14)}, {"orders": 1562}, {"customers": 341}]
)
def test_another_seed_day_or_size_gives_another_store(other: dict[str, int | date]) -> None:
    assert dump(seed=7) != dump(**{"seed": 7, **other})


def test_a_negative_seed_is_not_the_positive_one() -> None:
    assert len({dump(seed=seed, orders=20) for seed in (-2, -1, 0, 1, 2)}) == 5
    assert dump(seed=-1) == dump(seed=-1)


@pytest.mark.parametrize("seed", [0, 1, 2**70])
def test_seeds_from_0_up_draw_as_they_always_did(seed: int) -> None:
    assert seeded(seed).random() == random.Random(seed).random()


def test_a_negative_seed_has_faults_of_its_own() -> None:
    faults = Faults(fail=0.5)
    drawn = {
        tuple(plan.draw() for _ in range(50)) for plan in map(partial(FaultPlan, faults), (-1, 1))
    }
    assert len(drawn) == 2


def test_the_ids_of_a_second_store_go_on_after_those_of_the_first() -> None:
    connection = open_database()
    first = create_store(connection, "First", orders=5, products=4, customers=3)
    second = create_store(connection, "Second", orders=2, products=2, customers=2, seed=2)
    assert [(store.id, store.name) for store in list_stores(connection)] == [
        (first, "First"),
        (second, "Second"),
    ]
    ids = connection.execute("SELECT id, order_number FROM orders WHERE store_id = ?", (second,))
    assert [(order_id, number[-6:]) for order_id, number in ids] == [(6, "000001"), (7, "000002")]
    crossed = connection.execute(
        "SELECT o.id FROM orders AS o JOIN customers AS c ON c.id = o.customer_id"
        " JOIN order_items AS i ON i.order_id = o.id JOIN products AS p ON p.id = i.product_id"
        " WHERE o.store_id <> c.store_id OR o.store_id <> p.store_id"
    )
    assert crossed.fetchall() == []
    assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    connection.close()


def test_today_is_the_present_day_unless_told_otherwise() -> None:
    connection = open_database()
    create_store(connection, "Now", orders=3_000)
    newest = connection.execute("SELECT max(created_at) FROM orders").fetchone()[0]
    connection.close()
    age = datetime.now(UTC) - datetime.fromtimestamp(newest / 1000, UTC)
    assert timedelta(0) < age < timedelta(days=5)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"orders": -1}, "orders, products and customers can't be negative"),
        ({"products": 0}, "a store with orders needs a product and a customer"),
        ({"customers": 0}, "a store with orders needs a product and a customer"),
    ],
)
def test_impossible_sizes_are_refused_and_leave_nothing_behind(
    sizes: dict[str, int], message: str
) -> None:
    connection = open_database()
    with pytest.raises(SandboxError, match=message):
        create_store(connection, "A store", **sizes)  # type: ignore[arg-type]  # mypy takes any key for today
    assert list_stores(connection) == ()
    connection.close()


def test_a_day_too_early_for_two_years_is_refused() -> None:
    connection = open_database()
    with pytest.raises(SandboxError, match="no two years of orders fit before 0002-01-01"):
        create_store(connection, "A store", today=date(2, 1, 1))
    connection.close()


def test_a_failure_half_way_leaves_no_half_store(monkeypatch: pytest.MonkeyPatch) -> None:
    connection = open_database()
    monkeypatch.setattr("devskin_async.sandbox.generate._order_times", lambda *_: [2**62])
    with pytest.raises(OverflowError):  # an order in a year no calendar has
        create_store(connection, "A store")
    assert list_stores(connection) == ()
    assert connection.execute("SELECT count(*) FROM products").fetchone() == (0,)
    connection.close()
