"""The README's examples run as they stand, and its transcript is what the command prints."""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
from pathlib import Path
from types import FunctionType

import aiohttp
import pytest
from aiohttp import web

from devskin_async import Order, OrderSummary, Page, convert
from devskin_async.cli import main
from devskin_async.sandbox import Sandbox
from devskin_async.webhooks import HEADER, BlockingReceiver, sign
from tests.webhooks.serving import by_uvicorn, by_werkzeug, event_body, post

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
EXPORT = 'python -m pip install ".[all]" && devskin export all --sandbox --out export'


async def run(example: str) -> dict[str, object]:
    """Run an example as `python -m asyncio` would; return what it defined."""
    names: dict[str, object] = {"__name__": "example"}
    code = compile(example, "README.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    result = FunctionType(code, names)()
    if inspect.iscoroutine(result):
        await result
    return names


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
async def test_an_example_runs_as_it_stands(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    async with Sandbox(limiter="none") as box:
        monkeypatch.setenv("DEVSKIN_API_KEY", box.api_key)
        monkeypatch.setenv("DEVSKIN_BASE_URL", box.base_url)
        await run(EXAMPLES[number])
        elsewhere = re.search(r"web\.Application\(\)|Sandbox\(|FastAPI\(|Flask\(", EXAMPLES[number])
        assert bool(box.counts.requests) is not bool(elsewhere)


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_an_example_can_be_pasted_into_a_console(number: int) -> None:
    assert not re.search(r"^\n +", EXAMPLES[number], re.MULTILINE), "an empty line ends a block"


async def test_the_web_apps_example_answers_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    (example,) = (text for text in EXAMPLES if "web.Application()" in text)
    async with Sandbox(limiter="none") as box:
        monkeypatch.setenv("DEVSKIN_API_KEY", box.api_key)
        monkeypatch.setenv("DEVSKIN_BASE_URL", box.base_url)
        app = (await run(example))["app"]
        assert isinstance(app, web.Application)
        runner = web.AppRunner(app)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            host, port = runner.addresses[0][:2]
            async with aiohttp.ClientSession(f"http://{host}:{port}") as session:
                async with session.get("/orders/7") as response:
                    assert (await response.text()).startswith("ORD-")
                await check_refusals(session)
        finally:
            await runner.cleanup()


async def test_the_fastapi_example_answers_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    (example,) = (text for text in EXAMPLES if "-> Page[OrderSummary]" in text)
    async with Sandbox(limiter="none") as box:
        monkeypatch.setenv("DEVSKIN_API_KEY", box.api_key)
        monkeypatch.setenv("DEVSKIN_BASE_URL", box.base_url)
        async with (
            by_uvicorn((await run(example))["app"], "") as address,
            aiohttp.ClientSession(address.url) as session,
        ):
            async with session.get("/orders/7") as response:
                assert convert.loads(await response.read(), Order).id == 7
            async with session.get("/orders?page=2") as response:
                assert convert.loads(await response.read(), Page[OrderSummary]).page == 2
            await check_refusals(session)


async def check_refusals(session: aiohttp.ClientSession) -> None:
    """Request an order that does not exist, and then more than the rate limit allows."""
    async with session.get("/orders/99999") as response:
        assert response.status == 404
    answers = await asyncio.gather(*(session.get(f"/orders/{n}") for n in range(100, 200)))
    refused = [answer for answer in answers if answer.status != 200]
    assert refused
    for answer in refused:
        assert answer.status == 503
        assert 1 <= int(answer.headers["Retry-After"]) <= 60


async def test_the_receivers_examples_take_signed_requests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    body = event_body("order.paid", id=7, order_number="ORD-7", total=19.90)
    (example,) = (text for text in EXAMPLES if "asgi_app(" in text)
    async with by_uvicorn((await run(example))["app"]) as address:
        header = f"{HEADER}: " + sign(body, "the endpoint's secret")
        for _ in range(2):
            answer = await post(address, body, header)
            assert (answer.status, answer.json) == (200, {"received": True})
    assert capsys.readouterr().out.count("pack ORD-7 19.9\n") == 1
    (example,) = (text for text in EXAMPLES if "Flask(" in text)
    names = await run(example)
    blocking = names["blocking"]
    assert isinstance(blocking, BlockingReceiver)
    async with by_werkzeug(names["app"], blocking) as address:
        for secret in ("the new secret", "the old one"):
            answer = await post(address, body, f"{HEADER}: {sign(body, secret)}")
            assert answer.status == 200
        answer = await post(address, body, f"{HEADER}: {sign(body, 'another')}")
        assert answer.status == 401


def masked(text: str) -> list[str]:
    """Lines without what differs from run to run: figures and the space before them."""
    return [re.sub(r"\s*[\d.,]*\d", " #", line).strip() for line in text.strip().splitlines()]


def test_the_transcript_is_what_the_first_command_prints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COLUMNS", raising=False)  # the workers of pytest-xdist have it
    assert EXPORT in README
    assert main(EXPORT.partition("devskin ")[2].split()) == 0
    printed = "".join(capfd.readouterr())
    transcript = README.partition("```text\n")[2].partition("```")[0]
    assert masked(printed) == masked(transcript)
    assert sorted(file.name for file in Path("export").iterdir()) == [
        "customers.jsonl",
        "manifest.json",
        "orders.jsonl",
        "overview.jsonl",
        "products.jsonl",
        "revenue.jsonl",
    ]
