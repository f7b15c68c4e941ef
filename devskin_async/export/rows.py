"""An answer's rows: as the server wrote them, as records, and what of them is unknown."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import NamedTuple, TypeAlias, get_type_hints

import attrs
import msgspec
from attrs import AttrsInstance

from .. import _values, convert
from ..errors import DecodeError, TransportError
from ..records import OpenEnum

RowId: TypeAlias = int | str

_LARGEST = 2**63 - 1

_split_row = msgspec.json.Decoder(dict[str, msgspec.Raw])
_split_rows = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])


class Row(NamedTuple):
    """A row of an answer.

    Args:
        id: What tells it from others: its `id`, or its `date`; a digest where it has neither.
            An id that came as text or with a fraction of zero is the integer that it means.
        line: The row as the server wrote it, without line ends.
        record: The row as a record; None where it is not what the reference describes.
        error: What is wrong then, with a path that begins at the row.
        unknown: The fields that the reference does not know, and a status that it does not list
            as `status=refunded`.
    """

    id: RowId
    line: bytes
    record: AttrsInstance | None
    error: DecodeError | None = None
    unknown: tuple[str, ...] = ()


def read_rows(raw: Sequence[msgspec.Raw | bytes], cls: type[AttrsInstance]) -> list[Row]:
    """Read rows that are JSON each; what can't be decoded becomes a row with an error."""
    array = b"[" + b",".join(raw) + b"]"
    try:
        array.decode()  # what is not read is not checked otherwise
        records = convert.loads_rows(raw, cls)
        if _are_known(array, records, cls):
            return list(map(_known_row, raw, records))
        return list(map(_good_row, raw, records, _split_rows.decode(array)))
    except (DecodeError, UnicodeDecodeError):
        return list(_told_apart(_read_row(bytes(row), cls) for row in raw))


def unique_rows(rows: Iterable[Row]) -> dict[RowId, Row]:
    """Give each row once, by its id; one that can't be decoded gives way to one that can."""
    unique: dict[RowId, Row] = {}
    for row in rows:
        if row.id not in unique or unique[row.id].record is None:
            unique[row.id] = row
    return unique


def first_error(rows: Iterable[Row], path: str) -> DecodeError | None:
    """Give the error of the first row that has one, with the path to where the rows stand."""
    for index, row in enumerate(rows):
        if (error := row.error) is not None:
            place = f"{path}[{index}]{error.path[1:]}"
            return DecodeError(place, error.expected, error.received)
    return None


def rejected_entry(line: bytes, error: DecodeError) -> bytes:
    """Write a rejected row as JSON on one line: where, what was expected, what came, the row."""
    told: dict[str, object] = {
        "path": error.path,
        "expected": error.expected,
        "received": error.received,
    }
    try:
        line.decode()
        told["row"] = msgspec.json.decode(line, type=msgspec.Raw)
    except (UnicodeDecodeError, msgspec.DecodeError):
        told["row"] = line.decode(errors="replace")
    return msgspec.json.encode(told)


def line_id(line: bytes) -> RowId:
    """Give the id of a row, whether it can be read as a record or not."""
    try:
        fields = _split_row.decode(line)
        raw = fields.get("id") or fields.get("date")
        value = None if raw is None else convert.parse(bytes(raw))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, TransportError):
        value = None
    return _id_of(_values.whole(_values.day(value)), line)


def _are_known(array: bytes, records: Iterable[AttrsInstance], cls: type[AttrsInstance]) -> bool:
    """Say whether rows have no field, and no status, that the reference does not know."""
    try:
        _strict_decoder(cls).decode(array)
    except msgspec.ValidationError:
        return False
    return not _known(cls)[1] or all(_has_known_status(record) for record in records)


@cache
def _strict_decoder(cls: type[AttrsInstance]) -> msgspec.json.Decoder[object]:
    """Make a decoder that refuses fields which a record does not have, and looks at none."""
    names = [(name, msgspec.Raw, msgspec.Raw(b"")) for name in _known(cls)[0]]
    return msgspec.json.Decoder(
        list[msgspec.defstruct(cls.__name__, names, forbid_unknown_fields=True)]  # type: ignore[misc]  # made at run time
    )


def _has_known_status(record: AttrsInstance) -> bool:
    return bool(record.status.known)  # type: ignore[attr-defined]  # it has one


def _known_row(raw: msgspec.Raw | bytes, record: AttrsInstance) -> Row:
    line = _one_line(bytes(raw))
    value: object = getattr(record, "id", None)
    if value is None and (day := getattr(record, "date", None)):
        value = day.isoformat()
    return Row(_id_of(value, line), line, record)


def _read_row(line: bytes, cls: type[AttrsInstance]) -> Row:
    try:
        line.decode()
        (record,) = convert.loads_rows([line], cls)
        fields = _split_row.decode(line)
    except DecodeError as error:
        # "$[0].total" of the one row becomes "$.total".
        wrong = DecodeError(f"${error.path[4:]}", error.expected, error.received)
    except UnicodeDecodeError as error:
        wrong = DecodeError("$", "JSON", str(error))
    else:
        return _good_row(line, record, fields)
    return Row(line_id(line), _one_line(line), None, wrong)


def _told_apart(rows: Iterable[Row]) -> Iterator[Row]:
    """Number rows of one answer that are alike, and have nothing that tells them apart."""
    seen: Counter[RowId] = Counter()
    for row in rows:
        if row.record is None and row.id == _digest(row.line):
            yield row._replace(id=f"{row.id} {seen[row.id]}") if seen[row.id] else row
            seen[row.id] += 1
        else:
            yield row


def _good_row(raw: msgspec.Raw | bytes, record: AttrsInstance, fields: Mapping[str, object]) -> Row:
    line = _one_line(bytes(raw))
    known, closed = _known(type(record))
    unknown = tuple(name for name in fields if name not in known)
    if closed and not _has_known_status(record):
        unknown += (f"status={record.status}",)  # type: ignore[attr-defined]  # it has one
    return Row(line_id(line), line, record, None, unknown)


@cache
def _known(cls: type[AttrsInstance]) -> tuple[frozenset[str], bool]:
    """Give a record's field names, and whether its status is one of listed words."""
    status = get_type_hints(cls).get("status")
    listed = isinstance(status, type) and issubclass(status, OpenEnum)
    return frozenset(field.name for field in attrs.fields(cls)), listed


def _id_of(value: object, line: bytes) -> RowId:
    if isinstance(value, int) and not isinstance(value, bool):
        return value if -_LARGEST <= value <= _LARGEST else str(value)
    return value if isinstance(value, str) else _digest(line)


def _digest(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()


def _one_line(line: bytes) -> bytes:
    # What the server wrote stays as it is, down to its spaces, where it has no line ends.
    if b"\n" in line or b"\r" in line:
        try:
            return msgspec.json.format(line, indent=-1)
        except msgspec.DecodeError:
            return line.replace(b"\n", b" ").replace(b"\r", b" ")
    return line
