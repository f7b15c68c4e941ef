"""A budget on a Valkey server, for processes on several machines.

A step is a script that runs on the server, as one and on the server's clock: `budget.lua`, which
does what `grants.step` does. The state is one key, named by a digest and expiring by itself.

A server that starts empty, or that takes over from one that failed, does not know all that was
granted. So a state has an epoch, which is another then: participants that know the old one are
told so, and report what they hold. What nobody reports counts no longer than a lease and a window:
for so long after its start, and after a loss that a participant notices, the server grants
nothing. A fail-over is trusted to lose no more than its participants report within 2 s.

Time is the server's. It must not be set forward while requests count: what it held would be free
early.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections.abc import Awaitable, Callable
from importlib.resources import files
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import msgspec
from msgspec.structs import replace

from ..errors import ConfigurationError
from .reports import Reply, Report
from .state import BudgetState, dumps, loads
from .store import StoreUnavailableError
from .valkey_url import ValkeyURL

if TYPE_CHECKING:
    from valkey.asyncio.connection import AbstractConnection
    from valkey.exceptions import ValkeyError

T = TypeVar("T")

SCRIPT = files(__package__).joinpath("budget.lua").read_text(encoding="utf-8")

_DIGEST = hashlib.sha1(SCRIPT.encode(), usedforsecurity=False).hexdigest()
_LAYOUT = ":1"  # of the state: another one gets another key
_TIMEOUT, _LEAST_TIMEOUT = 1.0, 0.25  # seconds
_PATIENCE = 1 / 6  # of a window, for a call
_PASSING = (  # what a server says that will be able to again
    "BUSY", "CLUSTERDOWN", "LATE", "LOADING", "MASTERDOWN", "MISCONF", "NOREPLICAS", "OOM",
    "READONLY", "TRYAGAIN", "UNKILLABLE",
)  # fmt: skip

_reply_decoder = msgspec.msgpack.Decoder(Reply)
_encoder = msgspec.msgpack.Encoder()


def open_valkey_store(url: str, name: str, *, report_within: float) -> ValkeyStore:
    """Return a budget on a server, which is connected to when it is first used.

    Args:
        url: Where the server is, such as `valkey://:password@host:6379/0`.
        name: The budget's name.
        report_within: Seconds for which an answered request may remain unreported.

    Raises:
        ConfigurationError: The address can't be used, or valkey-py is not installed.
    """
    return ValkeyStore(url, name, report_within=report_within)


class ValkeyStore:
    """A budget on a Valkey server; see `store.Store`.

    Args:
        url: Where the server is, such as `valkey://:password@host:6379/0`.
        name: The budget's name on it.
        report_within: Seconds for which an answered request may remain unreported.
        clock: The participant's clock: nothing is decided by it but how long ago a reply came.

    Raises:
        ConfigurationError: The address can't be used, or valkey-py is not installed.
    """

    where = "valkey"
    immediate = False

    def __init__(
        self,
        url: str,
        name: str,
        *,
        report_within: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        try:
            import valkey.asyncio  # noqa: F401
        except ImportError:
            raise ConfigurationError(
                "A budget on a Valkey server needs valkey-py: "
                "python -m pip install 'devskin-async[valkey]'"
            ) from None
        self._url = ValkeyURL.parse(url)
        self._key = f"{{devskin:{name}}}{_LAYOUT}"
        self._clock = clock
        self.report_within = report_within
        self._link: _Link | None = None
        self._calls = 0
        self._timeout = _TIMEOUT
        self._state = dumps(BudgetState(epoch=0))
        self._now = 0.0
        self._replied_at = clock()
        self.steps = 0

    async def exchange(self, report: Report) -> Reply:
        """Hand in a report; see `Store.exchange`.

        Raises:
            StoreUnavailableError: The server can't be reached, or is not able to at the moment.
            ConfigurationError: It can't be used as it is.
        """
        if self._clock() - self._replied_at > report.limit.per + report.lease:
            # Nothing is held any more, so it does not matter what the server has forgotten.
            report = replace(report, epoch=0)
        self.steps += 1
        self._timeout = min(_TIMEOUT, max(_LEAST_TIMEOUT, report.limit.per * _PATIENCE))
        encoded = _encoder.encode(report)
        reply, self._state = await self._call(
            lambda link: link.evaluate(self._key, encoded, self._next_call())
        )
        decoded = _reply_decoder.decode(reply)
        self._now, self._replied_at = decoded.now, self._clock()
        return decoded

    def view(self) -> tuple[BudgetState, float]:
        """Return the budget as last seen; see `Store.view`."""
        return loads(self._state), self._now + self._clock() - self._replied_at

    async def check(self) -> None:
        """Find out whether the server is there.

        Raises:
            StoreUnavailableError: It is not, or not able to answer.
        """
        await self._call(_Link.ping)

    async def aclose(self) -> None:
        """Close the connection, unless another budget uses it."""
        link, self._link = self._link, None
        if link is not None:
            await link.release()

    async def _call(self, command: Callable[[_Link], Awaitable[T]]) -> T:
        """Do something by the loop's connection, and once more by another if it was closed."""
        from valkey.exceptions import ValkeyError

        try:
            async with asyncio.timeout(self._timeout):
                if self._link is None or not self._link.is_usable():
                    self._link = _Link.of(self._url)
                    self._link.users += 1
                try:
                    return await command(self._link)
                except ValkeyError as error:
                    # The server may have closed it meanwhile, or another took over.
                    if not _is_worth_another(error):
                        raise
                return await command(self._link)
        except ValkeyError as error:
            raise _translated(error, self._url.shown) from None
        except TimeoutError:
            raise StoreUnavailableError(
                f"{self._url.shown} did not answer within {self._timeout:g} s"
            ) from None

    def _next_call(self) -> str:
        # A call whose connection was given up may be carried out late, which the script tells by
        # its number. The machine's time: who takes the same name later goes on from there.
        self._calls = max(self._calls + 1, time.monotonic_ns() // 1000)
        return str(self._calls)


class _Link:
    """A connection, which all budgets of a loop on a server use in turns."""

    _all: ClassVar[dict[tuple[int, asyncio.AbstractEventLoop, str], _Link]] = {}

    def __init__(self, key: tuple[int, asyncio.AbstractEventLoop, str], url: ValkeyURL) -> None:
        from valkey.asyncio.connection import Connection, SSLConnection

        self._key = key
        self.users = 0
        self._lock = asyncio.Lock()
        options: dict[str, Any] = {
            **url.options,
            "socket_timeout": None,  # each call has its own
            "socket_keepalive": True,
            "lib_name": None,
            "lib_version": None,
        }
        self._connection: AbstractConnection = (SSLConnection if url.tls else Connection)(**options)

    @classmethod
    def of(cls, url: ValkeyURL) -> _Link:
        """Return the running loop's connection to a server."""
        # A process that was forked off does not touch its parent's.
        key = (os.getpid(), asyncio.get_running_loop(), url.given)
        if key not in cls._all:
            for each in [each for each in cls._all if each[1].is_closed()]:
                cls._all.pop(each, None)
            cls._all[key] = cls(key, url)
        return cls._all[key]

    def is_usable(self) -> bool:
        """Return whether it is this process's and the running loop's."""
        return self._key[:2] == (os.getpid(), asyncio.get_running_loop())

    async def evaluate(self, key: str, *args: bytes | str) -> tuple[bytes, bytes]:
        """Run the script."""
        from valkey.exceptions import NoScriptError

        async with self._lock:
            try:
                reply, state = await self._ask("EVALSHA", _DIGEST, 1, key, *args)
            except NoScriptError:
                reply, state = await self._ask("EVAL", SCRIPT, 1, key, *args)
            return reply, state

    async def ping(self) -> None:
        """Get an answer."""
        async with self._lock:
            await self._ask("PING")

    async def release(self) -> None:
        """Close it when nobody uses it any more."""
        self.users -= 1
        if not self.users and self._all.pop(self._key, None) is self:
            await self._connection.disconnect(nowait=not self.is_usable())

    async def _ask(self, *command: str | bytes | int) -> list[bytes]:
        from valkey.exceptions import ReadOnlyError, ResponseError

        try:
            await self._connection.send_command(*command)
            response: list[bytes] = await self._connection.read_response()
        except BaseException as error:
            # What comes next on the connection may be this reply; or it leads to a replica.
            if not isinstance(error, ResponseError) or isinstance(error, ReadOnlyError):
                await self._connection.disconnect(nowait=True)
            raise
        return response


def _is_worth_another(error: ValkeyError) -> bool:
    """Return whether another connection may do better at once."""
    from valkey.exceptions import AuthenticationError, BusyLoadingError, ReadOnlyError
    from valkey.exceptions import ConnectionError as NotConnectedError

    if isinstance(error, AuthenticationError | BusyLoadingError):
        return False
    return isinstance(error, NotConnectedError | ReadOnlyError)


def _translated(error: ValkeyError, server: str) -> Exception:
    """Return what an error of valkey-py means here."""
    from valkey.exceptions import (
        AuthenticationError,
        AuthenticationWrongNumberOfArgsError,
        NoPermissionError,
        OutOfMemoryError,
        ReadOnlyError,
        ResponseError,
    )

    text = str(error)
    if isinstance(error, AuthenticationError | AuthenticationWrongNumberOfArgsError):
        return ConfigurationError(
            f"{server} refuses the user or the password, or asks for one: give them in the "
            f"budget's address, valkey://user:password@host:port/db ({text})"
        )
    if isinstance(error, OutOfMemoryError | ReadOnlyError) or not isinstance(error, ResponseError):
        return StoreUnavailableError(f"{server}: {text}")
    if any(word in text for word in _PASSING):
        return StoreUnavailableError(f"{server}: {text}")
    if isinstance(error, NoPermissionError) or "ACL failure" in text or "NOPERM" in text:
        return ConfigurationError(
            f"{server} forbids its user what a budget needs: allow EVALSHA, EVAL, TIME, INFO, GET "
            f"and SET, on the keys {{devskin:*}} ({text})"
        )
    if text.startswith(("MOVED", "ASK ")) or "cluster" in text:
        return ConfigurationError(
            f"{server} is a node of a cluster, which a budget can't use: give the address of a "
            "server that is none, or of a proxy before the cluster"
        )
    return ConfigurationError(
        f"{server} can't run the script of a budget, which needs Valkey, or Redis 6 or later: "
        f"{text}"
    )
