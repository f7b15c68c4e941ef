"""Sending webhooks: which delivery when, and again after a failure."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections import defaultdict
from contextlib import suppress
from typing import TYPE_CHECKING, Final, TypeAlias

import attrs

from . import deliveries
from .endpoints import shown
from .records import SandboxError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .deliveries import Head, Outcome, Parcel

Post: TypeAlias = "Callable[[Parcel], Awaitable[Outcome]]"

FAILED_SECONDS: Final = 1.0
"""How long the sender stands still when the database can't be used."""

TRIMMED_EVERY: Final = 1000
"""After how many events and attempts the log is cut to its bounds again."""

MOST_ATTEMPTS: Final = 100

_UNAUTHORIZED: Final = 401

_log = logging.getLogger(__name__)


@attrs.frozen(kw_only=True)
class WebhookSending:
    """How webhooks are sent.

    Attributes:
        timeout: Seconds that one attempt may take.
        attempts: How often an event is sent at most before it is given up.
        first_wait: Seconds from the first failure to the second attempt.
        factor: How many times longer each wait is than the one before.
        longest: The longest wait in seconds.
        concurrency: How many orders' events are under way to one endpoint at a time.
        copies: Send each event so many times at the same moment, to try a receiver with.
        allow_private: Send to private addresses too; loopback ones are always allowed.
    """

    timeout: float = 10.0
    attempts: int = 8
    first_wait: float = 1.0
    factor: float = 2.0
    longest: float = 300.0
    concurrency: int = 20
    copies: int = 1
    allow_private: bool = False

    def __attrs_post_init__(self) -> None:
        for name in ("attempts", "concurrency", "copies"):
            if not 1 <= getattr(self, name) <= MOST_ATTEMPTS:
                raise SandboxError(f"{name} of webhooks must be from 1 to {MOST_ATTEMPTS}")
        for name in ("first_wait", "longest"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise SandboxError(f"{name} of webhooks must not be negative")
        if not 1 <= self.factor <= MOST_ATTEMPTS:
            raise SandboxError(f"factor of webhooks must be from 1 to {MOST_ATTEMPTS}")
        if not 0 < self.timeout < float("inf"):
            raise SandboxError("timeout of webhooks must be positive")

    def wait(self, failures: int) -> float:
        """Say how long to wait for the next attempt.

        Args:
            failures: How many attempts have failed, at least one.

        Returns:
            Seconds.
        """
        return min(self.longest, self.first_wait * self.factor ** (failures - 1))


class Sender:
    """Sends what waits in a database, until it is cancelled.

    Of an order, only the first event that waits is under way to an endpoint; that is what keeps
    them in order. Whatever has to wait, for its turn or for another attempt, is in the database
    alone. So the memory it takes does not depend on how much waits, and what is not known to
    have arrived when it ends is sent when the next one begins.

    Attributes:
        at_rest: Set while nothing waits or is under way.
    """

    def __init__(self, connection: sqlite3.Connection, settings: WebhookSending) -> None:
        """Take over what waits in a database.

        Args:
            connection: A sandbox's database; no other sender works on it.
            settings: How to send.
        """
        self._connection = connection
        self._settings = settings
        self._running: defaultdict[int, set[int]] = defaultdict(set)
        self._woken = asyncio.Event()
        self._failing: set[str] = set()  # URLs, told of once until something arrives
        self._taken_over = False
        self._steps = 0
        self.at_rest: asyncio.Event = asyncio.Event()
        self._begin()

    def wake(self) -> None:
        """Say that something may wait in the database that did not before."""
        self.at_rest.clear()
        self._turn()

    async def run(self, post: Post) -> None:
        """Send; this ends only by being cancelled.

        Args:
            post: Makes one attempt, and raises nothing.
        """
        loop = asyncio.get_running_loop()
        due: float | None = None
        async with asyncio.TaskGroup() as group:
            while True:
                with suppress(TimeoutError):
                    async with asyncio.timeout_at(due):
                        await self._woken.wait()
                self._woken.clear()
                try:
                    self._keep_house()
                    due = self._dispatch(group, post)
                except Exception as error:  # noqa: BLE001 - whatever it is, the store goes on
                    _complain("look for webhooks to send", error)
                    due = loop.time() + FAILED_SECONDS

    def _begin(self) -> None:
        """Rest if nothing waits; a database that can't be used now is asked again later."""
        try:
            self._keep_house()
            if not deliveries.busy_endpoints(self._connection):
                self.at_rest.set()
                return
        except Exception as error:  # noqa: BLE001 - whatever it is, the store goes on
            _complain("look for webhooks to send", error)
        self.wake()

    def _turn(self) -> None:
        """Let the sender look again."""
        self._steps += 1
        self._woken.set()

    def _keep_house(self) -> None:
        """Take over what was left behind, first of all, and cut the log now and then."""
        now = asyncio.get_running_loop().time()
        if not self._taken_over:
            deliveries.make_due(self._connection, now)
            self._taken_over = True
        if self._steps >= TRIMMED_EVERY:
            deliveries.trim(self._connection, now)
            self._steps = 0

    def _dispatch(self, group: asyncio.TaskGroup, post: Post) -> float | None:
        """Begin all attempts that are due; give the instant of the next, None if there is none."""
        now = asyncio.get_running_loop().time()
        most = self._settings.concurrency
        later: list[float] = []
        busy = deliveries.busy_endpoints(self._connection)
        for endpoint_id in busy:
            running = self._running[endpoint_id]
            # Those under way are among them.
            for head in deliveries.heads(self._connection, endpoint_id, 2 * most):
                if len(running) >= most:
                    break
                # By its order: one that was given up meanwhile may be under way still.
                if head.order_id in running:
                    continue
                if head.due > now:
                    later.append(head.due)
                    break
                running.add(head.order_id)
                group.create_task(self._attempt(head, running, post))
        if not busy and not any(self._running.values()):
            self.at_rest.set()
        return min(later, default=None)

    async def _attempt(self, head: Head, running: set[int], post: Post) -> None:
        """Send a delivery once and write down how it went."""
        try:
            parcel = deliveries.load(self._connection, head.delivery_id)
            if parcel is not None:
                copies = (post(parcel) for _ in range(self._settings.copies))
                outcomes = await asyncio.gather(*copies)
                # It has arrived if any copy has.
                await self._note(parcel, min(outcomes, key=lambda one: one.error is not None))
        except Exception as error:  # noqa: BLE001 - whatever it is, the store goes on
            _complain(f"send delivery {head.delivery_id}", error)
            await asyncio.sleep(FAILED_SECONDS)
        finally:
            running.discard(head.order_id)
            self._turn()

    async def _note(self, parcel: Parcel, outcome: Outcome) -> None:
        """Write an outcome down; if the database can't be written, as soon as it can."""
        self._tell_of_failure(parcel.url, outcome)
        failures = parcel.attempts + 1
        over = outcome.error is None or outcome.final
        again = not over and failures < self._settings.attempts
        due = asyncio.get_running_loop().time() + (self._settings.wait(failures) if again else 0.0)
        at = clock()
        noted = False
        while not noted:
            try:
                deliveries.note(
                    self._connection, parcel.delivery_id, outcome, at, due=due, again=again
                )
                noted = True
            except (SandboxError, sqlite3.Error) as error:
                _complain(f"note how delivery {parcel.delivery_id} went", error)
                await asyncio.sleep(FAILED_SECONDS)

    def _tell_of_failure(self, url: str, outcome: Outcome) -> None:
        if outcome.error is None:
            self._failing.discard(url)
        elif url not in self._failing:
            self._failing.add(url)
            hint = ", is its secret the same?" if outcome.status == _UNAUTHORIZED else ""
            _log.warning("a webhook to %s failed: %s%s", shown(url), outcome.error, hint)


def clock() -> int:
    """Give the present.

    Returns:
        Milliseconds since 1970 in UTC.
    """
    return time.time_ns() // 1_000_000


def _complain(what: str, error: Exception) -> None:
    """Log a failure; that a database is locked or full needs no traceback."""
    expected = isinstance(error, SandboxError | sqlite3.OperationalError)
    _log.warning("cannot %s: %s", what, error, exc_info=None if expected else error)
