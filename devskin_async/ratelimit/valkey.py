"""A budget on a Valkey server, for processes on several machines.

A step is a script that runs on the server, atomically and by the server's clock: `budget.lua`, a
port of `grants.step`. The state is one key, which is named by a digest and expires by itself.

A server that starts empty, or that takes over from one that failed, does not know all slots that
were granted. So each state has an epoch, and such a server begins a new one: participants that know
another epoch report what they hold. Slots that nobody reports are held for a lease and a window at
most: for so long after its start, and after a loss that a participant notices, the server grants
nothing. It is assumed that participants report all that a fail-over lost within 2 s.

The server's clock must not be set forward while slots are held: they would be free early.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

import msgspec
from msgspec.structs import replace

from .._extras import how_to_install
from ..errors import ConfigurationError
from .reports import Reply, Report
from .state import BudgetState, loads
from .store import StoreUnavailableError
from .valkey_link import ValkeyLink, may_reconnect, translated
from .valkey_url import ValkeyURL

if TYPE_CHECKING:
    pass

T = TypeVar("T")

_EPOCH_BYTES = 12  # the first of a state: the head of the array, and the epoch
_LAYOUT = ":1"  # of the state; a state with another layout gets another key
_TIMEOUT, _LEAST_TIMEOUT = 1.0, 0.25  # seconds
_TIMEOUT_OF_WINDOW = 1 / 10  # of a window, for a call

_reply_decoder = msgspec.msgpack.Decoder(Reply)
_number_decoder = msgspec.msgpack.Decoder(float)
_encoder = msgspec.msgpack.Encoder()


class ValkeyStore:
    """A budget on a Valkey server; see `store.Store`.

    Args:
        url: Where the server is, such as `valkey://:password@host:6379/0`.
        name: The budget's name on it.
        report_within: Seconds for which a response may remain unreported.
        clock: The participant's clock, used only for how long ago a reply came.

    Attributes:
        unknown_for: Seconds for which the server grants nothing, since it does not know all slots
            that are held.

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
                f"A budget on a Valkey server needs valkey-py: {how_to_install('valkey')}"
            ) from None
        self._url = ValkeyURL.parse(url)
        self._key = f"{{devskin:{name}}}{_LAYOUT}"
        self._clock = clock
        self.report_within = report_within
        self._link: ValkeyLink | None = None
        self._calls = 0
        self._timeout = _TIMEOUT
        self._state = b""
        self._was_lost = False
        self._now = 0.0
        self._replied_at = clock()
        self.steps: int = 0
        self.unknown_for: float = 0.0

    async def exchange(self, report: Report) -> Reply:
        """Send a report; see `Store.exchange`.

        Raises:
            StoreUnavailableError: The server is unreachable, or can't run the script at the moment.
            ConfigurationError: The server can't be used until its configuration changes.
        """
        if self._clock() - self._replied_at > report.limit.per + report.lease:
            # This participant holds nothing any more, so it need not notice a lost state.
            report = replace(report, epoch=0)
        self.steps += 1
        self._timeout = min(_TIMEOUT, max(_LEAST_TIMEOUT, report.limit.per * _TIMEOUT_OF_WINDOW))
        encoded = _encoder.encode(report)
        reply, self._state, unknown_for = await self._call(
            lambda link: link.evaluate(self._key, encoded, self._next_call())
        )
        self._was_lost = False
        self.unknown_for = _number_decoder.decode(unknown_for)
        decoded = _reply_decoder.decode(reply)
        self._now, self._replied_at = decoded.now, self._clock()
        return decoded

    def view(self) -> tuple[BudgetState, float]:
        """Return the budget as last seen; see `Store.view`."""
        state = loads(self._state) if self._state else BudgetState(epoch=0)
        return state, self._now + self._clock() - self._replied_at

    async def check(self) -> None:
        """Check that the server is reachable and has the budget.

        Raises:
            StoreUnavailableError: It is unreachable, or has lost the budget since the last report.
        """
        epoch = await self._call(lambda link: link.read(self._key, _EPOCH_BYTES))
        if self._state and not self._was_lost and epoch != self._state[:_EPOCH_BYTES]:
            self._was_lost = True
            raise StoreUnavailableError(f"{self._url.shown} has lost the budget")

    async def aclose(self) -> None:
        """Close the connection, unless another budget uses it."""
        link, self._link = self._link, None
        if link is not None:
            await link.release()

    async def _call(self, command: Callable[[ValkeyLink], Awaitable[T]]) -> T:
        """Run a command; once more on a new connection if this one was closed."""
        from valkey.exceptions import ValkeyError

        try:
            async with asyncio.timeout(self._timeout):
                if self._link is None or not self._link.is_usable():
                    self._link = ValkeyLink.of(self._url)
                    self._link.users += 1
                try:
                    return await command(self._link)
                except ValkeyError as error:
                    # The server may have closed the connection, or another server took over.
                    if not may_reconnect(error):
                        raise
                return await command(self._link)
        except ValkeyError as error:
            raise translated(error, self._url.shown, self._key) from None
        except TimeoutError:
            raise StoreUnavailableError(
                f"{self._url.shown} did not respond within {self._timeout:g} s"
            ) from None

    def _next_call(self) -> str:
        # A call whose connection was given up may arrive late; the script notices that by its
        # number. The machine's time keeps the numbers growing if the name is used again later.
        self._calls = max(self._calls + 1, time.monotonic_ns() // 1000)
        return str(self._calls)
