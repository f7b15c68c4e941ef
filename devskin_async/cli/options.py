"""The options that every reading command has, and the store that they open."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Annotated, TypeAlias

from attrs import frozen
from cyclopts import Group, Parameter, Token

from ..client import DevSkinClient
from ..errors import ConfigurationError
from ..options import Retry
from ..ratelimit import RateLimit
from .failures import ended_by_signals, needing_extra

STORE = Group("Which store", sort_key=10)

Flag: Parameter = Parameter(negative=(), show_default=False)


def _whole(_: object, tokens: Sequence[Token]) -> int:
    text = tokens[0].value
    if not re.fullmatch(r"[+-]?\d{1,19}", text, re.ASCII):
        raise ValueError(f"a whole number is needed, not {text!r}")
    return int(text)


# cyclopts itself rounds 5.7 to 6, and takes 0x10 and 1_0.
Whole: TypeAlias = Annotated[int, Parameter(converter=_whole)]


@Parameter(name="*", group=STORE)
@frozen(kw_only=True)
class Connection:
    """Which store to read, and how.

    Args:
        sandbox: Read a made-up store, started for this one command; it needs no key.
        api_key: The store's API key; better set in DEVSKIN_API_KEY, where no one else sees it.
        base_url: The API's address; else DEVSKIN_BASE_URL, else the real API.
        timeout: Seconds for one attempt on the wire.
    """

    sandbox: Annotated[bool, Flag] = False
    api_key: str | None = None
    base_url: str | None = None
    timeout: float = 30.0


DEFAULTS = Connection()

# Somebody waits for a table; an export may as well sit a longer trouble out.
IMPATIENT = Retry(attempts=4)
PATIENT = Retry()


@asynccontextmanager
async def open_store(
    connection: Connection, retry: Retry = IMPATIENT
) -> AsyncIterator[DevSkinClient]:
    """Open the store that the options name, the sandbox's included.

    Args:
        connection: The options.
        retry: How often what failed is tried again.

    Yields:
        A client that is closed afterwards.

    Raises:
        ConfigurationError: There is no key, or the sandbox is not installed.
        ValueError: The options contradict each other.
    """
    api_key, base_url = connection.api_key, connection.base_url
    async with AsyncExitStack() as stack:
        stack.enter_context(ended_by_signals())
        if connection.sandbox:
            if api_key is not None or base_url is not None:
                raise ValueError("--sandbox brings its own address and key: leave yours out")
            with needing_extra("sandbox"):
                from ..sandbox import Sandbox
            box = await stack.enter_async_context(Sandbox())
            api_key, base_url = box.api_key, box.base_url
        elif not (api_key or os.environ.get("DEVSKIN_API_KEY", "")).strip():
            raise ConfigurationError(
                "no API key: set DEVSKIN_API_KEY, or try it without one: --sandbox"
            )
        client = DevSkinClient(
            api_key,
            base_url=base_url,
            timeout=connection.timeout,
            retry=retry,
            rate_limit=RateLimit(reserve=0),  # nothing else runs in this process
        )
        yield await stack.enter_async_context(client)
