"""A client's listener is called with what happens to its requests."""

from __future__ import annotations

import pytest

from devskin_async import DevSkinClient, Retried, Retry, TransportError
from devskin_async.sandbox import Sandbox
from devskin_async.testing import MockTransport, Request, Response
from tests.conftest import AT_ONCE


async def test_a_listener_is_called_for_every_retry(box: Sandbox) -> None:
    events: list[object] = []
    async with DevSkinClient(
        box.api_key, base_url=box.base_url, retry=AT_ONCE, on_event=events.append
    ) as store:
        box.fail_next("500", "ok")
        await store.analytics.overview()
    retried = [event for event in events if isinstance(event, Retried)]
    assert retried == [
        Retried(
            request="GET /analytics/overview",
            attempt=1,
            reason="500 Internal server error",
            wait=0,
        )
    ]


async def test_a_retry_whose_error_has_no_message_has_the_name_of_the_error() -> None:
    def fail(_: Request[object]) -> Response:
        raise TransportError("")

    events: list[object] = []
    retry = Retry(2, wait_initial=0, wait_jitter=0)
    async with DevSkinClient(
        "dsk_any", transport=MockTransport(fail), retry=retry, on_event=events.append
    ) as store:
        with pytest.raises(TransportError):
            await store.analytics.overview()
    (retried,) = (event for event in events if isinstance(event, Retried))
    assert retried.reason == "TransportError"


async def test_the_listener_of_a_closed_client_is_no_longer_called(box: Sandbox) -> None:
    events: list[object] = []
    async with DevSkinClient(box.api_key, base_url=box.base_url, on_event=events.append) as store:
        await store.analytics.overview()
    seen = len(events)
    async with DevSkinClient(box.api_key, base_url=box.base_url) as store:
        await store.analytics.overview()
    assert len(events) == seen > 0
