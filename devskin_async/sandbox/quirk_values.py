"""What a quirk can be switched to: how its value is written, read and bounded."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, TypeAlias

import attrs

LARGEST: Final = 1_000_000_000

Value: TypeAlias = "int | float | str | tuple[int, int] | None"
"""What a quirk was switched to; None where it takes no value."""


@attrs.frozen
class Argument:
    """What a quirk takes after its name and an equals sign.

    Attributes:
        shown: How it is written in the list of quirks, such as SECONDS or text|float.
        rule: What it must be.
        read: Reads it; raises ValueError if it breaks the rule.
        default: What is taken where none is given; None where there must be one.
    """

    shown: str
    rule: str
    read: Callable[[str], Value]
    default: Value = None


def number(shown: str, lowest: float, highest: float, default: float | None = None) -> Argument:
    """Describe a number in its bounds, fractions included."""

    def read(text: str) -> float:
        if not lowest <= (given := float(text)) <= highest:
            raise ValueError(text)
        return given

    return Argument(shown, f"a number from {lowest:g} to {highest:g}", read, default)


def whole(shown: str, lowest: int, highest: int) -> Argument:
    """Describe a whole number in its bounds."""

    def read(text: str) -> int:
        if not lowest <= (given := _digits(text)) <= highest:
            raise ValueError(text)
        return given

    return Argument(shown, f"a whole number from {lowest} to {highest}", read)


def choice(*words: str) -> Argument:
    """Describe one word of several."""

    def read(text: str) -> str:
        if text not in words:
            raise ValueError(text)
        return text

    return Argument("|".join(words), f"one of {', '.join(words)}", read)


def _digits(text: str) -> int:
    if not re.fullmatch("[0-9]{1,15}", text):
        raise ValueError(text)
    return int(text)


def read_total(text: str) -> str:
    """Read what becomes of a list's total."""
    if text != "unfiltered":
        _digits(text.removeprefix("+"))
    return text


def read_failing_order(text: str) -> tuple[int, int]:
    """Read an order's id and the status it fails with."""
    order, colon, status = text.partition(":")
    read = _digits(order), _digits(status) if colon else 500
    if not 400 <= read[1] < 600:  # noqa: PLR2004
        raise ValueError(text)
    return read
