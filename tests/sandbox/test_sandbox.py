"""The sandbox as a thing that starts, serves, counts and stops."""

from __future__ import annotations

import asyncio
import re

import aiohttp
import pytest

from devskin_async.sandbox import Sandbox, SandboxError, SeenRequest
from tests.sandbox.support import Api, calling
from tests.support import until


async def test_it_tells_where_it_is_and_what_key_it_takes() -> None:
    async with Sandbox(orders=3) as box, calling(box) as api:
        assert box.base_url == f"http://127.0.0.1:{box.port}/api/v1"
        assert re.fullmatch(r"dsk_[\w-]{43}", box.api_key)
        assert (await api.get("/orders")).status == 200


async def test_it_takes_the_key_it_was_given() -> None:
    async with Sandbox(orders=3, key="my-own-key") as box, calling(box) as api:
        assert box.api_key == "my-own-key"
        assert (await api.get("/orders")).status == 200


async def test_a_key_no_header_could_carry_is_refused() -> None:
    with pytest.raises(SandboxError, match="must be printable ASCII"):
        await Sandbox(key="clé").start()


def test_before_it_starts_it_has_no_address_key_or_database() -> None:
    box = Sandbox()
    with pytest.raises(SandboxError, match=r"^the sandbox has not started$"):
        _ = box.base_url
    with pytest.raises(SandboxError, match=r"^the sandbox has not started$"):
        _ = box.api_key
    with pytest.raises(SandboxError, match=r"^the sandbox is not running$"):
        _ = box.connection


async def test_starting_and_closing_twice_is_once() -> None:
    box = Sandbox(orders=3)
    assert await box.start() is await box.start() is box
    port = box.port
    await box.close()
    await box.close()
    assert box.port == port


async def test_once_closed_nobody_answers_but_the_counts_stay() -> None:
    async with Sandbox(orders=3) as box, calling(box) as api:
        await api.get("/orders")
        await box.close()
        with pytest.raises(aiohttp.ClientConnectorError):
            await api.get("/orders")
        assert box.counts.requests == len(box.requests) == 1


async def test_it_starts_again_at_the_same_address_with_the_same_key() -> None:
    box = Sandbox(orders=3)
    await box.start()
    before = (box.base_url, box.api_key)
    await box.close()
    async with box, calling(box) as api:
        assert (box.base_url, box.api_key) == before
        assert (await api.get("/orders")).status == 200


async def test_closing_cuts_off_answers_that_take_too_long() -> None:
    async with Sandbox(latency=600) as box, calling(box) as api:
        request = asyncio.ensure_future(api.get("/orders"))
        await until(lambda: box.counts.requests)
        await box.close()
        with pytest.raises(aiohttp.ClientError):
            await request
        assert [seen.status for seen in box.requests] == [0]


async def test_a_port_in_use_is_a_clear_error() -> None:
    async with Sandbox(orders=3) as box:
        second = Sandbox(orders=3, port=box.port)
        with pytest.raises(
            SandboxError, match=rf"^cannot listen on 127\.0\.0\.1 port {box.port}: "
        ):
            await second.start()
        with pytest.raises(SandboxError, match=r"^the sandbox is not running$"):
            _ = second.connection


async def test_a_port_can_be_chosen() -> None:
    async with Sandbox(orders=3) as box:
        port = box.port
    async with Sandbox(orders=3, port=port) as box:
        assert box.port == port


async def test_it_serves_on_ipv6_too() -> None:
    try:
        box = await Sandbox(orders=3, host="::1").start()
    except SandboxError as error:
        pytest.skip(str(error))
    async with box, calling(box) as api:
        assert box.base_url == f"http://[::1]:{box.port}/api/v1"
        assert (await api.get("/orders")).status == 200


async def test_it_notes_what_arrived_and_how_it_ended(api: Api) -> None:
    begin = asyncio.get_running_loop().time()
    await api.get("/orders?page=2&limit=5")
    await api.get("/nowhere")
    await api.call("POST", "/orders", {})
    end = asyncio.get_running_loop().time()
    assert [seen[1:] for seen in api.box.requests] == [
        ("GET", "/api/v1/orders?page=2&limit=5", 200),
        ("GET", "/api/v1/nowhere", 404),
        ("POST", "/api/v1/orders", 401),
    ]
    times = [seen.at for seen in api.box.requests]
    assert begin <= times[0] <= times[1] <= times[2] <= end


async def test_its_log_has_a_bound(api: Api) -> None:
    assert api.box.requests.maxlen == 65_536
    api.box.requests.extend([SeenRequest(0.0, "GET", "/", 200)] * 65_536)
    await api.get("/orders/1")
    assert len(api.box.requests) == 65_536
    assert api.box.requests[-1].path_qs == "/api/v1/orders/1"


async def test_concurrent_requests_are_all_answered(api: Api) -> None:
    answers = await asyncio.gather(*(api.get(f"/orders/{n}") for n in range(1, 101)))
    assert [answer.data["order"]["id"] for answer in answers] == list(range(1, 101))
    assert api.box.counts.requests == 100


async def test_connections_are_kept_alive(api: Api) -> None:
    made: list[object] = []

    async def note(*what: object) -> None:
        made.append(what)

    trace = aiohttp.TraceConfig()
    trace.on_connection_create_end.append(note)
    async with aiohttp.ClientSession(trace_configs=[trace]) as session:
        for _ in range(3):
            assert (await Api(api.box, session).get("/orders")).status == 200
    assert len(made) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"order": "random"}, "there is no order 'random'"),
        ({"date_to": "never"}, "date_to can't be 'never'"),
        ({"latency": -1}, "latency must not be negative"),
        ({"port": 65_536}, "there is no port 65536"),
        ({"orders": -1}, "orders, products and customers can't be negative"),
        ({"limit": 0}, "limit must be positive"),
    ],
)
def test_options_must_make_sense(options: dict[str, object], message: str) -> None:
    with pytest.raises(SandboxError, match=rf"^{message}$"):
        Sandbox(**options)  # type: ignore[arg-type]  # as from a command line
