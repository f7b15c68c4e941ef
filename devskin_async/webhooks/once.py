"""Each event handled once, whoever tells of it and however often."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Literal, TypeAlias

from .events import OrderEvent, WebhookEvent
from .handlers import Handlers
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
    """

    def __init__(self, handlers: Handlers, seen: Seen) -> None:
        self._handlers = handlers
        self._seen = seen
        self._turns = Turns()

    async def hand(self, event: WebhookEvent, key: str | None, *, call: bool = True) -> Outcome:
        """Have an event handled, unless it was before.

        Args:
            event: The event.
            key: The digest of the request; None for a polled event.
            call: Whether to call the handlers; otherwise it is only remembered as handled.

        Returns:
            `handled`; `known` if it was before; `busy` if another process handles it now, or
            another event of the same order.

        Raises:
            Exception: Whatever a handler raised; the event is not remembered then.
        """
        told = Told.by(event) if isinstance(event.data, OrderEvent) else None
        turn = turn_of(event, key)
        await self._turns.take(turn)
        try:
            return await self._handle(event, key, turn, told, call=call)
        except BaseException:
            await self._give_up(turn)
            raise
        finally:
            self._turns.give(turn)

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
            await self._seen.give_up(turn)
        except Exception:  # noqa: BLE001 - the error that led here is the one to be told
            _log.exception("a turn could not be given up")


def turn_of(event: WebhookEvent, key: str | None) -> str:
    """Name what can't be handled by two at the same moment.

    Args:
        event: An event.
        key: The digest of its request.
    """
    return f"order {event.data.id}" if isinstance(event.data, OrderEvent) else f"event {key}"


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
