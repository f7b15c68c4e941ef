"""What several readers keep at once is written together, and nobody waits for ever."""

from __future__ import annotations

import asyncio
import errno
import threading
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from devskin_async import ConfigurationError
from devskin_async.export.journal import Journal
from devskin_async.export.stage import Stage
from devskin_async.export.units import Unit

from .support import ids_of, unit


class Slow:
    """Holds a journal's writes back until they may go on, and counts them."""

    def __init__(self, journal: Journal) -> None:
        self.keep = journal.keep
        self.writes: list[int] = []
        self.begun = threading.Event()
        self.go = threading.Event()
        self.error: Exception | None = None
        journal.keep = self._keep  # type: ignore[method-assign]

    def _keep(self, units: Iterable[Unit], notes: Mapping[str, bytes] | None = None) -> list[int]:
        units = list(units)
        self.writes.append(len(units))
        self.begun.set()
        assert self.go.wait(30)
        if self.error is not None:
            error, self.error = self.error, None
            raise error
        return self.keep(units, notes)


async def begun(slow: Slow) -> None:
    assert await asyncio.to_thread(slow.begun.wait, 30)


async def test_what_is_kept_is_in_the_journal_when_that_returns(tmp_path: Path) -> None:
    async with Stage(tmp_path) as stage:
        await stage.keep(unit("orders", 1, 1, 2))
        await stage.keep(unit("orders", 2, 2, 3))
        assert ids_of(stage.journal.batches("orders")) == [1, 2, 3]
    with Journal(tmp_path) as journal:
        assert ids_of(journal.batches("orders")) == [1, 2, 3]


async def test_many_units_at_once_are_one_transaction(tmp_path: Path) -> None:
    async with Stage(tmp_path) as stage:
        slow = Slow(stage.journal)
        slow.go.set()
        await asyncio.gather(*(stage.keep(unit("orders", n, n)) for n in range(50)))
        assert slow.writes == [50]
        assert ids_of(stage.journal.batches("orders")) == list(range(50))


async def test_what_comes_while_a_write_is_under_way_is_the_next_one(tmp_path: Path) -> None:
    async with Stage(tmp_path) as stage:
        slow = Slow(stage.journal)
        first = asyncio.create_task(stage.keep(unit("orders", 0, 0)))
        await begun(slow)
        rest = [asyncio.create_task(stage.keep(unit("orders", n, n, n - 1))) for n in range(1, 9)]
        await asyncio.sleep(0)
        assert not first.done()
        slow.go.set()
        await asyncio.gather(first, *rest)
        assert slow.writes == [1, 8]
        assert ids_of(stage.journal.batches("orders")) == list(range(9))


async def test_units_that_are_kept_together_are_one_transaction_with_all_others(
    tmp_path: Path,
) -> None:
    async with Stage(tmp_path) as stage:
        slow = Slow(stage.journal)
        slow.go.set()
        both = unit("orders", 1, 1), unit("orders", 2, 1, 2)
        await asyncio.gather(stage.keep(*both), stage.keep(unit("orders", 3, 1, 3)))
        assert slow.writes == [3]
        assert ids_of(stage.journal.batches("orders")) == [1, 2, 3]


async def test_an_error_of_the_disk_reaches_each_that_waits_for_that_write(tmp_path: Path) -> None:
    async with Stage(tmp_path) as stage:
        slow = Slow(stage.journal)
        slow.error = OSError(errno.ENOSPC, "No space left on device", "orders.rows")
        waiting = [asyncio.create_task(stage.keep(unit("orders", n, n))) for n in range(3)]
        await begun(slow)
        later = asyncio.create_task(stage.keep(unit("orders", 9, 9)))
        await asyncio.sleep(0)
        slow.go.set()
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert [getattr(each, "filename", None) for each in results] == ["orders.rows"] * 3
        await later
        assert ids_of(stage.journal.batches("orders")) == [9]


async def test_whoever_is_cancelled_while_it_waits_leaves_the_others_alone(tmp_path: Path) -> None:
    async with Stage(tmp_path) as stage:
        slow = Slow(stage.journal)
        waiting = [asyncio.create_task(stage.keep(unit("orders", n, n))) for n in range(3)]
        await begun(slow)
        waiting[1].cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting[1]
        slow.go.set()
        await asyncio.gather(waiting[0], waiting[2])
        # Its unit was under way, and nobody can take it back.
        assert ids_of(stage.journal.batches("orders")) == [0, 1, 2]


async def test_all_being_cancelled_while_a_write_fails_leaves_no_error_behind(
    tmp_path: Path,
) -> None:
    told: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    async with Stage(tmp_path) as stage:
        slow = Slow(stage.journal)
        slow.error = OSError(errno.ENOSPC, "No space left on device")
        waiting = asyncio.create_task(stage.keep(unit("orders", 1, 1)))
        await begun(slow)
        waiting.cancel()
        with suppress(asyncio.CancelledError):
            await waiting
        slow.go.set()
        await stage.keep(unit("orders", 1, 2))
        assert ids_of(stage.journal.batches("orders")) == [2]
    assert told == []


async def test_closing_waits_for_what_is_being_written(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    async with stage:
        slow = Slow(stage.journal)
        waiting = [asyncio.create_task(stage.keep(unit("orders", n, n))) for n in range(3)]
        await begun(slow)
        asyncio.get_running_loop().call_soon(slow.go.set)
    assert all(task.done() for task in waiting)
    await asyncio.gather(*waiting)
    with Journal(tmp_path) as journal:
        assert ids_of(journal.batches("orders")) == [0, 1, 2]


async def test_an_error_in_the_block_closes_the_journal(tmp_path: Path) -> None:
    async def failing() -> None:
        async with Stage(tmp_path) as stage:
            await stage.keep(unit("orders", 1, 1))
            raise KeyError

    with pytest.raises(KeyError):
        await failing()
    with Journal(tmp_path) as journal:
        assert ids_of(journal.batches("orders")) == [1]


class Writing:
    """An export that is in the middle of a write."""

    def __init__(self, out: Path) -> None:
        self.ready = asyncio.Event()
        self.stage = Stage(out)
        self.slow: Slow
        self.task = asyncio.create_task(self._export())

    async def _export(self) -> None:
        async with self.stage:
            self.slow = Slow(self.stage.journal)
            self.ready.set()
            await self.stage.keep(unit("orders", 1, 1))

    async def cancel(self) -> None:
        await self.ready.wait()
        await begun(self.slow)
        self.task.cancel()
        await asyncio.sleep(0)


async def test_being_cancelled_in_the_block_closes_the_journal(tmp_path: Path) -> None:
    writing = Writing(tmp_path)
    await writing.cancel()
    writing.slow.go.set()
    with pytest.raises(asyncio.CancelledError):
        await writing.task
    with Journal(tmp_path) as journal:
        assert ids_of(journal.batches("orders")) == [1]


async def test_being_cancelled_twice_closes_the_journal_too(tmp_path: Path) -> None:
    writing = Writing(tmp_path)
    await writing.cancel()
    writing.task.cancel()
    await asyncio.sleep(0)
    writing.slow.go.set()
    with pytest.raises(asyncio.CancelledError):
        await writing.task
    try:
        Journal(tmp_path).close()
    finally:
        with suppress(RuntimeError, ValueError):
            await writing.stage.__aexit__(None, None, None)


async def test_notes_go_with_the_next_unit(tmp_path: Path) -> None:
    async with Stage(tmp_path) as stage:
        slow = Slow(stage.journal)
        slow.go.set()
        stage.note("key", b"1")
        stage.note("key", b"2")
        assert await stage.run(stage.journal.note, "key") is None
        await stage.keep(unit("orders", 1, 1))
        assert await stage.run(stage.journal.note, "key") == b"2"
        assert slow.writes == [1]


async def test_notes_can_be_saved_without_a_unit(tmp_path: Path) -> None:
    async with Stage(tmp_path) as stage:
        stage.note("key", b"1")
        await stage.save()
        assert await stage.run(stage.journal.note, "key") == b"1"
        await stage.save()


async def test_an_error_of_the_disk_reaches_who_saves_notes(tmp_path: Path) -> None:
    async with Stage(tmp_path) as stage:
        slow = Slow(stage.journal)
        slow.go.set()
        slow.error = OSError(errno.ENOSPC, "No space left on device")
        stage.note("key", b"1")
        with pytest.raises(OSError, match="No space left"):
            await stage.save()
        await stage.keep(unit("orders", 1, 1))
        assert ids_of(stage.journal.batches("orders")) == [1]


async def test_a_journal_that_another_has_open_is_refused_and_can_be_tried_again(
    tmp_path: Path,
) -> None:
    with Journal(tmp_path), pytest.raises(ConfigurationError, match="another export"):
        async with Stage(tmp_path):
            pytest.fail("it was opened twice")
    async with Stage(tmp_path) as stage:
        assert stage.journal.scopes() == []


async def test_what_is_asked_of_the_journal_comes_after_what_was_kept_before(
    tmp_path: Path,
) -> None:
    async with Stage(tmp_path) as stage:
        kept = asyncio.create_task(stage.keep(unit("orders", 1, 1)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert await stage.run(stage.journal.distinct, "orders") == 1
        await kept


async def test_being_cancelled_while_the_journal_is_opened_leaves_it_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opening, go = threading.Event(), threading.Event()

    class SlowJournal(Journal):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            opening.set()
            go.wait()

    monkeypatch.setattr("devskin_async.export.stage.Journal", SlowJournal)
    task = asyncio.create_task(Stage(tmp_path).__aenter__())
    await asyncio.to_thread(opening.wait)
    task.cancel()
    await asyncio.sleep(0)
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    Journal(tmp_path).close()
