"""`devskin webhooks listen`."""

from __future__ import annotations

import asyncio
import datetime as dt
import http.client
import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from devskin_async.cli import listening
from devskin_async.webhooks import HEADER, sign

from .support import PATIENCE, Devskin, Ran, command, in_terminal, in_thread, plain, until
from .test_sandbox import listens
from .test_webhooks import BODY, LINE, SECRET

Listen = Callable[..., Ran]

OTHER = BODY.replace(b"1234,", b"1235,")
INTRODUCTION = 11
"""How many lines it tells before it listens."""
HINT = "Is --secret (or DEVSKIN_WEBHOOK_SECRET) the one its sender has?"


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEVSKIN_WEBHOOK_SECRET", SECRET)


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def post(
    url: str, body: bytes = BODY, *, headers: dict[str, str] | None = None, method: str = "POST"
) -> int:
    """Post as the API does, unless told otherwise, and give the status."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(f"{parts.hostname}:{parts.port}", timeout=PATIENCE)
    given = {HEADER: sign(body, SECRET)} if headers is None else headers
    try:
        connection.request(method, parts.path, body, given)
        response = connection.getresponse()
        response.read()
        return response.status
    finally:
        connection.close()


def half_a_request(port: int, body: bytes = BODY, *, whole: bool = False) -> socket.socket:
    """Send a request, all or half of it, and leave the answer there."""
    peer = socket.create_connection(("127.0.0.1", port))
    head = f"POST / HTTP/1.1\r\nHost: x\r\n{HEADER}: {sign(body, SECRET)}\r\n"
    sent = body if whole else body[:20]
    peer.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + sent)
    return peer


@pytest.fixture
def listen(devskin: Devskin, free_port: int) -> Listen:
    """Runs the command here, and something in another thread, after which comes Ctrl-C."""

    def run(act: Callable[[str], object], *options: str, ends: bool = False) -> Ran:
        ended = threading.Event()

        def go() -> None:
            try:
                until(lambda: ended.is_set() or listens(free_port))
                act(f"http://127.0.0.1:{free_port}/hook")
            finally:
                if not ends and not ended.is_set():
                    os.kill(os.getpid(), signal.SIGINT)

        with ThreadPoolExecutor(1) as threads:
            acting = threads.submit(go)
            ran = devskin("webhooks", "listen", "--port", str(free_port), *options)
            ended.set()
        acting.result()
        return ran

    return run


class Target:
    """A server to forward to, that answers as it is told to."""

    def __init__(self) -> None:
        self.seen: list[tuple[bytes, dict[str, str]]] = []
        self.statuses: list[int] = []
        self.gate = threading.Event()
        self.gate.set()
        self.url = ""

    async def handle(self, request: web.Request) -> web.Response:
        self.seen.append((await request.read(), dict(request.headers)))
        while not self.gate.is_set():  # noqa: ASYNC110 - another thread opens it
            await asyncio.sleep(0.005)
        status = self.statuses.pop(0) if self.statuses else 204
        return web.Response(status=status, headers={"Location": "/elsewhere"})

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Target]:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self.handle)
        async with TestServer(app) as server:
            self.url = str(server.make_url("/app"))
            try:
                yield self
            finally:
                self.gate.set()


@pytest.fixture
def target() -> Iterator[Target]:
    with in_thread(Target().open) as target:
        yield target


def told(ran: Ran) -> list[str]:
    """What is said after the introduction and before the summary."""
    return ran.err.partition("--db shop.db\n\n")[2].splitlines()[:-1]


def summary(ran: Ran) -> str:
    return ran.err.splitlines()[-1]


def test_each_event_is_one_line_as_it_comes(listen: Listen) -> None:
    statuses: list[int] = []
    ran = listen(lambda url: statuses.extend((post(url), post(f"{url}/any?path", OTHER))))
    assert statuses == [200, 200]
    assert ran.code == 0
    assert ran.out == LINE + LINE.replace("order 1234", "order 1235")
    assert summary(ran) == "Stopped after 2 events, 0 refused, 0 repeats."
    assert told(ran) == []


def test_what_to_type_next_is_told_and_the_secret_is_not(listen: Listen, free_port: int) -> None:
    ran = listen(post, "--secret", SECRET)
    url = f"http://127.0.0.1:{free_port}/"
    assert ran.err.startswith(f"Listening on {url} (Ctrl-C stops it)\n")
    assert f"  devskin webhooks send --to {url} --event order.paid\n" in ran.err
    assert f"  devskin sandbox --live 1 --webhook {url}\n" in ran.err
    assert f"  devskin sandbox webhooks add {url} --db shop.db\n" in ran.err
    assert SECRET not in ran.out + ran.err


def test_no_line_that_it_tells_puts_a_secret_into_a_command_line(listen: Listen) -> None:
    # A shell writes out what "$DEVSKIN_WEBHOOK_SECRET" stands for, and ps shows that.
    commands = [line for line in listen(post).err.splitlines() if line.startswith("  devskin ")]
    assert len(commands) == 3
    for each in commands:
        assert "secret" not in each.lower()
        assert "$" not in each


OTHERS = {
    b'{"event":"ping"}': "no timestamp         ping             no store\n",
    b'{"event":"webhook.test","store_id":15,"data":null}': (
        "no timestamp         webhook.test     store 15\n"
    ),
    b'{"event":"order.deleted","store_id":null,"data":{"id":7}}': (
        'no timestamp         order.deleted    no store  {"id":7}\n'
    ),
}


@pytest.mark.parametrize(("body", "line"), OTHERS.items())
def test_an_event_of_another_shape_is_acknowledged_and_shown(
    body: bytes, line: str, listen: Listen
) -> None:
    statuses: list[int] = []
    ran = listen(lambda url: statuses.append(post(url, body)))
    assert (statuses, ran.out) == ([200], line)
    assert listen(lambda url: post(url, body), "--json").out.encode() == body + b"\n"


def test_json_is_what_was_sent_byte_by_byte(listen: Listen) -> None:
    body = BODY.replace(b'"paid"', b'"paid", "new":  [1.10, 1e3]').replace(b"ORD", "Ação".encode())
    ran = listen(lambda url: post(url, body), "--json")
    assert ran.out.encode() == body + b"\n"


def test_json_of_several_lines_is_one_harmless_line_of_the_same_values(listen: Listen) -> None:
    text = json.dumps(json.loads(BODY), indent="\t")
    body = text.replace("ORD", "\x9b2J\u202e\U000e0041\\n").encode() + b"\r\n"
    ran = listen(lambda url: post(url, body), "--json")
    assert ran.out.rstrip("\n").isprintable()
    assert json.loads(ran.out) == json.loads(body)
    assert r"\u009b2J\u202e\udb40\udc41\n" in ran.out


@pytest.mark.parametrize("place", ["event", "order_number", "status", "data"])
def test_an_event_can_not_steer_the_terminal(place: str, listen: Listen) -> None:
    hostile = "x.\x1b[2J\x9b1m\r\n[red]\u202e" + "y" * 1000
    event = json.loads(BODY)
    if place == "event":
        event["event"] = hostile
    elif place == "data":
        event |= {"event": "a.b", "data": [hostile]}
    else:
        event["data"][place] = hostile
    ran = listen(lambda url: post(url, json.dumps(event, ensure_ascii=False).encode()))
    (line,) = ran.out.splitlines()
    assert line.isprintable()
    assert "[red]" in line
    assert "y…" in line
    assert len(line) < 500


def test_an_event_of_something_else_shows_its_data_exactly(listen: Listen) -> None:
    event = BODY.partition(b'"data"')[0].replace(b"order.paid", b"stock.low")
    ran = listen(lambda url: post(url, event + b'"data":{"left": 0.10}}'))
    assert ran.out == '2026-02-13 14:30:00  stock.low        store 15  {"left":0.10}\n'


def test_a_repeat_is_acknowledged_and_not_printed_again(listen: Listen) -> None:
    statuses: list[int] = []
    ran = listen(lambda url: statuses.extend(post(url) for _ in range(3)))
    assert (statuses, ran.out) == ([200] * 3, LINE)
    assert summary(ran) == "Stopped after 1 event, 0 refused, 2 repeats."


def test_either_of_several_secrets_is_valid(listen: Listen) -> None:
    ran = listen(post, "--secret", "the-new-one", "--secret", SECRET)
    assert ran.out == LINE


def refused(listen: Listen, act: Callable[[str], object]) -> str:
    ran = listen(act)
    (line,) = told(ran)
    assert ran.out == ""
    assert summary(ran) == "Stopped after 0 events, 1 refused, 0 repeats."
    return line.removeprefix("Refused a request from 127.0.0.1: ")


def test_another_secret_is_told_with_what_to_look_at(listen: Listen) -> None:
    line = refused(listen, lambda url: post(url, headers={HEADER: sign(BODY, "another")}))
    assert line == f"the body was not signed with this secret. {HINT}"


def test_a_request_without_a_signature_is_told(listen: Listen) -> None:
    line = refused(listen, lambda url: post(url, headers={}))
    assert line == f"the request has no header {HEADER}. Does its sender have the secret?"


def test_a_body_that_is_no_event_is_told_with_the_place(listen: Listen) -> None:
    body = BODY.replace(b'"order.paid"', b'["\\u001b[2J"]')
    line = refused(listen, lambda url: post(url, body))
    assert line == "its body is no event: $.event: expected the event's name, got an array."


def test_an_event_of_the_future_is_told(listen: Listen) -> None:
    body = BODY.replace(b"2026", str(dt.datetime.now(dt.UTC).year + 2).encode())
    line = refused(listen, lambda url: post(url, body))
    assert line.endswith(" s ahead of this machine's clock.")


def test_a_body_too_large_is_told(listen: Listen) -> None:
    def act(url: str) -> None:
        assert post(url, b"x", headers={"Content-Length": str(10**9)}) == 413

    assert refused(listen, act) == "the body is too large."


def test_another_method_is_told(listen: Listen) -> None:
    line = refused(listen, lambda url: post(url, method="GET"))
    assert line == "webhooks are sent with POST."


def test_a_sender_that_hangs_up_midway_is_told_and_the_next_is_heard(
    listen: Listen, free_port: int
) -> None:
    def act(url: str) -> None:
        half_a_request(free_port).close()
        assert post(url) == 200

    ran = listen(act)
    assert ran.out == LINE
    assert told(ran) == ["Refused a request from 127.0.0.1: the body did not arrive whole."]


def test_once_an_event_was_valid_the_secret_is_not_doubted(listen: Listen) -> None:
    def act(url: str) -> None:
        post(url)
        post(url, OTHER, headers={HEADER: sign(BODY, SECRET)})

    (line,) = told(listen(act))
    assert line.endswith("the body was not signed with this secret.")


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("--port", "65536"), "--port must be 0 to 65535, not 65536"),
        (("--port", "-1"), "--port must be 0 to 65535, not -1"),
        (("--host", ""), "--host must not be empty"),
        (("--forward-to", "localhost:8000"), "--forward-to must be a URL such as http://"),
        (("--timeout", "0"), "--timeout must be a positive number of seconds, not 0"),
    ],
)
def test_a_wrong_use_is_one_line_and_exit_code_2(
    options: tuple[str, ...], why: str, devskin: Devskin
) -> None:
    ran = devskin("webhooks", "listen", *options)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith(f"devskin: {why}")
    assert len(ran.err.splitlines()) == 1


def test_a_port_in_use_is_one_line(devskin: Devskin, target: Target) -> None:
    port = str(urlsplit(target.url).port)
    ran = devskin("webhooks", "listen", "--port", port)
    why = f"devskin: cannot listen on 127.0.0.1 port {port}: Address already in use\n"
    assert ran == (1, "", why)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is the full disk")
def test_where_stdout_takes_no_more_the_command_ends_and_the_event_is_not_lost(
    listen: Listen, monkeypatch: pytest.MonkeyPatch
) -> None:
    statuses: list[int] = []
    with Path("/dev/full").open("wb", buffering=0) as full:
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(full, write_through=True))
        ran = listen(lambda url: statuses.append(post(url)), ends=True)
    assert (ran.code, statuses) == (1, [500])
    assert ran.err.endswith("\ndevskin: No space left on device\n")


def started(*options: str) -> tuple[subprocess.Popen[str], str]:
    """Start the command as a process, and give its address."""
    argv = command("webhooks", "listen", "--port", "0", *options)
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    lines = [process.stderr.readline() for _ in range(INTRODUCTION)]
    return process, lines[0].split()[2]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_well_and_what_was_sent_was_told_at_once(
    number: signal.Signals, devskin: Devskin
) -> None:
    process, url = started()
    with process:
        assert devskin("webhooks", "send", "--to", url, "--order-id", "77").code == 0
        assert process.stdout is not None
        assert "  order 77  " in process.stdout.readline()
        process.send_signal(number)
        out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out) == (0, "")
    assert err == "Stopped after 1 event, 0 refused, 0 repeats.\n"


def test_a_reader_that_has_enough_ends_it_quietly() -> None:
    process, url = started("--json")
    with process:
        assert process.stdout is not None
        process.stdout.close()
        assert post(url) == 500
        assert process.stderr is not None
        assert process.stderr.read() == ""
    assert process.returncode == 128 + signal.SIGPIPE


def test_ctrl_c_in_a_terminal_ends_it_with_the_summary() -> None:
    ran = in_terminal("webhooks", "listen", "--port", "0", ended_at="shop.db")
    assert ran.code == 0
    assert plain(ran.out).rstrip().endswith("Stopped after 0 events, 0 refused, 0 repeats.")


def test_a_line_is_one_line_whatever_width_the_environment_tells(
    listen: Listen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    ran = listen(post)
    assert ran.out == LINE
    assert len(ran.err.splitlines()) == INTRODUCTION + 1


def test_a_terminal_that_is_narrow_gets_the_whole_event(
    listen: Listen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("COLUMNS", "40")
    assert plain(listen(post).out) == LINE


def test_a_forwarded_event_keeps_its_bytes_its_signature_and_its_type(
    listen: Listen, target: Target
) -> None:
    body = BODY.replace(b",", b" ,\n") + b"\n"
    headers = {HEADER: sign(body, SECRET), "Content-Type": "application/json; charset=utf-8"}
    ran = listen(
        lambda url: post(url, body, headers={**headers, "Cookie": "a=b"}),
        *("--forward-to", target.url),
    )
    ((forwarded, with_headers),) = target.seen
    assert forwarded == body
    assert headers.items() <= with_headers.items()
    assert "Cookie" not in with_headers
    assert ran.out == LINE
    assert f"\nForwarding to {target.url}\n" in ran.err


def test_what_is_refused_or_repeated_is_not_forwarded(listen: Listen, target: Target) -> None:
    def act(url: str) -> None:
        assert post(url, OTHER, headers={HEADER: sign(BODY, SECRET)}) == 401
        assert post(url, b"{}") == 400
        assert [post(url), post(url)] == [200, 200]

    listen(act, "--forward-to", target.url)
    assert [body for body, _ in target.seen] == [BODY]


@pytest.mark.parametrize("status", [302, 404, 503])
def test_where_the_target_refuses_the_sender_tries_again_and_it_is_printed_once(
    status: int, listen: Listen, target: Target
) -> None:
    target.statuses.append(status)
    statuses: list[int] = []
    ran = listen(
        lambda url: statuses.extend(post(url) for _ in range(3)), "--forward-to", target.url
    )
    assert (statuses, ran.out) == ([500, 200, 200], LINE)
    assert len(target.seen) == 2
    first, second = told(ran)
    event = " ".join(LINE.split()[2:])
    assert first.startswith(f"Not forwarded: {event}: {target.url} answered {status} ")
    assert first.endswith(". Its sender is asked for it again.")
    assert second == f"Forwarded after all: {event}."
    assert summary(ran) == "Stopped after 1 event, 0 refused, 2 repeats."


def test_where_nobody_is_at_the_target_that_is_told(listen: Listen) -> None:
    with in_thread(Target().open) as target:
        url = target.url
    statuses: list[int] = []
    ran = listen(lambda own: statuses.append(post(own)), "--forward-to", f"{url}?token=hidden")
    assert (statuses, ran.out) == ([500], LINE)
    (line,) = told(ran)
    assert f": {url}: can't connect: Connection refused. " in line
    assert "hidden" not in ran.err
    assert summary(ran) == "Stopped after 1 event, 0 refused, 0 repeats, 1 not forwarded."


def test_what_was_not_forwarded_is_remembered_within_bounds(
    listen: Listen, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listening, "_MOST_UNFORWARDED", 1)
    target.statuses += [500] * 3
    ran = listen(
        lambda url: [post(url, body) for body in (BODY, OTHER, BODY)], "--forward-to", target.url
    )
    assert len(ran.out.splitlines()) == 3
    assert summary(ran).endswith(", 1 not forwarded.")


def test_a_target_that_is_too_slow_is_told(listen: Listen, target: Target) -> None:
    target.gate.clear()
    statuses: list[int] = []
    options = ("--forward-to", target.url, "--timeout", "0.05")
    ran = listen(lambda url: statuses.append(post(url)), *options)
    assert statuses == [500]
    assert f": {target.url}: no response within 0.05 s. " in told(ran)[0]


def test_of_two_copies_at_once_one_is_forwarded_also_to_a_slow_target(
    listen: Listen, target: Target
) -> None:
    target.gate.clear()

    def act(url: str) -> None:
        with ThreadPoolExecutor(2) as threads:
            answers = [threads.submit(post, url) for _ in range(2)]
            until(lambda: target.seen)
            target.gate.set()
        assert [answer.result() for answer in answers] == [200, 200]

    ran = listen(act, "--forward-to", target.url)
    assert (ran.out, len(target.seen)) == (LINE, 1)


def test_a_slow_target_holds_no_other_order_up(listen: Listen, target: Target) -> None:
    target.gate.clear()

    def act(url: str) -> None:
        with ThreadPoolExecutor(2) as threads:
            threads.submit(post, url)
            threads.submit(post, url, OTHER)
            until(lambda: len(target.seen) == 2)
            target.gate.set()

    assert len(listen(act, "--forward-to", target.url).out.splitlines()) == 2


def test_a_sender_that_hangs_up_during_a_forward_does_not_undo_it(
    listen: Listen, target: Target, free_port: int
) -> None:
    target.gate.clear()

    def act(url: str) -> None:
        half_a_request(free_port, whole=True).close()
        until(lambda: target.seen)
        target.gate.set()
        assert post(url) == 200

    ran = listen(act, "--forward-to", target.url)
    assert (ran.out, len(target.seen)) == (LINE, 1)
    assert summary(ran) == "Stopped after 1 event, 0 refused, 1 repeat."


def test_a_forward_under_way_is_finished_when_the_end_comes(
    listen: Listen, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    closing = threading.Event()
    cleanup = web.AppRunner.cleanup

    async def noted(runner: web.AppRunner) -> None:
        closing.set()
        await cleanup(runner)

    monkeypatch.setattr(web.AppRunner, "cleanup", noted)
    target.gate.clear()
    statuses: list[int] = []

    def act(url: str) -> None:
        with ThreadPoolExecutor(1) as threads:
            threads.submit(lambda: statuses.append(post(url)))
            until(lambda: target.seen)
            os.kill(os.getpid(), signal.SIGTERM)
            assert closing.wait(PATIENCE)
            target.gate.set()

    ran = listen(act, "--forward-to", target.url, ends=True)
    assert (ran.code, statuses) == (0, [200])
    assert summary(ran) == "Stopped after 1 event, 0 refused, 0 repeats."


def test_a_forward_that_does_not_end_is_given_up_and_its_sender_gets_no_answer(
    listen: Listen, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listening, "CLOSING_SECONDS", 0.05)
    target.gate.clear()

    def act(url: str) -> None:
        with ThreadPoolExecutor(1) as threads:
            answer = threads.submit(post, url)
            until(lambda: target.seen)
            os.kill(os.getpid(), signal.SIGTERM)
            assert isinstance(answer.exception(PATIENCE), http.client.RemoteDisconnected)

    ran = listen(act, "--forward-to", target.url, ends=True)
    assert ran.code == 0
    assert summary(ran) == "Stopped after 1 event, 0 refused, 0 repeats, 1 not forwarded."
    assert told(ran) == []
