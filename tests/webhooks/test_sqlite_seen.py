"""What was handled, in a file: it outlives restarts and kills, and processes share it."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import hashlib
import json
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import pytest

from devskin_async.errors import ConfigurationError
from devskin_async.webhooks import MemorySeen, Seen, SQLiteSeen, sqlite_seen

from .support import (
    EXAMPLE,
    RECEIVED,
    SECRET,
    Recorder,
    clock_at,
    make_receiver,
    order_body,
    outcome_of,
    poll_of,
    send,
    settle,
    told,
)

T = TypeVar("T")

PATIENCE = 20.0

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="kills and forks processes")


class Process:
    """Another Python, which says a line when it is asked to and takes a line as an answer."""

    def __init__(self, script: str, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(script), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def hear(self) -> Any:
        """Wait for its next line."""
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def say(self, value: object) -> None:
        """Send it a line."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(value) + "\n")
        self.process.stdin.flush()

    def end(self, how: int = signal.SIGKILL) -> None:
        """End it, and wait until it is gone."""
        self.process.send_signal(how)
        self.process.communicate()


OTHER = """
    import asyncio, datetime as dt, json, sys
    from devskin_async.webhooks import SQLiteSeen

    async def main():
        seens = {}
        for line in sys.stdin:
            path, lease, name, *args = json.loads(line)
            if (path, lease) not in seens:
                seens[path, lease] = SQLiteSeen(path, lease=dt.timedelta(seconds=lease))
            print(json.dumps(await getattr(seens[path, lease], name)(*args)), flush=True)

    asyncio.run(main())
"""


class Other:
    """A memory on the same file in another process."""

    def __init__(self, process: Process, path: Path, lease: float = 300) -> None:
        self._process = process
        self._path = path
        self._lease = lease

    def __call__(self, name: str, *args: object) -> Any:
        self._process.say([str(self._path), self._lease, name, *args])
        return self._process.hear()


@pytest.fixture(scope="module")
def other_process() -> Iterator[Process]:
    process = Process(OTHER)
    yield process
    process.end()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "seen.db"


@pytest.fixture
def seen(path: Path) -> Iterator[SQLiteSeen]:
    with contextlib.closing(SQLiteSeen(path)) as opened:
        yield opened


@pytest.fixture
def other(other_process: Process, path: Path) -> Other:
    return Other(other_process, path)


# Restarts.


async def test_it_outlives_a_restart(path: Path) -> None:
    recorder = Recorder()
    for _ in range(2):
        async with SQLiteSeen(path) as seen:
            receiver = make_receiver(seen)
            receiver.on("*")(recorder)
            assert told(await send(receiver, EXAMPLE)) == RECEIVED
            assert await receiver.poll(poll_of("paid", 10)) == "known"
    assert len(recorder.begun) == 1


async def test_what_is_asked_after_closing_opens_the_file_again(seen: SQLiteSeen) -> None:
    await seen.finish("t", "a", None)
    seen.close()
    assert await seen.begin("t", "a") == "done"


async def test_closing_twice_or_before_anything_was_asked_is_nothing(path: Path) -> None:
    seen = SQLiteSeen(path)
    seen.close()
    seen.close()
    await seen.begin("t", "a")
    seen.close()
    seen.close()


async def test_closing_ends_its_thread(path: Path) -> None:
    async with SQLiteSeen(path) as seen:
        await seen.begin("t", "a")
        assert any("devskin-seen" in thread.name for thread in threading.enumerate())
    assert not any("devskin-seen" in thread.name for thread in threading.enumerate())


def test_the_path_may_be_text(path: Path) -> None:
    SQLiteSeen(str(path)).close()
    assert path.exists()


async def test_the_file_holds_neither_a_secret_nor_a_body(path: Path) -> None:
    async with SQLiteSeen(path) as seen:
        await send(make_receiver(seen), EXAMPLE)
    written = b"".join(file.read_bytes() for file in path.parent.iterdir())
    assert SECRET.encode() not in written
    assert b"ORD-2026-001234" not in written


# Several processes.


async def test_another_process_knows_what_was_handled(seen: SQLiteSeen, other: Other) -> None:
    assert other("begin", "t", "a") == "new"
    other("finish", "t", "a", None)
    assert await seen.begin("t", "a") == "done"


async def test_a_live_other_processs_turn_is_busy_until_it_ends(
    seen: SQLiteSeen, other: Other
) -> None:
    assert other("begin", "t", "a") == "new"
    assert await seen.begin("t", "a") == "busy"
    assert await seen.begin("t", "b") == "busy"
    assert await seen.begin("t", None) == "busy"
    other("give_up", "t")
    assert await seen.begin("t", "a") == "new"
    assert other("begin", "t", "a") == "busy"


async def test_another_turn_is_not_busy(seen: SQLiteSeen, other: Other) -> None:
    assert other("begin", "t", "a") == "new"
    assert await seen.begin("u", "b") == "new"


async def test_an_order_that_another_process_is_at_is_503(seen: SQLiteSeen, other: Other) -> None:
    receiver = make_receiver(seen)
    recorder = Recorder()
    receiver.on("*")(recorder)
    assert other("begin", "order 1234", "another body") == "new"
    assert (await send(receiver, EXAMPLE)).status == 503
    assert await receiver.poll(poll_of("paid", 0)) == "busy"
    assert recorder.begun == []
    other("finish", "order 1234", "another body", None)
    assert (await send(receiver, EXAMPLE)).status == 200
    assert len(recorder.handled) == 1


async def test_a_copy_of_what_was_handled_is_done_though_its_order_is_busy(
    seen: SQLiteSeen, other: Other
) -> None:
    await seen.begin("t", "a")
    await seen.finish("t", "a", None)
    assert other("begin", "t", "b") == "new"
    assert await seen.begin("t", "a") == "done"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """What stands for the module `time`, to be set by the test."""
    clock = clock_at(time.time)
    monkeypatch.setattr(sqlite_seen, "time", clock)
    return clock


async def test_after_the_lease_a_turn_is_free(
    path: Path, other_process: Process, clock: SimpleNamespace
) -> None:
    other = Other(other_process, path, lease=60)
    before = time.monotonic()
    assert other("begin", "t", "a") == "new"
    async with SQLiteSeen(path) as seen:
        clock.monotonic = lambda: before + 59
        assert await seen.begin("t", "a") == "busy"
        clock.monotonic = lambda: before + 90
        assert await seen.begin("t", "a") == "new"


@pytest.mark.parametrize("hours", [-24 * 365, -1, 1, 24 * 365])
async def test_a_clock_that_is_set_neither_ends_nor_lengthens_a_lease(
    path: Path, other_process: Process, clock: SimpleNamespace, hours: int
) -> None:
    other = Other(other_process, path, lease=60)
    before = time.monotonic()
    assert other("begin", "t", "a") == "new"
    clock.time = lambda: time.time() + hours * 3600
    async with SQLiteSeen(path) as seen:
        assert await seen.begin("t", "a") == "busy"
        clock.monotonic = lambda: before + 90
        assert await seen.begin("t", "a") == "new"


async def test_a_turn_from_before_the_machine_was_started_again_is_free(
    path: Path, other_process: Process, clock: SimpleNamespace
) -> None:
    other = Other(other_process, path, lease=0.5)
    assert other("begin", "t", "a") == "new"
    clock.monotonic = lambda: 0.5
    async with SQLiteSeen(path) as seen:
        assert await seen.begin("t", "a") == "new"


async def test_a_live_turn_of_a_longer_lease_is_busy(path: Path, other_process: Process) -> None:
    other = Other(other_process, path, lease=600)
    assert other("begin", "t", "a") == "new"
    async with SQLiteSeen(path, lease=dt.timedelta(seconds=60)) as seen:
        assert await seen.begin("t", "a") == "busy"


@pytest.mark.parametrize("end", ["give_up", "finish"])
async def test_who_ends_a_turn_after_its_lease_does_not_end_the_next_ones(
    seen: SQLiteSeen, path: Path, other_process: Process, end: str
) -> None:
    late, third = Other(other_process, path, lease=1e-6), Other(other_process, path)
    assert late("begin", "t", "a") == "new"
    assert await seen.begin("t", "b") == "new"
    late(end, "t", *(("a", None) if end == "finish" else ()))
    assert third("begin", "t", "c") == "busy"


async def test_two_of_one_process_do_not_have_the_same_turn(path: Path) -> None:
    async with SQLiteSeen(path) as one, SQLiteSeen(path) as another:
        assert await one.begin("t", "a") == "new"
        assert await another.begin("t", "a") == "busy"
        await one.finish("t", "a", None)
        assert await another.begin("t", "a") == "done"


@pytest.mark.parametrize("shared", ["a file", "an object", "memory"])
async def test_of_two_receivers_of_one_process_one_handles_an_event(
    path: Path, shared: str
) -> None:
    recorder = Recorder()
    recorder.go.clear()
    one: Seen = MemorySeen() if shared == "memory" else SQLiteSeen(path)
    another = SQLiteSeen(path) if shared == "a file" else one
    receivers = [make_receiver(one), make_receiver(another)]
    for receiver in receivers:
        receiver.on("*")(recorder)
    first = asyncio.create_task(send(receivers[0], EXAMPLE))
    await recorder.entered.acquire()
    async with asyncio.timeout(PATIENCE):
        assert (await send(receivers[1], EXAMPLE)).status == 503
    recorder.go.set()
    assert (await first).status == (await send(receivers[1], EXAMPLE)).status == 200
    assert len(recorder.begun) == 1
    for seen in (one, another):
        if isinstance(seen, SQLiteSeen):
            seen.close()


CONTAINER = """
    import os, socket
    os.getpid = lambda: 7
    socket.gethostname = lambda: "app"
"""


async def test_two_containers_with_the_same_host_name_and_process_id_have_no_turn_together(
    path: Path,
) -> None:
    processes = [Process(textwrap.dedent(CONTAINER) + textwrap.dedent(OTHER)) for _ in range(2)]
    first, second = (Other(process, path) for process in processes)
    try:
        assert first("begin", "t", "a") == "new"
        assert second("begin", "t", "a") == "busy"
        first("finish", "t", "a", None)
        assert second("begin", "t", "a") == "done"
    finally:
        for process in processes:
            process.end()


async def test_a_turn_outlasts_its_lease_while_its_handler_runs(
    path: Path, clock: SimpleNamespace
) -> None:
    now = time.monotonic()
    clock.monotonic = lambda: now
    lease = dt.timedelta(seconds=0.1)
    async with SQLiteSeen(path, lease=lease) as one, SQLiteSeen(path, lease=lease) as another:
        assert await one.begin("t", "a") == "new"
        for _ in range(3):
            now += 0.09
            await renewed(path, now)
            assert await another.begin("t", "a") == "busy"
        await one.give_up("t")
        assert await another.begin("t", "a") == "new"


async def renewed(path: Path, since: float) -> None:
    """Wait until the one lease in a file was renewed."""
    sql = "SELECT until FROM leases"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        async with asyncio.timeout(PATIENCE):
            while connection.execute(sql).fetchone() <= (since + 0.05,):  # noqa: ASYNC110
                await asyncio.sleep(0.001)


async def test_who_was_taken_over_says_so_and_leaves_the_next_ones_turn_alone(
    path: Path, other_process: Process, caplog: pytest.LogCaptureFixture
) -> None:
    other = Other(other_process, path)
    async with SQLiteSeen(path, lease=dt.timedelta(seconds=0.05)) as seen:
        assert await seen.begin("t", "a") == "new"
        # This blocks the loop that would renew it.
        assert "new" in (other("begin", "t", "b") for _ in range(10_000))
        async with asyncio.timeout(PATIENCE):
            while not caplog.records:  # noqa: ASYNC110 - until it is to be renewed
                await asyncio.sleep(0.001)
        assert "the lease on t expired while its handler ran" in caplog.text
        await seen.give_up("t")
        assert await seen.begin("t", "c") == "busy"


OLD_SCHEMA = """
    CREATE TABLE handled (key TEXT PRIMARY KEY, at REAL NOT NULL) WITHOUT ROWID;
    CREATE INDEX handled_by_age ON handled (at);
    CREATE TABLE turns (
        turn TEXT PRIMARY KEY, host TEXT NOT NULL, pid INTEGER NOT NULL, until REAL NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE told (
        order_id TEXT, store_id TEXT, status TEXT, at REAL NOT NULL, source TEXT NOT NULL,
        PRIMARY KEY (order_id, store_id, status)
    ) WITHOUT ROWID;
"""


async def test_a_file_of_the_first_release_is_taken_over(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as old:
        old.executescript(OLD_SCHEMA)
        old.execute("INSERT INTO handled VALUES ('a', ?)", (time.time(),))
        old.execute("INSERT INTO turns VALUES ('t', 'app', 7, ?)", (time.time() + 300,))
        old.execute("INSERT INTO told VALUES ('1234', '15', 'paid', 1.5, 'webhook')")
        old.commit()
    async with SQLiteSeen(path) as seen:
        assert await seen.begin("u", "a") == "done"
        assert [(each.status, each.at) for each in await seen.told(1234, 15)] == [("paid", 1.5)]
        assert await seen.begin("t", "b") == "new"


# Who may read it.


def modes(folder: Path) -> dict[str, int]:
    return {each.name: stat.S_IMODE(each.stat().st_mode) for each in folder.iterdir()}


@pytest.mark.parametrize("umask", [0, 0o002, 0o022, 0o077])
async def test_only_its_owner_may_read_it(path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        async with SQLiteSeen(path) as seen:
            await seen.begin("t", "a")
            found = modes(path.parent)
    finally:
        os.umask(before)
    assert found == dict.fromkeys(("seen.db", "seen.db-wal", "seen.db-shm"), 0o600)


@pytest.mark.parametrize(("was", "becomes"), [(0o644, 0o600), (0o664, 0o600), (0o660, 0o660)])
async def test_an_old_file_is_closed_to_others_unless_it_is_shared_with_a_group_on_purpose(
    path: Path, was: int, becomes: int
) -> None:
    SQLiteSeen(path).close()
    path.chmod(was)
    async with SQLiteSeen(path) as seen:
        await seen.begin("t", "a")
        assert set(modes(path.parent).values()) == {becomes}


async def test_a_file_behind_a_link_is_made_private_too(path: Path) -> None:
    path.symlink_to(path.parent / "real.db")
    async with SQLiteSeen(path) as seen:
        await seen.begin("t", "a")
        assert set(modes(path.parent).values()) == {0o600}


STUCK = """
    import asyncio, datetime as dt, json, sys
    from devskin_async.webhooks import SQLiteSeen, WebhookReceiver, HEADER, sign

    path, secret, body = sys.argv[1:]
    lease = dt.timedelta(seconds=0.3)
    receiver = WebhookReceiver(secret, seen=SQLiteSeen(path, lease=lease))

    @receiver.on("*")
    async def handler(event):
        print(json.dumps("handling"), flush=True)
        await asyncio.Event().wait()

    asyncio.run(receiver.handle(body.encode(), {HEADER: sign(body.encode(), secret)}))
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
async def test_what_a_killed_process_was_handling_is_handled_again_after_its_lease(
    seen: SQLiteSeen, path: Path, how: int
) -> None:
    receiver = make_receiver(seen)
    recorder = Recorder()
    receiver.on("*")(recorder)
    process = Process(STUCK, str(path), SECRET, EXAMPLE.decode())
    assert process.hear() == "handling"
    assert (await send(receiver, EXAMPLE)).status == 503
    process.end(how)
    async with asyncio.timeout(PATIENCE):
        while (await send(receiver, EXAMPLE)).status == 503:
            pass
    assert len(recorder.handled) == 1


RACING = """
    import asyncio, json, sys
    from devskin_async.webhooks import SQLiteSeen, WebhookReceiver, HEADER, sign

    path, secret = sys.argv[1:]
    receiver = WebhookReceiver(secret, seen=SQLiteSeen(path))
    handled = []

    @receiver.on("*")
    async def handler(event):
        await asyncio.sleep(0)
        handled.append(event.raw.decode())

    async def deliver(body):
        body = body.encode()
        status = 503
        while status == 503:
            status = (await receiver.handle(body, {HEADER: sign(body, secret)})).status
            await asyncio.sleep(0.001)
        assert status == 200

    async def main(bodies):
        await asyncio.gather(*map(deliver, bodies))

    print(json.dumps("ready"), flush=True)
    asyncio.run(main(json.loads(sys.stdin.readline())))
    print(json.dumps(handled), flush=True)
"""


def test_whichever_process_gets_a_copy_each_event_is_handled_once(path: Path) -> None:
    bodies = [
        order_body(status, order=number).decode()
        for number in range(10)
        for status in ("paid", "shipped")
    ]
    SQLiteSeen(path).close()
    processes = [Process(RACING, str(path), SECRET) for _ in range(3)]
    for process in processes:
        assert process.hear() == "ready"
    for process in processes:
        process.say(bodies)
    handled = Counter(body for process in processes for body in process.hear())
    for process in processes:
        process.process.communicate()
    assert handled == Counter(bodies)


FORKING = """
    import asyncio, gc, json, os, sys
    from devskin_async.webhooks import SQLiteSeen

    seen = SQLiteSeen(sys.argv[1])
    used = sys.argv[2] == "used"

    def ask(name, *args):
        return asyncio.run(getattr(seen, name)(*args))

    if used:
        ask("begin", "t", "a")
        ask("finish", "t", "a", None)
        ask("begin", "held by the parent", "b")
    pid = os.fork()
    if pid == 0:
        answers = [ask("begin", "t", "a"), ask("begin", "held by the parent", "b")]
        answers.append(ask("begin", "of the child", "c"))
        ask("finish", "u", "d", None)
        gc.collect()
        print(json.dumps(answers), flush=True)
        os._exit(0)
    os.waitpid(pid, 0)
    print(json.dumps([ask("begin", "of the child", "c"), ask("begin", "u", "d")]), flush=True)
    seen.close()
"""


def fork(path: Path, used: str) -> subprocess.CompletedProcess[str]:
    ignored = "ignore:This process:DeprecationWarning"
    return subprocess.run(
        [
            *(sys.executable, "-W", "error", "-W", ignored, "-c", textwrap.dedent(FORKING)),
            *(str(path), used),
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )


@pytest.mark.parametrize(
    ("used", "childs"), [("unused", ["new", "new", "new"]), ("used", ["done", "busy", "new"])]
)
def test_a_forked_child_may_use_it_beside_its_parent(
    path: Path, used: str, childs: list[str]
) -> None:
    ran = fork(path, used)
    assert [json.loads(line) for line in ran.stdout.splitlines()] == [childs, ["busy", "done"]]


def test_a_forked_child_does_not_close_its_parents_connection(path: Path) -> None:
    assert "unclosed database" not in fork(path, "used").stderr


# Threads, loops, cancellation.


def test_loops_in_several_threads_may_share_it(seen: SQLiteSeen) -> None:
    asyncio.run(seen.begin("t", "before"))

    async def use(number: int) -> str:
        await seen.begin(f"t{number}", f"k{number}")
        await seen.finish(f"t{number}", f"k{number}", None)
        return await seen.begin("t", f"k{number}")

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda number: asyncio.run(use(number)), range(50))) == {"done"}


def test_threads_that_come_first_at_the_same_moment_open_the_file_once(
    seen: SQLiteSeen, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = threading.Event()
    opened: list[sqlite_seen._Opened] = []

    class Lock:
        """Notes that somebody had to wait for it."""

        def __init__(self) -> None:
            self.lock = threading.Lock()

        def __enter__(self) -> None:
            if not self.lock.acquire(blocking=False):
                second.set()
                self.lock.acquire()

        def __exit__(self, *_: object) -> None:
            self.lock.release()

    class Slow(sqlite_seen._Opened):
        """The first takes until the second thread opens too, or waits."""

        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            opened.append(self)
            if len(opened) == 2:
                second.set()
            assert second.wait(PATIENCE)

    monkeypatch.setattr(seen, "_opening", Lock())
    monkeypatch.setattr(sqlite_seen, "_Opened", Slow)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda key: asyncio.run(seen.begin(key, key)), "ab"))
    for each in opened:
        each.close()
    seen._opened = None
    assert len(opened) == 1


async def test_a_turn_whose_begin_was_cancelled_may_be_begun_again_here(seen: SQLiteSeen) -> None:
    receiver = make_receiver(seen)
    recorder = Recorder()
    receiver.on("*")(recorder)
    task = asyncio.create_task(send(receiver, EXAMPLE))
    await settle(1)
    task.cancel()
    await asyncio.wait([task])
    assert outcome_of(task) == "cancelled"
    assert (await send(receiver, EXAMPLE)).status == 200
    assert len(recorder.handled) == 1


async def test_a_turn_whose_begin_was_cancelled_may_be_begun_by_another_process(
    seen: SQLiteSeen, other: Other
) -> None:
    task = asyncio.create_task(send(make_receiver(seen), EXAMPLE))
    await settle(1)
    task.cancel()
    await asyncio.wait([task])
    await seen.told(1234, 15)  # whatever was asked for before is done now
    assert other("begin", "order 1234", "a") == "new"


async def test_a_request_cancelled_while_it_is_handled_leaves_no_turn_to_other_processes(
    seen: SQLiteSeen, other: Other
) -> None:
    receiver = make_receiver(seen)
    recorder = Recorder()
    recorder.go.clear()
    receiver.on("*")(recorder)
    task = asyncio.create_task(send(receiver, EXAMPLE))
    await recorder.entered.acquire()
    assert other("begin", "order 1234", "a") == "busy"
    task.cancel()
    await asyncio.wait([task])
    assert other("begin", "order 1234", "a") == "new"


async def test_a_request_cancelled_while_it_is_finished_was_handled(seen: SQLiteSeen) -> None:
    receiver = make_receiver(seen)
    recorder = Recorder()
    go = threading.Event()
    beside: list[asyncio.Future[Any]] = []

    async def leave() -> None:
        task.cancel()
        await settle()
        go.set()

    @receiver.on("*")
    async def handler(event: object) -> None:
        # The file's thread is at something else when `finish` is asked for and cancelled.
        beside.append(asyncio.wrap_future(seen._open().submit(lambda: go.wait(10))))
        await settle(1)
        beside.append(asyncio.create_task(leave()))

    receiver.on("*")(recorder)
    task = asyncio.create_task(send(receiver, EXAMPLE))
    await asyncio.wait([task])
    assert outcome_of(task) == "cancelled"
    await asyncio.gather(*beside)
    assert (await send(receiver, EXAMPLE)).status == 200
    assert len(recorder.begun) == 1


# Files that can't be used.


def make_folder(path: Path) -> Path:
    path.mkdir()
    return path


def make_text(path: Path) -> Path:
    path.write_text("this is no database, but some text that is long enough to be one" * 100)
    return path


def make_foreign(path: Path) -> Path:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE handled (something TEXT)")
    return path


UNUSABLE = {
    "no folder": lambda path: path / "missing" / "seen.db",
    "a folder": make_folder,
    "below a file": lambda path: make_text(path) / "seen.db",
    "a text": make_text,
    "a foreign database": make_foreign,
}


@pytest.mark.parametrize("make", UNUSABLE.values(), ids=UNUSABLE)
def test_a_file_that_cannot_be_used_is_a_configuration_error_that_names_it(
    path: Path, make: Any
) -> None:
    unusable = make(path)
    with pytest.raises(ConfigurationError) as caught:
        SQLiteSeen(unusable)
    assert str(unusable) in str(caught.value)


@pytest.mark.parametrize("make", [UNUSABLE["no folder"], UNUSABLE["a text"]])
def test_sqlites_own_traceback_is_not_shown(path: Path, make: Any) -> None:
    with pytest.raises(ConfigurationError) as caught:
        SQLiteSeen(make(path))
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_a_path_that_no_file_can_have_is_a_configuration_error(path: Path) -> None:
    with pytest.raises(ConfigurationError):
        SQLiteSeen(f"{path}\0")


UNWRITABLE = """
    import os, sys
    from devskin_async.errors import ConfigurationError
    from devskin_async.webhooks import SQLiteSeen

    if os.geteuid() == 0:
        os.setuid(65534)
    for path in sys.argv[1:]:
        try:
            SQLiteSeen(path)
        except ConfigurationError as error:
            print(error)
        else:
            print("none")
"""


def test_a_file_or_folder_that_is_not_writable_is_a_configuration_error() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        file = folder / "there.db"
        SQLiteSeen(file).close()
        file.chmod(0o444)
        folder.chmod(0o555)
        ran = subprocess.run(
            [
                *(sys.executable, "-c", textwrap.dedent(UNWRITABLE)),
                *(str(file), str(folder / "new.db")),
            ],
            capture_output=True,
            text=True,
            check=True,
        )
        folder.chmod(0o755)
    first, second = ran.stdout.splitlines()
    assert "there.db" in first
    assert "new.db" in second


@pytest.mark.parametrize("option", ["age", "lease"])
@pytest.mark.parametrize("value", [dt.timedelta(0), dt.timedelta(seconds=-1)])
def test_age_and_lease_must_be_greater_than_0(path: Path, option: str, value: dt.timedelta) -> None:
    with pytest.raises(ValueError, match="age and lease must be greater than 0"):
        SQLiteSeen(path, **{option: value})


def test_a_new_file_that_another_process_is_making_is_waited_for(path: Path) -> None:
    with (
        contextlib.closing(sqlite3.connect(path, isolation_level=None)) as making,
        ThreadPoolExecutor(1) as pool,
    ):
        making.execute("CREATE TABLE handled (key TEXT PRIMARY KEY, at REAL NOT NULL)")
        making.execute("BEGIN IMMEDIATE")
        opening = pool.submit(SQLiteSeen, path)
        try:
            # It fails at once, or it waits.
            with contextlib.suppress(TimeoutError):
                opening.exception(0.2)
        finally:
            making.execute("ROLLBACK")
        opening.result().close()


# A file that can't be used any more.


LOCKING = """
    import json, sqlite3, sys

    file = sqlite3.connect(sys.argv[1], isolation_level=None)
    file.execute(sys.argv[2])
    print(json.dumps("locked"), flush=True)
    sys.stdin.readline()
    file.execute("ROLLBACK")
    print(json.dumps("free"), flush=True)
    sys.stdin.readline()
"""


@contextlib.contextmanager
def locked(path: Path, how: str = "BEGIN IMMEDIATE") -> Iterator[Process]:
    """Have another process lock the file, until it is told otherwise or the block ends."""
    process = Process(LOCKING, str(path), how)
    try:
        assert process.hear() == "locked"
        yield process
    finally:
        process.end()


def unlock(process: Process) -> None:
    process.say("now")
    assert process.hear() == "free"


@pytest.mark.parametrize("how", ["BEGIN IMMEDIATE", "BEGIN EXCLUSIVE"])
async def test_while_the_file_is_locked_requests_are_soon_told_503_and_to_try_again(
    path: Path, how: str
) -> None:
    recorder = Recorder()
    async with SQLiteSeen(path) as seen:
        receiver = make_receiver(seen)
        receiver.on("*")(recorder)
        assert (await send(receiver, order_body(order=1))).status == 200
        bodies = [order_body(order=number) for number in range(2, 8)]
        with locked(path, how) as process:
            # 2.5 s for all six; not one after another.
            async with asyncio.timeout(10):
                replies = await asyncio.gather(*(send(receiver, body) for body in bodies))
            assert [reply.status for reply in replies] == [503] * 6
            assert all(int(reply.headers["Retry-After"]) > 0 for reply in replies)
            assert len(recorder.begun) == 1
            unlock(process)
            assert {(await send(receiver, body)).status for body in bodies} == {200}
    assert len(recorder.handled) == 7


async def test_requests_that_wait_for_the_file_go_on_as_soon_as_it_is_free(path: Path) -> None:
    async with SQLiteSeen(path) as seen:
        receiver = make_receiver(seen)
        assert (await send(receiver, order_body(order=1))).status == 200
        with locked(path) as process:
            tasks = [
                asyncio.create_task(send(receiver, order_body(order=number)))
                for number in range(2, 8)
            ]
            await settle()
            unlock(process)
            assert {(await task).status for task in tasks} == {200}


@pytest.mark.parametrize("fails", [False, True])
async def test_where_the_file_is_locked_at_the_end_what_was_handled_is_written_later(
    path: Path, other: Other, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    monkeypatch.setattr(sqlite_seen, "BUSY_SECONDS", 0.01)
    recorder = Recorder()
    async with SQLiteSeen(path) as seen:
        receiver = make_receiver(seen)
        with contextlib.ExitStack() as stack:

            @receiver.on("*")
            async def lock(event: object) -> None:
                if not recorder.begun:
                    stack.enter_context(locked(path))

            receiver.on("*")(recorder)
            recorder.failures = [LookupError()] if fails else []
            assert (await send(receiver, EXAMPLE)).status == (500 if fails else 200)
            assert (await send(receiver, EXAMPLE)).status == 503
        assert (await send(receiver, EXAMPLE)).status == 200
        assert (len(recorder.begun), len(recorder.handled)) == ((2, 1) if fails else (1, 1))
        key = hashlib.sha256(EXAMPLE).hexdigest()
        assert other("begin", "another turn", key) == "done"


async def test_what_was_handled_while_the_file_was_locked_is_written_when_it_is_closed(
    path: Path, other: Other, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_seen, "BUSY_SECONDS", 0.01)
    async with SQLiteSeen(path) as seen:
        assert await seen.begin("t", "a") == "new"
        with locked(path):
            await seen.finish("t", "a", None)
    assert other("begin", "t", "a") == "done"


async def test_what_can_never_be_written_is_told_in_the_log_when_it_is_closed(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sqlite_seen, "BUSY_SECONDS", 0.01)
    seen = SQLiteSeen(path)
    assert await seen.begin("t", "a") == "new"
    with locked(path):
        await seen.finish("t", "a", None)
        seen.close()
    assert "the file stayed locked" in caplog.text


async def in_file(seen: SQLiteSeen, work: Callable[[sqlite3.Connection], T]) -> T:
    """Do something in the thread of a file."""
    opened = seen._open()
    until = time.monotonic() + PATIENCE
    return await asyncio.wrap_future(opened.submit(lambda: opened.transaction(work, until)))


async def test_while_the_file_is_full_the_answer_is_500_and_the_event_is_handled_later(
    seen: SQLiteSeen,
) -> None:
    receiver = make_receiver(seen)
    recorder = Recorder()
    receiver.on("*")(recorder)

    async def bound(pages: int) -> None:
        await in_file(
            seen, lambda file: file.execute(f"PRAGMA max_page_count = {pages}").fetchone()
        )

    await bound(1)  # SQLite makes of it as many as there are
    number = 0
    while (await send(receiver, order_body(order=number))).status == 200:
        number += 1
        assert number < 1000
    await bound(100_000)
    refused = order_body(order=number)
    assert [(await send(receiver, refused)).status for _ in range(2)] == [200, 200]
    assert Counter(event.raw for event in recorder.handled)[refused] in {1, 2}
    assert (await send(receiver, order_body(order=0))).status == 200
    assert Counter(event.raw for event in recorder.handled)[order_body(order=0)] == 1


async def test_a_file_that_was_spoilt_before_its_first_use_gives_500_and_can_be_closed(
    path: Path,
) -> None:
    async with SQLiteSeen(path) as seen:
        make_text(path)
        assert (await send(make_receiver(seen), EXAMPLE)).status == 500


async def test_work_that_fails_half_way_leaves_nothing_behind(seen: SQLiteSeen) -> None:
    def half(file: sqlite3.Connection) -> None:
        file.execute("INSERT INTO handled VALUES ('a', 1e18)")
        raise LookupError

    with pytest.raises(LookupError):
        await in_file(seen, half)
    assert await seen.begin("t", "a") == "new"
