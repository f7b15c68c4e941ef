"""Answers that go wrong, as a client sees them."""

from __future__ import annotations

import asyncio
import json

import aiohttp
import pytest

from devskin_async.sandbox import FaultKind, Faults, Sandbox, SandboxError
from tests.sandbox.conftest import Clock
from tests.sandbox.support import Api, calling
from tests.support import until


async def test_a_500_comes_in_the_envelope(api: Api) -> None:
    api.box.fail_next("500")
    answer = await api.get("/orders")
    assert (answer.status, answer.error) == (500, "Internal server error")


async def test_a_502_comes_as_a_proxys_page(api: Api) -> None:
    api.box.fail_next("502-html")
    answer = await api.get("/orders")
    assert answer.status == 502
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "<h1>502 Bad Gateway</h1>" in answer.text


async def raw_get(api: Api, path: str) -> bytes:
    """Whatever comes on the connection of one request, up to its end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", api.box.port)
    head = f"GET /api/v1{path} HTTP/1.1\r\nHost: sandbox\r\nX-API-Key: {api.box.api_key}\r\n\r\n"
    writer.write(head.encode())
    try:
        return await reader.read()
    finally:
        writer.close()


async def test_a_reset_is_a_connection_broken_before_any_answer(api: Api) -> None:
    api.box.fail_next("reset")
    with pytest.raises(ConnectionResetError):
        await raw_get(api, "/orders")
    assert (await api.get("/orders")).status == 200


@pytest.mark.parametrize("kind", ["reset", "garbage"])
async def test_a_client_that_went_first_is_not_sent_a_fault(kind: FaultKind) -> None:
    async with Sandbox(latency=0.02, faults=Faults(script=(kind,))) as box:
        _, writer = await asyncio.open_connection("127.0.0.1", box.port)
        writer.write(
            f"GET /api/v1/x HTTP/1.1\r\nHost: x\r\nX-API-Key: {box.api_key}\r\n\r\n".encode()
        )
        writer.close()
        await until(lambda: box.requests)
        assert box.requests[0].status == 0


async def test_aiohttp_itself_sends_a_get_again_after_a_reset(api: Api) -> None:
    """A client that counts its requests has to know: one call, two requests at the server."""
    api.box.fail_next("reset")
    assert (await api.get("/orders")).status == 200
    assert [seen.status for seen in api.box.requests] == [0, 200]


async def test_two_resets_reach_the_user_of_aiohttp(api: Api) -> None:
    api.box.fail_next("reset", "reset")
    with pytest.raises(aiohttp.ClientOSError, match="Connection reset by peer"):
        await api.get("/orders")


async def test_a_truncated_answer_is_shorter_than_it_says(api: Api) -> None:
    whole = (await api.get("/orders")).text.encode()
    api.box.fail_next("truncated")
    headers = {"X-API-Key": api.box.api_key}
    async with api.session.get(f"{api.box.base_url}/orders", headers=headers) as response:
        assert response.status == 200
        assert response.content_length == len(whole)
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()


async def test_half_of_a_truncated_answer_arrives(api: Api) -> None:
    whole = (await api.get("/orders/1")).text.encode()
    api.box.fail_next("truncated")
    body = (await raw_get(api, "/orders/1")).partition(b"\r\n\r\n")[2]
    assert body == whole[: len(whole) // 2]
    with pytest.raises(json.JSONDecodeError):
        json.loads(body)


async def test_a_slow_answer_is_late_but_good() -> None:
    faults = Faults(script=("slow",), slow=0.01)
    async with Sandbox(faults=faults) as box, calling(box) as api:
        assert (await api.get("/orders")).status == 200
        assert box.counts.faulted == 1


async def test_a_client_may_give_up_on_a_slow_answer() -> None:
    async with Sandbox(faults=Faults(script=("slow",), slow=600)) as box, calling(box) as api:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(api.get("/orders"), 0.1)
        assert (await api.get("/orders")).status == 200


async def test_latency_delays_every_answer() -> None:
    async with Sandbox(latency=600) as box, calling(box) as api:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(api.get("/orders"), 0.1)
    async with Sandbox(latency=0.001) as box, calling(box) as api:
        assert (await api.get("/orders")).status == 200


async def test_a_script_says_what_happens_to_which_request() -> None:
    faults = Faults(script=("500", "ok", "502-html"))
    async with Sandbox(faults=faults) as box, calling(box) as api:
        statuses = [(await api.get("/orders/1")).status for _ in range(4)]
        assert statuses == [500, 200, 502, 200]
        assert box.counts.faulted == 2


async def test_a_script_can_be_written_on_while_it_runs(api: Api) -> None:
    api.box.fail_next("ok", "500")
    api.box.fail_next("502-html")
    assert [(await api.get("/orders/1")).status for _ in range(4)] == [200, 500, 502, 200]


async def test_a_script_follows_the_order_in_which_requests_arrive() -> None:
    faults = Faults(script=("ok", "500", "502-html"))
    async with Sandbox(latency=0.01, faults=faults) as box, calling(box) as api:
        asked = []
        for _ in range(3):
            before = box.counts.requests
            asked.append(asyncio.create_task(api.get("/orders/1")))
            await until(lambda before=before: box.counts.requests > before)  # type: ignore[misc]  # bound now
        assert [answer.status for answer in await asyncio.gather(*asked)] == [200, 500, 502]


async def test_a_share_of_requests_fails_the_same_way_for_the_same_seed() -> None:
    async def statuses(seed: int) -> list[int]:
        faults = Faults(fail=0.3, kinds=("500", "502-html"))
        box = Sandbox(orders=9, seed=seed, faults=faults, limiter="none")
        async with box, calling(box) as api:
            return [(await api.get("/orders/1")).status for _ in range(60)]

    first = await statuses(1)
    assert first == await statuses(1)
    assert first != await statuses(2)
    assert set(first) == {200, 500, 502}
    assert 30 <= first.count(200) <= 54


async def test_a_fault_comes_after_the_limiter_counted_the_request(clock: Clock) -> None:
    async with Sandbox(limit=2, faults=Faults(fail=1, kinds=("500",))) as box, calling(box) as api:
        assert [(await api.get("/orders")).status for _ in range(4)] == [500, 500, 429, 429]
        assert (box.counts.requests, box.counts.refused, box.counts.faulted) == (4, 2, 2)


async def test_refused_requests_leave_the_script_alone(clock: Clock) -> None:
    async with Sandbox(limit=1, faults=Faults(script=("ok", "500"))) as box, calling(box) as api:
        assert [(await api.get("/orders")).status for _ in range(3)] == [200, 429, 429]
        clock.now += 60
        assert (await api.get("/orders")).status == 500


async def test_an_error_can_be_truncated_too(api: Api) -> None:
    api.box.fail_next("truncated")
    with pytest.raises(aiohttp.ClientPayloadError):
        await api.get("/orders/99999")


async def test_the_log_tells_which_requests_were_cut(api: Api) -> None:
    api.box.fail_next("reset")
    with pytest.raises(ConnectionResetError):
        await raw_get(api, "/orders?page=2")
    seen = api.box.requests[-1]
    assert (seen.method, seen.path_qs, seen.status) == ("GET", "/api/v1/orders?page=2", 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fail": 1.1}, "fail must be a share from 0 to 1"),
        ({"fail": -0.1}, "fail must be a share from 0 to 1"),
        ({"slow": -1}, "slow must not be negative"),
        ({"fail": 0.5, "kinds": ()}, "fail needs a kind of fault"),
        ({"kinds": ("504",)}, "unknown fault '504'"),
        ({"script": ("500", "fine")}, "unknown fault 'fine'"),
    ],
)
def test_faults_must_make_sense(options: dict[str, object], message: str) -> None:
    with pytest.raises(SandboxError, match=rf"^{message}$"):
        Faults(**options)  # type: ignore[arg-type]  # as from a command line


def test_a_fault_to_come_must_be_known() -> None:
    with pytest.raises(SandboxError, match=r"^unknown fault '504'$"):
        Sandbox().fail_next("504")  # type: ignore[arg-type]  # as from a command line
