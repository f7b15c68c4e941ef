"""Values that are spelled otherwise than the API's reference does, and have one meaning."""

from __future__ import annotations

import datetime as dt
import re
from decimal import Decimal

import msgspec

_DIGITS = 100

_WHOLE = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.0+)?")
_OFFSET = r"(?:[Zz]|[+-][0-9]{2}(?::?[0-9]{2})?)"
_MIDNIGHT = re.compile(rf"([0-9-]{{10}})[Tt ]00:00(?::00(?:\.0+)?)?{_OFFSET}?")
_INSTANT = re.compile(
    r"([0-9-]{10})[Tt ]([0-9]{2}:[0-9]{2})(?::([0-9]{2})(\.[0-9]+)?)?"
    r"(?:[Zz]|([+-][0-9]{2})(?::?([0-9]{2}))?)"
)


def whole(value: object) -> object:
    """Return 150 for `"150"`, `150.0` and `"150.0"`; anything else unchanged."""
    number = value
    if isinstance(value, str) and _WHOLE.fullmatch(value):
        number = Decimal(value)
    if isinstance(number, Decimal) and number.is_finite() and number.adjusted() <= _DIGITS:
        integer = number.to_integral_value()
        return int(integer) if integer == number else value
    return value


def truth(value: object) -> object:
    """Return True for `"true"` and False for `"false"`; anything else unchanged."""
    return {"true": True, "false": False}.get(value, value) if isinstance(value, str) else value


def text(value: object) -> object:
    """Return the digits of an integer; anything else unchanged."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def day(value: object) -> object:
    """Return YYYY-MM-DD for a day that is written as its midnight; anything else unchanged."""
    found = _MIDNIGHT.fullmatch(value) if isinstance(value, str) else None
    return found[1] if found else value


def instant(value: object) -> object:
    """Return a `datetime` for an instant in a leap second, or whose offset lacks minutes.

    A leap second becomes the next second, as POSIX counts; anything else is returned unchanged.
    """
    found = _INSTANT.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        return value
    date, minute, second, fraction, hours, minutes = found.groups()
    leap = second == "60"
    offset = f"{hours}:{minutes or '00'}" if hours else "Z"
    spelled = f"{date}T{minute}:{'59' if leap else second or '00'}{fraction or ''}{offset}"
    return msgspec.convert(spelled, dt.datetime) + dt.timedelta(seconds=leap)
