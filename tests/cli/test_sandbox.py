"""`devskin sandbox` and `devskin sandbox keys`."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import get_args

import pytest

from devskin_async import sandbox as package
from devskin_async.cli import sandbox
from devskin_async.sandbox import Sandbox, keys

from .support import Devskin, in_thread, until


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def serves(port: int) -> bool:
    """Whether a server answers there; what is not HTTP counts as no request."""
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)):
            return False
        probe.sendall(b"no http\r\n\r\n")
        return bool(probe.recv(1))


@contextmanager
def ended_by(number: signal.Signals, port: int) -> Iterator[None]:
    """Send this process a signal as soon as a server has started on a port."""

    def end() -> None:
        until(lambda: serves(port))
        os.kill(os.getpid(), number)

    thread = threading.Thread(target=end)
    thread.start()
    yield
    thread.join()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_sandbox_runs_until_a_signal_and_ends_well(
    number: signal.Signals, devskin: Devskin, free_port: int
) -> None:
    with ended_by(number, free_port):
        ran = devskin("sandbox", "--port", str(free_port))
    assert ran.code == 0
    assert ran.err == "Stopped after 0 requests, 0 refused.\n"
    assert not listens(free_port)


def test_a_sandbox_tells_its_address_its_key_and_lines_to_copy(
    devskin: Devskin, free_port: int
) -> None:
    with ended_by(signal.SIGTERM, free_port):
        ran = devskin("sandbox", "--port", str(free_port), "--key", "a$key")
    url = f"http://127.0.0.1:{free_port}/api/v1"
    assert f"at {url}" in ran.out
    assert f"  export DEVSKIN_BASE_URL={url} DEVSKIN_API_KEY='a$key'\n" in ran.out
    assert f"""  curl -H 'X-API-Key: a$key' '{url}/orders?limit=2'\n""" in ran.out


def test_a_port_in_use_is_one_line(devskin: Devskin, box: Sandbox) -> None:
    ran = devskin("sandbox", "--port", str(box.port))
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith(f"devskin: cannot listen on 127.0.0.1 port {box.port}: ")
    assert len(ran.err.splitlines()) == 1


def test_every_switch_reaches_the_sandbox(
    devskin: Devskin, free_port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[dict[str, object]] = []

    class Spy(Sandbox):
        def __init__(self, **options: object) -> None:
            made.append(options)
            super().__init__(**options)  # type: ignore[arg-type]  # passed on as they came

    monkeypatch.setattr(package, "Sandbox", Spy)
    switches = (
        "--orders=3 --products=2 --customers=1 --seed=7 --key=k --live=0.5 "
        "--limiter=sliding-log --limit=9 --per=1.5 --quota-headers=ratelimit "
        "--fail=0.5 --fail-kind=500 --fail-kind=reset "
        "--latency=0.25 --list-order=oldest --date-to=exclusive --time-zone=America/Sao_Paulo "
        "--removals=0.25 --quirk=page-cap=50 --quirk=bom "
        f"--drift --allow-private --port={free_port} --db={tmp_path / 'shop.db'}"
    )
    with ended_by(signal.SIGTERM, free_port):
        ran = devskin("sandbox", *switches.split())
    assert ran.code == 0
    assert made == [
        {
            "port": free_port,
            "db": tmp_path / "shop.db",
            "orders": 3,
            "products": 2,
            "customers": 1,
            "seed": 7,
            "key": "k",
            "traffic": package.Traffic(inserts=0.5, changes=1.5, removals=0.25),
            "webhooks": package.WebhookSending(allow_private=True),
            "limiter": "sliding-log",
            "limit": 9,
            "per": 1.5,
            "quota_headers": "ratelimit",
            "faults": package.Faults(fail=0.5, kinds=("500", "reset")),
            "latency": 0.25,
            "order": "oldest",
            "date_to": "exclusive",
            "time_zone": "America/Sao_Paulo",
            "drift": True,
            "quirks": ("page-cap=50", "bom"),
        }
    ]


def test_webhooks_without_live_traffic_are_told_to_be_none(
    devskin: Devskin, free_port: int
) -> None:
    with ended_by(signal.SIGTERM, free_port):
        ran = devskin("sandbox", f"--port={free_port}", "--webhook", "http://127.0.0.1:9/")
    assert "Nothing fires yet: --live 1 lets orders come and move on.\n" in ran.err
    assert ran.err.endswith("; webhooks: 0 delivered, 0 waiting, 0 given up.\n")


@pytest.mark.parametrize(
    "name", ["LimiterKind", "QuotaHeaders", "FaultKind", "ListOrder", "DateTo"]
)
def test_the_command_has_the_sandboxs_own_words(name: str) -> None:
    assert get_args(getattr(sandbox, name)) == get_args(getattr(package, name))


@pytest.mark.parametrize(
    ("switch", "value", "told"),
    [
        ("--fail", "3", "fail must be a share from 0 to 1"),
        ("--live", "-1", "there can't be -1.0 inserts a second"),
        ("--removals", "-1", "there can't be -1.0 removals a second"),
        (
            "--quirk",
            "pagecap=50",
            (
                "unknown quirk 'pagecap': did you mean page-cap?"
                " `devskin sandbox quirks` lists all of them"
            ),
        ),
        ("--quirk", "page-cap", "the quirk page-cap needs a value: page-cap=ROWS"),
        (
            "--quirk",
            "past-end=500",
            "invalid value '500' for past-end=404|400|last: must be one of 404, 400, last",
        ),
    ],
)
def test_a_bad_value_of_the_sandbox_is_one_line(
    switch: str, value: str, told: str, devskin: Devskin
) -> None:
    assert devskin("sandbox", switch, value) == (2, "", f"devskin: {told}\n")


EXAMPLES = {
    "page-cap": "page-cap=50",
    "silent-page-cap": "silent-page-cap=50",
    "past-end": "past-end=last",
    "total": "total=+500",
    "day-cut": "day-cut=60",
    "day-loss": "day-loss=0.02",
    "frame": "frame=text",
    "empty-address": "empty-address=list",
    "times": "times=leap-second",
    "error-body": "error-body=html",
    "echo-key": "echo-key=slash",
    "failing-order": "failing-order=7:403",
    "age": "age=60",
    "big-headers": "big-headers=4",
    "retry-after": "retry-after=60",
    "others": "others=10",
    "clock": "clock=-3600",
}
"""How the quirks are typed that need a value."""


def test_every_quirk_can_be_typed_and_serves(devskin: Devskin, free_port: int) -> None:
    words = [word for quirk in package.Quirk for word in ("--quirk", EXAMPLES.get(quirk, quirk))]
    seen: list[tuple[int, bytes]] = []

    def look() -> None:
        until(lambda: serves(free_port))
        with closing(HTTPConnection("127.0.0.1", free_port)) as connection:
            connection.request("GET", "/api/v1/orders?limit=100", headers={"X-API-Key": "k"})
            answer = connection.getresponse()
            seen.append((answer.status, answer.read()))
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=look)
    thread.start()
    ran = devskin("sandbox", f"--port={free_port}", "--key=k", "--limiter=none", *words)
    thread.join()
    assert (ran.code, ran.err) == (0, "Stopped after 1 requests, 0 refused.\n")
    ((status, body),) = seen
    assert status == 200
    data = json.loads(body)["data"]
    assert (len(data["items"]), data["limit"], data["total"]) == (50, "100", "2063")


def test_the_quirks_are_listed_with_a_sentence_each(devskin: Devskin) -> None:
    ran = devskin("sandbox", "quirks")
    assert (ran.code, ran.err) == (0, "")
    lines = {line.split()[0]: line for line in ran.out.splitlines()[1:]}
    assert lines.keys() == {quirk.usage for quirk in package.Quirk}
    for quirk in package.Quirk:
        assert lines[quirk.usage].endswith(f" {quirk.explanation}")
        assert quirk.explanation.endswith(".")


def test_help_says_where_the_quirks_are_listed(devskin: Devskin) -> None:
    told = " ".join(devskin("sandbox", "--help").out.replace("│", " ").split())
    assert "What devskin sandbox quirks lists, such as page-cap=50" in told


@pytest.fixture
def db(tmp_path: Path) -> str:
    path = tmp_path / "shop.db"
    with in_thread(lambda: Sandbox(db=path, orders=5, customers=3, products=3)):
        pass
    return str(path)


def test_a_key_is_made_shown_once_and_opens_what_it_may_read(devskin: Devskin, db: str) -> None:
    made = devskin("sandbox", "keys", "create", "nightly", "--only", "orders, products", "--db", db)
    key = made.out.strip()
    assert made == (0, f"{key}\n", "Copy it now: it is shown this once.\n")
    listed = devskin("sandbox", "keys", "list", "--db", db)
    assert key not in listed.out + listed.err
    with in_thread(lambda: Sandbox(db=db, limiter="none")) as box:
        options = ("--base-url", box.base_url, "--api-key", key)
        assert devskin("products", *options).code == 0
        refused = devskin("customers", *options)
    assert refused.code == 1
    assert refused.err.startswith("devskin: GET /customers: 403 ")


def test_the_list_of_keys_tells_all_but_their_text(devskin: Devskin, db: str) -> None:
    devskin("sandbox", "keys", "create", "nightly", "--only", "orders", "--db", db)
    ran = devskin("sandbox", "keys", "list", "--db", db)
    head, first, second = ran.out.splitlines()
    assert head.split() == ["ID", "Store", "Name", "May", "read", "Created", "Revoked"]
    assert first.split()[:4] == ["1", "1", "sandbox", "all"]
    assert second.split()[:4] == ["2", "1", "nightly", "orders"]


@pytest.mark.parametrize("which", ["nightly", "2"])
def test_a_key_is_revoked_by_name_or_id(which: str, devskin: Devskin, db: str) -> None:
    key = devskin("sandbox", "keys", "create", "nightly", "--db", db).out.strip()
    ran = devskin("sandbox", "keys", "revoke", which, "--db", db)
    assert ran == (0, "", "Revoked key 2, nightly.\n")
    with in_thread(lambda: Sandbox(db=db)) as box:
        refused = devskin("overview", "--base-url", box.base_url, "--api-key", key)
    assert refused.err.startswith("devskin: GET /analytics/overview: 401 ")


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (("revoke", "weekly"), "there is no live key"),
        (("create", "x", "--only", "invoices"), "no resource 'invoices'"),
        (("create", "x", "--store", "9"), "there is no store 9"),
        (("create", "sandbox"), "a key with that name 'sandbox' exists already"),
    ],
)
def test_a_key_that_can_not_be_is_one_line(
    argv: tuple[str, ...], told: str, devskin: Devskin, db: str
) -> None:
    ran = devskin("sandbox", "keys", *argv, "--db", db)
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith(f"devskin: {told}")
    assert len(ran.err.splitlines()) == 1


def test_a_file_that_is_not_there_is_not_made(devskin: Devskin, tmp_path: Path) -> None:
    path = tmp_path / "typo.db"
    ran = devskin("sandbox", "keys", "list", "--db", str(path))
    told = (
        f"devskin: there is no {path}: run devskin sandbox --db {path} first, in another terminal\n"
    )
    assert ran == (1, "", told)
    assert not path.exists()


def test_a_file_that_is_no_database_is_one_line(devskin: Devskin, tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a database " * 100)
    ran = devskin("sandbox", "keys", "list", "--db", str(path))
    assert ran.code == 1
    assert str(path) in ran.err
    assert len(ran.err.splitlines()) == 1


def test_a_locked_database_is_one_line(
    devskin: Devskin, db: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def locked(*_: object) -> None:
        raise sqlite3.OperationalError("database is locked")

    monkeypatch.setattr(keys, "list_keys", locked)
    ran = devskin("sandbox", "keys", "list", "--db", db)
    assert ran == (1, "", f"devskin: {db}: database is locked\n")
