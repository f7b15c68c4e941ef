"""What pydantic needs for records: how to validate, serialize and describe them.

Only the hooks that pydantic calls import this module, since it needs pydantic-core.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from decimal import Decimal
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar, Union, cast, get_args, get_origin
from typing import get_type_hints as type_hints

import attrs
import msgspec
from pydantic_core import core_schema

if TYPE_CHECKING:
    from pydantic import (
        GetCoreSchemaHandler,
        SerializerFunctionWrapHandler,
        ValidatorFunctionWrapHandler,
    )
    from pydantic_core import CoreSchema

_AMOUNT: Final = {
    "anyOf": [
        {"type": "number"},
        {"type": "string", "pattern": r"^[+-]?\d+(\.\d+)?([Ee][+-]?\d+)?$"},
    ]
}


def record_schema(
    cls: type[attrs.AttrsInstance], source: object, handler: GetCoreSchemaHandler
) -> CoreSchema:
    """Make the schema of an attrs class, for `__get_pydantic_core_schema__`.

    Args:
        cls: The class.
        source: The class; for a generic class, the class with its argument.
        handler: Makes the schemas of types without a special one here.
    """
    arguments = get_args(source)
    bound: dict[object, object] = dict(
        zip(getattr(cls, "__parameters__", ()), arguments, strict=False)
    )
    hints = type_hints(cls, include_extras=True)
    names = [field.name for field in attrs.fields(cls)]
    title = "_".join(getattr(each, "__name__", "Any") for each in (cls, *arguments))
    ref = f"{cls.__module__}.{title}:" + "".join(str(id(each)) for each in (cls, *arguments))
    fields = core_schema.typed_dict_schema(
        {
            field.name: core_schema.typed_dict_field(
                _schema(hints[field.name], bound, handler), required=field.default is attrs.NOTHING
            )
            for field in attrs.fields(cls)
        },
        metadata={"pydantic_js_updates": {"title": title, "description": _summary(cls)}},
    )

    def validate(value: object, handler: ValidatorFunctionWrapHandler) -> object:
        if isinstance(value, cls):
            return value
        if attrs.has(type(value)):  # such as an order where its summary is wanted
            value = attrs.asdict(cast("attrs.AttrsInstance", value), recurse=False)
        return cls(**handler(value))

    # A wrapping serializer lets `include` and `exclude` reach the fields; a plain one would not.
    def serialize(record: object, handler: SerializerFunctionWrapHandler) -> object:
        return handler({name: getattr(record, name) for name in names})

    return core_schema.no_info_wrap_validator_function(
        validate,
        fields,
        ref=ref,
        serialization=core_schema.wrap_serializer_function_ser_schema(serialize, schema=fields),
    )


def _summary(cls: type) -> str:
    return (cls.__doc__ or "").partition("\n")[0]


def _schema(
    hint: object, bound: Mapping[object, object], handler: GetCoreSchemaHandler
) -> CoreSchema:
    if isinstance(hint, TypeVar):
        kind = bound.get(hint, Any)
        # pydantic knows the argument of a generic class best, but for its digits.
        return _schema(kind, {}, handler) if kind is Decimal else handler.generate_schema(kind)
    if hint is Decimal:
        return core_schema.decimal_schema(
            allow_inf_nan=False, serialization=_EXACT, metadata=_DESCRIBED
        )
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is tuple:  # of any number of elements
        return core_schema.tuple_variable_schema(_schema(arguments[0], bound, handler))
    if origin in (Union, UnionType):
        kinds = [kind for kind in arguments if kind is not NoneType]
        schema = _quantity() if len(kinds) > 1 else _schema(kinds[0], bound, handler)
        return core_schema.nullable_schema(schema) if NoneType in arguments else schema
    if origin is Annotated:
        return _constrained(*arguments)
    return handler.generate_schema(hint)


def _quantity() -> CoreSchema:
    whole, part = core_schema.int_schema(strict=True), core_schema.decimal_schema()
    return core_schema.union_schema(
        [whole, part], mode="left_to_right", serialization=_EXACT, metadata=_DESCRIBED
    )


def _constrained(kind: object, meta: msgspec.Meta) -> CoreSchema:
    if kind is dt.datetime:
        return core_schema.datetime_schema(tz_constraint="aware")
    return core_schema.int_schema(ge=cast("int | None", meta.ge))


def exact_number(amount: Decimal | int) -> int | float | str:
    """Return an amount in a type that pydantic writes in JSON without changing it.

    Returns:
        A number of exactly that value. A fraction with more digits than a float keeps is returned
        as text, since pydantic writes fractions as floats.
    """
    if isinstance(amount, int) or amount.as_tuple().exponent == 0:
        return int(amount)
    near = float(amount)
    return near if Decimal(repr(near)) == amount else str(amount)


def _describe_amount(*_: object) -> dict[str, object]:
    return dict(_AMOUNT)


_EXACT: Final = core_schema.plain_serializer_function_ser_schema(
    exact_number, when_used="json-unless-none"
)
_DESCRIBED: Final = {"pydantic_js_functions": [_describe_amount]}
