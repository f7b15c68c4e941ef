"""The one converter: bytes to records, records to plain data.

Reading takes one of two roads. The fast one gives the whole body to a msgspec decoder built on
the attrs class. What fails there is parsed to plain values and structured again by cattrs, field
by field, so that the error can name the place. Both roads take their notion of a value from
msgspec, so they agree on what is an integer, a number, an instant or a day.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Hashable, Iterator, Sequence
from decimal import Decimal
from functools import cache, cached_property, partial
from operator import attrgetter, eq
from typing import Final, Generic, TypeAlias, TypeVar, cast, get_args, get_origin

import attrs
import cattrs
import msgspec
from cattrs.gen import make_dict_structure_fn

from .errors import DecodeError, TransportError
from .records import Count, Instant, OpenEnum, Ordinal, check_money

T = TypeVar("T")
_Hook: TypeAlias = Callable[[object, object], object]

# What msgspec and Decimal raise for input that they can't take.
_REFUSALS = (msgspec.MsgspecError, ValueError, ArithmeticError, RecursionError)

_EXPECTED: dict[object, str] = {
    bool: "true or false",
    int: "an integer",
    str: "a string",
    Decimal: "a number",
    dt.date: "a day (YYYY-MM-DD)",
    Instant: "an instant with a time zone (RFC 3339)",
    Count: "an integer of 0 or more",
    Ordinal: "an integer of 1 or more",
}

NOT_JSON: Final = "the body can't be read as JSON"

_SHOWN = 60

_exact = msgspec.json.Decoder(float_hook=Decimal)
_encoder = msgspec.json.Encoder(decimal_format="number")


class _MismatchError(Exception):
    """A value that is not what its place asks for."""

    def __init__(self, expected: str, value: object) -> None:
        super().__init__(expected, value)
        self.expected = expected
        self.value = value


def loads(body: bytes, cls: type[T]) -> T:
    """Read a JSON body as a record.

    Args:
        body: The whole body, UTF-8.
        cls: An attrs class of `records`, or a generic one with its argument, such as
            `Page[OrderSummary]`.

    Returns:
        The record. Money has the body's exact digits; unknown fields are ignored.

    Raises:
        DecodeError: The body is JSON of another shape.
        TransportError: The body can't be read as JSON.
    """
    return _converter.structure(body, cls)


class Loader(Generic[T]):
    """Reads many bodies as one class, as `loads` does, without looking its decoder up each time.

    Args:
        cls: As `loads` takes it; what reads it is made when the first body comes.
    """

    def __init__(self, cls: type[T]) -> None:
        self._cls = cls

    def loads(self, body: bytes) -> T:
        """Read a body; see `loads`, which raises the same."""
        return self._structure(body, self._cls)

    @cached_property
    def _structure(self) -> Callable[[bytes, type[T]], T]:
        return _converter.get_structure_hook(self._cls)


def loads_rows(rows: Sequence[bytes | msgspec.Raw], cls: type[T]) -> tuple[T, ...]:
    """Read rows that are JSON each, all at once.

    Args:
        rows: The rows.
        cls: What each of them is, an attrs class.

    Raises:
        DecodeError: One of them is of another shape; the path begins with its index.
    """
    try:
        decoder = _rows_decoder(cast(Hashable, cls))
        return cast("tuple[T, ...]", decoder.decode(b"[" + b",".join(rows) + b"]"))
    except _REFUSALS:
        pass
    return tuple(_read_row(index, bytes(row), cls) for index, row in enumerate(rows))


def parse(body: bytes) -> object:
    """Read a JSON body as plain values, numbers with a fraction as `Decimal`.

    Raises:
        TransportError: The body can't be read as JSON.
    """
    try:
        return _exact.decode(body)
    except _REFUSALS as error:
        reason = "it nests too deeply" if isinstance(error, RecursionError) else str(error)
    raise TransportError(f"{NOT_JSON}: {reason}")


def to_plain(record: attrs.AttrsInstance) -> dict[str, object]:
    """Give a record as a dict in the wire's field order.

    Returns:
        Nested dicts and tuples of str, int, bool, None, `Decimal`, `datetime` and `date`.
    """
    return cast(dict[str, object], _converter.unstructure(record))


def dumps(record: attrs.AttrsInstance) -> bytes:
    """Write a record as JSON on one line, without a line end.

    Returns:
        UTF-8; the fields in the wire's order, money as numbers with their exact digits, instants
        as `instant` writes them.
    """
    return _encoder.encode(_to_json.unstructure(record))


def instant(value: dt.datetime) -> str:
    """Write an instant as the API does: in UTC, such as 2026-02-10T14:30:00.000Z.

    Args:
        value: An aware instant. Microseconds are written where it has any; within hours of the
            years 1 and 9999, where it may have no time in UTC, it keeps its own zone.
    """
    try:
        utc = value.astimezone(dt.UTC)
    except OverflowError:
        return value.isoformat()
    digits = "microseconds" if utc.microsecond % 1000 else "milliseconds"
    return utc.isoformat(timespec=digits).replace("+00:00", "Z")


def describe(value: object) -> str:
    """Show a JSON value in an error message, shortened to about 60 characters."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "an array"
    text = _encoder.encode(value).decode()
    text = "".join(
        c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text[: _SHOWN + 1]
    )
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


@cache
def _rows_decoder(cls: Hashable) -> msgspec.json.Decoder[tuple[object, ...]]:
    return msgspec.json.Decoder(tuple[cls, ...])  # type: ignore[valid-type]  # made at run time


def _read_row(index: int, row: bytes, cls: type[T]) -> T:
    try:
        return loads(row, cls)
    except TransportError as error:
        place, expected, received = "", "JSON", str(error)
    except DecodeError as error:
        place, expected, received = error.path[1:], error.expected, error.received
    raise DecodeError(f"$[{index}]{place}", expected, received)


def _is_record(cls: object) -> bool:
    return attrs.has(cast(type, get_origin(cls) or cls))


def _record_hook(cls: type[attrs.AttrsInstance], converter: cattrs.Converter) -> _Hook:
    decode: Callable[[bytes], object] = msgspec.json.Decoder(cls).decode
    from_fields = make_dict_structure_fn(cls, converter)

    def structure(value: object, _: object) -> object:
        if isinstance(value, bytes):
            try:
                return decode(value)
            except _REFUSALS:
                return _read_slowly(value, cls)
        if not isinstance(value, dict):
            raise _MismatchError("an object", value)
        return from_fields(value, cls)

    return structure


def _read_slowly(body: bytes, cls: type[T]) -> T:
    value = parse(body)
    try:
        return _converter.structure(value, cls)
    except (_MismatchError, cattrs.BaseValidationError) as error:
        path, cause = _first_cause(error)
    if isinstance(cause, _MismatchError):
        raise DecodeError(path, cause.expected, describe(cause.value))
    if isinstance(cause, KeyError):
        raise DecodeError(path, "a value", "nothing")
    raise DecodeError(path, "a value the reference describes", str(cause))  # pragma: no cover


def _first_cause(error: Exception) -> tuple[str, Exception]:
    path = "$"
    while isinstance(error, cattrs.BaseValidationError):
        error = error.exceptions[0]
        path += "".join(_steps(error))
    return path, error


def _steps(error: Exception) -> Iterator[str]:
    # The innermost place was noted first.
    for note in reversed(getattr(error, "__notes__", ())):
        if isinstance(note, cattrs.AttributeValidationNote):
            yield f".{note.name}"
        elif isinstance(note, cattrs.IterableValidationNote):
            yield f"[{note.index}]"


def _is_tuple(cls: object) -> bool:
    return getattr(cls, "__origin__", None) is tuple


def _tuple_hook(cls: type, converter: cattrs.Converter) -> _Hook:
    item = get_args(cls)[0]
    hook = converter.get_structure_hook(item)

    def structure(value: object, _: object) -> object:
        if not isinstance(value, list):
            raise _MismatchError("an array", value)
        return tuple(at(index, element) for index, element in enumerate(value))

    # cattrs' own hook gathers the errors of all elements, which a bad answer can make millions.
    def at(index: int, element: object) -> object:
        try:
            return hook(element, item)
        except (_MismatchError, cattrs.BaseValidationError) as error:
            error.add_note(cattrs.IterableValidationNote(f"[{index}]", index, item))
            raise

    return structure


def _leaf(value: object, cls: type) -> object:
    try:
        leaf: object = msgspec.convert(value, cls)
        if isinstance(leaf, Decimal):
            check_money(leaf)
    except _REFUSALS:
        raise _MismatchError(_EXPECTED.get(cls, "a string"), value) from None
    return leaf


def _make_converter() -> cattrs.Converter:
    converter = cattrs.Converter()
    converter.register_structure_hook_factory(_is_record, _record_hook)
    converter.register_structure_hook_factory(_is_tuple, _tuple_hook)
    converter.register_unstructure_hook(OpenEnum, attrgetter("value"))
    converter.register_structure_hook(msgspec.Raw, lambda value, _: _encoder.encode(value))
    for leaf in (bool, int, str, OpenEnum, Decimal, dt.date):
        converter.register_structure_hook(leaf, _leaf)
    for constrained in (Instant, Count, Ordinal):
        converter.register_structure_hook_func(partial(eq, constrained), _leaf)
    return converter


_converter = _make_converter()
_to_json = _converter.copy()
_to_json.register_unstructure_hook(dt.datetime, instant)
