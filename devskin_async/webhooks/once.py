"""Each event handled once, whoever tells of it and however often."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Literal, TypeAlias

from .events import WebhookEvent
from .handlers import Handlers, contained
from .seen import Seen, Told
from .turns import Turns

Outcome: TypeAlias = Literal["handled", "known", "busy"]

_log = logging.getLogger(__package__)


class Once:
    """Hands events to handlers, and none twice.

    The events of one order are handled one after another, in the order in which they came.

    Args:
        handlers: Who handles them.
        seen: Where what was handled is remembered.
        timeout: Seconds that an event waits for its turn, and then for its handlers; None is any
            time.
        clock: Gives the seconds since 1970.
    """

    def __init__(
        self, handlers: Handlers, seen: Seen, timeout: float | None, clock: Callable[[], float]
    ) -> None:
        self._handlers = handlers
        self._seen = seen
        self._timeout = timeout
        self._clock = clock
        self._turns = Turns()
        self._late: set[asyncio.Task[Outcome]] = set()

    async def hand(self, event: WebhookEvent, key: str | None, *, call: bool = True) -> Outcome:
        """Have an event handled, unless it was before.

        Args:
            event: The event.
            key: The digest of the request; None for a polled event.
            call: Whether to call the handlers; otherwise it is only remembered as handled.

        Returns:
            `handled`; `known` if it was before; `busy` if another event of the same order is still
            being handled, here or elsewhere.

        Raises:
            Exception: Whatever a handler raised, or that it took too long; the event is not
                remembered then.
        """
        turn = turn_of(event, key)
        try:
            async with asyncio.timeout(self._timeout):
                await self._turns.take(turn)
        except TimeoutError:
            return "busy"
        # A task of its own: the turn is over when the handlers are, also where nobody waits for
        # them any more.
        task = asyncio.create_task(self._in_turn(event, key, turn, call=call))
        task.add_done_callback(lambda _: self._turns.give(turn))
        return await self._end_of(task)

    async def aclose(self) -> None:
        """Wait for handlers that took too long and can't be stopped: those in threads."""
        while self._late:
            await asyncio.wait(self._late)

    async def _end_of(self, task: asyncio.Task[Outcome]) -> Outcome:
        try:
            await asyncio.wait((task,), timeout=self._timeout)
        except asyncio.CancelledError:
            while not task.done():
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await asyncio.wait((task,))
            _settle(task)
            raise
        if not task.done():
            self._late.add(task)
            task.add_done_callback(self._late.discard)
            task.add_done_callback(_settle)
            task.cancel()
            raise TimeoutError(f"the handlers took more than {self._timeout:g} s")
        if task.cancelled():
            raise RuntimeError("a handler cancelled its own task")
        return task.result()

    async def _in_turn(
        self, event: WebhookEvent, key: str | None, turn: str, *, call: bool
    ) -> Outcome:
        told = Told.by(event, self._clock)
        try:
            with contained():
                return await self._handle(event, key, turn, told, call=call)
        except GeneratorExit:  # nothing can be awaited any more
            raise
        except BaseException:
            await self._give_up(turn)
            raise

    async def _handle(
        self, event: WebhookEvent, key: str | None, turn: str, told: Told | None, *, call: bool
    ) -> Outcome:
        begun = await self._seen.begin(turn, key)
        if begun != "new":
            return "known" if begun == "done" else "busy"
        news = told is None or is_news(told, await self._seen.told(told.order_id, told.store_id))
        if news and call:
            await self._handlers.call(event)
        elif not news and event.source == "poll":
            await self._seen.give_up(turn)
            return "known"
        await self._seen.finish(turn, key, told)
        return "handled" if news else "known"

    async def _give_up(self, turn: str) -> None:
        try:
            with contained():
                await self._seen.give_up(turn)
        except Exception:  # noqa: BLE001 - the error that led here is the one to be told
            _log.exception("could not release the lock after a failed handler")


def turn_of(event: WebhookEvent, key: str | None) -> str:
    """Name what can't be handled by two at the same moment.

    Args:
        event: An event.
        key: The digest of its request.
    """
    return f"event {key}" if event.order_id is None else f"order {event.order_id}"


def is_news(told: Told, known: Sequence[Told]) -> bool:
    """Say whether an order's status is still to be handled.

    Args:
        told: The status, as an event or a poll tells it.
        known: Those of the order that were handled.
    """
    if told.source == "poll":
        # An event from after the poll began knows better than the poll.
        latest = max(known, key=lambda each: each.at, default=None)
        return latest is None or (told.status != latest.status and told.at >= latest.at)
    for poll in known:
        if poll.source == "poll" and poll.status == told.status:
            # Its event has come late, unless the order was something else in between.
            return any(poll.at < each.at < told.at for each in known)
    return True


def _settle(task: asyncio.Task[Outcome]) -> None:
    """Look at how a task ended that nobody waits for, or asyncio complains of it."""
    if not task.cancelled():
        task.exception()
