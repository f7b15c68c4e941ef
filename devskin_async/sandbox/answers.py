"""Writing answers: the envelope, and the quirks of text, error bodies and headers."""

from __future__ import annotations

import base64
import html
import json
import re
import time
from email.utils import formatdate
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

import msgspec
from aiohttp import web

from .data_quirks import CUT_EMOJI_MARK, altered
from .odd_json import odd_json
from .quirks import Quirk, Quirks

if TYPE_CHECKING:
    from collections.abc import Callable

    from .records import JsonObject

KEY_MARK: Final = "\ue001"
"""Stands for the API key in an error until it is written."""

BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
KILOBYTE: Final = 1024

_encode = msgspec.json.Encoder(decimal_format="number").encode


class Writer:
    """Writes a server's answers, with the quirks that were switched on.

    Attributes:
        quirks: Those quirks.
        ahead: By how many seconds the server's clock is ahead of this machine's.
    """

    def __init__(self, quirks: Quirks) -> None:
        self.quirks = quirks
        self.ahead: float = quirks.number(Quirk.CLOCK) or 0.0

    def json(self, data: JsonObject, headers: dict[str, str] | None = None) -> web.Response:
        """Write an answer that gives data, in the envelope.

        Args:
            data: As the reference shows it.
            headers: What else to send.

        Returns:
            A 200.
        """
        body = self.encode({"success": True, "data": altered(data, self.quirks)})
        return self._response(200, body, "application/json", headers)

    def error(
        self, status: int, message: str, headers: dict[str, str] | None = None, key: str = ""
    ) -> web.Response:
        """Write an error response.

        Args:
            status: Its status.
            message: Why.
            headers: What else to send.
            key: The API key of the request.

        Returns:
            The answer.
        """
        style = self.quirks.word(Quirk.ECHO_KEY)
        if style and key:
            message = f"{message} (API key {KEY_MARK})"
        shape = self.quirks.word(Quirk.ERROR_BODY)
        if shape in _TEXTS:
            content_type, text = _TEXTS[shape]
            body = text.format(message=message).encode()
        else:
            content_type, body = "application/json", self.encode(_SHAPES[shape](message))
        if style:
            body = _put(body, KEY_MARK, _ECHOES[style](key))
        return self._response(status, body, content_type, headers)

    def encode(self, value: JsonObject) -> bytes:
        """Write a value as JSON.

        Args:
            value: An envelope, or an event.

        Returns:
            Its bytes.
        """
        body = odd_json(value) if Quirk.ODD_JSON in self.quirks else _encode(value)
        if Quirk.CUT_EMOJI in self.quirks:
            body = _put(body, CUT_EMOJI_MARK, r"\ud83d")
        return BYTE_ORDER_MARK + body if Quirk.BOM in self.quirks else body

    def document(self, document: object) -> web.Response:
        """Write JSON without envelope or text quirks.

        Args:
            document: What it has.

        Returns:
            A 200.
        """
        return self._response(200, _encode(document), "application/json", None)

    def plain(
        self, status: int, text: str, content_type: str, headers: dict[str, str] | None = None
    ) -> web.Response:
        """Write a response as a proxy in front of the API would.

        Args:
            status: Its status.
            text: Its body.
            content_type: What that is.
            headers: What else to send.

        Returns:
            The answer.
        """
        return self._response(status, text.encode(), content_type, headers)

    def _response(
        self, status: int, body: bytes, content_type: str, headers: dict[str, str] | None
    ) -> web.Response:
        charset = None if content_type == "application/json" else "utf-8"
        answer = web.Response(
            status=status, body=body, headers=headers, content_type=content_type, charset=charset
        )
        age = self.quirks.whole(Quirk.AGE)
        if self.ahead or age:
            made = time.time() + self.ahead - (age or 0)
            answer.headers["Date"] = formatdate(made, usegmt=True)
        if age is not None:
            answer.headers["Age"] = str(age)
        if (kilobytes := self.quirks.whole(Quirk.BIG_HEADERS)) is not None:
            answer.headers["X-Debug-Trace"] = "x" * kilobytes * KILOBYTE
        return answer


def _put(body: bytes, mark: str, text: str) -> bytes:
    """Put a text where a mark stands, be that written as itself or as an escape."""
    for each in (mark.encode(), rf"\u{ord(mark):04x}".encode()):
        body = body.replace(each, _bytes(text))
    return body


def _bytes(text: str) -> bytes:
    """Encode a text; a header's stray bytes are what they were."""
    return text.encode("utf-8", "surrogateescape")


def _in_json(text: str) -> str:
    return json.dumps(text)[1:-1]


_TEXTS: Final = {
    "html": ("text/html", "<html><body><h1>Error</h1>\n<p>{message}</p></body></html>\n"),
    "text": ("text/plain", "{message}\n"),
    "empty": ("text/plain", ""),
}
"""Error bodies that are no JSON."""

_SHAPES: Final[dict[str, Callable[[str], JsonObject]]] = {
    "": lambda message: {"success": False, "error": message},
    "object": lambda message: {"success": False, "error": {"message": message}},
    "message": lambda message: {"message": message},
    "list": lambda message: {"errors": [{"message": message}]},
}
"""Those that are; the first is the reference's."""

_ECHOES: Final[dict[str, Callable[[str], str]]] = {
    "plain": _in_json,
    "unicode": lambda key: "".join(rf"\u{ord(each):04x}" for each in key),
    "slash": lambda key: _in_json(key).replace("/", r"\/"),
    "percent": lambda key: re.sub("%..", lambda code: code[0].lower(), quote(_bytes(key), safe="")),
    "html": lambda key: html.escape(key).replace("/", "&#x2f;"),
    "base64": lambda key: base64.b64encode(_bytes(key)).decode(),
}
