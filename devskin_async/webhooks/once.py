"""Each event handled once, whoever tells of it and however often."""

from __future__ import annotations

from typing import Literal, TypeAlias

from .events import OrderEvent, WebhookEvent
from .handlers import Handlers
from .seen import Seen, Told
from .turns import Turns

Outcome: TypeAlias = Literal["handled", "known", "busy"]


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

    async def hand(self, event: WebhookEvent, key: str | None) -> Outcome:
        """Have an event handled, unless it was before.

        Args:
            event: The event.
            key: The digest of the request; None for a polled event.

        Returns:
            `handled`; `known` if it was before; `busy` if another process handles it now, or
            another event of the same order.

        Raises:
            Exception: Whatever a handler raised; the event is not remembered then.
        """
        told = Told.by(event) if isinstance(event.data, OrderEvent) else None
        turn = f"event {key}" if told is None else f"order {told.order_id}"
        await self._turns.take(turn)
        try:
            begun = await self._seen.begin(turn, key)
            if begun == "new":
                return await self._handle(event, key, turn, told)
        finally:
            self._turns.give(turn)
        return "known" if begun == "done" else "busy"

    async def _handle(
        self, event: WebhookEvent, key: str | None, turn: str, told: Told | None
    ) -> Outcome:
        try:
            news = told is None or await self._is_news(told)
            if news:
                await self._handlers.call(event)
            elif event.source == "poll":
                await self._seen.give_up(turn)
                return "known"
        except BaseException:
            await self._seen.give_up(turn)
            raise
        await self._seen.finish(turn, key, told)
        return "handled" if news else "known"

    async def _is_news(self, told: Told) -> bool:
        latest = await self._seen.latest(told.order_id, told.store_id)
        if latest is None:
            return True
        if told.source == "poll":
            # An event from after the poll began knows better than the poll.
            return told.status != latest.status and told.at >= latest.at
        # What a poll has found out first may be told by its event later, once.
        return not (latest.source == "poll" and latest.status == told.status)
