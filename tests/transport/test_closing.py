"""Clients, sessions and event loops: what belongs to what, and what is closed."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest
from aioresponses import aioresponses

from devskin_async import (
    ConfigurationError,
    DevSkinClient,
)
from devskin_async.sandbox import Sandbox
from tests import samples
from tests.conftest import AT_ONCE
from tests.serving import KEY
from tests.support import open_sessions, until
from tests.transport.addresses import OVERVIEW


async def test_a_client_may_be_closed_twice(store: DevSkinClient) -> None:
    await store.analytics.overview()
    await store.aclose()
    await store.aclose()


async def test_a_client_that_was_never_used_closes(box: Sandbox) -> None:
    await DevSkinClient(box.api_key, base_url=box.base_url).aclose()


async def test_use_after_close_says_what_to_do(store: DevSkinClient) -> None:
    await store.aclose()
    with pytest.raises(ConfigurationError, match=r"^this client is closed: make a new one$"):
        await store.analytics.overview()


async def test_a_loop_that_cancels_all_its_tasks_leaves_no_caller_waiting(
    box: Sandbox, store: DevSkinClient
) -> None:
    box.fail_next("slow")
    before = asyncio.all_tasks()
    call = asyncio.create_task(store.analytics.overview())
    await until(lambda: store.budget.in_flight)
    for task in asyncio.all_tasks() - before - {call}:
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call


async def test_closing_fails_the_calls_in_flight(box: Sandbox, store: DevSkinClient) -> None:
    box.fail_next("slow")
    call = asyncio.create_task(store.analytics.overview())
    await until(lambda: store.budget.in_flight)
    await store.aclose()
    with pytest.raises(
        ConfigurationError, match="the client was closed before the response arrived"
    ):
        await call


async def test_the_callers_own_session_is_used_and_left_open(box: Sandbox) -> None:
    async with aiohttp.ClientSession(headers={"X-Trace": "1"}) as session:
        async with DevSkinClient(box.api_key, base_url=box.base_url, session=session) as store:
            await store.analytics.overview()
        assert not session.closed
        assert box.counts.requests == 1


async def test_the_error_of_a_callers_session_that_is_closed_says_so(box: Sandbox) -> None:
    session = aiohttp.ClientSession()
    await session.close()
    async with DevSkinClient(box.api_key, base_url=box.base_url, session=session) as store:
        with pytest.raises(ConfigurationError, match="the session passed to this client is closed"):
            await store.analytics.overview()
        assert store.budget.available == 100


async def test_the_error_of_a_session_of_another_loop_says_so(box: Sandbox) -> None:
    def read() -> None:
        async def from_another_loop() -> None:
            async with DevSkinClient(KEY, base_url=box.base_url, session=session) as store:
                await store.analytics.overview()

        asyncio.run(from_another_loop())

    async with aiohttp.ClientSession() as session:
        with pytest.raises(ConfigurationError, match="the session passed to this client: "):
            await asyncio.to_thread(read)


async def test_closing_from_another_loop_is_refused_and_leaves_the_client_usable(
    store: DevSkinClient,
) -> None:
    await store.analytics.overview()
    with pytest.raises(ConfigurationError, match="close this client in the event loop in which"):
        await asyncio.to_thread(lambda: asyncio.run(store.aclose()))
    await store.analytics.overview()


async def test_a_close_that_is_cancelled_closes_the_session_all_the_same(
    box: Sandbox, store: DevSkinClient
) -> None:
    box.fail_next("slow")
    others = open_sessions()
    call = asyncio.create_task(store.analytics.overview())
    await until(lambda: store.budget.in_flight)
    (session,) = open_sessions() - others
    closing = asyncio.create_task(store.aclose())
    await asyncio.sleep(0)
    closing.cancel()
    await asyncio.gather(closing, call, return_exceptions=True)
    assert session.closed


async def test_a_client_that_is_left_open_says_what_to_do(box: Sandbox) -> None:
    messages: list[str] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: messages.append(context["message"]))
    others = open_sessions()
    store = DevSkinClient(box.api_key, base_url=box.base_url)
    await store.analytics.overview()
    (session,) = open_sessions() - others
    clients = [store]
    del store
    with pytest.warns(ResourceWarning, match="a DevSkinClient was not closed: use `async with`"):
        clients.clear()
    assert messages == []
    assert session.closed


def test_use_from_another_event_loop_says_what_to_do() -> None:
    store = DevSkinClient(KEY, retry=AT_ONCE)

    async def read() -> None:
        with aioresponses() as mocked:
            mocked.get(OVERVIEW, body=samples.OVERVIEW)
            await store.analytics.overview()

    async def read_and_keep() -> None:
        await read()
        await store.reader.sender.transport.aclose()

    asyncio.run(read_and_keep())
    with pytest.raises(ConfigurationError, match="another event loop: make one client in each"):
        asyncio.run(read())
