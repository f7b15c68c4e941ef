"""One budget for all event loops and threads of a process, at a server that keeps it strictly."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import threading
import time
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from typing import Any

import pytest

from devskin_async import DevSkinClient, RateLimit
from devskin_async.ratelimit import shared_scheduler, sharing
from devskin_async.ratelimit.store import MemoryStore
from devskin_async.sandbox import Sandbox

PER = 1.0
LIMIT = RateLimit(100, PER, reserve=0)


@contextmanager
def strict_store() -> Iterator[Sandbox]:
    """A store in a loop and thread of its own, which refuses what is over 100 in any second."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    box = Sandbox(orders=10, products=5, customers=5, limiter="sliding-log", limit=100, per=PER)

    def run(stage: Coroutine[Any, Any, object]) -> None:
        asyncio.run_coroutine_threadsafe(stage, loop).result(20)

    run(box.start())
    try:
        yield box
    finally:
        run(box.close())
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.fixture
def strict() -> Iterator[Sandbox]:
    with strict_store() as box:
        yield box


def client(box: Sandbox, limit: RateLimit = LIMIT) -> DevSkinClient:
    return DevSkinClient(box.api_key, base_url=box.base_url, budget="process", rate_limit=limit)


async def calls(box: Sandbox, number: int, limit: RateLimit = LIMIT) -> None:
    """Make so many calls, twenty at a time."""
    left = count()
    async with client(box, limit) as store:
        # Identical calls in flight would be one request.
        async def worker(page: int) -> None:
            while next(left) < number:
                await store.orders.page(page, limit=1)

        await asyncio.gather(*(worker(page) for page in range(1, 21)))


def test_a_program_that_runs_one_loop_after_another_is_not_refused(strict: Sandbox) -> None:
    asyncio.run(calls(strict, 100))
    asyncio.run(calls(strict, 100))
    assert strict.counts.requests == 200
    assert strict.counts.refused == 0


@pytest.mark.parametrize("threads", [2, 4])
def test_threads_with_a_loop_each_are_not_refused(strict: Sandbox, threads: int) -> None:
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda _: asyncio.run(calls(strict, 240 // threads)), range(threads)))
    assert strict.counts.requests == 240
    assert strict.counts.refused == 0


def test_a_loop_for_each_call_is_not_refused(strict: Sandbox) -> None:
    for _ in range(250):
        asyncio.run(calls(strict, 1))
    assert strict.counts.requests == 250
    assert strict.counts.refused == 0


def test_the_slots_of_a_closed_client_still_count(strict: Sandbox) -> None:
    limit = RateLimit(100, 60)
    asyncio.run(calls(strict, 60, limit))

    async def available() -> int:
        async with client(strict, limit) as store:
            return store.budget.available

    assert asyncio.run(available()) == 40


def test_all_loops_of_a_process_are_one_process(strict: Sandbox) -> None:
    asyncio.run(calls(strict, 1))

    async def budget() -> tuple[int, str, int]:
        async with client(strict) as store:
            await store.orders.page(1, limit=1)
            return store.budget.processes, store.budget.where, store.budget.held_here

    assert asyncio.run(budget()) == (1, "process", 1)


class Clock:
    """The machine's clock, some time later."""

    def __init__(self) -> None:
        self.ahead = 0.0
        self._monotonic = time.monotonic

    def __call__(self) -> float:
        return self._monotonic() + self.ahead


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    """A clock that can be set ahead, in a process that knows no budget yet."""
    gc.collect()
    clock = Clock()
    monkeypatch.setattr(sharing, "_process", sharing._Process())
    monkeypatch.setattr(time, "monotonic", clock)
    yield clock
    monkeypatch.undo()


def take_and_leave(name: str, requests: int = 1) -> int:
    """Run a loop in which a client takes slots, as many as are free at once, and closes."""

    async def main() -> int:
        scheduler = shared_scheduler("process", name, RateLimit(10, 60, reserve=0))
        user = asyncio.current_task()
        scheduler.listeners.add(user, None)
        taken = min(requests, scheduler.budget().available)
        for _ in range(taken):
            async with scheduler.slot():
                pass
        await scheduler.leave(user)
        return taken

    return asyncio.run(main())


def stores() -> int:
    gc.collect()
    return sum(type(each) is MemoryStore for each in gc.get_objects())


def test_slots_of_closed_clients_are_free_after_per(clock: Clock) -> None:
    assert take_and_leave("key", 7) == 7
    clock.ahead += 59
    assert take_and_leave("key", 10) == 3
    clock.ahead += 2
    assert take_and_leave("key", 10) == 7


def test_keys_that_come_and_go_leave_no_memory(clock: Clock) -> None:
    before = stores()

    async def come_and_go(first: int) -> None:
        for number in range(first, first + 200):
            scheduler = shared_scheduler("process", f"key {number}", RateLimit(10, 60))
            scheduler.listeners.add(come_and_go, None)
            async with scheduler.slot():
                pass
            await scheduler.leave(come_and_go)

    for turn in range(100):
        asyncio.run(come_and_go(200 * turn))
        clock.ahead += 61
    assert stores() - before <= 2 * 200 + 64


def test_a_budget_in_use_is_found_however_many_others_come_and_go(clock: Clock) -> None:
    async def main() -> None:
        scheduler = shared_scheduler("process", "key", RateLimit(10, 60, reserve=0))
        scheduler.listeners.add(clock, None)
        async with scheduler.slot():
            pass
        await scheduler.leave(clock)
        clock.ahead += 61
        with ThreadPoolExecutor(1) as pool:
            for number in range(200):
                pool.submit(take_and_leave, f"key {number}").result()
            scheduler.listeners.add(clock, None)
            async with scheduler.slot():
                assert pool.submit(take_and_leave, "key", 10).result() == 9
        await scheduler.leave(clock)

    asyncio.run(main())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_forked_child_starts_afresh_even_if_another_thread_held_the_lock() -> None:
    take_and_leave("key of the parent", 10)
    held, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        with sharing._process.lock:
            held.set()
            go_on.wait(20)

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait(20)
    child = os.fork()
    if child == 0:
        signal.alarm(20)  # ends it if it hangs
        os._exit(take_and_leave("key of the parent", 10))
    go_on.set()
    holder.join()
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 10
