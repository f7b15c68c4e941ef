"""What came on the wire: collected for the calls of a block, and carried by errors."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeAlias

from msgspec import Struct


class CapturedResponse(Struct, frozen=True, kw_only=True):
    """What came on the wire in response to a call, without its body.

    Args:
        method: The request's method.
        path: Its path below the base URL, without the query.
        status: The HTTP status.
        headers: The headers, looked up without regard to case; the API key is taken out.
        attempts: How often the call had been sent by then.
        queued: Seconds that it had waited for the rate limit by then, all attempts together.
        elapsed: Seconds on the wire, from sending the request to the end of the response.
        at: When the response was sent: its `Date`, or this machine's time without one.
        age: Seconds for which a cache had kept it; 0 if it came from the API itself.
    """

    method: str
    path: str
    status: int
    headers: Mapping[str, str]
    attempts: int
    queued: float
    elapsed: float
    at: dt.datetime
    age: float


class Block:
    """A `capture` block: the responses to its calls, and whether it has ended."""

    def __init__(self) -> None:
        self.responses: list[CapturedResponse] = []
        self.ended: bool = False


Captures: TypeAlias = tuple[Block, ...]
captures: ContextVar[Captures] = ContextVar("captures", default=())
"""All `capture` blocks that the running code is in."""


@contextmanager
def capture() -> Iterator[list[CapturedResponse]]:
    """Collect what comes on the wire for the calls made in this block.

    That includes calls of tasks created in it, the responses of attempts that are retried, and
    those that a call shares with an identical one in flight, from when it joins. What comes after
    the block's end is not collected.

    Returns:
        The responses in the order in which they came, each once; the list grows while calls are
        in flight.
    """
    block = Block()
    captures.set((*captures.get(), block))
    try:
        yield block.responses
    finally:
        block.ended = True
        # Blocks in asynchronous generators end in any order, not the last one first.
        captures.set(tuple(each for each in captures.get() if each is not block))
