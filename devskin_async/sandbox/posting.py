"""One attempt to deliver a webhook: a signed POST, and what came of it."""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
from typing import TYPE_CHECKING, Final, Self

import aiohttp

from .deliveries import Outcome
from .endpoints import check_url
from .targets import RefusedTargetError, host_refusal, open_socket

if TYPE_CHECKING:
    from types import TracebackType

    from .deliveries import Parcel

SIGNATURE_HEADER: Final = "X-Webhook-Signature"
USER_AGENT: Final = "devskin-sandbox-webhooks"

MOST_TOLD: Final = 200
"""How much of a message is kept that may quote the receiver."""

_log = logging.getLogger(__name__)


def signature(body: bytes, secret: str) -> str:
    """Sign a body as the reference does.

    Args:
        body: The raw bytes.
        secret: The endpoint's secret.

    Returns:
        The header's value: sha256= and the HMAC-SHA256 in hexadecimal.
    """
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


class Poster:
    """Posts to endpoints over one session; opened and closed by `async with`."""

    def __init__(self, *, timeout: float, allow_private: bool) -> None:
        """Open a session, in a running loop.

        Args:
            timeout: Seconds an attempt may take, from the name's look-up to the status.
            allow_private: Whether addresses may be used that are not public.
        """
        self._timeout = timeout
        self._allow_private = allow_private
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                # On a kept connection that the receiver just closed, a good event would fail.
                force_close=True,
                limit=0,
                resolver=aiohttp.ThreadedResolver(),
                # One address after the other, so that one that is refused ends it.
                happy_eyeballs_delay=None,
                socket_factory=None if allow_private else open_socket,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=timeout),
            headers={"User-Agent": USER_AGENT, "Content-Type": "application/json"},
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._session.close()

    async def post(self, parcel: Parcel) -> Outcome:
        """Post once; anything but a 2xx status is a failure, a redirect too.

        Args:
            parcel: What to post where.

        Returns:
            How it went; this raises nothing.
        """
        try:
            status = await self._post(parcel)
        except (RefusedTargetError, aiohttp.InvalidURL) as error:
            return Outcome(None, str(error), final=True)
        except TimeoutError:
            return Outcome(None, f"no response within {self._timeout:g} s")
        except (aiohttp.ClientError, OSError) as error:
            return Outcome(None, _told(error))
        except Exception as error:  # noqa: BLE001 - whatever it is, the others are sent
            _log.exception("an attempt failed that should not: delivery %d", parcel.delivery_id)
            return Outcome(None, f"unexpected {type(error).__name__}")
        good = 200 <= status < 300  # noqa: PLR2004
        return Outcome(status, None if good else f"status {status}")

    async def _post(self, parcel: Parcel) -> int:
        url = check_url(parcel.url)
        if not self._allow_private and (reason := host_refusal(url.host or "")) is not None:
            raise RefusedTargetError(reason)
        headers = {SIGNATURE_HEADER: signature(parcel.body, parcel.secret)}
        # Its body is of no interest: what was not read with the headers is left there.
        async with self._session.post(
            url, data=parcel.body, headers=headers, allow_redirects=False
        ) as response:
            return response.status


def _told(error: Exception) -> str:
    """Say in short words what went wrong on the wire."""
    cause = error.__cause__
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        told = f"the name {error.host} was not found: {getattr(cause, 'strerror', None) or cause}"
    elif isinstance(error, aiohttp.ClientSSLError):
        told = f"no TLS with {error.host} port {error.port}: {cause}"
    elif isinstance(error, aiohttp.ClientConnectorError):
        code = getattr(cause, "errno", None)
        reason = os.strerror(code) if code else cause
        told = f"no connection to {error.host} port {error.port}: {reason}"
    else:
        told = f"the connection broke: {str(error) or type(error).__name__}"
    return told[:MOST_TOLD]
