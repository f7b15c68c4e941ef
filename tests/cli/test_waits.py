"""Somebody who looks on is told what a command waits for, and for how long."""

from __future__ import annotations

import asyncio
import re
import subprocess
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer

from devskin_async import DevSkinClient, RateLimit
from devskin_async.cli import options, waits
from devskin_async.cli.render import stderr
from devskin_async.ratelimit import Degraded, Event, Lane, Paused, Refused, Restored, Retried
from devskin_async.sandbox import Sandbox

from .support import PATIENCE, Devskin, command, in_terminal, in_thread, plain, store_options

READING = (
    ("overview",), ("revenue",), ("order", "1"), ("products",), ("orders", "--json"),
    ("export", "products", "--plan"),
)  # fmt: skip
TOLD = r"GET /\S+: {status} Not now( \((\d+) times\))?; trying again in {seconds} s\."


@asynccontextmanager
async def refusing(
    status: int, *, retry_after: int | None = None, times: int = 1
) -> AsyncIterator[tuple[str, Counter[str]]]:
    """Serve a store that refuses the first requests with each key.

    Yields:
        Its address, and how often each key was refused.
    """
    refused = Counter[str]()
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    async with Sandbox(limiter="none", orders=250) as box, ClientSession() as session:

        async def answer(request: web.Request) -> web.Response:
            key = request.headers["X-API-Key"]
            if refused[key] < times:
                refused[key] += 1
                body = {"success": False, "error": "Not now"}
                return web.json_response(body, status=status, headers=headers)
            url = f"{box.base_url}{request.path_qs}"
            async with session.get(url, headers={"X-API-Key": box.api_key}) as got:
                return web.Response(
                    body=await got.read(), status=got.status, content_type="application/json"
                )

        app = web.Application()
        app.router.add_get("/{path:.*}", answer)
        async with TestServer(app) as server:
            yield str(server.make_url("")), refused


@pytest.fixture
def short_window(monkeypatch: pytest.MonkeyPatch) -> None:
    """A minute takes two seconds."""

    def client(*args: str | None, **given: Any) -> DevSkinClient:
        return DevSkinClient(*args, **{**given, "rate_limit": RateLimit(5, 2.0, reserve=0)})

    monkeypatch.setattr(options, "DevSkinClient", client)


@pytest.mark.parametrize("status", [429, 503])
def test_a_wait_that_the_api_asks_for_is_a_line_on_stderr(status: int) -> None:
    with in_thread(lambda: refusing(status, retry_after=1)) as (url, refused):
        running = {
            argv: subprocess.Popen(
                command(*argv, "--base-url", url, "--api-key", f"key-{number}"),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for number, argv in enumerate(READING)
        }
        ended = [process.communicate(timeout=PATIENCE) for process in running.values()]
    assert set(refused.values()) == {1}
    for process, (out, err) in zip(running.values(), ended, strict=True):
        assert process.returncode == 0, err
        assert out
        assert "trying again" not in out
        assert re.fullmatch(TOLD.format(status=status, seconds=1), err.splitlines()[0]), err


def test_requests_that_were_refused_alike_are_counted_in_one_line(devskin: Devskin) -> None:
    with in_thread(lambda: refusing(503, retry_after=1, times=3)) as (url, refused):
        ran = devskin("orders", "--json", "--base-url", url, "--api-key", "key")
    found = re.findall(TOLD.format(status=503, seconds=1), ran.err)
    assert ran.code == 0
    assert len(ran.out.splitlines()) == 250
    assert sum(int(count or 1) for _, count in found) == refused["key"] == 3


def test_an_export_tells_of_a_refusal_while_it_runs(tmp_path: Path) -> None:
    with in_thread(lambda: refusing(429, retry_after=1)) as (url, _):
        argv = ("export", "products", "--out", str(tmp_path), "--base-url", url, "--api-key", "key")
        drawn = plain(in_terminal(*argv, columns=120).out)
        with subprocess.Popen(
            command(*argv[:-1], "other"), stderr=subprocess.PIPE, text=True
        ) as process:
            _, err = process.communicate(timeout=PATIENCE)
    assert re.search(r"\(GET /products: 429 Not now; trying again in 1 s\)", drawn)
    assert "in use, 1 refused" in drawn
    assert re.fullmatch(TOLD.format(status=429, seconds=1), err.splitlines()[0])
    assert ", 1 refused, " in err


@pytest.mark.parametrize("argv", [("overview",), ("orders",), ("orders", "--json")], ids=" ".join)
def test_a_terminal_counts_the_seconds_down_and_keeps_nothing_of_it(argv: tuple[str, ...]) -> None:
    with in_thread(lambda: refusing(503, retry_after=2)) as (url, _):
        ran = in_terminal(*argv, "--base-url", url, "--api-key", "key", columns=120)
    assert ran.code == 0
    for seconds in (2, 1):
        assert f"503 Not now; trying again in {seconds} s" in ran.out
    # What follows the last of it begins by going back to the line's start and erasing it.
    _, _, after = ran.out.rpartition("trying again in 1 s")
    assert re.sub(r"\x1b\[\?25[lh]", "", after).startswith("\r\x1b[J")


def test_a_log_with_colours_gets_lines_and_no_drawing(
    devskin: Devskin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    with in_thread(lambda: refusing(503, retry_after=1)) as (url, _):
        ran = devskin("overview", "--base-url", url, "--api-key", "key")
    assert re.fullmatch(TOLD.format(status=503, seconds=1) + "\n", ran.err)


@pytest.mark.usefixtures("short_window")
def test_a_wait_for_the_own_limit_is_a_line_too(devskin: Devskin) -> None:
    with in_thread(lambda: Sandbox(limiter="none", orders=600)) as box:
        ran = devskin("orders", "--json", *store_options(box))
    assert ran.code == 0
    assert len(ran.out.splitlines()) == 600
    assert set(ran.err.splitlines()) == {"Waiting for the rate limit: 2 s."}


@pytest.mark.usefixtures("short_window")
def test_requests_used_up_elsewhere_are_waited_for(devskin: Devskin) -> None:
    with in_thread(lambda: refusing(429, times=4)) as (url, refused):
        ran = devskin("orders", "--max", "3", "--base-url", url, "--api-key", "key")
    assert refused["key"] == 4
    assert ran.code == 0
    assert len(ran.out.splitlines()) == 4
    told = re.findall(TOLD.format(status=429, seconds=1), ran.err)
    assert sum(int(count or 1) for _, count in told) == 4


@pytest.mark.usefixtures("short_window")
def test_a_window_that_another_program_used_up_is_waited_for_to_its_end(devskin: Devskin) -> None:
    with in_thread(lambda: Sandbox(limit=5, per=2, limiter="first-request")) as box:
        for _ in range(5):
            asked = urllib.request.Request(f"{box.base_url}/orders")
            asked.add_header("X-API-Key", box.api_key)
            with urllib.request.urlopen(asked):
                pass
        ran = devskin("orders", "--max", "3", *store_options(box))
    assert ran.code == 0
    assert len(ran.out.splitlines()) == 4
    assert "429" in ran.err.splitlines()[0]


@pytest.mark.usefixtures("short_window")
def test_a_whole_window_of_refusals_is_the_work_of_another_program(devskin: Devskin) -> None:
    with in_thread(lambda: refusing(429, retry_after=1, times=1000)) as (url, _):
        ran = devskin("orders", "--max", "3", "--base-url", url, "--api-key", "dsk_x")
    assert (ran.code, ran.out) == (1, "")
    assert re.fullmatch(
        r"devskin: GET /orders: 429 Not now; rate-limited for more than 2 s, probably because "
        r"another program uses this API key; retry in \d+ s \(page 1 of the list\)",
        ran.err.splitlines()[-1],
    )


NO_SERVER = "--budget machine needs no server, and shares with this machine's programs alone"
EVENTS: dict[str, tuple[list[Event], list[str]]] = {
    "a retry": (
        [Retried(request="GET /orders", attempt=1, reason="500 Oh no", wait=1.5)],
        ["GET /orders: 500 Oh no; trying again in 2 s."],
    ),
    "a refusal with the pause and the retry that it brings": (
        [
            Refused(lane=Lane.BULK, retry_after=60),
            Paused(seconds=60),
            Retried(request="GET /orders", attempt=1, reason="429 Too many", wait=60),
        ],
        ["GET /orders: 429 Too many; trying again in 1 min 00 s."],
    ),
    "a retry that the pause holds back": (
        [Paused(seconds=9), Retried(request="GET /a", attempt=1, reason="500", wait=1)],
        ["GET /a: 500; trying again in 9 s."],
    ),
    "different failures": (
        [
            Retried(request="GET /a", attempt=1, reason="500", wait=1),
            Retried(request="GET /b", attempt=1, reason="500", wait=2),
            Retried(request="GET /a", attempt=1, reason="500", wait=3),
        ],
        ["GET /a: 500 (2 times); trying again in 3 s.", "GET /b: 500; trying again in 2 s."],
    ),
    "orders by their ids": (
        [
            *(Retried(request=f"GET /orders/{n}", attempt=1, reason="429", wait=2) for n in (5, 6)),
            Retried(request="GET /orders/7", attempt=1, reason="500", wait=2),
        ],
        [
            "GET /orders/…: 429 (2 times); trying again in 2 s.",
            "GET /orders/7: 500; trying again in 2 s.",
        ],
    ),
    "refusals alone": (
        [*[Refused(lane=Lane.BULK, retry_after=7)] * 2, Paused(seconds=7)],
        ["The API refused 2 requests (429); pausing for 7 s."],
    ),
    "a pause alone": ([Paused(seconds=7)], ["Pausing for 7 s."]),
    "a pause that the API did not ask for": (
        [Paused(seconds=7, reason="the server was started")],
        [f"Pausing for 7 s: the server was started; {NO_SERVER}."],
    ),
    "a reason that would steer the terminal": (
        [Retried(request="GET /a", attempt=1, reason="500 \x1b[2J\nx\u202e", wait=1)],
        ["GET /a: 500 [2J x; trying again in 1 s."],
    ),
}


@pytest.mark.parametrize("case", EVENTS)
async def test_what_happens_together_is_said_once(
    case: str, capsys: pytest.CaptureFixture[str]
) -> None:
    events, told = EVENTS[case]
    shown: asyncio.Queue[str] = asyncio.Queue()
    waiting = waits.Waits(stderr())
    for event in events:
        waiting.heard(event)
    with waiting.shown_by(shown.put_nowait):
        async with DevSkinClient("key") as store, waiting.telling(store):
            assert await shown.get() in {line.removesuffix(".") for line in told}
    assert capsys.readouterr().err.splitlines() == told


NO_FILE = "--budget process needs no file, and shares with no other program"
AWAY = Degraded(where="valkey", reason="gone.", share=0)
HELD = Degraded(where="machine", reason="in use", share=0)
SHARE = Degraded(where="valkey", reason="gone.", share=25)


@pytest.mark.parametrize(
    ("events", "shown", "lines"),
    [
        (
            [AWAY],
            f"shared budget unreachable, waiting until it is back: gone; {NO_SERVER}",
            [f"The shared budget is unreachable, waiting until it is back: gone; {NO_SERVER}."],
        ),
        (
            [HELD],
            f"shared budget unreachable, waiting until it is back: in use; {NO_FILE}",
            [f"The shared budget is unreachable, waiting until it is back: in use; {NO_FILE}."],
        ),
        (
            [SHARE],
            "shared budget unreachable, going on with 25 requests a minute: gone",
            ["The shared budget is unreachable, going on with 25 requests a minute: gone."],
        ),
        (
            [AWAY, Restored(where="valkey")],
            "",
            [
                f"The shared budget is unreachable, waiting until it is back: gone; {NO_SERVER}.",
                "The shared budget is reachable again.",
            ],
        ),
    ],
    ids=["never in reach", "a file in use", "with a share", "back"],
)
async def test_a_shared_budget_that_is_out_of_reach_is_told(
    events: list[Event], shown: str, lines: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    told: asyncio.Queue[str] = asyncio.Queue()
    waiting = waits.Waits(stderr())
    for event in events:
        waiting.heard(event)
    with waiting.shown_by(told.put_nowait):
        async with DevSkinClient("key") as store, waiting.telling(store):
            assert await told.get() == shown
    assert capsys.readouterr().err.splitlines() == lines


async def test_a_wait_for_the_rate_limit_is_told_while_it_lasts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(waits, "_EVERY", 0.01)
    told: asyncio.Queue[str] = asyncio.Queue()
    waiting = waits.Waits(stderr())
    async with (
        Sandbox(orders=9, limiter="none") as box,
        DevSkinClient(box.api_key, base_url=box.base_url, rate_limit=RateLimit(1, 0.3)) as store,
        waiting.telling(store),
    ):
        with waiting.shown_by(told.put_nowait):
            await store.orders.page(1)
            reading = asyncio.create_task(store.orders.page(2))
            while await told.get() != "waiting for the rate limit: 1 s":
                pass
            await reading
            while await told.get() != "":
                pass
            assert store.budget.waiting == 0
