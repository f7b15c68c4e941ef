"""A budget whose store can be unreachable: a participant continues with its share of the slots.

The store promises each participant a share: slots that it may hold while the store is away.
Together the shares are never more than all slots, even if a participant does not know yet that
its share is smaller now (`Participant.promised`). But when the store is lost, others may hold more
than their shares, from before. So, from when a participant finds the store away:

- It takes a slot only while it holds fewer than its share, and than it held at that moment. What
  it holds never grows then, so all together hold at most what they did when the store went away.
- Two leases and windows later it takes its whole share. What was held when the store went away is
  free again by then, everywhere: after a lease, a slot counts as answered, and after a window more
  it is free. So all slots that are held then were taken within shares.

So it should be noticed early, while the slots are still held: a participant that holds or wants
any checks that the store is reachable, unless a reply has come just before.

It is assumed that the store is away for all. If it were reachable for others, they would
take the slots of this participant once their leases are over. It is assumed too that leases differ
by no more than a factor of two and a window; that a store which has lost its state does not go
away again before all have returned to it and got their new shares; and that the first participant
to return to a store has found it unreachable.

A learned shape and the quota of a response are shared in the same way: a participant uses its
share of each.

The store is retried all the time. When it is back, all slots held here are reported to it; nothing
is granted here meanwhile, and then it is used again. It holds the shares of the others until they
report as well, for a lease and a window at most: a participant that was killed or stopped meanwhile
may have used its share. So a participant that has not tried for a while, as its process was stopped
or its last client closed, tries first.

A store that has lost its state grants nothing for a while. That is an outage as any other, except
that it is known how long it lasts; the participants report what they hold shortly before its end.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

from msgspec.structs import replace

from ..errors import ConfigurationError
from .events import Degraded, Event, Restored, log
from .own_share import ASK_AGAIN, FallbackBudget
from .reports import Reply, Report
from .shaping import Shaping
from .state import BudgetState, promised_for
from .store import Store, StoreBusyError, StoreUnavailableError

_BUSY_TIMEOUT = 3.0  # seconds after which a store that is in use counts as unreachable
_BUSY_APART = 0.5  # seconds between two tries, after which it may have been free meanwhile
_FIRST_RETRY, _LAST_RETRY = 0.1, 1.0  # seconds
_RETRY_AFTER = 1 / 60  # of a window, if that is shorter
_ALL_ARE_BACK = 3  # of the longest waits between two tries
_LOOK_AGAIN = 1 / 20  # of a window
_TRIES_TAKE = 2.5  # seconds: two calls that take as long as they can, and some for a busy loop

_Failure = (StoreBusyError, StoreUnavailableError, ConfigurationError)


class OutageStore:
    """A store, replaced by a share of it while it is unreachable; see `store.Store`.

    Args:
        store: The store.
        clock: A clock in seconds, used while the store is unreachable.

    Attributes:
        emit: Called with each `Degraded` and `Restored`, and the level to log it with.
    """

    def __init__(self, store: Store, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.immediate: bool = store.immediate
        self.report_within: float = store.report_within
        self.emit: Callable[[Event, int], None] = lambda event, level: log.log(level, "%s", event)
        self._store = store
        self._clock = clock
        self._check: Callable[[], Awaitable[None]] | None = getattr(store, "check", None)
        self._fallback: FallbackBudget | None = None
        self._is_rejoining = False
        self._retrying: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._last_report: Report | None = None
        self._busy_since = self._busy_at = -math.inf
        self._grants_until = -math.inf  # unless another try has failed
        self._fallback_steps = 0
        self._share = 0
        self._paused_until = -math.inf
        self._offset = 0.0  # from the clock here to the store's
        self._replied_at = self._restored_at = -math.inf

    @property
    def where(self) -> str:
        """Where the budget is kept at the moment."""
        return self._store.where if self._fallback is None else "degraded"

    @property
    def steps(self) -> int:
        """How many calls were made."""
        return self._store.steps + self._fallback_steps

    @property
    def unknown_for(self) -> float:
        """Seconds for which the store grants nothing, as it does not know all that is held."""
        seconds: float = getattr(self._store, "unknown_for", 0.0)
        return seconds if self._fallback is None else 0.0

    def exchange(self, report: Report) -> Reply | Awaitable[Reply]:
        """Send a report; see `Store.exchange`.

        Raises:
            StoreBusyError: The store is in use, and has not been for long.
            ConfigurationError: The store can't be used, and never could.
        """
        if self._fallback is not None:
            return self._step_fallback(self._fallback, report)
        if self._is_rejoining and report.epoch:
            # Not the state that the participant knows: it reports all that it holds.
            return Reply(self._present(), (), 0.0, 0, -math.inf, Shaping())
        report = replace(report, share=self._share)
        if not self.immediate:
            return self._exchange_later(report)
        began = self._clock()
        try:
            reply = self._store.exchange(report)
        except _Failure as error:
            return self._handle_failure(report, error, began)
        assert isinstance(reply, Reply)  # noqa: S101  # an immediate store's
        return self._apply(reply, report)

    def view(self) -> tuple[BudgetState, float]:
        """Return the budget as it is known here; see `Store.view`."""
        if self._fallback is None:
            return self._store.view()
        state = self._fallback.state.copy()
        if not self._fallback.share:  # it is not known how long it waits
            state, _ = self._store.view()
            state.paused_until = self._present() + ASK_AGAIN
        return state, self._present()

    async def aclose(self) -> None:
        """Close connections and stop retrying."""
        for task in (self._retrying, self._watching):
            if task is not None:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
        await self._store.aclose()

    async def _exchange_later(self, report: Report) -> Reply:
        began = self._clock()
        try:
            reply = await self._ask(report)
        except _Failure as error:
            return self._handle_failure(report, error, began)
        return self._apply(reply, report)

    def _apply(self, reply: Reply, report: Report) -> Reply:
        self._busy_at = -math.inf
        self._replied_at = self._clock()
        self._offset = reply.now - self._replied_at
        if report.epoch not in (0, reply.epoch):  # it was not applied: it will report again
            return reply
        self._last_report = replace(report, next_number=report.next_number + len(reply.granted))
        unknown_for = self._unknown_for(report)
        if self._fallback is not None:  # it is back, before anything more was granted here
            self._restore()
        elif unknown_for and self._share:
            reason = f"it has lost its state, and grants nothing for {unknown_for:.0f} s"
            return self._start_fallback(report, reason, self._replied_at, unknown_for)
        else:
            self._is_rejoining = self._is_rejoining and report.epoch != 0
        # A budget that does not know all that is held can't promise anything.
        self._share = 0 if unknown_for else reply.share
        self._paused_until = reply.paused_until
        if self._check and (self._watching is None or self._watching.done()):
            self._watching = asyncio.get_running_loop().create_task(self._watch(self._check))
        if self._replied_at < self._restored_at + _until_all_are_back(report.limit.per):
            reply = replace(reply, wait=min(reply.wait, ASK_AGAIN))
        return reply

    def _unknown_for(self, report: Report) -> float:
        """Return for how many seconds to do without a store that has lost its state."""
        seconds: float = getattr(self._store, "unknown_for", 0.0)
        return max(0.0, seconds - _until_all_are_back(report.limit.per))

    def _handle_failure(self, report: Report, error: Exception, began: float) -> Reply:
        """Fall back to the share, unless the store is only busy or was never usable.

        Args:
            report: What was to be reported.
            error: Why it could not be reported.
            began: When that was tried; the store may be back if the process was stopped since.
        """
        if self._fallback is not None:
            return self._step_fallback(self._fallback, report)
        now = self._clock()
        reason = str(error)
        if isinstance(error, StoreBusyError):
            if now - self._busy_at > _BUSY_APART:
                self._busy_since = now
            self._busy_at = now
            if now - self._busy_since < _BUSY_TIMEOUT:
                raise error
            reason = f"it has been in use by another process for {now - self._busy_since:.0f} s"
        if isinstance(error, ConfigurationError) and self._never_replied:
            raise error
        return self._start_fallback(report, reason, began)

    def _start_fallback(
        self, report: Report, reason: str, began: float, unknown_for: float = 0.0
    ) -> Reply:
        now = self._clock()
        self._busy_at = -math.inf
        # After so long the others may have been promised this participant's share.
        share = self._share if now - self._replied_at < promised_for(report.limit.per) else 0
        state, _ = self._store.view()
        if unknown_for:
            state.paused_until = self._paused_until  # its own pause is not for this participant
        self._fallback = fallback = FallbackBudget(state, report, share, self._present())
        self.emit(
            Degraded(where=self._store.where, reason=reason, share=fallback.share), logging.WARNING
        )
        self._grant_until_next_try(fallback, began, unknown_for)
        self._start_retrying(fallback, unknown_for)
        return self._step_fallback(fallback, report)

    def _step_fallback(self, fallback: FallbackBudget, report: Report) -> Reply:
        self._fallback_steps += 1
        if self._retrying is None or self._retrying.done():  # its last client was closed
            self._start_retrying(fallback, 0.0)
        grants = self._clock() <= self._grants_until
        return fallback.step(self._present(), report, grants=grants)

    def _start_retrying(self, fallback: FallbackBudget, unknown_for: float) -> None:
        fallback.is_frozen = False
        self._retrying = asyncio.get_running_loop().create_task(self._retry(fallback, unknown_for))

    def _grant_until_next_try(
        self, fallback: FallbackBudget, began: float, unknown_for: float
    ) -> None:
        """Allow grants here until the next try must be over, from a try on."""
        wait = unknown_for or _last_retry(fallback.per)
        self._grants_until = began + wait + _TRIES_TAKE

    @property
    def _never_replied(self) -> bool:
        return self._replied_at == -math.inf

    def _present(self) -> float:
        """Return the time by the store's clock."""
        return self._clock() + self._offset

    async def _retry(self, fallback: FallbackBudget, unknown_for: float) -> None:
        """Try the store until it replies, and report what is held here."""
        after, longest = _FIRST_RETRY, _last_retry(fallback.per)
        while True:
            jitter = random.uniform(0.5, 1)  # noqa: S311  # no secret
            await asyncio.sleep(unknown_for or after * jitter)
            after = min(2 * after, longest)
            began = self._clock()
            try:
                if self._check is not None:
                    await self._check()
                report = fallback.freeze(self._present())
                away = self._clock() - self._replied_at
                report = replace(report, away=away, share=self._share)
                reply = await self._ask(report)
                if reply.epoch != report.epoch:  # now it knows that something was lost
                    report = replace(report, epoch=0)
                    reply = await self._ask(report)
            except _Failure as error:
                unknown_for = 0.0
                if isinstance(error, ConfigurationError) and self._never_replied:
                    self._fallback = None  # the next report raises it
                    return
            else:
                unknown_for = self._unknown_for(report) if fallback.share else 0.0
                if not unknown_for:
                    self._apply(reply, report)
                    return
            fallback.is_frozen = False
            self._grant_until_next_try(fallback, began, unknown_for)

    async def _ask(self, report: Report) -> Reply:
        reply = self._store.exchange(report)
        return reply if isinstance(reply, Reply) else await reply

    def _restore(self) -> None:
        self._fallback, self._is_rejoining = None, True
        self._restored_at = self._clock()
        if self._retrying is not None and self._retrying is not asyncio.current_task():
            self._retrying.cancel()
        self.emit(Restored(where=self._store.where), logging.WARNING)

    async def _watch(self, check: Callable[[], Awaitable[None]]) -> None:
        """Check that the store is reachable, while the participant may hold slots."""
        while self._fallback is None and self._last_report is not None:
            last = self._last_report
            if self._clock() > self._replied_at + last.limit.per + last.lease:
                return
            heard_at = self._replied_at
            await asyncio.sleep(last.limit.per * _LOOK_AGAIN)
            if self._replied_at > heard_at or self._fallback is not None:
                continue
            began = self._clock()
            try:
                await check()
            except StoreBusyError:  # so it is reachable
                continue
            except (StoreUnavailableError, ConfigurationError) as error:
                self._handle_failure(_empty_report(self._last_report), error, began)


def _until_all_are_back(per: float) -> float:
    return _ALL_ARE_BACK * _last_retry(per)


def _last_retry(per: float) -> float:
    return min(_LAST_RETRY, max(_FIRST_RETRY, per * _RETRY_AFTER))


def _empty_report(report: Report) -> Report:
    return Report(
        participant=report.participant,
        limit=report.limit,
        lease=report.lease,
        next_number=report.next_number,
    )
