"""Faults by switch: what a network or a server does to an answer on a bad day."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import deque
from typing import TYPE_CHECKING, Final, Literal, get_args

import attrs
from aiohttp import web

from .records import FaultKind, SandboxError
from .seeds import seeded

if TYPE_CHECKING:
    from collections.abc import Iterable

ScriptItem = Literal[FaultKind, "ok"]

KINDS: Final[tuple[FaultKind, ...]] = get_args(FaultKind)
COMMON: Final[tuple[FaultKind, ...]] = ("500", "502-html", "reset", "truncated", "slow")
"""The default kinds of fault."""

BAD_GATEWAY_PAGE: Final = (
    "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n"
    "<center><h1>502 Bad Gateway</h1></center>\r\n<hr><center>nginx</center>\r\n"
    "</body>\r\n</html>\r\n"
)
"""What a proxy sends when the server behind it is gone."""

MESSAGES: Final[dict[FaultKind, str]] = {
    "408": "Request timeout",
    "425": "Too early",
    "429": "Rate limit exceeded",
    "500": "Internal server error",
    "503": "Service unavailable",
}
"""Error messages of faults the API itself answers with."""

PAGES: Final[dict[FaultKind, tuple[int, str, str]]] = {
    "502-html": (502, BAD_GATEWAY_PAGE, "text/html"),
    **{
        kind: (int(kind), f"error code: {kind}\n", "text/plain")
        for kind in KINDS
        if kind.startswith(("52", "53"))
    },
}
"""Responses of a proxy or CDN: status, body, content type."""

BROKEN: Final[dict[FaultKind, bytes]] = {
    "closed": b"",
    "garbage": b"SSH-2.0-OpenSSH_9.6\r\n",
    "bad-length": b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n{}",
    "bad-chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nmany\r\n{}\r\n",
}
"""Bytes sent instead of a response, before the connection closes."""


@attrs.frozen(kw_only=True)
class Faults:
    """Which requests go wrong, and how.

    Only requests that the limiter counted and let through can go wrong.

    Attributes:
        fail: The share of requests that go wrong, 0 to 1.
        kinds: What can happen to them, each as likely as the other. A 429 among them is not
            one of the limiter's; it is a fault like the others.
        slow: By how many seconds a slow answer is late.
        script: What happens to the first requests, one by one, before `fail` decides; "ok" is
            an answer without a fault.
    """

    fail: float = 0.0
    kinds: tuple[FaultKind, ...] = COMMON
    slow: float = 2.0
    script: tuple[ScriptItem, ...] = ()

    def __attrs_post_init__(self) -> None:
        if not 0 <= self.fail <= 1:
            raise SandboxError("fail must be a share from 0 to 1")
        if not 0 <= self.slow < float("inf"):
            raise SandboxError("slow must not be negative")
        if self.fail and not self.kinds:
            raise SandboxError("fail needs a kind of fault")
        _check(self.kinds, KINDS)
        _check(self.script, (*KINDS, "ok"))


class FaultPlan:
    """Says of each request in turn what becomes of it."""

    def __init__(self, faults: Faults, seed: int) -> None:
        self.slow: float = faults.slow
        self._faults = faults
        self._script = deque(faults.script)
        self._rng = seeded(seed)

    def extend(self, script: Iterable[ScriptItem]) -> None:
        """Write the script on: what happens to the next requests.

        Args:
            script: A kind of fault or "ok" for each.

        Raises:
            SandboxError: There is no such kind.
        """
        more = tuple(script)
        _check(more, (*KINDS, "ok"))
        self._script.extend(more)

    def draw(self) -> FaultKind | None:
        """Decide on the next request.

        Returns:
            What happens to it, or None for a good answer.
        """
        if self._script:
            item = self._script.popleft()
            return None if item == "ok" else item
        if self._rng.random() < self._faults.fail:
            return self._rng.choice(self._faults.kinds)
        return None


def reset(request: web.BaseRequest) -> web.Response:
    """Cut a request's connection: the client gets a reset in place of an answer.

    Args:
        request: Whose connection it is.

    Returns:
        An answer that can't be sent any more.
    """
    if (transport := request.transport) is not None:
        connection: socket.socket = transport.get_extra_info("socket")
        # Closing with a linger time of zero sends RST in place of FIN.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
    return web.Response()


def break_http(request: web.BaseRequest, sent: bytes) -> web.Response:
    """Send what is no answer in place of one, and close.

    Args:
        request: What is not answered.
        sent: What to send.

    Returns:
        An answer that can't be sent any more.
    """
    if (transport := request.transport) is not None:
        transport.write(sent)
        transport.close()
    return web.Response()


def break_gzip(answer: web.Response) -> web.Response:
    """Say that an answer is compressed, which it is not.

    Args:
        answer: The whole answer.

    Returns:
        It, with another header.
    """
    answer.headers["Content-Encoding"] = "gzip"
    return answer


async def truncate(request: web.BaseRequest, answer: web.Response) -> web.StreamResponse:
    """Send half of an answer's body under its whole Content-Length, then close.

    Args:
        request: What is answered.
        answer: The whole answer.

    Returns:
        What was sent.
    """
    body = answer.body if isinstance(answer.body, bytes) else b""
    half = web.StreamResponse(status=answer.status, headers=answer.headers)
    half.content_length = len(body)
    half.force_close()
    await half.prepare(request)
    await half.write(body[: len(body) // 2])
    return half


async def delay(seconds: float) -> None:
    """Let an answer be late.

    Args:
        seconds: By how much.
    """
    if seconds > 0:
        await asyncio.sleep(seconds)


def _check(given: tuple[str, ...], known: tuple[str, ...]) -> None:
    if unknown := [kind for kind in given if kind not in known]:
        raise SandboxError(f"unknown fault {unknown[0]!r}")
