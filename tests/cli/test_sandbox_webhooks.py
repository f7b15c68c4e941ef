"""`devskin sandbox webhooks`, and the webhooks of `devskin sandbox` itself."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from devskin_async import sandbox as package
from devskin_async.sandbox import Sandbox, delivery_log, endpoints, open_database
from tests.sandbox.receiver import Receiver, receiving

from .support import Devskin, Ran, command, in_thread, until

HOOK = "http://localhost:8000/hook"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with in_thread(receiving) as receiver:
        yield receiver


@pytest.fixture
def db(tmp_path: Path) -> str:
    path = tmp_path / "shop.db"
    with in_thread(lambda: Sandbox(db=path, orders=5, customers=3, products=3)):
        pass
    return str(path)


@contextmanager
def ended_when(condition: object) -> Iterator[None]:
    """End this process's command as soon as a condition is true."""

    def end() -> None:
        assert callable(condition)
        try:
            until(condition)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=end)
    thread.start()
    yield
    thread.join()


def delivered(db: str) -> set[int]:
    """The ids of the deliveries that arrived."""
    with closing(open_database(db)) as connection:
        log = delivery_log.list_deliveries(connection, 100_000)
    return {each.id for each in log if each.state == "delivered"}


def one_line(ran: Ran, told: str, code: int = 1) -> bool:
    return (ran.code, ran.out, ran.err) == (code, "", f"devskin: {told}\n")


def test_an_endpoint_is_added_and_its_secret_shown_once(devskin: Devskin, db: str) -> None:
    ran = devskin("sandbox", "webhooks", "add", HOOK, "--db", db)
    assert ran.code == 0
    assert re.fullmatch(r"whsec_[0-9a-f]{48}\n", ran.out)
    assert ran.err == "The secret of endpoint 1. Copy it now: it is shown this once.\n"
    listed = devskin("sandbox", "webhooks", "list", "--db", db)
    logged = devskin("sandbox", "webhooks", "log", "--db", db)
    assert ran.out.strip() not in listed.out + listed.err + logged.out + logged.err


def test_the_list_tells_where_events_go_and_which(devskin: Devskin, db: str) -> None:
    devskin("sandbox", "webhooks", "add", HOOK, "--db", db)
    devskin("sandbox", "webhooks", "add", HOOK, "--events", "order.paid, order.shipped", "--db", db)
    head, first, second = devskin("sandbox", "webhooks", "list", "--db", db).out.splitlines()
    assert head.split() == ["ID", "Store", "URL", "Events", "Added"]
    assert first.split()[:4] == ["1", "1", HOOK, "order.*"]
    assert second.split()[:5] == ["2", "1", HOOK, "order.paid,", "order.shipped"]


def test_a_removed_endpoint_is_not_listed(devskin: Devskin, db: str) -> None:
    devskin("sandbox", "webhooks", "add", HOOK, "--db", db)
    ran = devskin("sandbox", "webhooks", "remove", "1", "--db", db)
    assert ran == (0, "", f"Removed endpoint 1, {HOOK}.\n")
    assert len(devskin("sandbox", "webhooks", "list", "--db", db).out.splitlines()) == 1


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (("add", HOOK, "--events", "order.lost"), "no webhook event 'order.lost'; there are "),
        (("add", HOOK, "--store", "9"), "there is no store 9"),
        (("add", HOOK, "--store", "9999999999999999999"), "there is no store 9999999999999999999"),
        (("add", "localhost/hook"), "the webhook URL 'localhost/hook' must begin with http:// "),
        (("add", HOOK, "--secret", ""), "the webhook secret must be printable"),
        (("remove", "7"), "there is no webhook endpoint 7"),
        (("log", "--limit", "0"), "limit must be positive"),
    ],
)
def test_what_can_not_be_is_one_line(
    argv: tuple[str, ...], told: str, devskin: Devskin, db: str
) -> None:
    ran = devskin("sandbox", "webhooks", *argv, "--db", db)
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith(f"devskin: {told}")
    assert len(ran.err.splitlines()) == 1


def test_a_private_address_is_added_with_a_warning(devskin: Devskin, db: str) -> None:
    ran = devskin("sandbox", "webhooks", "add", "http://10.0.0.5/", "--secret", "s3", "--db", db)
    assert (ran.code, ran.out) == (0, "")
    assert "Added endpoint 1, with the secret that was given.\n" in ran.err
    assert "s3" not in ran.err
    assert ran.err.splitlines()[1] == (
        "Careful: 10.0.0.5 is a private address, and private targets are not allowed"
        " unless the sandbox runs with --allow-private."
    )


def test_the_secret_of_an_endpoint_is_taken_from_the_environment(
    devskin: Devskin, db: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEVSKIN_WEBHOOK_SECRET", "my-own")
    ran = devskin("sandbox", "webhooks", "add", "http://localhost:1/", "--db", db)
    told = "Added endpoint 1, with the secret that was given.\n"
    assert (ran.code, ran.out, ran.err) == (0, "", told)
    with closing(sqlite3.connect(db)) as connection:
        assert connection.execute("SELECT secret FROM webhook_endpoints").fetchall() == [
            ("my-own",)
        ]


def test_a_file_that_is_not_there_is_not_made(devskin: Devskin, tmp_path: Path) -> None:
    path = tmp_path / "typo.db"
    ran = devskin("sandbox", "webhooks", "list", "--db", str(path))
    assert one_line(
        ran, f"there is no {path}: run devskin sandbox --db {path} first, in another terminal"
    )
    assert not path.exists()


def test_a_locked_database_is_one_line(
    devskin: Devskin, db: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def locked(*_: object) -> None:
        raise sqlite3.OperationalError("database is locked")

    monkeypatch.setattr(endpoints, "list_endpoints", locked)
    ran = devskin("sandbox", "webhooks", "list", "--db", db)
    assert one_line(ran, f"{db}: database is locked")


def test_a_sandbox_posts_its_live_events_to_the_urls_it_was_given(
    devskin: Devskin, receiver: Receiver
) -> None:
    with ended_when(lambda: len(receiver.seen) >= 6):
        ran = devskin(
            *("sandbox", "--port", "0", "--orders", "9", "--live", "100"),
            *("--webhook", f"{receiver.url}/a", "--webhook", f"{receiver.url}/b"),
        )
    assert ran.code == 0
    secrets = re.findall(
        rf"^Webhooks to {re.escape(receiver.url)}/[ab], signed by the secret (whsec_\w+)$",
        ran.out,
        re.MULTILINE,
    )
    assert len(set(secrets)) == 2
    assert {seen.path for seen in receiver.seen} == {"/hook/a", "/hook/b"}
    assert {seen.body["event"] for seen in receiver.seen} <= set(endpoints.EVENTS)
    assert re.search(r"; webhooks: \d+ delivered, \d+ waiting, 0 given up\.$", ran.err.strip())


@pytest.mark.parametrize("given", ["option", "environment"])
def test_the_secret_can_be_chosen(
    given: str, devskin: Devskin, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ["--webhook-secret", "my-own"] if given == "option" else []
    if not options:
        monkeypatch.setenv("DEVSKIN_WEBHOOK_SECRET", "my-own")
    with ended_when(lambda: receiver.seen):
        ran = devskin(
            *("sandbox", "--port=0", "--orders=9", "--live=100", "--webhook", receiver.url),
            *options,
        )
    assert f"Webhooks to {receiver.url}, signed by the secret my-own\n" in ran.out


def test_a_url_that_the_file_has_already_is_not_added_again(
    devskin: Devskin, db: str, receiver: Receiver
) -> None:
    devskin("sandbox", "webhooks", "add", receiver.url, "--secret", "my-own", "--db", db)
    options = ("sandbox", "--port=0", "--live=100", "--db", db, "--webhook", receiver.url)
    with ended_when(lambda: receiver.seen):
        ran = devskin(*options)
    assert f"Webhooks to {receiver.url}, which the file has as endpoint 1\n" in ran.out
    assert "my-own" not in ran.out + ran.err
    refused = devskin(*options, "--webhook-secret", "my-other-one")
    assert one_line(refused, f"endpoint 1 for {receiver.url} has another secret")


def test_what_a_killed_sandbox_had_not_seen_arrive_is_sent_by_the_next_one(
    devskin: Devskin, db: str, receiver: Receiver
) -> None:
    devskin("sandbox", "webhooks", "add", receiver.url, "--db", db)
    receiver.hangs(1)
    argv = ("sandbox", "--port=0", "--live=100", "--db", db)
    with subprocess.Popen(command(*argv), stdout=subprocess.DEVNULL) as process:
        try:
            until(lambda: receiver.seen)
        finally:
            process.kill()
    assert 1 not in delivered(db)
    with ended_when(lambda: 1 in delivered(db)):
        devskin("sandbox", "--port=0", "--db", db)
    again = [seen.raw for seen in receiver.seen if seen.raw == receiver.seen[0].raw]
    assert len(again) == 2


def test_the_log_tells_what_was_sent_newest_first(
    devskin: Devskin, db: str, receiver: Receiver
) -> None:
    devskin("sandbox", "webhooks", "add", receiver.url, "--db", db)
    with ended_when(lambda: {1, 2, 3} <= delivered(db)):
        devskin("sandbox", "--port=0", "--live=100", "--db", db)
    ran = devskin("sandbox", "webhooks", "log", "--limit", "2", "--db", db)
    head, newest, older = ran.out.splitlines()
    assert re.split(r"\s{2,}", head.strip()) == [
        *("ID", "To", "Order", "Event", "Fired", "State", "Tries", "Last answer"),
    ]
    assert int(newest.split()[0]) == int(older.split()[0]) + 1
    oldest = (
        devskin("sandbox", "webhooks", "log", "--limit", "99999", "--db", db)
        .out.splitlines()[-1]
        .split()
    )
    assert oldest[:2] == ["1", "1"]
    assert oldest[3] in endpoints.EVENTS
    assert oldest[6:] == ["delivered", "1", "status", "200"]


def test_a_private_url_is_one_line_unless_it_is_allowed(
    devskin: Devskin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "shop.db"
    options = ("sandbox", "--port=0", "--webhook", "http://10.0.0.5/", "--db", str(path))
    refused = devskin(*options)
    reason = "10.0.0.5 is a private address, and private targets are not allowed"
    assert one_line(refused, reason)
    made: list[object] = []

    class Spy(Sandbox):
        def __init__(self, **options: object) -> None:
            made.append(options.get("webhooks"))
            super().__init__(**options)  # type: ignore[arg-type]  # passed on as they came

    monkeypatch.setattr(package, "Sandbox", Spy)

    def is_added() -> bool:
        with closing(open_database(path)) as connection:
            return bool(endpoints.list_endpoints(connection))

    with ended_when(is_added):
        assert devskin(*options, "--allow-private").code == 0
    assert made == [package.WebhookSending(allow_private=True)]
