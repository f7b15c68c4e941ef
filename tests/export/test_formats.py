"""What stands in the files: the API's own rows, to the digit."""

from __future__ import annotations

import csv
import datetime as dt
import io
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet as pq

from devskin_async import DecodeError
from devskin_async.export import Resource, export
from devskin_async.export import parquet as parquet_module
from devskin_async.sandbox import Sandbox

from .support import ALL, answering, api_rows, decoded, order, page, serving

HUGE = str(2**63)


def as_instant(value: object) -> dt.datetime:
    return dt.datetime.fromisoformat(str(value))


@pytest.mark.parametrize("resource", ALL)
async def test_jsonl_has_the_apis_rows_byte_for_byte_but_spaces(
    resource: Resource, tmp_path: Path
) -> None:
    box = Sandbox(limiter="none")
    async with serving(box) as store:
        await export(store, [resource], tmp_path)
        expected = await api_rows(box, resource)
    lines = (tmp_path / f"{resource}.jsonl").read_bytes().splitlines()
    # Equal as text: the same fields in the same order, and 0.00 is not 0.
    assert [str(decoded(line)) for line in lines] == [str(row) for row in expected]


@pytest.mark.parametrize("resource", ALL)
async def test_csv_has_a_header_and_the_apis_rows(resource: Resource, tmp_path: Path) -> None:
    box = Sandbox(limiter="none", drift=resource in ("orders", "products", "customers"))
    async with serving(box) as store:
        await export(store, [resource], tmp_path, format="csv")
        expected = await api_rows(box, resource)
    text = (tmp_path / f"{resource}.csv").read_bytes().decode()
    header, *rows = csv.reader(io.StringIO(text, newline=""))
    assert text.count("\r\n") == text.count("\n") == len(rows) + 1
    for row, sent in zip(rows, expected, strict=True):
        values = [sent.get(name) for name in header]
        assert row == ["" if value is None else str(value) for value in values]


@pytest.mark.parametrize("resource", ALL)
async def test_parquet_read_back_has_the_apis_rows(resource: Resource, tmp_path: Path) -> None:
    box = Sandbox(limiter="none")
    async with serving(box) as store:
        await export(store, [resource], tmp_path, format="parquet")
        expected = await api_rows(box, resource)
    table = pq.read_table(tmp_path / f"{resource}.parquet")
    for row, sent in zip(table.to_pylist(), expected, strict=True):
        for name, value in row.items():
            if isinstance(value, dt.datetime):
                assert value == as_instant(sent[name])
            elif isinstance(value, dt.date):
                assert value.isoformat() == sent[name]
            elif isinstance(value, Decimal):
                assert str(value) == str(sent[name])
            else:
                assert value == sent[name]
        assert list(row) == list(sent)


async def test_a_parquet_schema_comes_from_the_record_and_not_from_the_rows(
    tmp_path: Path,
) -> None:
    async with serving(Sandbox(orders=0, customers=0)) as store:
        await export(store, ["orders"], tmp_path, format="parquet")
    assert pq.read_schema(tmp_path / "orders.parquet") == pa.schema(
        [
            pa.field("id", pa.int64(), nullable=False),
            pa.field("order_number", pa.string(), nullable=False),
            pa.field("status", pa.string(), nullable=False),
            pa.field("total", pa.decimal128(18, 2), nullable=False),
            pa.field("customer_name", pa.string()),
            pa.field("customer_email", pa.string()),
            pa.field("created_at", pa.timestamp("us", tz="UTC"), nullable=False),
        ]
    )
    assert pq.read_table(tmp_path / "orders.parquet").num_rows == 0


async def test_parquet_days_are_dates_and_the_columns_are_compressed(tmp_path: Path) -> None:
    async with serving(Sandbox()) as store:
        await export(store, ["revenue"], tmp_path, format="parquet")
    file = pq.ParquetFile(tmp_path / "revenue.parquet")
    assert file.schema_arrow.field("date").type == pa.date32()
    assert file.metadata.row_group(0).column(0).compression == "ZSTD"


async def test_parquet_gathers_pages_into_row_groups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet_module, "ROW_GROUP", 150)
    async with serving(Sandbox(orders=450)) as store:
        await export(store, ["orders"], tmp_path, format="parquet")
    meta = pq.ParquetFile(tmp_path / "orders.parquet").metadata
    groups = [meta.row_group(number).num_rows for number in range(meta.num_row_groups)]
    assert groups == [200, 200, 50]


@pytest.mark.parametrize("total", ["1.999", "12345678901234567.10", "1e30"])
async def test_money_that_a_parquet_column_can_not_hold_is_named(
    total: str, tmp_path: Path
) -> None:
    rows = (order(), order(total=total))
    async with answering(page(*rows)) as store:
        with pytest.raises(DecodeError, match=r"orders\[1\]\.total: expected .*decimal128") as info:
            await export(store, ["orders"], tmp_path, format="parquet")
    assert Decimal(info.value.received) == Decimal(total)


async def test_the_row_an_error_names_is_counted_through_all_row_groups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet_module, "ROW_GROUP", 100)
    box = Sandbox(orders=250, order="id")
    async with serving(box) as store:
        box.connection.execute("UPDATE orders SET total = ? WHERE id = 203", (10**18,))
        with pytest.raises(DecodeError, match=r"orders\[202\]\.total: expected .*decimal128"):
            await export(store, ["orders"], tmp_path, format="parquet")


async def test_an_integer_that_a_parquet_column_can_not_hold_is_named(tmp_path: Path) -> None:
    async with answering(page(order(order_id=int(HUGE)))) as store:
        with pytest.raises(DecodeError, match=rf"orders\[0\]\.id: expected .*int64.*{HUGE}"):
            await export(store, ["orders"], tmp_path, format="parquet")


async def test_text_formats_hold_any_amount_and_any_integer(tmp_path: Path) -> None:
    async with answering(page(order(order_id=int(HUGE), total="1.999"))) as store:
        await export(store, ["orders"], tmp_path)
        await export(store, ["orders"], tmp_path, format="csv")
    for file in ("orders.jsonl", "orders.csv"):
        text = (tmp_path / file).read_text()
        assert HUGE in text
        assert "1.999" in text


async def test_money_has_no_exponent_in_csv(tmp_path: Path) -> None:
    async with answering(page(order(total="2E+3"))) as store:
        await export(store, ["orders"], tmp_path, format="csv")
    assert ",2000,," in (tmp_path / "orders.csv").read_text()


@pytest.mark.parametrize(
    ("sent", "written"),
    [
        ("2026-02-10T14:30:00Z", "2026-02-10T14:30:00.000Z"),
        ("2026-02-10T14:30:00.123456Z", "2026-02-10T14:30:00.123456Z"),
        ("2026-02-10T14:30:00.5+02:00", "2026-02-10T12:30:00.500Z"),
        ("0001-01-01T00:00:00+14:00", "0001-01-01T00:00:00+14:00"),
    ],
)
async def test_an_instant_is_written_in_utc_as_the_api_writes_it(
    sent: str, written: str, tmp_path: Path
) -> None:
    async with answering(page(order(created_at=sent))) as store:
        await export(store, ["orders"], tmp_path)
        await export(store, ["orders"], tmp_path, format="csv")
    assert f'"created_at":"{written}"' in (tmp_path / "orders.jsonl").read_text()
    assert f",{written}" in (tmp_path / "orders.csv").read_text()


async def test_csv_quotes_what_would_break_a_line(tmp_path: Path) -> None:
    name = 'Widget "L", red\r\nnew'
    row = (
        b'{"id": 1, "name": "Widget \\"L\\", red\\r\\nnew", "slug": null, "price": 1.50,'
        b' "stock": 3, "created_at": "2026-01-15T10:00:00.000Z"}'
    )
    async with answering(page(row)) as store:
        await export(store, ["products"], tmp_path, format="csv")
    text = (tmp_path / "products.csv").read_bytes().decode()
    _, values = csv.reader(io.StringIO(text, newline=""))
    assert values == ["1", name, "", "1.50", "3", "", "2026-01-15T10:00:00.000Z"]
