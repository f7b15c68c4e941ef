"""The API key shows in no error, however the server repeats it, nor in the frames of one."""

from __future__ import annotations

import base64
import datetime as dt
import html
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any
from urllib.parse import quote

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

import devskin_async
from devskin_async import APIError, DevSkinClient, DevSkinError
from devskin_async.api import MAX_ERROR_BODY, Response, endpoints
from devskin_async.transport.redaction import Redactor, decode_redacted
from tests.serving import answering, serving, whole_text

PACKAGE = Path(devskin_async.__file__).parent
KEY = "sk/live+A<b>&'c'=9~\"x\\y"
REDACTED = "[the API key]"


def hex_entities(text: str) -> str:
    return "".join(f"&#x{ord(character):X};" for character in text)


def decimal_entities(text: str) -> str:
    return "".join(f"&#{ord(character):03d}" for character in text)


def json_escapes(text: str) -> str:
    return "".join(f"\\u{ord(character):04x}" for character in text)


ESCAPES: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "URL": lambda text: quote(text, safe=""),
    "URL, lower case": lambda text: (
        quote(text, safe="").replace("%2F", "%2f").replace("%2B", "%2b")
    ),
    "URL, twice": lambda text: quote(quote(text, safe=""), safe=""),
    "URL, all": lambda text: "".join(f"%{ord(character):02x}" for character in text),
    "JSON": lambda text: json.dumps(text)[1:-1],
    "JSON, twice": lambda text: json.dumps(json.dumps(text)[1:-1])[1:-1],
    "JSON, slashes": lambda text: json.dumps(text)[1:-1].replace("/", "\\/"),
    "JSON, all": json_escapes,
    "JSON, all, capitals": lambda text: json_escapes(text).upper().replace("\\U", "\\u"),
    "HTML": html.escape,
    "HTML, twice": lambda text: html.escape(html.escape(text)),
    "HTML, hexadecimal": hex_entities,
    "HTML, decimal": decimal_entities,
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base64 for URLs": lambda text: base64.urlsafe_b64encode(text.encode()).decode().rstrip("="),
    "base64 after a name": lambda text: base64.b64encode(b"u:" + text.encode()).decode(),
    "base64 in a sentence": lambda text: base64.b64encode(b"key " + text.encode() + b" .").decode(),
    "hexadecimal": lambda text: text.encode().hex(),
    "hexadecimal, capitals": lambda text: text.encode().hex().upper(),
    "capitals": str.upper,
    "octal": lambda text: "".join(f"\\{ord(character):03o}" for character in text),
    "braces": lambda text: "".join(f"\\u{{{ord(character):x}}}" for character in text),
}


def frames_of(error: BaseException | None) -> Iterator[FrameType]:
    while error is not None:
        traceback = error.__traceback__
        while traceback is not None:
            yield traceback.tb_frame
            traceback = traceback.tb_next
        error = error.__cause__ or error.__context__


def held_by(frame: FrameType) -> str:
    """What a tool that reports errors would show of a frame's variables in this package."""
    if not Path(frame.f_code.co_filename).is_relative_to(PACKAGE):
        return ""
    return "".join(f"{name}={value!r} " for name, value in frame.f_locals.items())


@pytest.mark.parametrize("escape", ESCAPES.values(), ids=ESCAPES)
@pytest.mark.parametrize("kind", ["error", "list", "nested", "page", "redirect", "wrong shape"])
async def test_a_key_that_a_server_repeats_escaped_does_not_come_into_the_error(
    escape: Callable[[str], str], kind: str
) -> None:
    echo = escape(KEY)
    raw = {
        # Some escapes are JSON's own, to be read as JSON; the others stand in it as text.
        "error": f'{{"success": false, "error": "no such key: {echo}"}}',
        "list": json.dumps({"errors": [{"detail": f"no such key: {echo}"}]}),
        "nested": json.dumps({"error": {"message": json.dumps({"key": echo})}}),
        "page": f"<html><p>no such key: {echo}</p></html>",
        "redirect": "",
        "wrong shape": json.dumps({"success": True, "data": {"total_orders": echo}}),
    }[kind]
    status = {"redirect": 302, "wrong shape": 200}.get(kind, 403)
    headers = {"Location": "/" + echo.replace("\\", "")} if kind == "redirect" else {}
    async with serving(answering(raw.encode(), status, headers), KEY) as store:
        with pytest.raises(DevSkinError) as caught:
            await store.analytics.overview()
    shown = whole_text(caught.value) + "".join(map(held_by, frames_of(caught.value)))
    assert KEY not in shown
    assert KEY[3:] not in html.unescape(shown)
    assert echo not in shown


@given(
    key=st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=8, max_size=40),
    names=st.lists(st.sampled_from(sorted(ESCAPES)), min_size=1, max_size=3),
    before=st.text(max_size=20),
    after=st.text(max_size=20),
)
def test_any_key_in_any_escape_is_taken_out(
    key: str, names: list[str], before: str, after: str
) -> None:
    text = before + " ".join(ESCAPES[name](key) for name in names) + after
    redacted = Redactor(key)(text)
    for name in names:
        if "base64" not in name:
            assert ESCAPES[name](key) not in redacted
    assert redacted.count(REDACTED) >= len(names)


@pytest.mark.parametrize("run", ["\\", "%25", "&amp;", "&#0", "\\u", "&", "%"])
def test_no_run_of_escapes_takes_long(run: str) -> None:
    # Where time were quadratic, this would take hours.
    text = run * 1_000_000
    assert Redactor(KEY)(text) == text


class CountingRedactor(Redactor):
    """Counts the characters that it has searched."""

    searched = 0

    def __call__(self, text: str) -> str:
        self.searched += len(text)
        return super().__call__(text)


@pytest.mark.parametrize(
    "body",
    [
        b'{"success": true, "data": [' + b'"a", ' * 1_000_000 + b'"b"]}',
        b'{"success": true, "data": "' + b"c" * 5_000_000 + b'"}',
        b"<p>" + b"d" * 5_000_000,
    ],
    ids=["an array", "a text", "no JSON"],
)
def test_of_a_large_body_only_the_error_is_searched_for_the_key(body: bytes) -> None:
    redact = CountingRedactor(KEY)
    response = Response(200, CIMultiDict(), body, dt.datetime.now(dt.UTC))
    assert isinstance(decode_redacted(endpoints.overview(), response, redact), DevSkinError)
    assert redact.searched < 1000


@pytest.mark.parametrize("before", range(30, 65))
@pytest.mark.parametrize(
    "body",
    [
        '{{"success": true, "data": {{"total_orders": "{} {}"}}, "rest": "{}"}}',
        '{{"success": false, "error": "' + "e" * 150 + '{} {}", "rest": "{}"}}',
        "<p>" + "f " * 60 + "{}{} {}",
        "<p " + "g" * 4018 + ">{}{}{}",
    ],
    ids=["a value", "a reason", "no JSON", "markup"],
)
def test_a_text_of_a_large_body_that_is_cut_within_the_key_does_not_show_its_beginning(
    before: int, body: str
) -> None:
    key = "dsk_secret_key_0123456789"
    text = body.format("x" * before, key, "y" * MAX_ERROR_BODY)
    response = Response(200, CIMultiDict(), text.encode(), dt.datetime.now(dt.UTC))
    error = decode_redacted(endpoints.overview(), response, Redactor(key))
    assert isinstance(error, DevSkinError)
    assert key[:4] not in str(error)


@given(text=st.text(max_size=200))
def test_what_is_not_the_key_is_left_as_it_is(text: str) -> None:
    assert Redactor("dsk_secret_key_0123456789")(text) == text


async def test_the_frames_of_an_error_hold_no_response_that_repeats_the_key() -> None:
    key = "dsk_secret_key_0123"

    async def echo(request: web.Request) -> web.Response:
        given_key = request.headers["X-API-Key"]
        return web.json_response(
            {"success": False, "error": "no"}, status=400, headers={"X-Debug": given_key}
        )

    async with serving(echo, key) as store:
        for call in (store.analytics.overview(), store.orders.page(), store.orders.list()):
            with pytest.raises(APIError) as caught:
                await call
            held = [held_by(frame) for frame in frames_of(caught.value)]
            assert any(held)
            assert key not in "".join(held)


async def test_a_client_in_a_frame_shows_no_key(box: Any) -> None:
    async with DevSkinClient("dsk_secret_key_0123", base_url=box.base_url) as store:
        assert "dsk_secret" not in repr(
            [store, store.reader, store.reader.sender, store.reader.sender.transport]
        )
