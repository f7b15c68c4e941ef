"""Quirks: what servers of such APIs do beside their reference, each by a switch of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from typing import Any, Final, TypeAlias

import attrs

from .records import MAX_INTEGER, SandboxError

Value: TypeAlias = "int | float | str | tuple[int, int] | None"
"""What a quirk was switched to: its own kind of value, None where it takes none."""


@attrs.frozen
class Argument:
    """What a quirk takes after its name and an equals sign.

    Attributes:
        shown: How it is written in the list of quirks, such as SECONDS or text|float.
        read: Reads it; raises ValueError where it can't be used.
        default: What is taken where none is given; None where there must be one.
    """

    shown: str
    read: Callable[[str], Value]
    default: Value = None


def _number(
    shown: str, lowest: float, highest: float = 1e9, default: float | None = None
) -> Argument:
    def read(text: str) -> float:
        number = float(text)
        if not lowest <= number <= highest:
            raise ValueError(text)
        return number

    return Argument(shown, read, default)


def _whole(shown: str, lowest: int, highest: int = MAX_INTEGER) -> Argument:
    def read(text: str) -> int:
        number = int(text)
        if not lowest <= number <= highest:
            raise ValueError(text)
        return number

    return Argument(shown, read)


def _choice(*words: str) -> Argument:
    def read(text: str) -> str:
        if text not in words:
            raise ValueError(text)
        return text

    return Argument("|".join(words), read)


def _total(text: str) -> str:
    if text != "unfiltered" and int(text) < 0:
        raise ValueError(text)
    return text


def _failing_order(text: str) -> tuple[int, int]:
    order, _, status = text.partition(":")
    read = int(order), int(status or 500)
    if read[0] < 1 or not 400 <= read[1] < 600:  # noqa: PLR2004
        raise ValueError(text)
    return read


class Quirk(StrEnum):
    """One thing that servers do; its value is its name, as `--quirk` and `Sandbox(quirks=…)` take it.

    Attributes:
        explanation: What the sandbox then does, in a sentence.
        argument: What it takes after its name, or None.
    """

    explanation: str
    argument: Argument | None

    def __new__(cls, name: str, explanation: str, argument: Argument | None = None) -> Quirk:
        """Make a member of its name, its explanation and what it takes."""
        member = str.__new__(cls, name)
        member._value_ = name
        member.explanation = explanation
        member.argument = argument
        return member

    # Lists
    PAGE_CAP = (
        "page-cap",
        "No page has more than ROWS rows, and `limit` says so.",
        _whole("ROWS", 1, 100),
    )
    SILENT_PAGE_CAP = (
        "silent-page-cap",
        "No page has more than ROWS rows, while `limit` is what was asked for.",
        _whole("ROWS", 1, 100),
    )
    PAST_END = (
        "past-end",
        "A page after the last one is a 404, a 400, or the last page again under its own number.",
        _choice("404", "400", "last"),
    )
    TOTAL = (
        "total",
        "`total` ignores the filter by day, counts ROWS deleted rows too (+ROWS), or is ROWS.",
        Argument("unfiltered|+ROWS|ROWS", _total),
    )
    DAY_CUT = (
        "day-cut",
        "A filter by day leaves out the last SECONDS of `date_to`, as `<= 23:59:00` does with 60.",
        _number("SECONDS", 0, 86_400),
    )
    DAY_LOSS = (
        "day-loss",
        "A filter by day leaves out a SHARE of the orders, always the same ones.",
        _number("SHARE", 0, 1),
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
        "Every third record's stock, discount, shipping_cost, updated_at, total_orders and"
        " total_spent are null, and so are monthly_revenue and the revenue's total.",
    )
    ABSENT = ("absent", "What `null` makes null is left out.")
    FRAME = (
        "frame",
        'total, page and limit of a list come as text ("150") or as floats (150.0).',
        _choice("text", "float"),
    )
    REVENUE_DATES = ("revenue-instants", "A revenue day's date is an instant: 2026-02-13T00:00:00.000Z.")
    ADDRESS = (
        "empty-address",
        'Every third order has [] or "" in place of its shipping address.',
        _choice("list", "text"),
    )
    TIMES = (
        "times",
        "Instants end in +00 in place of Z, or have a second 60 in place of 59.",
        _choice("short-offset", "leap-second"),
    )
    HALF_QUANTITY = ("half-quantity", "The first line of every order has half a piece more: 1.5.")

    # Text on the wire
    BOM = ("bom", "A byte order mark comes before the JSON.")
    ODD_JSON = (
        "odd-json",
        r"JSON as seldom written: \u escapes, blanks around everything, amounts as 1999.0E-1.",
    )

    # Errors and headers
    ERROR_BODY = (
        "error-body",
        'Errors come as {"error": {"message": …}}, {"message": …}, {"errors": […]}, HTML,'
        " plain text, or without a body.",
        _choice("object", "message", "list", "html", "text", "empty"),
    )
    ECHO_KEY = (
        "echo-key",
        r"Errors repeat the API key: as it is, as \u escapes, with \/, %2f or HTML entities,"
        " or in base64.",
        _choice("plain", "unicode", "slash", "percent", "html", "base64"),
    )
    FAILING_ORDER = (
        "failing-order",
        "The details of the order ID always fail, with 500 or with STATUS.",
        Argument("ID[:STATUS]", _failing_order),
    )
    AGE = ("age", "Answers come from a cache: their Age is SECONDS.", _whole("SECONDS", 0))
    BIG_HEADERS = (
        "big-headers",
        "Answers have a header of KILOBYTES.",
        _whole("KILOBYTES", 1, 1024),
    )

    # Limit and clock
    RETRY_AFTER = (
        "retry-after",
        "Each 429 and 503 says to wait SECONDS, whatever the limiter says.",
        _whole("SECONDS", 0),
    )
    USED_UP = (
        "used-up",
        "Another program has used up the key's requests of the window in which it starts.",
    )
    OTHERS = (
        "others",
        "Another program takes REQUESTS of each of the key's windows before you do.",
        _whole("REQUESTS", 1),
    )
    CLOCK = (
        "clock",
        "The server's clock is SECONDS ahead of this machine's, or behind it if negative.",
        _number("SECONDS", -1e9),
    )

    # Connections
    IDLE_408 = (
        "idle-408",
        "A connection idle for 20 ms gets an HTTP/1.0 408 that nobody asked for, and is closed"
        " SECONDS later (0.5).",
        _number("SECONDS", 0, 3600, 0.5),
    )
    DOUBLE_ANSWER = (
        "double-answer",
        "The first answer on each connection comes again SECONDS later (0.03).",
        _number("SECONDS", 0, 3600, 0.03),
    )

    # Webhooks
    ODD_EVENTS = (
        "odd-events",
        'A removed order fires order.deleted with {"id": 7} for data, other events have a null'
        " total or store_id in turn, and an endpoint that is added gets ping and webhook.test"
        " without data.",
    )
