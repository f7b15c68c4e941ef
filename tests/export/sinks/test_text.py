"""The text formats, byte for byte."""

from __future__ import annotations

import csv
import datetime as dt
import gzip
import io
from collections.abc import Sequence
from pathlib import Path

import pytest
from attrs import AttrsInstance

from devskin_async.export.sinks import count_rows
from devskin_async.export.tables import Batch, Format

from .support import LINES, NOON, ORDERS, TEXT, batches, decoded, order, read, written

HEADER = b"id,order_number,status,total,customer_name,customer_email,created_at\r\n"
FORMULAS = ["=1+1", "+1", "-1", "@x", "\tx", "\rx"]


def never(lines: Sequence[bytes]) -> Sequence[AttrsInstance]:
    raise AssertionError("jsonl must not decode")


def test_jsonl_is_written_as_it_came_and_never_decoded(tmp_path: Path) -> None:
    lines = [b'{"id": 1,  "total":1.10, "new":[1E400]}', b'{"id":"\\ud800"}', b"\xff"]
    path = written(
        "jsonl", tmp_path, Batch(lines[:2], never), Batch([], never), Batch(lines[2:], never)
    )
    assert path.read_bytes() == b"".join(line + b"\n" for line in lines)
    assert count_rows("jsonl", path, ORDERS) == 3


def test_csv_is_what_rfc_4180_describes(tmp_path: Path) -> None:
    rows = [order(10**30, name='a "b", c\r\nd'), order(2, total="2E+3", name=None)]
    assert written("csv", tmp_path, decoded(*rows)).read_bytes() == HEADER + (
        b"1000000000000000000000000000000,ORD-1000000000000000000000000000000,paid,199.90,"
        b'"a ""b"", c\r\nd",,2026-02-10T12:00:00.000Z\r\n'
        b"2,ORD-2,paid,2000,,,2026-02-10T12:00:00.000Z\r\n"
    )


def test_csv_holds_any_amount_to_the_digit(tmp_path: Path) -> None:
    amounts = ["1.999", "9" * 100, "-0.00", "0", "1E-7", "199.90"]
    rows = [order(number, total=amount) for number, amount in enumerate(amounts)]
    path = written("csv", tmp_path, decoded(*rows))
    expected = ["1.999", "9" * 100, "-0.00", "0", "0.0000001", "199.90"]
    assert [row["total"] for row in read("csv", path)] == expected


@pytest.mark.parametrize(
    ("instant", "text"),
    [
        (NOON.replace(microsecond=123456), "2026-02-10T12:00:00.123456Z"),
        (NOON.replace(tzinfo=dt.timezone(dt.timedelta(hours=2))), "2026-02-10T10:00:00.000Z"),
        (
            dt.datetime(1, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=14))),
            "0001-01-01T00:00:00+14:00",
        ),
    ],
)
def test_csv_writes_instants_as_the_api_does(
    instant: dt.datetime, text: str, tmp_path: Path
) -> None:
    path = written("csv", tmp_path, decoded(order(created_at=instant)))
    assert [row["created_at"] for row in read("csv", path)] == [text]


def test_csv_for_excel_starts_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = written("csv", tmp_path, decoded(order()), excel=True)
    assert path.read_bytes().startswith(b"\xef\xbb\xbf" + HEADER)
    assert count_rows("csv", path, ORDERS) == 1


def test_csv_for_excel_has_no_text_that_is_a_formula(tmp_path: Path) -> None:
    rows = [order(number, name=name) for number, name in enumerate([*FORMULAS, "a=b", "", None])]
    path = written("csv", tmp_path, decoded(*rows), excel=True)
    found = [row["customer_name"] for row in read("csv", path)]
    assert found == [*(f"'{name}" for name in FORMULAS), "a=b", "", ""]


def test_csv_for_excel_takes_an_unknown_status_for_the_text_it_is(tmp_path: Path) -> None:
    path = written("csv", tmp_path, decoded(order(status="=cmd()")), excel=True)
    assert [row["status"] for row in read("csv", path)] == ["'=cmd()"]


def test_csv_for_excel_leaves_numbers_numbers(tmp_path: Path) -> None:
    path = written("csv", tmp_path, decoded(order(-5, total="-1.50")), excel=True)
    (row,) = csv.reader(io.StringIO(path.read_text("utf-8-sig").splitlines()[1]))
    assert (row[0], row[3]) == ("-5", "-1.50")


def test_csv_for_programs_leaves_formulas_as_they_are(tmp_path: Path) -> None:
    rows = [order(number, name=name) for number, name in enumerate(FORMULAS)]
    path = written("csv", tmp_path, decoded(*rows))
    assert [row["customer_name"] for row in read("csv", path)] == FORMULAS


@pytest.mark.parametrize("file_format", TEXT)
def test_compressed_text_is_the_text(file_format: Format, tmp_path: Path) -> None:
    rows = [order(number) for number in range(500)]
    plain = written(file_format, tmp_path, *batches(rows, 100))
    packed = written(file_format, tmp_path, *batches(rows, 100), compress=True)
    assert gzip.decompress(packed.read_bytes()) == plain.read_bytes()
    assert packed.stat().st_size < plain.stat().st_size / 5


@pytest.mark.parametrize("file_format", TEXT)
def test_the_same_rows_give_the_same_compressed_bytes(
    file_format: Format, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [order(number, name=f"{number**9}") for number in range(5000)]
    first = written(file_format, tmp_path / "a", *batches(rows, 1000), compress=True)
    monkeypatch.setattr("time.time", lambda: 4e9)
    second = written(file_format, tmp_path / "b", *batches(rows, 7), compress=True)
    assert first.read_bytes() == second.read_bytes()
    # RFC 1952: no flags, so no name of a file; and no time.
    assert first.read_bytes()[3:8] == bytes(5)


def test_a_table_of_one_empty_cell_a_row_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(b'name\r\n""\r\n""\r\n')
    assert count_rows("csv", path, LINES) == 2
    path.write_bytes(b"")
    assert count_rows("csv", path, LINES) == 0
