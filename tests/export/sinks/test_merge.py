"""Merging into an earlier export."""

from __future__ import annotations

import datetime as dt
import sqlite3
from contextlib import closing
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from pyarrow import parquet as pq

from devskin_async import ConfigurationError, OrderSummary
from devskin_async.export.sinks import SINKS, Merge, Options, file_name
from devskin_async.export.sinks import parquet as parquet_module
from devskin_async.export.tables import Format, Table

from .support import (
    BINARY,
    DATABASES,
    DETAILED,
    NOON,
    ORDERS,
    batches,
    decoded,
    ids,
    order,
    query,
    read,
    room,
    written,
)

OTHERS = Table("others", OrderSummary)
MINUTE = dt.timedelta(minutes=1)
EAST = dt.timezone(dt.timedelta(hours=14))
WEST = dt.timezone(-dt.timedelta(hours=14))


def at(minute: int, number: int | None = None, name: str = "old") -> OrderSummary:
    """An order made some minutes after noon."""
    return order(number or minute, name=name, created_at=NOON + minute * MINUTE)


class Only:
    """A container that can do no more than tell what it holds."""

    def __init__(self, *numbers: int) -> None:
        self._numbers = frozenset(numbers)

    def __contains__(self, number: object) -> bool:
        return number in self._numbers


def based(file_format: Format, folder: Path, *records: OrderSummary) -> Path:
    written(file_format, folder / "base", *batches(records, 100))
    return folder / "base"


@pytest.mark.parametrize("file_format", BINARY)
def test_a_merge_keeps_what_is_older_and_does_not_come(file_format: Format, tmp_path: Path) -> None:
    base = based(file_format, tmp_path, *(at(minute) for minute in range(10)))
    merge = Merge(since=NOON + 6 * MINUTE, ids=Only(2, 6, 20))
    new = decoded(at(20, name="new"), at(6, name="new"), at(2, name="new"))
    path = written(file_format, tmp_path / "new", new, base=base, merge=merge)
    found = {row["id"]: row["customer_name"] for row in read(file_format, path)}
    assert found == dict.fromkeys((0, 1, 3, 4, 5), "old") | dict.fromkeys((2, 6, 20), "new")
    assert [made.name for made in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("file_format", BINARY)
def test_an_id_that_changed_its_time_stays_once(file_format: Format, tmp_path: Path) -> None:
    base = based(file_format, tmp_path, at(1), at(9))
    merge = Merge(since=NOON + 5 * MINUTE, ids={1})
    path = written(file_format, tmp_path / "new", decoded(at(7, 1)), base=base, merge=merge)
    assert ids(file_format, path) == [1]


def test_parquet_keeps_the_order_of_the_earlier_rows_and_puts_the_new_ones_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet_module, "ROW_GROUP", 10)
    base = based("parquet", tmp_path, *(at(number * 7 % 50) for number in range(1, 50)))
    merge = Merge(since=NOON + 40 * MINUTE, ids={3, 4})
    new = [at(60), at(4), at(3)]
    path = written("parquet", tmp_path / "new", decoded(*new), base=base, merge=merge)
    old = [number * 7 % 50 for number in range(1, 50)]
    kept = [number for number in old if number < 40 and number not in (3, 4)]
    assert ids("parquet", path) == [*kept, 60, 4, 3]
    with pq.ParquetFile(path) as file:
        meta = file.metadata
        groups = [meta.row_group(n).num_rows for n in range(meta.num_row_groups)]
    assert groups == [10, 10, 10, 10]


@pytest.mark.parametrize("file_format", BINARY)
@pytest.mark.parametrize(
    ("since", "kept"),
    [
        (NOON, []),
        (NOON + dt.timedelta(microseconds=1), [1]),
        (NOON.replace(tzinfo=EAST), []),
        (NOON.replace(tzinfo=WEST), [1, 2]),
        (NOON + dt.timedelta(milliseconds=1), [1]),
        (NOON + dt.timedelta(microseconds=1001), [1, 2]),
        (dt.datetime(1, 1, 1, tzinfo=EAST), []),
        (dt.datetime.max.replace(tzinfo=WEST), [1, 2]),
        (dt.datetime.max.replace(tzinfo=dt.UTC), [1, 2]),
    ],
)
def test_since_is_meant_to_the_microsecond(
    file_format: Format, since: dt.datetime, kept: list[int], tmp_path: Path
) -> None:
    rows = [order(1), order(2, created_at=NOON + dt.timedelta(milliseconds=1))]
    base = based(file_format, tmp_path, *rows)
    merge = Merge(since=since, ids=())
    path = written(file_format, tmp_path / "new", base=base, merge=merge)
    assert ids(file_format, path) == kept


@pytest.mark.parametrize("file_format", BINARY)
def test_where_nothing_stands_there_is_nothing_to_keep(file_format: Format, tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    merge = Merge(since=NOON, ids=())
    for base in (None, tmp_path / "base", tmp_path / "gone"):
        folder = tmp_path / f"new-{base and base.name}"
        path = written(file_format, folder, decoded(order()), base=base, merge=merge)
        assert ids(file_format, path) == [1]


@pytest.mark.parametrize("file_format", DATABASES)
def test_a_table_the_earlier_database_lacks_is_made(file_format: Format, tmp_path: Path) -> None:
    base = based(file_format, tmp_path, at(1))
    merge = Merge(since=NOON, ids=())
    path = written(
        file_format, tmp_path / "new", decoded(at(2)), table=OTHERS, base=base, merge=merge
    )
    assert [row["id"] for row in read(file_format, path, "others")] == [2]


@pytest.mark.parametrize("file_format", BINARY)
def test_without_a_merge_a_table_is_replaced(file_format: Format, tmp_path: Path) -> None:
    base = based(file_format, tmp_path, at(1), at(2))
    path = written(file_format, tmp_path / "new", decoded(at(3)), base=base)
    assert ids(file_format, path) == [3]


@pytest.mark.parametrize("file_format", DATABASES)
def test_a_table_with_other_columns_is_replaced_without_a_merge(
    file_format: Format, tmp_path: Path
) -> None:
    written(file_format, tmp_path / "base", table=DETAILED)
    path = written(file_format, tmp_path / "new", decoded(at(3)), base=tmp_path / "base")
    assert ids(file_format, path) == [3]


@pytest.mark.parametrize("file_format", DATABASES)
def test_tables_that_are_not_written_stay_as_they_are(file_format: Format, tmp_path: Path) -> None:
    base = tmp_path / "base"
    before = written(file_format, base, decoded(at(1), at(2)), table=OTHERS)
    opened = duckdb.connect(before) if file_format == "duckdb" else sqlite3.connect(before)
    with closing(opened) as connection:
        connection.execute("CREATE TABLE mine (x INTEGER)")
        connection.execute("INSERT INTO mine VALUES (42)")
        connection.execute("CREATE VIEW few AS SELECT id FROM others WHERE id < 2")
        connection.commit()
    path = written(file_format, tmp_path / "new", decoded(at(3)), base=base)
    assert query(path, "SELECT * FROM mine") == [{"x": 42}]
    assert query(path, "SELECT * FROM few") == [{"id": 1}]
    assert len(read(file_format, path, "others")) == 2


@pytest.mark.parametrize("file_format", BINARY)
def test_the_earlier_file_stays_as_it_is(file_format: Format, tmp_path: Path) -> None:
    base = based(file_format, tmp_path, at(1), at(2))
    (before,) = base.iterdir()
    content = before.read_bytes()
    merge = Merge(since=NOON, ids=())
    written(file_format, tmp_path / "new", decoded(at(3)), base=base, merge=merge)
    assert list(base.iterdir()) == [before]
    assert before.read_bytes() == content


@pytest.mark.parametrize("file_format", BINARY)
def test_many_merges_one_after_the_other_are_one_whole(file_format: Format, tmp_path: Path) -> None:
    base = based(file_format, tmp_path, *(at(minute, minute + 1) for minute in range(300)))
    path = base
    for turn in range(1, 6):
        start = 300 * turn - 20
        new = [at(minute, minute + 1, f"{turn}") for minute in range(start, 300 * turn + 300)]
        merge = Merge(since=NOON + start * MINUTE, ids={record.id for record in new})
        path = written(file_format, tmp_path / f"{turn}", decoded(*new), base=base, merge=merge)
        base = path.parent
    assert sorted(ids(file_format, path)) == list(range(1, 1801))


def damaged(file_format: Format, folder: Path, content: bytes) -> Path:
    folder.mkdir()
    path = folder / file_name(file_format, "orders", compress=False)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("file_format", BINARY)
@pytest.mark.parametrize("how", ["text", "cut", "holes"])
def test_an_earlier_file_that_can_not_be_read_says_what_to_do(
    file_format: Format, how: str, tmp_path: Path
) -> None:
    rows = [at(minute, minute + 1, f"{minute**30}") for minute in range(3000)]
    whole = written(file_format, tmp_path / "whole", *batches(rows, 1000)).read_bytes()
    middle = len(whole) // 2
    content = {
        "text": b"id,total\n1,2\n" * 999,
        "cut": whole[:middle],
        "holes": whole[: middle // 2] + b"\xa5" * middle + whole[middle // 2 + middle :],
    }[how]
    path = damaged(file_format, tmp_path / "base", content)
    merge = Merge(since=NOON + 9999 * MINUTE, ids=())
    with pytest.raises(ConfigurationError) as info:
        written(file_format, tmp_path / "new", base=path.parent, merge=merge)
    assert str(info.value).startswith(f"{path} can't be merged into: ")
    assert str(info.value).endswith("; --fresh writes it anew")
    assert "\n" not in str(info.value)


@pytest.mark.parametrize("file_format", BINARY)
def test_an_earlier_table_with_other_columns_says_which(
    file_format: Format, tmp_path: Path
) -> None:
    written(file_format, tmp_path / "base", table=DETAILED)
    merge = Merge(since=NOON, ids=())
    with pytest.raises(
        ConfigurationError, match=r"it has a column subtotal more.*; --fresh"
    ) as info:
        written(file_format, tmp_path / "new", base=tmp_path / "base", merge=merge)
    assert str(tmp_path / "base") in str(info.value)
    written(file_format, tmp_path / "summary")
    with pytest.raises(
        ConfigurationError, match=r"it lacks the column subtotal, it lacks .*--fresh"
    ):
        written(
            file_format,
            tmp_path / "newer",
            table=DETAILED,
            base=tmp_path / "summary",
            merge=merge,
        )


@pytest.mark.parametrize("file_format", DATABASES)
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            "total DECIMAL(18,2) NOT NULL|total DOUBLE NOT NULL",
            "its column total is DOUBLE NOT NULL",
        ),
        (
            "order_number {text} NOT NULL|order_number {text}",
            "its column order_number is {text} and",
        ),
        (", PRIMARY KEY (id)|", "NOT NULL and not {number} NOT NULL PRIMARY KEY"),
        ("status {text} NOT NULL, |", "it lacks the column status"),
        (
            "name {text}, customer_email {text}|email {text}, customer_name {text}",
            "its columns are in another order",
        ),
    ],
)
def test_an_earlier_table_that_was_changed_by_hand_is_not_merged_into(
    file_format: Format, change: str, said: str, tmp_path: Path
) -> None:
    kinds = {"text": "TEXT", "number": "INTEGER", "instant": "TEXT"}
    if file_format == "duckdb":
        kinds = {"text": "VARCHAR", "number": "BIGINT", "instant": "TIMESTAMPTZ"}
    create = (
        "CREATE TABLE orders (id {number} NOT NULL, order_number {text} NOT NULL,"
        " status {text} NOT NULL, total DECIMAL(18,2) NOT NULL, customer_name {text},"
        " customer_email {text}, created_at {instant} NOT NULL, PRIMARY KEY (id))"
    ).format(**kinds)
    old, _, new = change.format(**kinds).partition("|")
    assert old in create
    for number, statement in enumerate([create, create.replace(old, new)]):
        folder = tmp_path / f"{number}"
        folder.mkdir()
        path = folder / file_name(file_format, "orders", compress=False)
        opened = duckdb.connect(path) if file_format == "duckdb" else sqlite3.connect(path)
        with closing(opened) as connection:
            connection.execute(statement)
    merge = Merge(since=NOON, ids=())
    written(file_format, tmp_path / "a", base=tmp_path / "0", merge=merge)
    with pytest.raises(ConfigurationError) as info:
        written(file_format, tmp_path / "b", base=tmp_path / "1", merge=merge)
    assert said.format(**kinds) in str(info.value)
    assert "in its table orders" in str(info.value)


def test_parquet_columns_of_another_type_are_not_merged_into(tmp_path: Path) -> None:
    path = written("parquet", tmp_path / "base", decoded(at(1)))
    table = pq.read_table(path)
    at_total = table.schema.get_field_index("total")
    field = pa.field("total", pa.float64(), nullable=False)
    pq.write_table(table.set_column(at_total, field, table["total"].cast(pa.float64())), path)
    message = "its column total is double NOT NULL and not decimal128"
    with pytest.raises(ConfigurationError, match=message):
        written("parquet", tmp_path / "n", base=path.parent, merge=Merge(since=NOON, ids=()))


@pytest.mark.parametrize("file_format", DATABASES)
def test_a_view_in_the_place_of_a_table_is_not_written_over(
    file_format: Format, tmp_path: Path
) -> None:
    base = tmp_path / "base"
    path = written(file_format, base, table=OTHERS)
    opened = duckdb.connect(path) if file_format == "duckdb" else sqlite3.connect(path)
    with closing(opened) as connection:
        connection.execute("CREATE VIEW orders AS SELECT * FROM others")
    for number, merge in enumerate((None, Merge(since=NOON, ids=()))):
        with pytest.raises(ConfigurationError, match=r"can't be merged into: .*; --fresh"):
            written(file_format, tmp_path / f"{number}", base=base, merge=merge)


def test_sqlite_merges_what_stands_in_a_write_ahead_log(tmp_path: Path) -> None:
    base = tmp_path / "base"
    path = written("sqlite", base, decoded(at(1)))
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA journal_mode=WAL")
        other.execute("UPDATE orders SET customer_name = 'logged'")
        other.commit()
        merge = Merge(since=NOON + 5 * MINUTE, ids=())
        new = written("sqlite", tmp_path / "new", decoded(at(2)), base=base, merge=merge)
    assert [row["customer_name"] for row in read("sqlite", new)] == ["logged", "old"]
    assert [made.name for made in new.parent.iterdir()] == [new.name]


def test_duckdb_merges_what_stands_in_a_write_ahead_log(tmp_path: Path) -> None:
    base = tmp_path / "base"
    path = written("duckdb", base, decoded(at(1)))
    with duckdb.connect(path) as other:
        other.execute("SET checkpoint_threshold = '1GB'")
        other.execute("UPDATE orders SET customer_name = 'logged'")
        assert (base / "export.duckdb.wal").stat().st_size
        merge = Merge(since=NOON + 5 * MINUTE, ids=())
        new = written("duckdb", tmp_path / "new", decoded(at(2)), base=base, merge=merge)
    assert [row["customer_name"] for row in read("duckdb", new)] == ["logged", "old"]
    assert [made.name for made in new.parent.iterdir()] == [new.name]


def test_sqlite_leaves_no_free_pages_behind(tmp_path: Path) -> None:
    rows = [at(minute, minute + 1) for minute in range(5000)]
    base = based("sqlite", tmp_path, *rows)
    merge = Merge(since=NOON, ids=())
    path = base
    for turn in range(3):
        path = written("sqlite", tmp_path / f"{turn}", decoded(at(1)), base=base, merge=merge)
        base = path.parent
    assert path.stat().st_size < 20_000


@pytest.mark.parametrize("file_format", BINARY)
def test_a_full_disk_while_merging_is_about_the_new_file(
    file_format: Format, tmp_path: Path
) -> None:
    rows = [at(minute, minute + 1, f"{minute**40}") for minute in range(5000)]
    base = based(file_format, tmp_path, *rows)
    merge = Merge(since=NOON + 9999 * MINUTE, ids=())
    with room(100_000), pytest.raises(OSError) as info:
        written(file_format, tmp_path / "new", base=base, merge=merge)
    name = file_name(file_format, "orders", compress=False)
    assert info.value.filename == str(tmp_path / "new" / name)


@pytest.mark.parametrize("file_format", BINARY)
def test_a_disk_that_is_full_after_the_copy_is_no_fault_of_the_earlier_file(
    file_format: Format, tmp_path: Path
) -> None:
    base = based(file_format, tmp_path, at(1))
    (before,) = base.iterdir()
    new = [at(minute, minute, f"{minute**40}") for minute in range(2, 15_000)]
    merge = Merge(since=NOON + 2 * MINUTE, ids=())
    with room(before.stat().st_size + 50_000), pytest.raises(OSError) as info:
        written(file_format, tmp_path / "new", *batches(new, 1000), base=base, merge=merge)
    assert info.value.filename == str(tmp_path / "new" / before.name)


@pytest.mark.parametrize("file_format", BINARY)
def test_an_earlier_folder_in_the_place_of_the_file_is_named(
    file_format: Format, tmp_path: Path
) -> None:
    path = tmp_path / "base" / file_name(file_format, "orders", compress=False)
    path.mkdir(parents=True)
    with (
        pytest.raises(IsADirectoryError) as info,
        SINKS[file_format](Options(folder=tmp_path, base=path.parent)) as sink,
        sink.table(ORDERS, Merge(since=NOON, ids=())),
    ):
        pass
    assert str(info.value.filename) == str(path)
