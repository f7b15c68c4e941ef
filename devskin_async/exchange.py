"""One exchange over HTTP: a request goes out, its answer comes in, bounded and without the key."""

from __future__ import annotations

import asyncio
import datetime as dt
import hashlib
import os
import re
import ssl
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from ._version import __version__
from .api import (
    MAX_BODY,
    MAX_ERROR_BODY,
    MismatchedResponseError,
    Request,
    Response,
    decode,
    one_line,
    response_time,
    succeeded,
)
from .connections import QuietConnector, close_when_forgotten, connected
from .errors import ConfigurationError, DecodeError, DevSkinError, TransportError
from .redaction import Redactor

T = TypeVar("T")

_MAX_HEADER = 32 * 1024
_QUOTE = re.compile(r""":?\s*b?['"]""")
_NO_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=None)


class Exchange:
    """Sends requests with one API key; no error that leaves it holds the key.

    Args:
        base_url: The API's address, checked by the caller.
        api_key: Sent in the `X-API-Key` header and nowhere else.
        timeout: Seconds from sending a request to the end of its answer.
        session: A session of the caller's, used and left open; None makes one when needed. Its
            middlewares are not run: one that sends again would do so outside the budget.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str,
        *,
        timeout: float,
        session: aiohttp.ClientSession | None,
    ) -> None:
        self.base_url = base_url
        # Built from its parts, a URL need not be taken apart again for each request.
        self._base = URL(base_url, encoded=True)
        self._path = self._base.raw_path.rstrip("/")
        # Budgets are told apart by the host and the key, which a digest does not tell.
        digest = hashlib.sha256(api_key.encode()).hexdigest()
        self.budget: str = f"{self._base.authority} {digest}"
        self._headers = CIMultiDict(
            {
                "X-API-Key": api_key,
                "Accept": "application/json",
                "Cache-Control": "no-cache",
                "User-Agent": f"devskin-async/{__version__}",
            }
        )
        self._redact = Redactor(api_key)
        self._timeout = timeout
        self._session = session
        self._owns_session = session is None
        self._connector: QuietConnector | None = None  # of a session made here

    def check_open(self) -> None:
        """Make sure that a request can be sent.

        Raises:
            ConfigurationError: The caller's session is closed.
        """
        if self._session is not None and self._session.closed:
            raise ConfigurationError(
                "the session passed to this client is closed; pass an open one"
            )

    async def send(self, call: Request[T]) -> Response:
        """Send a call once and take its answer.

        Raises:
            TransportError: No whole answer came.
            DecodeError: The answer is longer than any that the reference describes.
            ConfigurationError: The caller's session belongs to another event loop.
        """
        connected.set(not self._owns_session)
        failure: Callable[[], DevSkinError]
        try:
            if (answer := await self._round_trip(call)) is not None:
                return answer
            most = f"a body of at most {MAX_BODY // 1024**2} MiB"
            failure = partial(DecodeError, "$", most, "a longer one", str(call))
        except TimeoutError:
            text = f"{call}: no answer within {self._timeout:g} s"
            failure = partial(TransportError, text, sent=connected.get())
        except _NotConnectedError as error:
            connected.set(False)
            text = f"{call}: {self._line(str(error))}"
            failure = partial(TransportError, text, sent=False, transient=error.transient)
        except RuntimeError as error:
            whose = "its own session" if self._owns_session else "the session passed to this client"
            failure = partial(ConfigurationError, f"{whose}: {self._line(str(error))}")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            text = f"{call}: {self._line(_reason(error))}"
            failure = partial(TransportError, text, sent=connected.get())
        # Outside of `except`: aiohttp's errors can hold the request's headers, and so the key.
        raise failure()

    async def _round_trip(self, call: Request[T]) -> Response | None:
        """Send a call and take its answer; None stands for one that is too long."""
        url = URL.build(
            scheme=self._base.scheme,
            authority=self._base.raw_authority,
            path=self._path + call.path,
            query_string=call.query_string,
            encoded=True,
        )
        async with (
            # aiohttp's own timeout does not end every wait of aiohttp's.
            asyncio.timeout(self._timeout),
            self._open_session().get(
                url,
                headers=self._headers,
                timeout=_NO_TIMEOUT,
                allow_redirects=False,
                raise_for_status=False,
                auto_decompress=True,
                max_line_size=_MAX_HEADER,
                max_field_size=_MAX_HEADER,
                middlewares=(_send_once,),
            ) as response,
        ):
            body = await _read_body(response)
            if body is None:
                return None
            at = response_time(response.headers, dt.datetime.now(dt.UTC))
            return Response(response.status, response.headers, body, at)

    def read(self, call: Request[T], answer: Response) -> T | DevSkinError:
        """Give what an answer holds, or the error that `protocol.read` raises.

        The error has neither the key nor a frame that holds the answer.
        """
        result = _read(call, answer)
        if isinstance(result, MismatchedResponseError) and self._connector is not None:
            # Whatever else is on its way on that connection belongs to another request too.
            self._connector.distrust()
        if not isinstance(result, DevSkinError):
            return result
        # Taken out before anything is cut, since a cut key would not be found.
        headers = CIMultiDict((n, self._redact(v)) for n, v in answer.headers.items())
        body = self._redact(answer.body.decode("latin-1")).encode("latin-1")
        result = _read(call, answer._replace(headers=headers, body=body))
        if not isinstance(result, DevSkinError):
            return result
        # And once more from what was decoded.
        args = [self._redact(arg) if isinstance(arg, str) else arg for arg in result.args]
        return type(result)(*args)

    async def aclose(self) -> None:
        """Close the session, unless it is the caller's."""
        if self._session is not None and self._owns_session:
            await self._session.close()

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._connector = QuietConnector()
            self._session = aiohttp.ClientSession(
                connector=self._connector, cookie_jar=aiohttp.DummyCookieJar()
            )
            close_when_forgotten(self, self._session)
        return self._session

    def _line(self, text: str) -> str:
        return one_line(self._redact(text))


class _NotConnectedError(aiohttp.ClientError):
    """There is no connection, so nothing was sent."""

    transient = True


class _ConnectionLostError(aiohttp.ClientError):
    """The connection broke before an answer came."""


async def _send_once(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Keep aiohttp from sending a request again by itself when a kept connection breaks.

    It would go out without a slot of the budget, and no option switches it off (aiohttp issue
    10790); but it happens for these two errors alone.
    """
    lost: aiohttp.ClientError
    try:
        return await handler(request)
    except aiohttp.ClientConnectorCertificateError as error:
        lost = _NotConnectedError(
            f"can't trust {error.host} port {error.port}: {error.certificate_error}"
        )
        lost.transient = False
    except aiohttp.ClientConnectorError as error:
        lost = _NotConnectedError(
            f"can't connect to {error.host} port {error.port}: {plain_reason(error.os_error)}"
        )
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        lost = _ConnectionLostError(_reason(error))
    raise lost


def plain_reason(error: OSError) -> str:
    """Say why an address can't be used, without the address."""
    # asyncio's own text of a refused connection repeats the address. A name that is not found has
    # a negative number, and TLS numbers its errors in its own way.
    number = error.errno or 0
    plain = number > 0 and not isinstance(error, ssl.SSLError)
    return os.strerror(number) if plain else str(error)


def _reason(error: Exception) -> str:
    """Say what went wrong, without the numbers that aiohttp adds as if the server had sent them."""
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "the server closed the connection before it answered"
    if isinstance(error, aiohttp.ClientResponseError):
        return f"the answer is not valid HTTP: {_unquoted(error.message)}"
    if isinstance(error, aiohttp.ClientPayloadError):
        cause = getattr(error.__cause__, "message", None) or str(error)
        return f"the answer's body is broken: {_unquoted(cause)}"
    if isinstance(error, OSError):
        return plain_reason(error) or type(error).__name__
    return str(error) or type(error).__name__


def _unquoted(message: str) -> str:
    """Leave out what aiohttp quotes of the answer: cut off, it can hold a part of the key."""
    return _QUOTE.split(message, maxsplit=1)[0]


async def _read_body(response: aiohttp.ClientResponse) -> bytes | None:
    """Read an answer's body, or of an error's as much as tells what it is; None if too long."""
    most = MAX_BODY if succeeded(response.status) else MAX_ERROR_BODY
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
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _read(call: Request[T], answer: Response) -> T | DevSkinError:
    try:
        return decode(call, answer)
    except DevSkinError as error:
        return error
