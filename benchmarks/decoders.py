"""Ways to read a page of orders: bytes to records, money as `Decimal`, instants with their zone."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Generic, TypeAlias, TypeVar

import cattrs
import msgspec
from mashumaro.codecs.json import JSONDecoder
from mashumaro.codecs.orjson import ORJSONDecoder
from pydantic import AwareDatetime, BaseModel

from devskin_async import OrderStatus, OrderSummary, Page, convert
from devskin_async.api.endpoints import Envelope

T = TypeVar("T")
Decode: TypeAlias = Callable[[bytes], Any]

OURS, DIRECT = "this library", "msgspec's decoder on the same attrs class"
CATTRS, CATTRS_QUICK = "plain cattrs", "plain cattrs, detailed_validation=False"
PYDANTIC, PYDANTIC_EXACT = "pydantic, model_validate_json", "pydantic, of msgspec's plain values"
MASHUMARO, MASHUMARO_EXACT = "mashumaro, orjson", "mashumaro, of msgspec's plain values"

OrdersPage: TypeAlias = Envelope[Page[OrderSummary]]
decode_directly = msgspec.json.Decoder(OrdersPage).decode
plain_values = msgspec.json.Decoder(float_hook=Decimal).decode


class PydanticOrder(BaseModel):
    """An order as lists show it."""

    id: int
    order_number: str
    status: OrderStatus
    total: Decimal
    customer_name: str | None = None
    customer_email: str | None = None
    created_at: AwareDatetime


class PydanticPage(BaseModel, Generic[T]):
    """A page."""

    items: tuple[T, ...]
    total: int
    page: int
    limit: int


class PydanticEnvelope(BaseModel, Generic[T]):
    """The frame of an answer."""

    success: bool
    data: T


PydanticOrders: TypeAlias = PydanticEnvelope[PydanticPage[PydanticOrder]]
decode_by_pydantic = PydanticOrders.model_validate_json


@dataclass(frozen=True, slots=True)
class DataclassOrder:
    """An order as lists show it."""

    id: int
    order_number: str
    status: OrderStatus
    total: Decimal
    created_at: dt.datetime
    customer_name: str | None = None
    customer_email: str | None = None


@dataclass(frozen=True, slots=True)
class DataclassPage:
    """A page."""

    items: tuple[DataclassOrder, ...]
    total: int
    page: int
    limit: int


@dataclass(frozen=True, slots=True)
class DataclassEnvelope:
    """The frame of an answer."""

    success: bool
    data: DataclassPage


def by_cattrs(*, detailed_validation: bool) -> Decode:
    """Make a plain cattrs converter read msgspec's plain values."""
    converter = cattrs.Converter(detailed_validation=detailed_validation)
    converter.register_structure_hook(Decimal, lambda value, _: Decimal(value))
    converter.register_structure_hook(
        dt.datetime, lambda value, _: dt.datetime.fromisoformat(value)
    )
    structure = converter.get_structure_hook(OrdersPage)
    return lambda body: structure(plain_values(body), OrdersPage)


DECODERS: dict[str, Decode] = {
    OURS: lambda body: convert.loads(body, OrdersPage),
    DIRECT: decode_directly,
    CATTRS: by_cattrs(detailed_validation=True),
    CATTRS_QUICK: by_cattrs(detailed_validation=False),
    PYDANTIC: decode_by_pydantic,
    PYDANTIC_EXACT: lambda body: PydanticOrders.model_validate(plain_values(body)),
    MASHUMARO: ORJSONDecoder(DataclassEnvelope).decode,
    MASHUMARO_EXACT: JSONDecoder(DataclassEnvelope, pre_decoder_func=plain_values).decode,
}
