"""The time that an export says it will take, and the time it takes: in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from devskin_async import DevSkinClient, RateLimit
from devskin_async.export import Progress, export
from devskin_async.export.stage import Stage
from devskin_async.sandbox import Sandbox
from devskin_async.testing import MockTransport, Request, Response, respond, virtual_time

ROUND_TRIP = 0.05


@pytest.fixture
def _no_wire(monkeypatch: pytest.MonkeyPatch) -> None:
    """What passes outside of the loop's time: sockets and threads."""

    async def run(_: Stage, function: Callable[..., Any], *args: Any, **options: Any) -> Any:
        return function(*args, **options)

    monkeypatch.setattr(Stage, "run", run)


def answered_by(box: Sandbox) -> MockTransport:
    """Let the sandbox answer without a socket, a round trip after it was asked."""
    assert box._runner is not None
    assert box._runner.server is not None
    handle = box._runner.server.request_handler

    async def send(request: Request[object]) -> Response:
        await asyncio.sleep(ROUND_TRIP)
        headers = {"X-API-Key": box.api_key}
        response = await handle(
            make_mocked_request("GET", f"/api/v1{request.target}", headers=headers)
        )
        assert isinstance(response, web.Response)
        assert isinstance(response.body, bytes)
        return respond(response.status, body=response.body, headers=response.headers)

    return MockTransport(send)


@pytest.mark.usefixtures("_no_wire")
@pytest.mark.parametrize(("orders", "details"), [(45_000, False), (700, True)])
@virtual_time
async def test_the_time_left_is_within_a_twentieth_after_the_first_window(
    orders: int, details: bool, tmp_path: Path
) -> None:
    told: list[tuple[float, float]] = []
    loop = asyncio.get_running_loop()

    def note(progress: Progress) -> None:
        if progress.requests % 20 == 0:
            told.append((loop.time(), progress.seconds_left))

    async with Sandbox(orders=orders, products=250, customers=250, limiter="none") as box:
        limit = RateLimit(reserve=0)
        async with DevSkinClient(
            box.api_key, base_url=box.base_url, rate_limit=limit, transport=answered_by(box)
        ) as store:
            began = loop.time()
            done = await export(
                store, ["orders", "products"], tmp_path, details=details, on_progress=note
            )
            ended = loop.time()
    assert done.refused == 0
    assert done.seconds > 300
    after_first = [(at, left) for at, left in told if at >= began + 60]
    assert len(after_first) > 20
    for at, left in after_first:
        assert left == pytest.approx(ended - at, rel=0.05, abs=3)
