"""API keys: named, shown once, kept as SHA-256, bound to one store, revocable."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from sqlite3 import Connection

import pytest

from devskin_async.sandbox import SandboxError, create_store, keys, open_database


@pytest.fixture
def connection() -> Iterator[Connection]:
    connection = open_database()
    for name in ("First", "Second"):
        create_store(connection, name, orders=0, products=0, customers=0)
    yield connection
    connection.close()


def test_a_key_is_told_once_and_kept_as_its_sha_256(connection: Connection) -> None:
    key = keys.create(connection, 1, "Nightly export")
    assert re.fullmatch(r"dsk_[\w-]{43}", key)
    dump = "\n".join(connection.iterdump())
    assert key not in dump
    assert hashlib.sha256(key.encode()).hexdigest() in dump


def test_only_the_sha_256_is_on_disk(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    connection = open_database(path)
    create_store(connection, "A store", orders=5)
    key = keys.create(connection, 1, "Nightly export")
    connection.close()
    on_disk = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert key.encode() not in on_disk
    assert hashlib.sha256(key.encode()).hexdigest().encode() in on_disk


def test_keys_are_found_by_their_text(connection: Connection) -> None:
    key = keys.create(connection, 2, "Reports", only=("revenue", "analytics"))
    found = keys.find(connection, key)
    assert found is not None
    assert (found.store_id, found.name, found.only) == (2, "Reports", ("analytics", "revenue"))
    assert keys.find(connection, key + "x") is None


def test_a_listing_tells_all_of_a_key_but_its_text(connection: Connection) -> None:
    made = [keys.create(connection, 1, "One"), keys.create(connection, 2, "Two", only=["orders"])]
    keys.revoke(connection, "One")
    one, two = keys.list_keys(connection)
    assert (one.id, one.store_id, one.name, one.only) == (1, 1, "One", None)
    assert (two.id, two.store_id, two.name, two.only) == (2, 2, "Two", ("orders",))
    assert one.revoked_at is not None
    assert two.revoked_at is None
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", two.created_at)
    assert not any(key in repr((one, two)) for key in made)


@pytest.mark.parametrize("handle", ["Reports", 1, "1"])
def test_a_key_is_revoked_by_name_or_id(connection: Connection, handle: int | str) -> None:
    key = keys.create(connection, 1, "Reports")
    info = keys.revoke(connection, handle)
    assert info.revoked_at is not None
    assert keys.find(connection, key) == info


def test_a_name_of_digits_goes_before_an_id(connection: Connection) -> None:
    keys.create(connection, 1, "Reports")
    keys.create(connection, 1, "1")
    assert keys.revoke(connection, "1").name == "1"
    assert keys.revoke(connection, "1").name == "Reports"


def test_what_is_not_there_or_revoked_already_cant_be_revoked(connection: Connection) -> None:
    key = keys.create(connection, 1, "Reports")
    keys.revoke(connection, "Reports")
    for handle in ("Reports", 1, 7, "nothing", key):
        with pytest.raises(SandboxError, match=r"^there is no live key of that name or id$"):
            keys.revoke(connection, handle)


def test_a_name_is_free_again_once_its_key_is_revoked(connection: Connection) -> None:
    first = keys.create(connection, 1, "Reports")
    with pytest.raises(SandboxError, match="a key with that name 'Reports' exists already"):
        keys.create(connection, 2, "Reports")
    keys.revoke(connection, "Reports")
    assert keys.create(connection, 2, "Reports") != first


def test_a_text_is_never_taken_twice(connection: Connection) -> None:
    keys.create(connection, 1, "One", text="my-key")
    with pytest.raises(SandboxError, match=r"^a key with that text exists already$"):
        keys.create(connection, 1, "Two", text="my-key")


@pytest.mark.parametrize("text", ["", "two words", "clé", "line\nbreak"])
def test_a_text_must_fit_a_header(connection: Connection, text: str) -> None:
    with pytest.raises(SandboxError, match="must be printable ASCII without spaces"):
        keys.create(connection, 1, "Own", text=text)


def test_a_key_needs_a_name_a_store_and_known_resources(connection: Connection) -> None:
    with pytest.raises(SandboxError, match="the key needs a name"):
        keys.create(connection, 1, "  ")
    with pytest.raises(SandboxError, match="there is no store 3"):
        keys.create(connection, 3, "Reports")
    with pytest.raises(SandboxError, match="no resource 'invoices'; there are orders, revenue"):
        keys.create(connection, 1, "Reports", only=("orders", "invoices"))
    assert keys.list_keys(connection) == ()


def test_a_key_may_be_restricted_to_nothing(connection: Connection) -> None:
    found = keys.find(connection, keys.create(connection, 1, "Locked out", only=()))
    assert found is not None
    assert found.only == ()
