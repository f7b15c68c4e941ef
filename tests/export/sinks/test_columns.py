"""How the columns of parquet and the databases are declared."""

from __future__ import annotations

import datetime as dt
import hashlib
from decimal import Decimal
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from pyarrow import parquet as pq

from devskin_async import DailyRevenue, DecodeError
from devskin_async.export.sinks import SINKS, Options
from devskin_async.export.sinks import parquet as parquet_module
from devskin_async.export.tables import Format, Table

from .support import DATABASES, LINES, NOON, ORDERS, batches, decoded, order, query, read, written

REVENUE = Table("revenue", DailyRevenue)
EAST = dt.timezone(dt.timedelta(hours=14))
WEST = dt.timezone(-dt.timedelta(hours=14))
FIRST, LAST = dt.datetime(1, 1, 1, tzinfo=EAST), dt.datetime.max.replace(tzinfo=WEST)
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
INFO = "SELECT name, type, \"notnull\" AS required, pk FROM pragma_table_info('{}')"
TYPES = {
    "duckdb": ("BIGINT", "VARCHAR", "DECIMAL(18,2)", "TIMESTAMP WITH TIME ZONE", "DATE"),
    "sqlite": ("INTEGER", "TEXT", "DECIMAL(18,2)", "TEXT", "TEXT"),
}


def day(*, date: dt.date = dt.date(2026, 2, 13), total: str = "1.50") -> DailyRevenue:
    return DailyRevenue(date=date, total=Decimal(total), count=1)


def declared(path: Path, table: str) -> list[tuple[object, ...]]:
    rows = query(path, INFO.format(table))
    return [(row["name"], row["type"], bool(row["required"]), bool(row["pk"])) for row in rows]


def test_a_parquet_schema_comes_from_the_record_and_not_from_the_rows(tmp_path: Path) -> None:
    assert pq.read_schema(written("parquet", tmp_path)) == pa.schema(
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


def test_parquet_days_are_dates_and_the_columns_are_compressed(tmp_path: Path) -> None:
    path = written("parquet", tmp_path, decoded(day()), table=REVENUE)
    with pq.ParquetFile(path) as file:
        assert file.schema_arrow.field("date").type == pa.date32()
        assert file.metadata.row_group(0).column(0).compression == "ZSTD"


def test_parquet_is_cut_into_row_groups_of_one_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet_module, "ROW_GROUP", 150)
    rows = [order(number) for number in range(430)]
    path = written("parquet", tmp_path, *batches(rows[:20], 20), *batches(rows[20:], 410))
    with pq.ParquetFile(path) as file:
        meta = file.metadata
        assert [meta.row_group(n).num_rows for n in range(meta.num_row_groups)] == [150, 150, 130]
    assert [row["id"] for row in read("parquet", path)] == list(range(430))


def test_the_same_rows_give_the_same_parquet_bytes_in_whatever_batches(tmp_path: Path) -> None:
    rows = [
        order(number, name=f"{number**9}" * 9 if number % 3 else None) for number in range(25_000)
    ]
    paths = [
        written("parquet", tmp_path / str(size), *batches(rows, size))
        for size in (100, 999, 25_000)
    ]
    assert len({hashlib.sha256(path.read_bytes()).digest() for path in paths}) == 1


@pytest.mark.parametrize("file_format", DATABASES)
def test_a_database_table_is_declared_by_its_record(file_format: Format, tmp_path: Path) -> None:
    number, text, money, instant, _ = TYPES[file_format]
    assert declared(written(file_format, tmp_path), "orders") == [
        ("id", number, True, True),
        ("order_number", text, True, False),
        ("status", text, True, False),
        ("total", money, True, False),
        ("customer_name", text, False, False),
        ("customer_email", text, False, False),
        ("created_at", instant, True, False),
    ]


@pytest.mark.parametrize("file_format", DATABASES)
def test_a_database_table_without_an_id_has_no_key(file_format: Format, tmp_path: Path) -> None:
    columns = declared(written(file_format, tmp_path, table=LINES), "order_items")
    assert columns[0][0] == "order_id"
    assert not any(key for *_, key in columns)


@pytest.mark.parametrize("file_format", DATABASES)
def test_a_day_is_declared_and_held_as_one(file_format: Format, tmp_path: Path) -> None:
    days = [dt.date.min, dt.date(2026, 2, 13), dt.date.max]
    path = written(file_format, tmp_path, decoded(*(day(date=d) for d in days)), table=REVENUE)
    assert declared(path, "revenue")[0] == ("date", TYPES[file_format][4], True, False)
    assert [str(row["date"]) for row in read(file_format, path, "revenue")] == [
        "0001-01-01",
        "2026-02-13",
        "9999-12-31",
    ]


@pytest.mark.parametrize("file_format", ["parquet", *DATABASES])
def test_money_compares_and_adds_up_as_numbers(file_format: Format, tmp_path: Path) -> None:
    rows = [order(number, total=text) for number, text in enumerate(["9.50", "100", "-2E+1"])]
    path = written(file_format, tmp_path, decoded(*rows))
    source = f"read_parquet('{path}')" if file_format == "parquet" else "orders"
    ask = f"SELECT sum(total) AS s, max(total) AS m FROM {source}"
    if file_format == "parquet":
        with duckdb.connect() as database:
            (found,) = database.sql(ask).to_arrow_table().to_pylist()
    else:
        (found,) = query(path, ask)
    assert found == {"s": Decimal("89.5"), "m": 100}


@pytest.mark.parametrize("file_format", ["parquet", "duckdb"])
def test_the_most_money_that_18_digits_hold_is_held(file_format: Format, tmp_path: Path) -> None:
    path = written(file_format, tmp_path, decoded(order(total="9999999999999999.990")))
    assert str(read(file_format, path)[0]["total"]) == "9999999999999999.99"


@pytest.mark.parametrize(
    "total", ["9999999999999.99", "20000000000000.00", "9.99e15", "-1234567890123.45", "0.10"]
)
def test_sqlite_holds_money_of_15_digits(total: str, tmp_path: Path) -> None:
    path = written("sqlite", tmp_path, decoded(order(total=total)))
    assert Decimal(str(read("sqlite", path)[0]["total"])) == Decimal(total)


@pytest.mark.parametrize("total", ["12345678901234.56", "1234567890123456", "0.005"])
def test_sqlite_refuses_money_of_more_digits(total: str, tmp_path: Path) -> None:
    with pytest.raises(DecodeError, match=r"orders\[0\]\.total: expected money of at most 15 dig"):
        written("sqlite", tmp_path, decoded(order(total=total)))


@pytest.mark.parametrize("file_format", ["parquet", "duckdb"])
def test_instants_at_both_ends_of_time_are_held_to_the_microsecond(
    file_format: Format, tmp_path: Path
) -> None:
    instants = [FIRST, NOON.replace(microsecond=1, tzinfo=EAST), LAST]
    rows = [order(number, created_at=instant) for number, instant in enumerate(instants)]
    path = written(file_format, tmp_path, decoded(*rows))
    if file_format == "duckdb":
        ask = "SELECT epoch_us(created_at) AS us FROM orders"
        found = [row["us"] for row in query(path, ask)]
    else:
        found = pq.read_table(path)["created_at"].cast(pa.int64()).to_pylist()
    assert found == [(instant - EPOCH) // dt.timedelta(microseconds=1) for instant in instants]


def test_sqlite_instants_have_one_width_so_that_their_text_sorts_as_they_do(
    tmp_path: Path,
) -> None:
    instants = [
        dt.datetime(1, 1, 1, tzinfo=dt.UTC),
        NOON.replace(tzinfo=EAST),
        NOON,
        NOON.replace(microsecond=5000),
        NOON.replace(tzinfo=WEST),
        dt.datetime(9999, 12, 31, 23, 59, 59, 999000, tzinfo=dt.UTC),
    ]
    rows = [order(number, created_at=instant) for number, instant in enumerate(instants)]
    path = written("sqlite", tmp_path, decoded(*rows))
    found = [str(row["created_at"]) for row in query(path, "SELECT created_at FROM orders")]
    assert found == sorted(found)
    assert found[0] == "0001-01-01T00:00:00.000Z"
    assert found[3] == "2026-02-10T12:00:00.005Z"
    assert {len(text) for text in found} == {24}


@pytest.mark.parametrize("instant", [NOON.replace(microsecond=1), FIRST, LAST])
def test_sqlite_refuses_an_instant_that_its_text_can_not_hold(
    instant: dt.datetime, tmp_path: Path
) -> None:
    with pytest.raises(DecodeError, match=r"orders\[1\]\.created_at: expected an instant in milli"):
        written("sqlite", tmp_path, decoded(order(), order(2, created_at=instant)))


def test_sqlite_pages_are_full_though_the_newest_come_first(tmp_path: Path) -> None:
    rows = [order(number) for number in range(20_000, 0, -1)]
    down = written("sqlite", tmp_path / "down", *batches(rows, 100))
    up = written("sqlite", tmp_path / "up", *batches(rows[::-1], 100))
    assert down.stat().st_size < 1.2 * up.stat().st_size


def test_duckdb_is_written_without_settings_that_reach_for_the_network(tmp_path: Path) -> None:
    path = tmp_path / "export.duckdb"
    # A second connection to an open database must have its settings.
    with (
        SINKS["duckdb"](Options(folder=tmp_path)),
        pytest.raises(duckdb.ConnectionException, match="different configuration"),
    ):
        duckdb.connect(path)


def test_the_tables_are_named_as_they_are_asked_for(tmp_path: Path) -> None:
    table = Table('order "x"', ORDERS.record)
    for file_format in DATABASES:
        path = written(file_format, tmp_path, decoded(order()), table=table)
        assert len(query(path, 'SELECT * FROM "order ""x"""')) == 1
