"""Quirks: what servers of such APIs do beside their reference, each by a switch of its own."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from enum import StrEnum
from typing import Final, Self

from .quirk_values import (
    LARGEST,
    Argument,
    Value,
    choice,
    number,
    read_failing_order,
    read_total,
    whole,
)
from .records import SandboxError


class Quirk(StrEnum):
    """One thing that servers do; the value is its name.

    Attributes:
        explanation: What the sandbox then does, in a sentence.
        argument: What it takes after its name, or None.
    """

    explanation: str
    argument: Argument | None

    def __new__(cls, name: str, explanation: str, argument: Argument | None = None) -> Self:
        """Make a member of its name, its explanation and what it takes."""
        member = str.__new__(cls, name)
        member._value_ = name
        member.explanation = explanation
        member.argument = argument
        return member

    @property
    def usage(self) -> str:
        """How it is switched on: its name, and what it takes."""
        if self.argument is None:
            return self.value
        optional = self.argument.default is not None
        return f"{self}[={self.argument.shown}]" if optional else f"{self}={self.argument.shown}"

    # Lists
    PAGE_CAP = (
        "page-cap",
        "No page has more than ROWS rows, and `limit` says so.",
        whole("ROWS", 1, 100),
    )
    SILENT_PAGE_CAP = (
        "silent-page-cap",
        "No page has more than ROWS rows, while `limit` is what was asked for.",
        whole("ROWS", 1, 100),
    )
    PAST_END = (
        "past-end",
        "A page after the last one is a 404, a 400, or the last page again under its own number.",
        choice("404", "400", "last"),
    )
    TOTAL = (
        "total",
        "`total` ignores the filter by day, counts ROWS deleted rows too (+ROWS), or is ROWS.",
        Argument("unfiltered|+ROWS|ROWS", "unfiltered, +ROWS or ROWS", read_total),
    )
    DAY_CUT = (
        "day-cut",
        "A filter by day leaves out the last SECONDS of `date_to`, as `<= 23:59:00` does with 60.",
        number("SECONDS", 0, 86_400),
    )
    DAY_LOSS = (
        "day-loss",
        "A filter by day leaves out a SHARE of the orders, always the same ones.",
        number("SHARE", 0, 1),
    )

    # Values
    CUT_EMOJI = (
        "cut-emoji",
        r"Every third name ends in half an emoji, the escape \ud83d without its partner.",
    )
    FLOAT_NOISE = ("float-noise", "Amounts come as from a float: 199.90000000000003.")
    THIRD_DECIMAL = ("third-decimal", "Every third record's amounts have a third decimal: 199.905.")
    NUMBERS_AS_TEXT = ("numbers-as-text", 'Amounts and counts come as text: "199.90".')
    NULL = (
        "null",
        (
            "Every third record's stock, discount, shipping_cost, updated_at, total_orders and"
            " total_spent are null, and so are monthly_revenue and the revenue's total."
        ),
    )
    ABSENT = ("absent", "What `null` makes null is left out.")
    FRAME = (
        "frame",
        'total, page and limit of a list come as text ("150") or as floats (150.0).',
        choice("text", "float"),
    )
    REVENUE_INSTANTS = (
        "revenue-instants",
        "A revenue day's date is an instant: 2026-02-13T00:00:00.000Z.",
    )
    EMPTY_ADDRESS = (
        "empty-address",
        'Every third order has [] or "" in place of its shipping address.',
        choice("list", "text"),
    )
    TIMES = (
        "times",
        "Instants end in +00 in place of Z, or have a second 60 in place of 59.",
        choice("short-offset", "leap-second"),
    )
    HALF_QUANTITY = ("half-quantity", "Every third order's quantities are fractional, such as 1.5.")

    # Text on the wire
    BOM = ("bom", "A byte order mark comes before the JSON.")
    ODD_JSON = (
        "odd-json",
        r"JSON as seldom written: \u escapes, blanks around everything, amounts as 19990E-2.",
    )

    # Errors and headers
    ERROR_BODY = (
        "error-body",
        (
            'Errors come as {"error": {"message": …}}, {"message": …}, {"errors": […]}, HTML,'
            " plain text, or without a body."
        ),
        choice("object", "message", "list", "html", "text", "empty"),
    )
    ECHO_KEY = (
        "echo-key",
        (
            r"Errors repeat the API key: as it is, as \u escapes, with \/, %2f or HTML entities,"
            " or in base64."
        ),
        choice("plain", "unicode", "slash", "percent", "html", "base64"),
    )
    FAILING_ORDER = (
        "failing-order",
        "Reading order ID always fails, with STATUS (default 500).",
        Argument("ID[:STATUS]", "an id, and a status from 400 to 599", read_failing_order),
    )
    AGE = (
        "age",
        "Answers are SECONDS old and come from a cache, as their Age and Date say.",
        whole("SECONDS", 0, LARGEST),
    )
    BIG_HEADERS = (
        "big-headers",
        "Answers have a header of KILOBYTES.",
        whole("KILOBYTES", 1, 1024),
    )

    # Limit and clock
    RETRY_AFTER = (
        "retry-after",
        "Each 429 and 503 says to wait SECONDS, whatever the limiter says.",
        whole("SECONDS", 0, LARGEST),
    )
    USED_UP = (
        "used-up",
        "Another program has used up the key's requests just before your first one.",
    )
    OTHERS = (
        "others",
        "Another program takes REQUESTS of each of the key's windows before you do.",
        whole("REQUESTS", 1, LARGEST),
    )
    CLOCK = (
        "clock",
        "The server's clock is SECONDS ahead of this machine's, or behind it if negative.",
        number("SECONDS", -LARGEST, LARGEST),
    )

    # Connections
    IDLE_408 = (
        "idle-408",
        (
            "A connection idle for 20 ms gets an HTTP/1.0 408 that nobody asked for, and is closed"
            " SECONDS later (default 0.5)."
        ),
        number("SECONDS", 0, 3600, 0.5),
    )
    DOUBLE_ANSWER = (
        "double-answer",
        "The first answer on each connection comes again SECONDS later (default 0.03).",
        number("SECONDS", 0, 3600, 0.03),
    )

    # Webhooks
    ODD_EVENTS = (
        "odd-events",
        (
            'A removed order fires order.deleted with {"id": 7} for data, other events have a null'
            " total or store_id in turn, and an endpoint that is added gets ping and webhook.test"
            " without data."
        ),
    )


_BY_NAME: Final = {quirk.value: quirk for quirk in Quirk}


class Quirks:
    """The quirks that a sandbox was switched to."""

    def __init__(self, given: Iterable[str] = ()) -> None:
        """Read them.

        Args:
            given: Each a name, or a name, an equals sign and a value.

        Raises:
            SandboxError: There is no such quirk, it is given twice, or its value is missing, is
                not wanted or can't be used.
        """
        self._values: dict[Quirk, Value] = {}
        for text in (given,) if isinstance(given, str) else given:
            name, equals, value = text.partition("=")
            quirk = _known(name)
            if quirk in self._values:
                raise SandboxError(f"the quirk {quirk} is given twice")
            self._values[quirk] = _read(quirk, value if equals else None)

    def __contains__(self, quirk: Quirk) -> bool:
        return quirk in self._values

    def word(self, quirk: Quirk) -> str:
        """Give the value of a quirk that takes a word; an empty one if it is not switched on."""
        value = self._values.get(quirk)
        return value if isinstance(value, str) else ""

    def number(self, quirk: Quirk) -> float | None:
        """Give the value of a quirk that takes a number; None if it is not switched on."""
        value = self._values.get(quirk)
        return value if isinstance(value, int | float) else None

    def whole(self, quirk: Quirk) -> int | None:
        """Give the value of a quirk that takes a whole number; None if it is not switched on."""
        value = self._values.get(quirk)
        return value if isinstance(value, int) else None

    def failing_order(self) -> tuple[int, int] | None:
        """Give the id of the order that always fails and the status it fails with."""
        value = self._values.get(Quirk.FAILING_ORDER)
        return value if isinstance(value, tuple) else None


def _known(name: str) -> Quirk:
    if (quirk := _BY_NAME.get(name)) is not None:
        return quirk
    close = get_close_matches(name, list(Quirk), 1)
    meant = f"did you mean {close[0]}? " if close else ""
    raise SandboxError(f"unknown quirk {name!r}: {meant}`devskin sandbox quirks` lists all of them")


def _read(quirk: Quirk, text: str | None) -> Value:
    argument = quirk.argument
    if argument is None:
        if text is not None:
            raise SandboxError(f"the quirk {quirk} takes no value, but was given {text!r}")
        return None
    if text is None:
        if argument.default is None:
            raise SandboxError(f"the quirk {quirk} needs a value: {quirk.usage}")
        return argument.default
    try:
        return argument.read(text)
    except ValueError:
        raise SandboxError(
            f"invalid value {text!r} for {quirk.usage}: must be {argument.rule}"
        ) from None
