"""The key shows in no error, where and however the server repeats it."""

from __future__ import annotations

import json
from urllib.parse import quote

import pytest
from aiohttp import web

from devskin_async import (
    APIError,
    AuthenticationError,
    DevSkinError,
)
from tests.serving import KEY, answering, serving, whole_text


async def test_a_response_that_echoes_the_key_does_not_bring_it_into_the_error() -> None:
    body = f'{{"success": false, "error": "unknown key {KEY}"}}'.encode()
    async with serving(answering(body, 401)) as store:
        with pytest.raises(AuthenticationError) as caught:
            await store.analytics.overview()
    assert caught.value.message == "unknown key [the API key]"
    assert KEY not in whole_text(caught.value)


@pytest.mark.parametrize("before", range(170, 202))
@pytest.mark.parametrize("kind", ["envelope", "page", "redirect"])
async def test_a_message_that_is_cut_within_the_key_does_not_show_its_beginning(
    before: int, kind: str
) -> None:
    text = "x" * before + KEY
    handler = {
        "envelope": answering(f'{{"success": false, "error": "{text}"}}'.encode(), 400),
        "page": answering(f"<p>{text}</p>".encode(), 400),
        "redirect": answering(b"", 302, {"Location": f"/{text}"}),
    }[kind]
    async with serving(handler) as store:
        with pytest.raises(APIError) as caught:
            await store.analytics.overview()
    assert KEY[:4] not in whole_text(caught.value)


@pytest.mark.parametrize("key", ["sk/live+1=2%3", 'sk"live\\1'])
async def test_a_key_echoed_in_a_url_or_in_json_does_not_come_into_the_error(key: str) -> None:
    echoes = quote(key, safe=""), json.dumps(key)[1:-1]

    async def answer(_: web.Request) -> web.Response:
        return web.json_response({"success": False, "error": f"key {key}, {echoes[0]}"}, status=400)

    async with serving(answer, api_key=key) as store:
        with pytest.raises(APIError, match=r"key \[the API key\], \[the API key\]") as caught:
            await store.analytics.overview()
    assert not any(echo in whole_text(caught.value) for echo in (key, *echoes))


@pytest.mark.parametrize(
    "body", [f"<p>{KEY}</p>".encode(), f'{{"success": true, "data": "{KEY}"}}'.encode()]
)
async def test_a_broken_response_that_echoes_the_key_does_not_bring_it_into_the_error(
    body: bytes,
) -> None:
    async with serving(answering(body)) as store:
        with pytest.raises(DevSkinError) as caught:
            await store.analytics.overview()
    assert KEY not in whole_text(caught.value)


async def test_a_short_key_is_taken_out_of_errors_as_a_word_only() -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.json_response({"success": False, "error": "a key that a shop lacks"}, status=401)

    async with serving(answer, api_key="a") as store:
        with pytest.raises(AuthenticationError) as caught:
            await store.analytics.overview()
    assert caught.value.message == "[the API key] key that [the API key] shop lacks"
