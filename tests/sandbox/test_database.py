"""The file a store is kept in."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from devskin_async.sandbox import (
    Sandbox,
    SandboxError,
    create_store,
    keys,
    list_stores,
    open_database,
)
from devskin_async.sandbox.database import transaction
from tests.sandbox.support import TODAY, calling


async def test_a_file_keeps_its_store_whatever_is_asked_for_later(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    async with Sandbox(db=path, orders=30, seed=1, today=TODAY) as box, calling(box) as api:
        before = [await api.data(path) for path in ("/orders", "/orders/7", "/customers")]
    async with Sandbox(db=path, orders=99, seed=2, products=1) as box, calling(box) as api:
        after = [await api.data(path) for path in ("/orders", "/orders/7", "/customers")]
    assert after == before


async def test_opening_a_file_again_makes_another_key_and_leaves_the_first(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    async with Sandbox(db=path, orders=3) as box:
        first = box.api_key
    async with Sandbox(db=path) as box, calling(box) as api:
        assert box.api_key != first
        assert (await api.get("/orders", first)).status == 200
        names = [key.name for key in keys.list_keys(box.connection)]
    assert names == ["sandbox", "sandbox-2"]


async def test_a_key_that_was_given_is_accepted_again_without_a_second_one(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    for _ in range(2):
        async with Sandbox(db=path, orders=3, key="my-own-key") as box, calling(box) as api:
            assert (await api.get("/orders")).status == 200
            assert len(keys.list_keys(box.connection)) == 1


async def test_a_key_that_was_revoked_cant_be_given_again(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    async with Sandbox(db=path, orders=3, key="my-own-key") as box:
        box.revoke_key("sandbox")
    with pytest.raises(SandboxError, match=r"^the key was revoked$"):
        await Sandbox(db=path, key="my-own-key").start()


async def test_each_key_decides_which_store_of_a_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "stores.db"
    connection = open_database(path)
    sizes = {"First": 10, "Second": 20}
    made = {
        name: keys.create(connection, create_store(connection, name, orders=orders), name)
        for name, orders in sizes.items()
    }
    connection.close()
    async with Sandbox(db=path) as box, calling(box) as api:
        for name, key in made.items():
            assert (await api.get("/orders", key)).data["total"] == sizes[name]
            assert (await api.get("/analytics/overview", key)).data["total_orders"] == sizes[name]
            for path_of_list, total in (("/products", 87), ("/customers", 342)):
                assert (await api.get(path_of_list, key)).data["total"] == total
        assert (await api.get("/orders")).data["total"] == 10


async def test_the_overview_is_of_one_store_only() -> None:
    async with Sandbox(orders=30, products=7) as box, calling(box) as api:
        alone = await api.data("/analytics/overview")
        create_store(box.connection, "Second", orders=20, products=5)
        assert await api.data("/analytics/overview") == alone
        assert (alone["total_orders"], alone["total_products"]) == (30, 7)


class Rival:
    """Something that happens just before this process gets its n-th lock for writing."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, lock: int, action: Callable[[], object]
    ) -> None:
        rival = self
        self.came = False
        left = lock
        connect = sqlite3.connect

        class Connection(sqlite3.Connection):
            def execute(self, sql: str, *arguments: Any) -> sqlite3.Cursor:
                nonlocal left
                if sql == "BEGIN IMMEDIATE" and not rival.came:
                    left -= 1
                    if left == 0:
                        rival.came = True
                        # In a thread: an event loop runs in this one.
                        with ThreadPoolExecutor(1) as thread:
                            thread.submit(action).result()
                return super().execute(sql, *arguments)

        def connect_slowly(*arguments: Any, **options: Any) -> sqlite3.Connection:
            factory = sqlite3.Connection if rival.came else Connection
            return connect(*arguments, factory=factory, **options)

        monkeypatch.setattr(sqlite3, "connect", connect_slowly)


def test_two_processes_that_open_a_new_file_make_its_tables_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "store.db"
    rival = Rival(monkeypatch, 1, lambda: open_database(path).close())
    connection = open_database(path)
    assert rival.came
    assert list_stores(connection) == ()
    connection.close()


@pytest.mark.parametrize("key", [None, "my-own-key"])
@pytest.mark.parametrize("lock", [1, 2, 3])  # for the tables, the store, the key
async def test_two_processes_that_start_on_a_new_file_serve_one_store(
    lock: int, key: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "store.db"
    other = Sandbox(db=path, orders=3, products=2, customers=2, key=key)

    async def start_and_end() -> None:
        async with other:
            pass

    rival = Rival(monkeypatch, lock, lambda: asyncio.run(start_and_end()))
    box = Sandbox(db=path, orders=3, products=2, customers=2, key=key, limiter="none")
    async with box, calling(box) as api:
        assert rival.came
        assert len(list_stores(box.connection)) == 1
        assert len({box.api_key, other.api_key}) == len(keys.list_keys(box.connection))
        for text in (box.api_key, other.api_key):
            assert (await api.get("/orders", text)).data["total"] == 3


def test_a_transaction_within_another_is_undone_with_it() -> None:
    connection = open_database()

    def make_and_fail() -> None:
        with transaction(connection):
            create_store(connection, "A store", orders=0)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        make_and_fail()
    assert list_stores(connection) == ()
    connection.close()


def test_a_transaction_that_sqlite_itself_ended_tells_why() -> None:
    connection = open_database()

    def fail_as_on_a_full_disk() -> None:
        with transaction(connection):
            connection.execute("ROLLBACK")
            raise sqlite3.OperationalError("database or disk is full")

    with pytest.raises(SandboxError, match=r"^cannot write the database: database or disk is full"):
        fail_as_on_a_full_disk()
    connection.close()


async def test_a_database_another_process_has_locked_is_500_in_one_line_of_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "store.db"
    async with Sandbox(db=path, orders=3) as box, calling(box) as api:
        # Nobody else is answered meanwhile.
        assert box.connection.execute("PRAGMA busy_timeout").fetchone() == (1000,)
        box.connection.execute("PRAGMA busy_timeout = 1")
        other = sqlite3.connect(path)
        other.execute("BEGIN EXCLUSIVE")
        with caplog.at_level(logging.WARNING):
            answer = await api.get("/orders")
        other.close()
        assert (answer.status, answer.error) == (500, "Internal server error")
        (line,) = caplog.records
        assert (line.levelno, line.exc_info) == (logging.WARNING, None)
        assert line.getMessage() == "no response to GET /api/v1/orders: database is locked"
        assert (await api.get("/orders")).status == 200


async def test_a_write_that_a_reader_holds_up_is_undone(tmp_path: Path) -> None:
    connection = open_database(tmp_path / "store.db")
    connection.execute("PRAGMA busy_timeout = 1")
    other = sqlite3.connect(tmp_path / "store.db", isolation_level=None)
    other.execute("BEGIN")
    other.execute("SELECT * FROM stores").fetchall()
    with pytest.raises(SandboxError, match=r"^cannot write the database: database is locked$"):
        create_store(connection, "A store", orders=0)
    other.close()
    assert create_store(connection, "A store", orders=0) == 1
    connection.close()


async def test_a_key_made_or_revoked_by_another_process_counts_at_once(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    async with Sandbox(db=path, orders=3) as box, calling(box) as api:
        other = open_database(path)
        key = keys.create(other, 1, "From elsewhere")
        assert (await api.get("/orders", key)).status == 200
        keys.revoke(other, "From elsewhere")
        assert (await api.get("/orders", key)).status == 401
        other.close()


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("no database " * 100)
    with pytest.raises(SandboxError, match=r"^cannot use the database .*notes\.txt: file is not"):
        open_database(path)
    assert path.read_text() == "no database " * 100


def test_another_programs_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE orders (id INTEGER)")
    other.close()
    before = path.read_bytes()
    with pytest.raises(SandboxError, match=r"other\.db is a SQLite database, but not a sandbox's"):
        open_database(path)
    assert path.read_bytes() == before


def test_a_database_of_another_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    connection = open_database(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(SandboxError, match=r"made by another version of the sandbox \(schema 99\)"):
        open_database(path)


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SandboxError, match=r"^cannot open the database .*: unable to open"):
        open_database(tmp_path / "nowhere" / "store.db")


def test_a_file_that_cant_be_written_is_refused() -> None:
    with pytest.raises(SandboxError, match=r"^cannot .* the database /dev/full: "):
        open_database("/dev/full")


async def test_a_read_only_database_is_a_clear_error(tmp_path: Path) -> None:
    connection = open_database(tmp_path / "store.db")
    connection.execute("PRAGMA query_only = ON")
    message = r"^cannot write the database: attempt to write a readonly database$"
    with pytest.raises(SandboxError, match=message):
        create_store(connection, "A store")
    connection.execute("PRAGMA query_only = OFF")
    store = create_store(connection, "A store", orders=0)
    keys.create(connection, store, "Reports")
    connection.execute("PRAGMA query_only = ON")
    with pytest.raises(SandboxError, match=message):
        keys.create(connection, store, "More reports")
    with pytest.raises(SandboxError, match=message):
        keys.revoke(connection, "Reports")
    connection.close()


async def test_a_database_another_process_is_writing_is_a_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    async with Sandbox(db=path, orders=3) as box:
        other = sqlite3.connect(path)
        other.execute("BEGIN IMMEDIATE")
        box.connection.execute("PRAGMA busy_timeout = 0")
        with pytest.raises(SandboxError, match=r"^cannot write the database: database is locked$"):
            box.create_key("Reports")
        other.close()


async def test_a_damaged_database_is_a_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    connection = open_database(path)
    connection.execute("DROP TABLE stores")
    connection.close()
    with pytest.raises(SandboxError, match=r"^cannot use the database .*: no such table: stores$"):
        await Sandbox(db=path).start()


async def test_a_database_that_cant_be_used_leaves_nothing_running(tmp_path: Path) -> None:
    box = Sandbox(db=tmp_path)
    with pytest.raises(SandboxError, match=r"^cannot open the database"):
        await box.start()
    with pytest.raises(SandboxError, match=r"^the sandbox is not running$"):
        box.connection.execute("SELECT 1")
