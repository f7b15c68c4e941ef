"""Runs the script of a budget on a Valkey server, and translates the errors of valkey-py."""

from __future__ import annotations

import asyncio
import hashlib
import os
from importlib.resources import files
from typing import TYPE_CHECKING, Any, ClassVar

from ..errors import ConfigurationError
from .store import StoreUnavailableError
from .valkey_connection import ValkeyConnection
from .valkey_url import ValkeyURL

if TYPE_CHECKING:
    from valkey.exceptions import ValkeyError

SCRIPT = files(__package__).joinpath("budget.lua").read_text(encoding="utf-8")

DIGEST = hashlib.sha1(SCRIPT.encode(), usedforsecurity=False).hexdigest()

_PASSING = (  # in errors of a server that will be usable again by itself
    "BUSY", "CLUSTERDOWN", "LATE", "LOADING", "MASTERDOWN", "MISCONF", "NOREPLICAS", "OOM",
    "READONLY", "TRYAGAIN", "UNKILLABLE",
)  # fmt: skip


_FOREIGN = (  # in errors of the script or the server for a value that is not a budget
    "WRONGTYPE", "Bad data format", "Missing bytes", "attempt to", "bad argument",
)  # fmt: skip


class ValkeyLink:
    """The connection of all budgets of one event loop on one server; it is reopened if it ends."""

    _all: ClassVar[dict[tuple[int, asyncio.AbstractEventLoop, str], ValkeyLink]] = {}

    def __init__(self, key: tuple[int, asyncio.AbstractEventLoop, str], url: ValkeyURL) -> None:
        self._key = key
        self._url = url
        self.users: int = 0
        self._connection: ValkeyConnection | None = None

    @classmethod
    def of(cls, url: ValkeyURL) -> ValkeyLink:
        """Return the running loop's connection to a server."""
        # A forked child does not use its parent's.
        key = (os.getpid(), asyncio.get_running_loop(), url.given)
        if key not in cls._all:
            # A copy of the keys, since other threads may change the dict meanwhile.
            for each in [each for each in list(cls._all) if each[1].is_closed()]:
                cls._all.pop(each, None)
            cls._all[key] = cls(key, url)
        return cls._all[key]

    def is_usable(self) -> bool:
        """Return whether it is this process's and the running loop's."""
        return self._key[:2] == (os.getpid(), asyncio.get_running_loop())

    async def evaluate(self, key: str, *args: bytes | str) -> tuple[bytes, bytes, bytes]:
        """Run the script."""
        from valkey.exceptions import NoScriptError

        try:
            reply, state, unknown_for = await self._execute("EVALSHA", DIGEST, 1, key, *args)
        except NoScriptError:
            reply, state, unknown_for = await self._execute("EVAL", SCRIPT, 1, key, *args)
        return reply, state, unknown_for

    async def read(self, key: str, count: int) -> bytes:
        """Read the first bytes of a key."""
        data: bytes = await self._execute("GETRANGE", key, 0, count - 1)
        return data

    async def release(self) -> None:
        """Remove one user; with the last one, close the connection."""
        self.users -= 1
        if self.users or self._all.pop(self._key, None) is not self:
            return
        if self._connection is not None:
            await self._connection.close(nowait=not self.is_usable())

    async def _execute(self, *command: str | bytes | int) -> Any:  # noqa: ANN401  # any response
        if self._connection is None or self._connection.is_over:
            self._connection = ValkeyConnection(self._url)
        return await self._connection.execute(*command)


def may_reconnect(error: ValkeyError) -> bool:
    """Return whether the command may succeed on a new connection at once."""
    from valkey.exceptions import AuthenticationError, BusyLoadingError, ReadOnlyError
    from valkey.exceptions import ConnectionError as NotConnectedError

    if isinstance(error, AuthenticationError | BusyLoadingError):
        return False
    return isinstance(error, NotConnectedError | ReadOnlyError)


def translated(error: ValkeyError, server: str, key: str) -> Exception:
    """Return the error of this library for an error of valkey-py."""
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
            f"{server} refuses the user or the password, or requires them: write them in the "
            f"budget's address, valkey://user:password@host:port/db ({text})"
        )
    is_refusal = isinstance(error, ResponseError)
    is_passing = isinstance(error, OutOfMemoryError | ReadOnlyError)
    if is_passing or not is_refusal or any(word in text for word in _PASSING):
        return StoreUnavailableError(f"{server}: {text}")
    if isinstance(error, NoPermissionError) or "ACL failure" in text or "NOPERM" in text:
        return ConfigurationError(
            f"{server} forbids its user what a budget needs: allow EVALSHA, EVAL, TIME, INFO, GET, "
            f"GETRANGE and SET, on the keys {{devskin:*}} ({text})"
        )
    if text.startswith(("MOVED", "ASK ")) or "cluster" in text:
        return ConfigurationError(
            f"{server} is a node of a cluster, which a budget can't use: use the address of a "
            "server without a cluster, or of a proxy in front of the cluster"
        )
    if any(words in text for words in _FOREIGN):
        return ConfigurationError(
            f"{server} has a value that is not a budget under the key {key}: delete that key, or "
            f"use another database ({text})"
        )
    return ConfigurationError(
        f"{server} can't run the script of a budget, which needs Valkey, or Redis 6 or later: "
        f"{text}"
    )
