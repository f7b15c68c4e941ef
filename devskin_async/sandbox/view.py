"""How a server looks at its stores: the order of lists, and where days begin and end."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Final, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import attrs

from .records import DAY_MS, EPOCH, DateTo, ListOrder, SandboxError

REFUNDED_EVERY: Final = 3
"""Of this many ids, one is refunded if its order was cancelled and the view has refunds."""


@attrs.frozen(kw_only=True)
class View:
    """What the reference leaves open about reading a store.

    Attributes:
        order: The order of a list.
        date_to: Whether the last day is part of a range of days.
        zone: Where the store's days begin and end.
        today: The last day of every period; None is the present day in the zone.
        refunds: Some cancelled orders are told as refunded, and so are not found as cancelled.
        ahead: By how many seconds its clock is ahead of this machine's.
        day_cut: How many seconds a range of days leaves out at the end of its last day.
        day_loss: Which share of the orders every range of days leaves out.
    """

    order: ListOrder
    date_to: DateTo
    zone: tzinfo
    today: date | None
    refunds: bool
    ahead: float = 0.0
    day_cut: float = 0.0
    day_loss: float = 0.0

    def __attrs_post_init__(self) -> None:
        if self.order not in get_args(ListOrder):
            raise SandboxError(f"there is no order {self.order!r}")
        if self.date_to not in get_args(DateTo):
            raise SandboxError(f"date_to can't be {self.date_to!r}")

    def now(self) -> int:
        """Give the present: where today is a given day, the time of day on that one.

        Returns:
            Milliseconds since 1970 in UTC.
        """
        present = self._present()
        if self.today is not None:
            present = datetime.combine(self.today, present.timetz())
        return (present - EPOCH) // timedelta(milliseconds=1)

    def days(self, count: int) -> list[tuple[str, int, int]]:
        """Name the last days, today among them.

        Args:
            count: How many.

        Returns:
            Newest first: the date, and its beginning and end in milliseconds since 1970.
        """
        today = self._present().date() if self.today is None else self.today
        ordinals = range(today.toordinal(), today.toordinal() - count, -1)
        return [
            (date.fromordinal(n).isoformat(), self.day_start(n), self.day_start(n + 1))
            for n in ordinals
        ]

    def utc_day(self) -> date:
        """Give the present day in UTC, or the one that is taken for it."""
        return self._present().astimezone(UTC).date() if self.today is None else self.today

    def _present(self) -> datetime:
        return datetime.now(self.zone) + timedelta(seconds=self.ahead)

    def day_start(self, ordinal: int) -> int:
        """Give a day's beginning.

        Args:
            ordinal: The day, as date.toordinal() has it; the one after the calendar's last
                exists too, as that one's end.

        Returns:
            Milliseconds since 1970 in UTC.
        """
        day = date.fromordinal(min(ordinal, date.max.toordinal()))
        midnight = datetime(day.year, day.month, day.day, tzinfo=self.zone)
        offset = midnight.utcoffset() or timedelta()
        return (ordinal - EPOCH.toordinal()) * DAY_MS - offset // timedelta(milliseconds=1)


def find_zone(name: str) -> tzinfo:
    """Look a time zone up.

    Args:
        name: Its IANA name.

    Returns:
        The zone.

    Raises:
        SandboxError: There is no such zone on this machine.
    """
    if name == "UTC":  # known even where no time zones are installed
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise SandboxError(f"there is no time zone {name!r}") from error
