"""What is logged and emitted for each attempt of a call: a line, and events."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from ..api import one_line
from ..ratelimit import Answered, Listeners, Sent, Slot
from .single_flight import SharedCall

log: logging.Logger = logging.getLogger("devskin_async.http")


class Attempt:
    """One attempt of a call on the wire, as `with`.

    Args:
        call: The call, which counts this attempt already.
        slot: The slot it is sent with.
        listeners: Who is called with its events.
        redact: Removes the API key from a text.

    Attributes:
        status: The status of its response, to be set when it comes; None if none does.
        elapsed: Seconds on the wire; set when the block ends.
    """

    __slots__ = ("_call", "_listeners", "_redact", "_slot", "elapsed", "status")

    def __init__(
        self,
        call: SharedCall[Any],
        slot: Slot,
        listeners: Listeners,
        redact: Callable[[str], str],
    ) -> None:
        self._call = call
        self._slot = slot
        self._listeners = listeners
        self._redact = redact
        self.status: int | None = None
        self.elapsed: float = 0.0

    def __enter__(self) -> Self:
        call, slot = self._call, self._slot
        if self._listeners.any_callbacks:
            self._listeners.call(
                Sent(
                    request=str(call.request),
                    lane=slot.lane,
                    attempt=call.attempts,
                    queued=slot.queued,
                )
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.elapsed = asyncio.get_running_loop().time() - self._slot.granted_at
        if log.isEnabledFor(logging.DEBUG):
            self._log(error)
        if self.status is not None and self._listeners.any_callbacks:
            self._listeners.call(
                Answered(
                    request=str(self._call.request),
                    status=self.status,
                    seconds=self.elapsed,
                    attempt=self._call.attempts,
                )
            )

    def _log(self, error: BaseException | None) -> None:
        request, outcome, reason = self._call.request, str(self.status), ""
        if isinstance(error, asyncio.CancelledError):
            outcome = "cancelled"
        elif error is not None:
            outcome = "failed"
            text = str(error).removeprefix(f"{request}: ") or type(error).__name__
            if isinstance(error, TimeoutError):
                text = "timed out"
            reason = f": {one_line(self._redact(text))}"
        log.debug(
            "%s %s: %s in %.0f ms (queued %.1f s, attempt %d)%s",
            request.method,
            request.target,
            outcome,
            self.elapsed * 1000,
            self._slot.queued,
            self._call.attempts,
            reason,
        )
