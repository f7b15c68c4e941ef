"""The sandbox's HTTP server: from a request to the envelope that answers it."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from typing import TYPE_CHECKING, Final, NamedTuple

import attrs

from . import faults, keys
from .drift import drifted
from .openapi import openapi_document
from .queries import StoreReader
from .quirks import Quirk
from .quota import quota_headers, retry_after_header
from .routes import PREFIX, ApiError, check_method, read_data

if TYPE_CHECKING:
    from collections import deque

    from aiohttp import web

    from .answers import Writer
    from .limiter import Limiter
    from .records import FaultKind, QuotaHeaders
    from .view import View

LOG_LENGTH: Final = 65_536
NO_ANSWER: Final = 0
"""The log's status of a request whose connection was cut in place of an answer."""

WAITED_OUT: Final = (429, 503)
"""The statuses that can say how long to wait."""

_log = logging.getLogger(__name__)


class SeenRequest(NamedTuple):
    """A request as it arrived: when (the loop's time, in seconds), what, and how it ended."""

    at: float
    method: str
    path_qs: str
    status: int


@attrs.define
class Counts:
    """How many requests arrived, and of them: 429s, and answers spoilt on purpose."""

    requests: int = 0
    refused: int = 0
    faulted: int = 0


@attrs.frozen(kw_only=True)
class Settings:
    """What a server works with.

    Attributes:
        connection: The database of all its stores.
        limiter: Counts each key's requests.
        quota: Which headers tell of it.
        plan: Which answers go wrong.
        view: How the stores are read.
        writer: Writes the answers.
        drift: Answers look like a later API's.
        latency: Seconds an answer takes at least.
    """

    connection: sqlite3.Connection
    limiter: Limiter
    quota: QuotaHeaders
    plan: faults.FaultPlan
    view: View
    writer: Writer
    drift: bool
    latency: float


class StoreServer:
    """Answers the API's requests.

    As at a gateway, the key is looked at first and then the limiter; whatever has a valid key is
    counted, be it the wrong path or method. Only then come the fault, path, permission and
    parameters.
    """

    def __init__(self, settings: Settings, counts: Counts, log: deque[SeenRequest]) -> None:
        self._settings = settings
        self._writer = settings.writer
        self._quirks = settings.writer.quirks
        self._counts = counts
        self._seen = log

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request and note it.

        Args:
            request: Any request, well-formed as HTTP.

        Returns:
            What was or is to be sent.
        """
        arrived = asyncio.get_running_loop().time()
        self._counts.requests += 1
        status = NO_ANSWER
        try:
            answer = await self._answer(request)
            cut = request.transport is None or request.transport.is_closing()
            status = NO_ANSWER if cut else answer.status
        finally:
            self._seen.append(SeenRequest(arrived, request.method, request.path_qs, status))
        return answer

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        parts = request.rel_url.parts[1:]
        headers: dict[str, str] = {}
        try:
            if parts == (*PREFIX, "openapi.json"):
                check_method(request)
                return self._writer.document(openapi_document())
            if parts[:2] == PREFIX:
                return await self._answer_api(request, headers)
        except ApiError as error:
            return self._error(request, error, headers)
        except Exception as error:  # noqa: BLE001 - whatever it is, the client gets an envelope
            if isinstance(error, sqlite3.OperationalError) and "locked" in str(error):
                # Another process has the file; nothing is wrong with the sandbox.
                _log.warning("no response to %s %s: %s", request.method, request.path, error)
            else:
                _log.exception("the sandbox failed on %s %s", request.method, request.path)
            return self._error(request, ApiError(500, "Internal server error"), headers)
        return self._error(request, ApiError(404, "Not found"), headers)

    def _error(
        self, request: web.BaseRequest, error: ApiError, headers: dict[str, str]
    ) -> web.Response:
        key = request.headers.get("X-API-Key", "")
        more = {**headers, **error.headers, **self._told_wait(error.status)}
        return self._writer.error(error.status, error.message, more, key)

    async def _answer_api(
        self, request: web.BaseRequest, headers: dict[str, str]
    ) -> web.StreamResponse:
        """Answer below the API's prefix; `headers` gets what every answer has, errors too."""
        key = self._authenticate(request)
        self._count(key, headers)
        fault = self._settings.plan.draw()
        await faults.delay(self._settings.latency)
        if fault is not None:
            return await self._spoil(fault, request, key, headers)
        return self._good_answer(request, key, headers)

    def _authenticate(self, request: web.BaseRequest) -> keys.KeyInfo:
        text = request.headers.get("X-API-Key")
        if not text:
            raise ApiError(401, "Missing API key: send it in the X-API-Key header")
        key = keys.find(self._settings.connection, text)
        if key is None or key.revoked_at is not None:
            raise ApiError(401, "Invalid or expired API key")
        return key

    def _count(self, key: keys.KeyInfo, headers: dict[str, str]) -> None:
        """Let the limiter count a request, and write down what every answer then tells of it."""
        limiter = self._settings.limiter
        decision = limiter.hit(str(key.id))
        style, ahead = self._settings.quota, self._writer.ahead
        headers.update(quota_headers(style, decision, limiter.window, ahead))
        if not decision.allowed:
            self._counts.refused += 1
            raise ApiError(429, "Rate limit exceeded")

    def _told_wait(self, status: int) -> dict[str, str]:
        """Give what a 429 and a 503 say of how long to wait, if a quirk has them say it."""
        seconds = self._quirks.whole(Quirk.RETRY_AFTER)
        if seconds is None or status not in WAITED_OUT:
            return {}
        return retry_after_header(self._settings.quota, seconds, self._writer.ahead)

    async def _spoil(
        self,
        fault: FaultKind,
        request: web.BaseRequest,
        key: keys.KeyInfo,
        headers: dict[str, str],
    ) -> web.StreamResponse:
        self._counts.faulted += 1
        if fault == "reset":
            return faults.reset(request)
        if (broken := faults.BROKEN.get(fault)) is not None:
            return faults.break_http(request, broken)
        if (page := faults.PAGES.get(fault)) is not None:
            return self._writer.plain(*page, headers)
        if (message := faults.MESSAGES.get(fault)) is not None:
            return self._error(request, ApiError(int(fault), message), headers)
        if fault == "slow":
            await faults.delay(self._settings.plan.slow)
        answer = self._good_answer(request, key, headers)
        if fault == "truncated":
            return await faults.truncate(request, answer)
        return faults.break_gzip(answer) if fault == "bad-gzip" else answer

    def _good_answer(
        self, request: web.BaseRequest, key: keys.KeyInfo, headers: dict[str, str]
    ) -> web.Response:
        """Answer as the reference says, errors among them."""
        settings = self._settings
        reader = StoreReader(settings.connection, key.store_id, settings.view)
        try:
            data = read_data(request, key, reader, self._quirks)
        except ApiError as error:
            return self._error(request, error, headers)
        if settings.drift:
            data = drifted(data)
        return self._writer.json(data, headers)
