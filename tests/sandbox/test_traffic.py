"""Traffic: a store that lives by itself while it is served."""

from __future__ import annotations

import asyncio
import itertools
import logging
import shutil
import sqlite3
import statistics
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest

from devskin_async.sandbox import (
    LiveStore,
    OrderChange,
    Sandbox,
    SandboxError,
    Traffic,
    create_store,
    open_database,
)
from devskin_async.sandbox.traffic import play
from devskin_async.testing import VirtualTimeLoop, virtual_time
from tests.sandbox.support import TODAY, calling
from tests.support import until

NOON = int(datetime(2026, 2, 13, 12, tzinfo=UTC).timestamp() * 1000)
BUSY = Traffic(inserts=2.0, changes=6.0, removals=0.5)

Events = list[tuple[float, OrderChange]]


@contextmanager
def store_in_use(path: Path | None = None) -> Iterator[tuple[LiveStore, sqlite3.Connection]]:
    connection = open_database(path)
    store = create_store(connection, "A store", orders=1_000, products=9, customers=20, today=TODAY)
    yield LiveStore(connection, store, now=lambda: NOON), connection
    connection.close()


async def stopped(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def played(
    seconds: float,
    traffic: Traffic = BUSY,
    seed: int = 1,
    meanwhile: Callable[[LiveStore], object] = lambda live: None,
) -> Events:
    """What happens in a store within some seconds, with the loop's time of each event."""
    loop = asyncio.get_running_loop()
    begin = loop.time()
    events: Events = []
    with store_in_use() as (live, _):
        live.listeners.add(lambda change: events.append((loop.time() - begin, change)))
        meanwhile(live)
        task = asyncio.create_task(play(traffic, live, seed))
        await asyncio.sleep(seconds)
        await stopped(task)
    return events


def kinds(events: Events) -> Counter[str]:
    return Counter(
        "insert" if change.old is None else "removal" if change.new is None else "change"
        for _, change in events
    )


@virtual_time
async def test_events_come_at_their_rates() -> None:
    assert kinds(await played(500)) == pytest.approx(
        {"insert": 1_000, "change": 3_000, "removal": 250}, rel=0.1
    )


@virtual_time
async def test_gaps_between_events_are_as_uneven_as_chance_makes_them() -> None:
    times = [at for at, _ in await played(500, Traffic(inserts=4.0))]
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert statistics.mean(gaps) == pytest.approx(0.25, rel=0.1)
    assert statistics.stdev(gaps) == pytest.approx(0.25, rel=0.15)


@pytest.mark.parametrize(
    ("traffic", "kind"),
    [
        (Traffic(inserts=1.0), "insert"),
        (Traffic(changes=1.0), "change"),
        (Traffic(removals=1.0), "removal"),
    ],
)
def test_only_what_has_a_rate_happens(traffic: Traffic, kind: str) -> None:
    @virtual_time
    async def kinds_seen() -> set[str]:
        return set(kinds(await played(50, traffic)))

    assert kinds_seen() == {kind}


@virtual_time
async def test_traffic_without_rates_is_over_at_once() -> None:
    with store_in_use() as (live, _):
        await play(Traffic(), live)


@virtual_time
async def test_the_same_seed_gives_the_same_events_at_the_same_times() -> None:
    first, again, other = [await played(60, seed=seed) for seed in (5, 5, 6)]
    assert [change for _, change in again] == [change for _, change in first]
    assert [at for at, _ in again] == pytest.approx([at for at, _ in first])
    assert [at for at, _ in other[:9]] != pytest.approx([at for at, _ in first[:9]])


class BusyLoop(VirtualTimeLoop):
    """A loop that can be kept from turning for some seconds."""

    lost = 0.0

    def time(self) -> float:
        return super().time() + self.lost


def test_a_loop_that_was_busy_catches_up_with_all_it_missed() -> None:
    def be_busy() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, BusyLoop)
        loop.lost += 30

    def busy_soon(live: LiveStore) -> None:
        asyncio.get_running_loop().call_later(10, be_busy)

    with asyncio.Runner(loop_factory=BusyLoop) as runner:
        undisturbed = runner.run(played(60))
        disturbed = runner.run(played(60, meanwhile=busy_soon))
    assert [change for _, change in disturbed] == [change for _, change in undisturbed]
    late = [at for at, _ in undisturbed if 10 < at <= 40]
    assert len(late) > 200
    caught_up = [at for at, _ in disturbed if 10 < at <= 40.01]
    assert caught_up[: len(late)] == pytest.approx([40] * len(late), abs=0.001)
    punctual = [at for at, _ in undisturbed if at > 40.1]
    assert [at for at, _ in disturbed if at > 40.1] == pytest.approx(punctual)


def test_others_have_their_turn_between_events_that_are_late() -> None:
    turns = 0

    async def take_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def main() -> list[int]:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, BusyLoop)
        at_turn: list[int] = []
        with store_in_use() as (live, _):
            live.listeners.add(lambda _: at_turn.append(turns))
            task = asyncio.create_task(play(BUSY, live))
            await asyncio.sleep(0)
            loop.lost += 10
            other = asyncio.create_task(take_turns())
            while len(at_turn) < 20:  # noqa: ASYNC110 - traffic has no event for it
                await asyncio.sleep(0)
            await stopped(other)
            await stopped(task)
        return at_turn

    with asyncio.Runner(loop_factory=BusyLoop) as runner:
        at_turn = runner.run(main())
    assert len(set(at_turn[:20])) == 20


@virtual_time
async def test_cancelled_traffic_ends_and_leaves_the_database_usable() -> None:
    with store_in_use() as (live, connection):
        task = asyncio.create_task(play(BUSY, live))
        await asyncio.sleep(20)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not connection.in_transaction
        before = list(connection.iterdump())
        await asyncio.sleep(20)
        assert list(connection.iterdump()) == before


def test_a_locked_database_stops_traffic_only_while_it_is_locked(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    @virtual_time
    async def main() -> None:
        told: list[OrderChange] = []
        with store_in_use(tmp_path / "store.db") as (live, connection):
            connection.execute("PRAGMA synchronous = OFF")
            connection.execute("PRAGMA busy_timeout = 0")
            live.listeners.add(told.append)
            other = sqlite3.connect(tmp_path / "store.db", isolation_level=None)
            other.execute("BEGIN EXCLUSIVE")
            task = asyncio.create_task(play(BUSY, live))
            await asyncio.sleep(5)
            assert told == []
            other.close()
            await asyncio.sleep(5)
            assert 60 < len(told) < 100  # what was due meanwhile too
            await stopped(task)

    with caplog.at_level(logging.WARNING):
        main()
    # One a second: each try at a locked file holds up the requests.
    assert 3 <= len(caplog.records) <= 6
    assert {(line.levelno, line.exc_info, line.getMessage()) for line in caplog.records} == {
        (
            logging.WARNING,
            None,
            "no live traffic for a moment: cannot write the database: database is locked",
        )
    }


@virtual_time
async def test_a_database_that_cant_be_read_does_not_end_traffic() -> None:
    with store_in_use() as (live, connection):
        told: list[OrderChange] = []
        live.listeners.add(told.append)
        connection.execute(
            "CREATE TRIGGER no BEFORE INSERT ON orders BEGIN SELECT raise(FAIL, ''); END"
        )
        task = asyncio.create_task(play(Traffic(inserts=5.0), live))
        await asyncio.sleep(5)
        assert told == []
        connection.execute("DROP TRIGGER no")
        await asyncio.sleep(5)
        assert told
        await stopped(task)


async def test_a_sandbox_lives_while_it_serves_and_stops_when_it_closes() -> None:
    traffic = Traffic(inserts=100.0, changes=200.0, removals=50.0)
    told: list[OrderChange] = []
    box = Sandbox(orders=90, limiter="none", today=TODAY, traffic=traffic)
    async with box, calling(box) as api:
        box.live.listeners.add(told.append)
        await until(lambda: len({(c.old is None, c.new is None) for c in told}) == 3)
        assert (await api.get("/orders")).status == 200
        (total,) = box.connection.execute("SELECT count(*) FROM orders").fetchone()
        came = sum(change.old is None for change in told)
        went = sum(change.new is None for change in told)
        assert total == 90 + came - went
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_traffic_starts_again_with_its_sandbox() -> None:
    box = Sandbox(orders=9, traffic=Traffic(inserts=200.0))
    for _ in range(2):
        told: list[OrderChange] = []
        async with box:
            box.live.listeners.add(told.append)
            await until(lambda told=told: told)  # type: ignore[misc]  # mypy can't infer a default's


async def test_a_sandbox_without_traffic_stands_still_but_can_be_used() -> None:
    async with Sandbox(orders=9, today=TODAY) as box:
        before = list(box.connection.iterdump())
        for _ in range(100):
            await asyncio.sleep(0)
        assert list(box.connection.iterdump()) == before
        assert box.live.insert() == 10


async def test_a_sandboxs_traffic_is_of_its_first_store() -> None:
    told: list[OrderChange] = []
    traffic = Traffic(inserts=100.0, changes=100.0, removals=100.0)
    async with Sandbox(orders=90, today=TODAY, traffic=traffic) as box:
        second = create_store(box.connection, "Second", orders=10, today=TODAY)
        box.live.listeners.add(told.append)
        rows = f"SELECT * FROM orders WHERE store_id = {second}"
        before = box.connection.execute(rows).fetchall()
        await until(lambda: len(told) > 20)
        assert box.connection.execute(rows).fetchall() == before


async def test_a_sandboxs_traffic_is_of_its_seed(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    async with Sandbox(db=path, orders=90, today=TODAY):
        pass
    kinds_seen, removed = [], []
    for run, seed in enumerate((3, 3, 4)):
        told: list[OrderChange] = []
        copy = shutil.copy(path, tmp_path / f"{run}.db")
        traffic = Traffic(inserts=100.0, removals=100.0)
        async with Sandbox(db=copy, seed=seed, traffic=traffic) as box:
            removed.append([box.live.remove() for _ in range(9)])
            box.live.listeners.add(told.append)
            await until(lambda told=told: len(told) > 20)  # type: ignore[misc]  # as above
        kinds_seen.append([change.new for change in told[:20]])
    assert removed[0] == removed[1] != removed[2]
    assert kinds_seen[0] == kinds_seen[1] != kinds_seen[2]


@pytest.mark.parametrize("sizes", [{"products": 0}, {"customers": 0}])
async def test_new_orders_in_a_store_that_can_have_none_are_refused_at_the_start(
    sizes: dict[str, int],
) -> None:
    box = Sandbox(orders=0, traffic=Traffic(inserts=1.0), **sizes)  # type: ignore[arg-type]  # mypy takes any key
    with pytest.raises(SandboxError, match=r"^a new order needs a product and a customer$"):
        await box.start()
    with pytest.raises(SandboxError, match=r"^the sandbox is not running$"):
        _ = box.connection
    with pytest.raises(SandboxError, match=r"^the sandbox is not running$"):
        _ = box.live


async def test_a_store_that_can_have_no_orders_may_still_be_served_with_other_traffic() -> None:
    traffic = Traffic(changes=1.0, removals=1.0)
    async with Sandbox(orders=0, products=0, traffic=traffic) as box, calling(box) as api:
        assert (await api.data("/orders"))["total"] == 0


@pytest.mark.parametrize("name", ["inserts", "changes", "removals"])
@pytest.mark.parametrize("rate", [-1.0, float("inf"), float("nan")])
def test_a_rate_is_finite_and_not_negative(name: str, rate: float) -> None:
    with pytest.raises(SandboxError, match=rf"^there can't be {rate} {name} a second$"):
        Traffic(**{name: rate})
