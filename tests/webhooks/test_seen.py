"""What was handled is remembered, in memory and in a file alike."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from unittest import mock

import pytest
from attrs import define, evolve, field, frozen
from hypothesis import given
from hypothesis import strategies as st

from devskin_async.webhooks import MemorySeen, Seen, SQLiteSeen, Told, parse, sqlite_seen
from devskin_async.webhooks.events import Source

from .support import EXAMPLE, NOW, clock_at, poll_of

AGE = dt.timedelta(seconds=100)


class Clock:
    """Seconds that a test sets."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def paid(
    order: int = 1,
    store: int | None = 15,
    at: float = 0.0,
    status: str = "paid",
    source: Source = "webhook",
) -> Told:
    return Told(order_id=order, store_id=store, status=status, at=at, source=source)


def test_what_an_event_tells_is_its_orders_status_and_time() -> None:
    assert Told.by(parse(EXAMPLE)) == Told(
        order_id=1234, store_id=15, status="paid", at=NOW.timestamp(), source="webhook"
    )


def test_what_a_poll_tells_says_that_it_is_a_poll() -> None:
    told = Told.by(poll_of("shipped", 1.5, store=None))
    assert told == Told(
        order_id=1234, store_id=None, status="shipped", at=NOW.timestamp() + 1.5, source="poll"
    )


@pytest.mark.parametrize(
    ("age", "count"), [(dt.timedelta(0), 1), (dt.timedelta(-1), 1), (AGE, 0), (AGE, -1)]
)
def test_age_and_count_must_be_greater_than_0(age: dt.timedelta, count: int) -> None:
    with pytest.raises(ValueError, match="must be greater than 0"):
        MemorySeen(age, count)


def in_order(told: Iterable[Told]) -> list[Told]:
    return sorted(told, key=repr)


async def remember(seen: Seen, key: str, told: Told | None = None) -> None:
    assert await seen.begin(f"turn of {key}", key) == "new"
    await seen.finish(f"turn of {key}", key, told)


async def test_memory_forgets_a_request_past_its_age_and_not_before() -> None:
    clock = Clock()
    seen = MemorySeen(AGE, clock=clock)
    await remember(seen, "a")
    clock.now += 100
    assert await seen.begin("t", "a") == "done"
    clock.now += 0.001
    assert await seen.begin("t", "a") == "new"


async def test_memory_forgets_the_oldest_request_beyond_its_count() -> None:
    seen = MemorySeen(count=3)
    for key in "abcd":
        await remember(seen, key)
    assert [await seen.begin("t", key) for key in "abcd"] == ["new", "done", "done", "done"]


async def test_memory_forgets_the_order_told_of_longest_ago_beyond_its_count() -> None:
    seen = MemorySeen(count=2)
    for order in (1, 2, 1, 3):
        await seen.finish("t", None, paid(order))
    told = [list(await seen.told(order, 15)) for order in (1, 2, 3)]
    assert told == [[paid(1)], [], [paid(3)]]


async def test_memory_does_not_grow_beyond_its_count() -> None:
    seen = MemorySeen(count=10)
    for number in range(1000):
        await seen.finish("t", str(number), paid(number))
    assert (len(seen._keys), len(seen._told)) == (10, 10)


# Both.


@pytest.fixture(params=["memory", "file"])
async def seen(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Seen]:
    if request.param == "memory":
        yield MemorySeen()
    else:
        async with SQLiteSeen(tmp_path / "seen.db") as in_file:
            yield in_file


async def test_a_request_is_done_once_it_was_finished(seen: Seen) -> None:
    assert await seen.begin("t", "a") == "new"
    await seen.finish("t", "a", None)
    assert await seen.begin("t", "a") == "done"


async def test_a_turn_that_was_given_up_may_be_begun_again(seen: Seen) -> None:
    await seen.begin("t", "a")
    await seen.give_up("t")
    assert await seen.begin("t", "a") == "new"


async def test_a_turn_without_a_request_is_always_new(seen: Seen) -> None:
    for _ in range(2):
        assert await seen.begin("t", None) == "new"
        await seen.finish("t", None, paid())


async def test_giving_up_what_was_not_begun_is_nothing(seen: Seen) -> None:
    await seen.give_up("t")
    assert await seen.begin("t", "a") == "new"


async def test_nothing_is_known_of_an_order_that_nobody_told_of(seen: Seen) -> None:
    assert not await seen.told(1, 15)
    assert not await seen.told(1, None)


@pytest.mark.parametrize("source", ["webhook", "poll"])
@pytest.mark.parametrize("store", [15, None, 0, -1, 2**70])
async def test_what_was_told_is_given_whole(seen: Seen, store: int | None, source: Source) -> None:
    told = paid(store=store, at=1_771_000_000.123456, status="na\0me 日本", source=source)
    await seen.finish("t", None, told)
    assert list(await seen.told(1, store)) == [told]


async def test_an_order_may_have_any_number(seen: Seen) -> None:
    for order in (0, -1, 2**63, 10**4000):
        await seen.finish("t", None, paid(order))
        assert list(await seen.told(order, 15)) == [paid(order)]


async def test_each_status_of_an_order_is_remembered(seen: Seen) -> None:
    statuses = [paid(at=10.0, status="shipped"), paid(at=9.0, status="paid")]
    for told in statuses:
        await seen.finish("t", None, told)
    assert in_order(await seen.told(1, 15)) == in_order(statuses)


async def test_a_status_that_is_told_again_has_its_latest_time(seen: Seen) -> None:
    for at in (10.0, 9.0, 11.0, 10.5):
        await seen.finish("t", None, paid(at=at))
    assert list(await seen.told(1, 15)) == [paid(at=11.0)]


@pytest.mark.parametrize("sources", [("poll", "webhook"), ("webhook", "poll")])
async def test_of_a_status_it_is_known_who_told_of_it_last(
    seen: Seen, sources: tuple[Source, Source]
) -> None:
    for source in sources:
        await seen.finish("t", None, paid(source=source))
    assert list(await seen.told(1, 15)) == [paid(source=sources[-1])]


async def test_another_stores_order_of_the_same_number_is_not_meant(seen: Seen) -> None:
    await seen.finish("t", None, paid(store=15))
    assert not await seen.told(1, 16)


async def test_without_a_store_any_stores_order_is_meant(seen: Seen) -> None:
    stores = [paid(store=15, at=1.0), paid(store=16, at=2.0), paid(store=None, at=0.0)]
    for told in stores:
        await seen.finish("t", None, told)
    assert in_order(await seen.told(1, None)) == in_order(stores)


async def test_what_is_known_without_a_store_is_known_of_any(seen: Seen) -> None:
    known = [paid(store=None, at=5.0), paid(store=15, at=1.0)]
    for told in (*known, paid(store=16)):
        await seen.finish("t", None, told)
    assert in_order(await seen.told(1, 15)) == in_order(known)


async def test_memory_forgets_in_the_order_in_which_requests_were_last_finished() -> None:
    clock = Clock()
    seen = MemorySeen(AGE, clock=clock)
    await seen.finish("t", "a", None)
    await seen.finish("t", "b", None)
    clock.now += 60
    await seen.finish("t", "a", None)
    clock.now += 60
    assert [await seen.begin("t", key) for key in "ab"] == ["done", "new"]


async def test_a_file_forgets_a_request_past_its_age(tmp_path: Path) -> None:
    clock = Clock()
    with mock.patch.object(sqlite_seen, "time", clock_at(clock)):
        async with SQLiteSeen(tmp_path / "seen.db", AGE) as seen:
            await remember(seen, "a")
            clock.now += 100
            assert await seen.begin("t", "a") == "done"
            clock.now += 0.001
            assert await seen.begin("t", "a") == "new"


async def test_a_file_deletes_requests_past_their_age_when_another_is_finished(
    tmp_path: Path,
) -> None:
    clock = Clock()
    with mock.patch.object(sqlite_seen, "time", clock_at(clock)):
        async with SQLiteSeen(tmp_path / "seen.db", AGE) as seen:
            await remember(seen, "a")
            clock.now += 100.001
            await remember(seen, "b")
            assert [await seen.begin("t", key) for key in "ab"] == ["new", "done"]
    with contextlib.closing(sqlite3.connect(tmp_path / "seen.db")) as connection:
        assert connection.execute("SELECT key FROM handled").fetchall() == [("b",)]


# A model of both.


@define
class Model:
    """The protocol, as plainly as it can be said."""

    now: float = 0.0
    done: dict[str, float] = field(factory=dict)
    statuses: dict[tuple[int, int | None, str], Told] = field(factory=dict)

    def begin(self, key: str | None) -> str:
        known = key is not None and self.now - self.done.get(key, -1e9) <= AGE.total_seconds()
        return "done" if known else "new"

    def finish(self, key: str | None, told: Told | None) -> None:
        if key is not None:
            self.done[key] = self.now
        if told is not None:
            status = (told.order_id, told.store_id, told.status)
            known = self.statuses.get(status, told)
            self.statuses[status] = evolve(told, at=max(known.at, told.at))

    def told(self, order: int, store: int | None) -> list[Told]:
        return [
            told
            for told in self.statuses.values()
            if told.order_id == order and (store is None or told.store_id in (None, store))
        ]


@frozen
class Event:
    """A turn from its beginning to its end."""

    turn: str
    key: str | None
    told: Told | None
    succeeds: bool


@frozen
class Ask:
    """What is known of an order."""

    order: int
    store: int | None


STORES = (None, 15, 16)
tolds = st.builds(
    lambda order, store, status, at, source: paid(order, store, float(at), status, source),
    st.integers(1, 2),
    st.sampled_from(STORES),
    st.sampled_from(["paid", "shipped", "odd"]),
    st.integers(0, 3),
    st.sampled_from(["webhook", "poll"]),
)
steps = st.lists(
    st.builds(
        Event,
        st.sampled_from(["order 1", "order 2", "event a"]),
        st.none() | st.sampled_from("abcd"),
        st.none() | tolds,
        st.booleans(),
    )
    | st.builds(Ask, st.integers(1, 2), st.sampled_from(STORES))
    | st.integers(1, 60),
    max_size=25,
)


@given(steps)
def test_memory_and_a_file_say_what_the_protocol_says(script: list[Event | Ask | int]) -> None:
    clock = Clock()
    model = Model()

    async def test(both: tuple[Seen, Seen]) -> None:
        for step in script:
            match step:
                case Event(turn, key, told, succeeds):
                    expected = model.begin(key)
                    assert [await seen.begin(turn, key) for seen in both] == [expected] * 2
                    if expected == "new" and succeeds:
                        model.finish(key, told)
                        for seen in both:
                            await seen.finish(turn, key, told)
                    elif expected == "new":
                        for seen in both:
                            await seen.give_up(turn)
                case Ask(order, store):
                    answers = [in_order(await seen.told(order, store)) for seen in both]
                    assert answers == [in_order(model.told(order, store))] * 2
                case seconds:
                    clock.now += seconds
                    model.now += seconds
                    for seen in both:  # a file forgets when something is finished
                        await seen.finish("another", None, None)

    with (
        mock.patch.object(sqlite_seen, "time", clock_at(clock)),
        tempfile.TemporaryDirectory() as folder,
        contextlib.closing(SQLiteSeen(Path(folder, "seen.db"), AGE)) as in_file,
    ):
        asyncio.run(test((MemorySeen(AGE, clock=clock), in_file)))
