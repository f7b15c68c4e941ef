"""One request and its response over HTTP, by aiohttp."""

from __future__ import annotations

import datetime as dt
import http.client
import os
import re
import ssl
from collections.abc import Callable
from functools import partial
from typing import Protocol

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from .._version import __version__
from ..api import MAX_BODY, MAX_ERROR_BODY, SUCCESSFUL, Request, Response, one_line, response_time
from ..errors import ConfigurationError, DecodeError, DevSkinError, TransportError
from .connections import QuietConnector, close_when_forgotten, connected
from .proxies import Proxy, is_loopback, name_proxy
from .redaction import Redactor

_MAX_HEADER = 32 * 1024
_QUOTE = re.compile(r""":?\s*b?['"]""")
_NO_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=None)


class Transport(Protocol):
    """What sends requests: `HTTPTransport`, or in a test any object with these two methods."""

    async def send(self, request: Request[object]) -> Response:
        """Send a request once and take its response, whatever its status.

        Args:
            request: What to read, by its `method`, `path` and `params`.

        Raises:
            TransportError: No complete response came; the call is retried if it is `transient`.
        """
        ...

    async def aclose(self) -> None:
        """Release its resources; the client that uses it calls this when it is closed."""
        ...


class HTTPTransport:
    """Sends requests with one API key by aiohttp; no error that it raises holds the key.

    Args:
        base_url: The API's address, checked by the caller.
        api_key: Sent in the `X-API-Key` header and nowhere else.
        session: A session of the caller's, used and left open; None makes one when needed. Its
            middlewares are not run: one that sends again would do so outside the budget.
        proxy: What a session made here opens its connections through; None connects directly.
        user_agent: Added to this library's `User-Agent`, such as `nightly/2.1`; None adds nothing.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str,
        *,
        session: aiohttp.ClientSession | None = None,
        proxy: Proxy | None = None,
        user_agent: str | None = None,
    ) -> None:
        # Built from its parts, a URL need not be taken apart again for each request.
        self._base = URL(base_url, encoded=True)
        self._path = self._base.raw_path.rstrip("/")
        self._headers = CIMultiDict(
            {
                "X-API-Key": api_key,
                "Accept": "application/json",
                "Cache-Control": "no-cache",
                "User-Agent": " ".join(filter(None, (f"devskin-async/{__version__}", user_agent))),
            }
        )
        self._redact = Redactor(api_key)
        self._proxy = None if proxy is None else proxy.url
        self._proxy_headers = None if proxy is None else proxy.headers
        self._session = session
        self._owns_session = session is None
        self._connector: QuietConnector | None = None  # of a session made here

    async def send(self, request: Request[object]) -> Response:
        """Send a request once and take its response.

        Raises:
            TransportError: No complete response came.
            DecodeError: The body is longer than any that the reference describes.
            ConfigurationError: The caller's session is closed, or belongs to another event loop.
        """
        session = self._session or self._open_session()
        if session.closed:
            connected.set(False)
            raise ConfigurationError(
                "the session passed to this client is closed; pass an open one"
            )
        connected.set(not self._owns_session)  # a session of the caller's does not set it
        failure: Callable[[], DevSkinError]
        try:
            if (response := await self._round_trip(session, request)) is not None:
                return response
            most = f"a body of at most {MAX_BODY // 1024**2} MiB"
            failure = partial(DecodeError, "$", most, "a longer one", str(request))
        except _NotConnectedError as error:
            text = f"{request}: {self._line(str(error))}"
            failure = partial(TransportError, text, sent=False, transient=error.transient)
        except RuntimeError as error:
            whose = "its own session" if self._owns_session else "the session passed to this client"
            failure = partial(ConfigurationError, f"{whose}: {self._line(str(error))}")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            text = f"{request}: {self._line(_reason(error))}"
            failure = partial(TransportError, text, sent=connected.get())
        # Outside of `except`: aiohttp's errors can hold the request's headers, and so the key.
        raise failure()

    async def _round_trip(
        self, session: aiohttp.ClientSession, request: Request[object]
    ) -> Response | None:
        """Send a request and take its response; None stands for one that is too long."""
        url = URL.build(
            scheme=self._base.scheme,
            authority=self._base.raw_authority,
            path=self._path + request.path,
            query_string=request.query_string,
            encoded=True,
        )
        async with session.get(
            url,
            headers=self._headers,
            timeout=_NO_TIMEOUT,
            allow_redirects=False,
            raise_for_status=False,
            auto_decompress=True,
            max_line_size=_MAX_HEADER,
            max_field_size=_MAX_HEADER,
            middlewares=(_send_once,),
            proxy=self._proxy,
            proxy_headers=self._proxy_headers,
        ) as response:
            body = await _read_body(response)
            if body is None:
                return None
            at = response_time(response.headers, dt.datetime.now(dt.UTC))
            # Whatever else is on its way on a connection belongs to another request too.
            on_mismatch = None if self._connector is None else self._connector.distrust
            return Response(response.status, response.headers, body, at, on_mismatch)

    async def aclose(self) -> None:
        """Close the session, unless it is the caller's."""
        if self._session is not None and self._owns_session:
            await self._session.close()

    def _open_session(self) -> aiohttp.ClientSession:
        self._connector = QuietConnector()
        self._session = aiohttp.ClientSession(
            connector=self._connector, cookie_jar=aiohttp.DummyCookieJar()
        )
        close_when_forgotten(self, self._session)
        return self._session

    def _line(self, text: str) -> str:
        return one_line(self._redact(text))


class _NotConnectedError(aiohttp.ClientError):
    """No connection was made, so nothing was sent."""

    def __init__(self, reason: str, *, transient: bool = True) -> None:
        super().__init__(reason)
        self.transient = transient


class _ConnectionLostError(aiohttp.ClientError):
    """The connection broke before a response came."""


async def _send_once(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Keep aiohttp from sending a request again by itself when a kept connection breaks.

    It would go out without a slot of the budget, and no option switches it off (aiohttp issue
    10790); but it happens for these two errors alone.
    """
    if request.proxy is not None and is_loopback(request.url.host or ""):
        request.proxy = None  # of the caller's session: over plain http it would see the key
    lost: aiohttp.ClientError
    try:
        return await handler(request)
    except aiohttp.ClientHttpProxyError as error:
        lost = _refused_by_proxy(request, error.status)
    except aiohttp.ClientConnectorCertificateError as error:
        text = f"can't trust {_peer(request, error)}: {error.certificate_error}"
        lost = _NotConnectedError(text, transient=False)
    except aiohttp.ClientConnectorError as error:
        reason = plain_reason(error.os_error)
        lost = _NotConnectedError(f"can't connect to {_peer(request, error)}: {reason}")
    except aiohttp.ClientError as error:
        if request.proxy is not None and not connected.get():
            lost = _NotConnectedError(f"no valid response from {name_proxy(request.proxy)}")
        elif isinstance(error, aiohttp.ClientOSError | aiohttp.ServerDisconnectedError):
            lost = _ConnectionLostError(_reason(error))
        else:
            raise
    raise lost


def _refused_by_proxy(request: aiohttp.ClientRequest, status: int) -> _NotConnectedError:
    # Not the reason that the proxy gave, which may repeat the password.
    reason = f"{status} {http.client.responses.get(status, '')}".rstrip()
    return _NotConnectedError(
        f"{name_proxy(request.proxy or URL())} refused: {reason}",
        transient=status >= http.HTTPStatus.INTERNAL_SERVER_ERROR,
    )


def _peer(request: aiohttp.ClientRequest, error: aiohttp.ClientConnectorError) -> str:
    """Return what could not be connected to: the proxy, or the API."""
    if (proxy := request.proxy) and (proxy.raw_host, proxy.port) == (error.host, error.port):
        return name_proxy(proxy)
    return f"{error.host} port {error.port}"


def plain_reason(error: OSError) -> str:
    """Return why an address can't be used, without the address."""
    # asyncio's own text of a refused connection repeats the address. A name that is not found has
    # a negative number, and TLS numbers its errors in its own way.
    number = error.errno or 0
    plain = number > 0 and not isinstance(error, ssl.SSLError)
    return os.strerror(number) if plain else str(error) or type(error).__name__


def _reason(error: Exception) -> str:
    """Return what went wrong, without the status that aiohttp adds to errors of its own."""
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "the server closed the connection before it responded"
    if isinstance(error, aiohttp.ClientResponseError):
        return f"the response is not valid HTTP: {_unquoted(error.message)}"
    if isinstance(error, aiohttp.ClientPayloadError):
        cause = getattr(error.__cause__, "message", None) or str(error)
        return f"the response body is broken: {_unquoted(cause)}"
    if isinstance(error, OSError):
        return plain_reason(error)
    return str(error) or type(error).__name__


def _unquoted(message: str) -> str:
    """Remove what aiohttp quotes of the response: shortened, it can hold a part of the key."""
    return _QUOTE.split(message, maxsplit=1)[0] or "no reason given"


async def _read_body(response: aiohttp.ClientResponse) -> bytes | None:
    """Read a body, or the beginning of an error's; None if it is too long."""
    most = MAX_BODY if response.status in SUCCESSFUL else MAX_ERROR_BODY
    content = response.content
    chunks: list[bytes] = []
    size = 0
    while not content.at_eof():
        chunk = await content.readany()
        size += len(chunk)
        chunks.append(chunk)
        if size > most:
            response.close()
            break
    if size > MAX_BODY:
        return None
    return (chunks[0] if len(chunks) == 1 else b"".join(chunks))[:most]
