"""JSON as RFC 8259 allows it and hardly anybody writes it."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from .records import Json

BLANK: Final = " \t\r\n"


def odd_json(value: Json) -> bytes:
    """Write a value with every blank, escape and exponent that the grammar allows.

    Args:
        value: What to write.

    Returns:
        Its bytes, all of them ASCII.
    """
    return _spaced(value).encode("ascii")


def _spaced(value: Json) -> str:
    return f"{BLANK}{_written(value)}{BLANK}"


def _written(value: Json) -> str:
    match value:
        case dict():
            pairs = (
                f"{BLANK}{_quoted(name)}{BLANK}:{_spaced(each)}" for name, each in value.items()
            )
            return f"{{{','.join(pairs)}}}"
        case list():
            return f"[{','.join(map(_spaced, value))}]"
        case str():
            return _quoted(value)
        case Decimal():
            sign, digits, exponent = value.as_tuple()
            return f"{'-' if sign else ''}{''.join(map(str, digits))}E{exponent:+}"
        case None | bool():
            return {None: "null", True: "true", False: "false"}[value]
        case _:
            return str(value)


def _quoted(text: str) -> str:
    """Escape every character, those beyond the basic plane as a pair of surrogates."""
    units = text.encode("utf-16-be")
    pairs = zip(units[::2], units[1::2], strict=True)
    return '"' + "".join(rf"\u{high:02x}{low:02x}" for high, low in pairs) + '"'
