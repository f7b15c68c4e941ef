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
    """Give `"150"`, `150.0` and `"150.0"` as 150; anything else as it is."""
    number = value
    if isinstance(value, str) and _WHOLE.fullmatch(value):
        number = Decimal(value)
    if isinstance(number, Decimal) and number.is_finite() and number.adjusted() <= _DIGITS:
        integer = number.to_integral_value()
        return int(integer) if integer == number else value
    return value


def truth(value: object) -> object:
    """Give `"true"` and `"false"` as what they say; anything else as it is."""
    return {"true": True, "false": False}.get(value, value) if isinstance(value, str) else value


def text(value: object) -> object:
    """Give an integer as its digits; anything else as it is."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def day(value: object) -> object:
    """Give a day that is written as its midnight as YYYY-MM-DD; anything else as it is."""
    found = _MIDNIGHT.fullmatch(value) if isinstance(value, str) else None
    return found[1] if found else value


def instant(value: object) -> object:
    """Give an instant whose offset lacks minutes, or which is in a leap second, as a `datetime`.

    A leap second becomes the next second, as POSIX counts; anything else is given as it is.
    """
    found = _INSTANT.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        return value
    date, minute, second, fraction, hours, minutes = found.groups()
    leap = second == "60"
    offset = f"{hours}:{minutes or '00'}" if hours else "Z"
    spelled = f"{date}T{minute}:{'59' if leap else second or '00'}{fraction or ''}{offset}"
    return msgspec.convert(spelled, dt.datetime) + dt.timedelta(seconds=leap)
