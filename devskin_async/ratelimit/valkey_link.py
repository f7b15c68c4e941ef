"""The connection to a Valkey server, which runs the script of a budget; what its errors mean."""

from __future__ import annotations

import asyncio
import hashlib
import os
from importlib.resources import files
from typing import TYPE_CHECKING, Any, ClassVar

from ..errors import ConfigurationError
from .store import StoreUnavailableError
from .valkey_url import ValkeyURL

if TYPE_CHECKING:
    from valkey.asyncio.connection import AbstractConnection
    from valkey.exceptions import ValkeyError

SCRIPT = files(__package__).joinpath("budget.lua").read_text(encoding="utf-8")

DIGEST = hashlib.sha1(SCRIPT.encode(), usedforsecurity=False).hexdigest()

_PASSING = (  # what a server says that will be able to again
    "BUSY", "CLUSTERDOWN", "LATE", "LOADING", "MASTERDOWN", "MISCONF", "NOREPLICAS", "OOM",
    "READONLY", "TRYAGAIN", "UNKILLABLE",
)  # fmt: skip


class ValkeyLink:
    """A connection, which all budgets of a loop on a server use in turns."""

    _all: ClassVar[dict[tuple[int, asyncio.AbstractEventLoop, str], ValkeyLink]] = {}

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
    def of(cls, url: ValkeyURL) -> ValkeyLink:
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

    async def evaluate(self, key: str, *args: bytes | str) -> tuple[bytes, bytes, bytes]:
        """Run the script."""
        from valkey.exceptions import NoScriptError

        async with self._lock:
            try:
                reply, state, unknown_for = await self._ask("EVALSHA", DIGEST, 1, key, *args)
            except NoScriptError:
                reply, state, unknown_for = await self._ask("EVAL", SCRIPT, 1, key, *args)
            return reply, state, unknown_for

    async def read(self, key: str, count: int) -> bytes:
        """Read the first bytes of a key."""
        async with self._lock:
            data: bytes = await self._ask("GETRANGE", key, 0, count - 1)
            return data

    async def release(self) -> None:
        """Close it when nobody uses it any more."""
        self.users -= 1
        if not self.users and self._all.pop(self._key, None) is self:
            await self._connection.disconnect(nowait=not self.is_usable())

    async def _ask(self, *command: str | bytes | int) -> Any:  # noqa: ANN401  # whatever it is answered
        from valkey.exceptions import ReadOnlyError, ResponseError

        try:
            await self._connection.send_command(*command)
            response = await self._connection.read_response()
        except BaseException as error:
            # What comes next on the connection may be this reply; or it leads to a replica.
            if not isinstance(error, ResponseError) or isinstance(error, ReadOnlyError):
                await self._connection.disconnect(nowait=True)
            raise
        return response


def is_worth_another(error: ValkeyError) -> bool:
    """Return whether another connection may do better at once."""
    from valkey.exceptions import AuthenticationError, BusyLoadingError, ReadOnlyError
    from valkey.exceptions import ConnectionError as NotConnectedError

    if isinstance(error, AuthenticationError | BusyLoadingError):
        return False
    return isinstance(error, NotConnectedError | ReadOnlyError)


def translated(error: ValkeyError, server: str) -> Exception:
    """Return what an error of valkey-py means here."""
    from valkey.exceptions import (
        AuthenticationError,
        AuthenticationWrongNumberOfArgsError,
        NoPermissionError,
        OutOfMemoryError,
        ReadOnlyError,
        ResponseError,
    )

    text = str(error) or type(error).__name__
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
            f"{server} forbids its user what a budget needs: allow EVALSHA, EVAL, TIME, INFO, GET, "
            f"GETRANGE and SET, on the keys {{devskin:*}} ({text})"
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
