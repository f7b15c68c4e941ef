"""The tolerant decoder of `convert`, for bodies that the fast one refuses.

A body is mended (`_json`) and then structured by cattrs, field by field: so that values in another
spelling (`_values`) are accepted if they have one meaning, and so that an error can name the
place. A value stays undecoded until a field of the record needs it; others are not checked.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from functools import partial
from operator import attrgetter, eq
from types import NoneType, UnionType
from typing import Any, Final, TypeAlias, TypeVar, Union, cast, get_args, get_origin

import attrs
import cattrs
import msgspec
from cattrs.gen import make_dict_structure_fn

from . import _values
from ._json import mend
from .errors import DecodeError, TransportError
from .records import Count, Instant, OpenEnum, Ordinal, Quantity, check_money

T = TypeVar("T")
_Hook: TypeAlias = Callable[[Any, object], object]

# What msgspec and Decimal raise for input that they can't take.
REFUSALS: Final = (msgspec.MsgspecError, ValueError, ArithmeticError, RecursionError)
_UNREADABLE = (UnicodeDecodeError, RecursionError)
NOT_JSON: Final = "the body can't be read as JSON"

_EXPECTED: dict[object, str] = {
    bool: "true or false",
    int: "an integer",
    str: "a string",
    Decimal: "a number",
    dt.date: "a day (YYYY-MM-DD)",
    Instant: "an instant with a time zone (RFC 3339)",
    Count: "an integer of 0 or more",
    Ordinal: "an integer of 1 or more",
    Quantity: "a number",
}
_TOLERANT: dict[object, Callable[[object], object]] = {
    bool: _values.truth,
    int: _values.whole,
    str: _values.text,
    dt.date: _values.day,
    Instant: _values.instant,
    Count: _values.whole,
    Ordinal: _values.whole,
}

_SHOWN = 60
_MOST_DIGITS = 4000

exact: Final = msgspec.json.Decoder(float_hook=Decimal)
encoder: Final = msgspec.json.Encoder(decimal_format="number")
_fields: msgspec.json.Decoder[Mapping[str, Any]] = msgspec.json.Decoder(dict[str, msgspec.Raw])
_elements = msgspec.json.Decoder(list[msgspec.Raw])


class _MismatchError(Exception):
    """A value of another type than its field's."""

    def __init__(self, expected: str, value: msgspec.Raw) -> None:
        super().__init__(expected, value)
        self.expected = expected
        self.value = value


def read(body: bytes, cls: type[T]) -> T:
    """Read a body as a record; see `convert.loads`, which raises the same."""
    try:
        # Values of unknown fields are checked no further than this.
        raw = msgspec.json.decode(mend(body), type=msgspec.Raw)
    except REFUSALS as error:
        raise not_json(error) from None
    try:
        return converter.structure(raw, cls)
    except (_MismatchError, *_UNREADABLE, cattrs.BaseValidationError) as error:
        refusal = _refusal(*_first_cause(error))
        _drop_tracebacks(error)
    try:
        raise refusal
    finally:
        del refusal  # whose traceback holds this frame, and so the body


def _drop_tracebacks(error: BaseException | None) -> None:
    # cattrs' frames hold their errors, whose tracebacks hold the frames, and so the body.
    while error is not None:
        error.__traceback__ = None
        for each in getattr(error, "exceptions", ()):
            _drop_tracebacks(each)
        error = error.__context__


def _refusal(path: str, cause: Exception) -> DecodeError | TransportError:
    if isinstance(cause, _MismatchError):
        return DecodeError(path, cause.expected, _describe_raw(cause.value))
    if isinstance(cause, KeyError):
        return DecodeError(path, "a value", "nothing")
    if isinstance(cause, _UNREADABLE):
        return not_json(cause)
    return DecodeError(path, "a value as in the API reference", str(cause))


def plain(body: bytes) -> object:
    """Read a body as plain values; see `convert.parse`, which raises the same."""
    text = mend(body)
    try:
        try:
            return exact.decode(text)
        except (msgspec.ValidationError, ArithmeticError):
            # Python's own decoder is slow, but passes numbers of any length to these functions.
            return json.loads(
                text.decode(), parse_int=_integer, parse_float=_number, parse_constant=_refuse
            )
    except REFUSALS as error:
        raise not_json(error) from None


def _integer(text: str) -> int | Decimal:
    # An integer of thousands of digits would take Python long.
    return int(text) if len(text) <= _MOST_DIGITS else Decimal(text)


def _number(text: str) -> Decimal | str:
    try:
        return Decimal(text)
    except ArithmeticError:  # an exponent of 19 digits
        return text


def _refuse(text: str) -> object:
    raise ValueError(f"JSON has no {text}")


def not_json(error: Exception) -> TransportError:
    """Make the error for a body that can't be read as JSON."""
    reason = "it nests too deeply" if isinstance(error, RecursionError) else str(error)
    return TransportError(f"{NOT_JSON}: {reason}")


def describe(value: object) -> str:
    """Show a JSON value in an error message, shortened to about 60 characters."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "an array"
    return _shortened(encoder.encode(value).decode())


def _shortened(text: str) -> str:
    text = "".join(
        c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text[: _SHOWN + 1]
    )
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _is_record(cls: object) -> bool:
    return attrs.has(cast(type, get_origin(cls) or cls))


def _record_hook(cls: type[attrs.AttrsInstance], converter: cattrs.Converter) -> _Hook:
    decode: Callable[[msgspec.Raw], object] = msgspec.json.Decoder(cls).decode
    from_fields = make_dict_structure_fn(cls, converter)

    def structure(raw: msgspec.Raw, _: object) -> object:
        try:
            return decode(raw)
        except REFUSALS:
            return from_fields(_split(_fields, raw, "an object"), cls)

    return structure


def _split(decoder: msgspec.json.Decoder[T], raw: msgspec.Raw, expected: str) -> T:
    """Split an object or an array into its undecoded parts."""
    try:
        return decoder.decode(raw)
    except msgspec.ValidationError:
        raise _MismatchError(expected, raw) from None


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


def _describe_raw(raw: msgspec.Raw) -> str:
    try:
        return describe(exact.decode(raw))
    except REFUSALS:  # such as an integer of 5,000 digits
        return _shortened(bytes(raw).decode(errors="replace"))


def _is_tuple(cls: object) -> bool:
    return get_origin(cls) is tuple


def _tuple_hook(cls: type, converter: cattrs.Converter) -> _Hook:
    item = get_args(cls)[0]
    hook = converter.get_structure_hook(item)

    def structure(raw: msgspec.Raw, _: object) -> object:
        if bytes(raw) == b"null":  # what SQL and Go make of a list without elements
            return ()
        elements = _split(_elements, raw, "an array")
        return tuple(at(index, element) for index, element in enumerate(elements))

    # cattrs' own hook collects the errors of all elements: millions, in a bad response.
    def at(index: int, element: msgspec.Raw) -> object:
        try:
            return hook(element, item)
        except (_MismatchError, *_UNREADABLE, cattrs.BaseValidationError) as error:
            error.add_note(cattrs.IterableValidationNote(f"[{index}]", index, item))
            raise

    return structure


def _is_optional(cls: object) -> bool:
    return get_origin(cls) in (Union, UnionType) and NoneType in get_args(cls)


def _optional_hook(cls: object, converter: cattrs.Converter) -> _Hook:
    kinds = tuple(kind for kind in get_args(cls) if kind is not NoneType)
    inner: type = Union[kinds]  # type: ignore[assignment]  # noqa: UP007 - made at run time
    hook = converter.get_structure_hook(inner)
    # For a missing value PHP writes an empty array in place of an object, others an empty string.
    blank = {b"null"}
    if inner is not str:
        blank |= {b'""', b"[]"} if _is_record(inner) else {b'""'}

    def structure(raw: msgspec.Raw, _: object) -> object:
        return None if bytes(raw) in blank else hook(raw, inner)

    return structure


def _leaf(raw: msgspec.Raw, cls: type) -> object:
    try:
        value = exact.decode(raw)
        leaf: object = msgspec.convert(_TOLERANT.get(cls, _as_it_is)(value), cls)
        check_money(leaf)
    except _UNREADABLE:
        raise
    except REFUSALS:
        raise _MismatchError(_EXPECTED.get(cls, "a string"), raw) from None
    return leaf


def _as_it_is(value: object) -> object:
    return value


def _make_converter() -> cattrs.Converter:
    converter = cattrs.Converter()
    converter.register_structure_hook_factory(_is_record, _record_hook)
    converter.register_structure_hook_factory(_is_tuple, _tuple_hook)
    converter.register_structure_hook_factory(_is_optional, _optional_hook)
    converter.register_unstructure_hook(OpenEnum, attrgetter("value"))
    converter.register_structure_hook(msgspec.Raw, lambda raw, _: raw)
    for leaf in (bool, int, str, OpenEnum, Decimal, dt.date):
        converter.register_structure_hook(leaf, _leaf)
    for constrained in (Instant, Count, Ordinal, Quantity):
        converter.register_structure_hook_func(partial(eq, constrained), _leaf)
    return converter


converter: Final = _make_converter()
