"""Removes the API key from texts and errors, however a server may have repeated it."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import TypeVar

from multidict import CIMultiDict

from ..api import MAX_ERROR_BODY, MismatchedResponseError, Request, Response, decode
from ..errors import DevSkinError

T = TypeVar("T")

_REDACTED = "[the API key]"
_SHORT = 8
_HTML_NAMES = {"&": "amp", "<": "lt", ">": "gt", '"': "quot", "'": "apos"}
_CUT = re.compile(r"\S*…")


class Redactor:
    """Finds one API key as it is, and escaped as URLs, JSON, HTML and base64 have it.

    Args:
        api_key: The key. A key shorter than 8 characters is matched only as a whole word, because
            it may occur inside ordinary words.
    """

    def __init__(self, api_key: str) -> None:
        written = "".join(map(_ways_to_write, api_key))
        if len(api_key) < _SHORT:
            pattern = rf"(?<![0-9A-Za-z]){written}(?![0-9A-Za-z])"
        else:
            pattern = "|".join([written, api_key.encode().hex(), *_in_base64(api_key.encode())])
        self._pattern = re.compile(pattern, re.IGNORECASE)

    def __call__(self, text: str) -> str:
        """Return the text without the key."""
        return self._pattern.sub(_REDACTED, text)


def decode_redacted(request: Request[T], response: Response, redact: Redactor) -> T | DevSkinError:
    """Return what a response holds, or its error without the key and without a traceback."""
    try:
        return decode(request, response)
    except DevSkinError as error:
        if isinstance(error, MismatchedResponseError) and response.on_mismatch is not None:
            response.on_mismatch()
        kind, args = type(error), error.args
    if len(response.body) <= MAX_ERROR_BODY:
        # Before anything is shortened, since a part of the key would not be found.
        body = redact(response.body.decode("latin-1")).encode("latin-1")
        headers = redact_headers(response.headers, redact)
        try:
            return decode(request, response._replace(headers=headers, body=body))
        except DevSkinError as error:
            kind, args = type(error), error.args
    else:  # a search would take long; the last word of a shortened text may be a part of the key
        args = tuple(_CUT.sub("…", arg) if isinstance(arg, str) else arg for arg in args)
    # And again from the decoded text.
    return kind(*[redact(arg) if isinstance(arg, str) else arg for arg in args])


def redact_headers(headers: Mapping[str, str], redact: Redactor) -> CIMultiDict[str]:
    """Return headers without the key."""
    return CIMultiDict((redact(name), redact(text)) for name, text in headers.items())


def _ways_to_write(character: str) -> str:
    """Return a pattern for a character in every escape usual on the web, repeated ones included."""
    code = ord(character)
    # A bounded number of backslashes: an unbounded one makes a run of them take quadratic time.
    slashes = r"\\{1,8}"
    ways = [
        re.escape(character),
        rf"%(?:25)*{code:02x}",
        rf"{slashes}u(?:{code:04x}|\{{0*{code:x}\}})",
        rf"{slashes}(?:x{code:02x}|{code:03o})",
        rf"&(?:amp;)*#0*{code};?",
        rf"&(?:amp;)*#x0*{code:x};?",
    ]
    if not character.isalnum():
        ways.append(rf"{slashes}{re.escape(character)}")
    if name := _HTML_NAMES.get(character):
        ways.append(f"&(?:amp;)*{name};")
    return f"(?:{'|'.join(ways)})"


def _in_base64(key: bytes) -> list[str]:
    """Return patterns for the key in base64, at each of its three possible offsets."""
    forms = []
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + key).decode().rstrip("=")
        # The first and the last characters depend on what stands around the key.
        first = -(-before * 8 // 6)
        last = (before + len(key)) * 8 // 6
        text = re.escape(encoded[first:last])
        forms.append(text.replace(r"\+", "[+-]").replace("/", "[/_]"))
    return forms
