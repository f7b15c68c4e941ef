"""One exchange over HTTP: a request goes out, its answer comes in, bounded and without the key."""

from __future__ import annotations

import asyncio
import datetime as dt
import gc
import hashlib
import json
import math
import os
import re
import ssl
import sys
import threading
import warnings
import weakref
from contextlib import suppress
from typing import TypeVar
from urllib.parse import quote

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from ._version import __version__
from .errors import ConfigurationError, DecodeError, DevSkinError, TransportError
from .protocol import MAX_BODY, MAX_ERROR_BODY, Answer, Call, read, succeeded

T = TypeVar("T")

_REDACTED = "[the API key]"
_SHORT = 8


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
                "User-Agent": f"devskin-async/{__version__}",
            }
        )
        # How a server may repeat the key: as it is, in a URL, in JSON. A very short one is part
        # of many a word.
        forms = {api_key, quote(api_key, safe=""), json.dumps(api_key)[1:-1]}
        edge = r"\b" if len(api_key) < _SHORT else ""
        self._secret = re.compile("|".join(f"{edge}{re.escape(form)}{edge}" for form in forms))
        # aiohttp would round a timeout above its threshold up to a whole second.
        self._timeout = aiohttp.ClientTimeout(total=timeout, ceil_threshold=math.inf)
        self._session = session
        self._owns_session = session is None

    def check_open(self) -> None:
        """Make sure that a request can be sent.

        Raises:
            ConfigurationError: The caller's session is closed.
        """
        if self._session is not None and self._session.closed:
            raise ConfigurationError("the session given to this client is closed: give an open one")

    async def send(self, call: Call[T]) -> Answer:
        """Send a call once and take its answer.

        Raises:
            TransportError: No whole answer came.
            DecodeError: The answer is longer than any that the reference describes.
            ConfigurationError: The caller's session belongs to another event loop.
        """
        url = URL.build(
            scheme=self._base.scheme,
            authority=self._base.raw_authority,
            path=self._path + call.path,
            query_string=call.query_string,
            encoded=True,
        )
        try:
            async with self._open_session().get(
                url,
                headers=self._headers,
                timeout=self._timeout,
                allow_redirects=False,
                raise_for_status=False,
                auto_decompress=True,
                middlewares=(_send_once,),
            ) as response:
                body = await _read_body(response, call)
                return Answer(response.status, response.headers, body, dt.datetime.now(dt.UTC))
        except TimeoutError:
            reason = f"no answer within {self._timeout.total:g} s"
        except aiohttp.ClientResponseError as error:
            reason = f"the answer breaks HTTP ({type(error).__name__})"
        except (aiohttp.ClientError, OSError, ValueError) as error:
            reason = self._without_key(str(error) or type(error).__name__)
        except RuntimeError as error:
            raise ConfigurationError(f"the session given to this client: {error}") from None
        # Outside of `except`: aiohttp's errors can hold the request's headers, and so the key.
        raise TransportError(f"{call}: {reason}")

    def read(self, call: Call[T], answer: Answer) -> T:
        """Give what an answer holds, as `protocol.read` does, with errors that hold no key."""
        try:
            return read(call, answer)
        except DevSkinError:
            pass
        headers = CIMultiDict((n, self._without_key(v)) for n, v in answer.headers.items())
        # Latin-1 gives every byte back as it was.
        body = self._without_key(answer.body.decode("latin-1")).encode("latin-1")
        return read(call, answer._replace(headers=headers, body=body))

    async def aclose(self) -> None:
        """Close the session, unless it is the caller's."""
        if self._session is not None and self._owns_session:
            await self._session.close()

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0), cookie_jar=aiohttp.DummyCookieJar()
            )
            # Unlike `__del__`, this comes before anything that the session holds says the same.
            loop, thread = asyncio.get_running_loop(), threading.get_ident()
            weakref.finalize(self, _close_forgotten, [self._session], loop, thread)
        return self._session

    def _without_key(self, text: str) -> str:
        return self._secret.sub(_REDACTED, text)


def _close_forgotten(
    held: list[aiohttp.ClientSession], loop: asyncio.AbstractEventLoop, thread: int
) -> None:
    """Close a session whose client is gone, and warn once if that was left to do."""
    session = held.pop()
    if session.closed:
        return
    if loop.is_running() and threading.get_ident() != thread:
        loop.call_soon_threadsafe(_begin_closing, session)
    else:
        _begin_closing(session)
    if loop.is_closed() and sys.warnoptions:
        # Its connections can't be closed any more, and each would warn of itself later on.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            del session
            gc.collect()
    message = "a DevSkinClient was not closed: use `async with`, or await its aclose()"
    warnings.warn(message, ResourceWarning, source=held, stacklevel=2)


def _begin_closing(session: aiohttp.ClientSession) -> None:
    """Take the first step, which closes the connections; the rest would only wait for them."""
    closing = session.close()
    with suppress(StopIteration):
        closing.send(None)
    closing.close()


class _ConnectionLostError(aiohttp.ClientError):
    """The connection broke before an answer came."""


async def _send_once(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Keep aiohttp from sending a request again by itself when a kept connection breaks.

    It would go out without a slot of the budget, and no option switches it off (aiohttp issue
    10790); but it happens for these two errors alone.
    """
    try:
        return await handler(request)
    except aiohttp.ClientConnectorCertificateError as error:
        text = f"can't trust {error.host} port {error.port}: {error.certificate_error}"
    except aiohttp.ClientConnectorError as error:
        text = f"can't connect to {error.host} port {error.port}: {plain_reason(error.os_error)}"
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        text = str(error) or type(error).__name__
    raise _ConnectionLostError(text)


def plain_reason(error: OSError) -> str:
    """Say why an address can't be used, without the address."""
    # asyncio's own text of a refused connection repeats the address. A name that is not found has
    # a negative number, and TLS numbers its errors in its own way.
    number = error.errno or 0
    plain = number > 0 and not isinstance(error, ssl.SSLError)
    return os.strerror(number) if plain else str(error)


async def _read_body(response: aiohttp.ClientResponse, call: Call[T]) -> bytes:
    """Read an answer's body, or of an error's as much as tells what it is."""
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
        raise DecodeError("$", f"a body of at most {MAX_BODY} bytes", "a longer one", str(call))
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)
