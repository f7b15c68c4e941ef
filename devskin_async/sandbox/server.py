"""The sandbox's HTTP server: from a request to the envelope that answers it."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from typing import TYPE_CHECKING, Final, NamedTuple

import attrs
import msgspec
from aiohttp import web

from . import faults, keys
from .drift import drifted
from .openapi import openapi_document
from .parameters import (
    BadParameterError,
    parse_id,
    parse_orders,
    parse_page,
    parse_period,
)
from .queries import StoreReader
from .quota import quota_headers

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable

    from multidict import MultiMapping

    from .limiter import Limiter
    from .records import FaultKind, JsonObject, QuotaHeaders
    from .view import View

PREFIX: Final = ("api", "v1")
LOG_LENGTH: Final = 65_536
NO_ANSWER: Final = 0
"""The log's status of a request whose connection was cut in place of an answer."""

_log = logging.getLogger(__name__)
_encode = msgspec.json.Encoder(decimal_format="number").encode


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
        drift: Answers look like a later API's.
        latency: Seconds an answer takes at least.
    """

    connection: sqlite3.Connection
    limiter: Limiter
    quota: QuotaHeaders
    plan: faults.FaultPlan
    view: View
    drift: bool
    latency: float


class _ApiError(Exception):
    """An answer other than 200; the message goes out in the envelope."""

    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = headers or {}


class StoreServer:
    """Answers the API's requests.

    As at a gateway, the key is looked at first and then the limiter; whatever has a valid key is
    counted, be it the wrong path or method. Only then come the fault, path, permission and
    parameters.
    """

    def __init__(self, settings: Settings, counts: Counts, log: deque[SeenRequest]) -> None:
        self._settings = settings
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
                _check_method(request)
                return _json(200, openapi_document())
            if parts[:2] == PREFIX:
                return await self._answer_api(request, headers)
        except _ApiError as error:
            return _error(error.status, error.message, {**headers, **error.headers})
        except Exception as error:  # noqa: BLE001 - whatever it is, the client gets an envelope
            if isinstance(error, sqlite3.OperationalError) and "locked" in str(error):
                # Another process has the file; nothing is wrong with the sandbox.
                _log.warning("no answer to %s %s: %s", request.method, request.path, error)
            else:
                _log.exception("the sandbox failed on %s %s", request.method, request.path)
            return _error(500, "Internal server error", headers)
        return _error(404, "Not found")

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
            raise _ApiError(401, "Missing API key: send it in the X-API-Key header")
        key = keys.find(self._settings.connection, text)
        if key is None or key.revoked_at is not None:
            raise _ApiError(401, "Invalid or expired API key")
        return key

    def _count(self, key: keys.KeyInfo, headers: dict[str, str]) -> None:
        """Let the limiter count a request, and write down what every answer then tells of it."""
        limiter = self._settings.limiter
        decision = limiter.hit(str(key.id))
        headers.update(quota_headers(self._settings.quota, decision, limiter.window))
        if not decision.allowed:
            self._counts.refused += 1
            raise _ApiError(429, "Rate limit exceeded")

    async def _spoil(
        self,
        fault: FaultKind,
        request: web.BaseRequest,
        key: keys.KeyInfo,
        headers: dict[str, str],
    ) -> web.StreamResponse:
        self._counts.faulted += 1
        if fault == "500":
            return _error(500, "Internal server error", headers)
        if fault == "502-html":
            return faults.bad_gateway(headers)
        if fault == "reset":
            return faults.reset(request)
        if fault == "truncated":
            return await faults.truncate(request, self._good_answer(request, key, headers))
        await faults.delay(self._settings.plan.slow)
        return self._good_answer(request, key, headers)

    def _good_answer(
        self, request: web.BaseRequest, key: keys.KeyInfo, headers: dict[str, str]
    ) -> web.Response:
        """Answer as the reference says, errors among them."""
        try:
            data = self._data(request, key)
        except BadParameterError as error:
            return _error(400, str(error), headers)
        except _ApiError as error:
            return _error(error.status, error.message, {**headers, **error.headers})
        if self._settings.drift:
            data = drifted(data)
        return _json(200, {"success": True, "data": data}, headers)

    def _data(self, request: web.BaseRequest, key: keys.KeyInfo) -> JsonObject:
        settings = self._settings
        reader = StoreReader(settings.connection, key.store_id, settings.view)
        match request.rel_url.parts[3:]:
            case ("orders", text) if text:
                _admit(request, key, "orders")
                data = reader.order(parse_id(text))
                if data is None:
                    raise _ApiError(404, "Order not found")
                return data
            case ("analytics", "overview"):
                _admit(request, key, "analytics")
                return reader.overview()
            case (name,) if (read := _READERS.get(name)) is not None:
                _admit(request, key, name)
                return read(reader, request.query)
            case _:
                raise _ApiError(404, "Not found")


def _read_orders(reader: StoreReader, query: MultiMapping[str]) -> JsonObject:
    return reader.orders(parse_orders(query))


def _read_revenue(reader: StoreReader, query: MultiMapping[str]) -> JsonObject:
    return reader.revenue(parse_period(query))


def _read_products(reader: StoreReader, query: MultiMapping[str]) -> JsonObject:
    return reader.products(parse_page(query))


def _read_customers(reader: StoreReader, query: MultiMapping[str]) -> JsonObject:
    return reader.customers(parse_page(query))


_READERS: Final[dict[str, Callable[[StoreReader, MultiMapping[str]], JsonObject]]] = {
    "orders": _read_orders,
    "revenue": _read_revenue,
    "products": _read_products,
    "customers": _read_customers,
}


def _check_method(request: web.BaseRequest) -> None:
    if request.method != "GET":
        raise _ApiError(405, "Method not allowed", {"Allow": "GET"})


def _admit(request: web.BaseRequest, key: keys.KeyInfo, resource: str) -> None:
    """Refuse a wrong method, then a key that was not made for the resource."""
    _check_method(request)
    if key.only is not None and resource not in key.only:
        raise _ApiError(403, f"This API key does not have access to {resource}")


def _json(status: int, body: object, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(
        status=status, body=_encode(body), headers=headers, content_type="application/json"
    )


def _error(status: int, message: str, headers: dict[str, str] | None = None) -> web.Response:
    return _json(status, {"success": False, "error": message}, headers)


class _Protocol(web.RequestHandler):
    """Keeps to the envelope even for what is not HTTP at all."""

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,  # noqa: ARG002 - a stand-in, there was no request
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - it quotes what came
    ) -> web.StreamResponse:
        _log.debug("not a request: %s", exc)
        answer = _error(status, "Malformed request" if status < 500 else "Internal server error")  # noqa: PLR2004
        answer.force_close()
        return answer


class HttpServer(web.Server):
    """Speaks HTTP in the protocol above, and keeps no access log."""

    def __call__(self) -> web.RequestHandler:
        """Make the protocol of a new connection."""
        return _Protocol(
            self,
            loop=asyncio.get_running_loop(),
            access_log=None,  # type: ignore[arg-type]  # None turns it off
        )
