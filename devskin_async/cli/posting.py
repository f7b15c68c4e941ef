"""Requests posted as the API posts its webhooks, and what came back."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from http import HTTPStatus
from types import TracebackType
from typing import Final, Self

import aiohttp
from attrs import frozen
from yarl import URL

from .._version import __version__
from ..errors import TransportError
from ..transport import plain_reason
from .render import printable

_MOST_READ: Final = 4096
_MOST_SHOWN: Final = 200


@frozen
class Answer:
    """What was answered to a request.

    Args:
        status: The HTTP status.
        body: As much of the body as is worth showing.
        seconds: How long it took.
    """

    status: int
    body: bytes
    seconds: float

    @property
    def good(self) -> bool:
        """Whether the request was accepted."""
        return 200 <= self.status < 300  # noqa: PLR2004

    def __str__(self) -> str:
        try:
            return f"{self.status} {HTTPStatus(self.status).phrase}"
        except ValueError:
            return str(self.status)

    def shown(self) -> str:
        """Show it on one harmless line."""
        took = f"{self.seconds * 1000:.0f} ms" if self.seconds < 1 else f"{self.seconds:.1f} s"
        body = printable(self.body.decode(errors="replace"))
        body = body if len(body) <= _MOST_SHOWN else f"{body[:_MOST_SHOWN]}…"
        return f"{self} in {took}  {body}".rstrip()


def checked_url(option: str, text: str) -> URL:
    """Read an option as the address of a server.

    Raises:
        ValueError: It is none.
    """
    try:
        url = URL(text)
        good = url.scheme in ("http", "https") and bool(url.host) and bool(url.port)
    except ValueError:
        good = False
    if not good:
        raise ValueError(f"{option} must be a URL such as http://localhost:8788/hook")
    return url


def checked_seconds(option: str, seconds: float) -> float:
    """Give what an option says as a time that may be waited.

    Raises:
        ValueError: Nobody can wait so long.
    """
    if not 0 < seconds < math.inf:
        raise ValueError(f"{option} must be a positive number of seconds, not {seconds:g}")
    return seconds


class Poster:
    """Posts to one URL; use it as `async with`.

    Args:
        url: Where to; redirects are not followed.
        timeout: Seconds for one request.
    """

    def __init__(self, url: URL, timeout: float) -> None:
        self._url = url
        self._timeout = timeout
        # A user's name and what stands in a query can be secrets.
        self.name: str = str(url.with_user(None).with_query(None).with_fragment(None))

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            # On a kept connection that the server just closed, a good request would fail.
            connector=aiohttp.TCPConnector(limit=0, force_close=True),
            cookie_jar=aiohttp.DummyCookieJar(),
            # aiohttp would round a timeout above its threshold up to a whole second.
            timeout=aiohttp.ClientTimeout(total=self._timeout, ceil_threshold=math.inf),
            headers={"User-Agent": f"devskin-async/{__version__}"},
        )
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._session.close()

    async def post(self, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Post a request once.

        Args:
            body: The raw body.
            headers: Its headers.

        Raises:
            TransportError: There was no response.
        """
        clock = asyncio.get_running_loop().time
        start = clock()
        try:
            async with self._session.post(
                self._url, data=body, headers=headers, allow_redirects=False
            ) as response:
                told = await response.content.readexactly(_MOST_READ)
                return Answer(response.status, told, clock() - start)
        except asyncio.IncompleteReadError as error:
            return Answer(response.status, error.partial, clock() - start)
        except TimeoutError:
            reason = f"no response within {self._timeout:g} s"
        except aiohttp.ClientConnectorCertificateError as error:
            reason = f"can't trust it: {error.certificate_error}"
        except aiohttp.ClientConnectorError as error:
            reason = f"can't connect: {plain_reason(error.os_error)}"
        except (aiohttp.ClientError, OSError) as error:
            reason = f"the connection broke: {str(error) or type(error).__name__}"
        raise TransportError(f"{self.name}: {reason}")
