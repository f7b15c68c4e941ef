"""What holds for every sink."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest
from attrs import fields, frozen

from devskin_async import ConfigurationError, DecodeError, OrderSummary
from devskin_async._extras import how_to_install
from devskin_async.export import DetailedOrder, OrderLine
from devskin_async.export.sinks import (
    SINKS,
    Merge,
    Options,
    check,
    count_rows,
    file_name,
    require,
)
from devskin_async.export.tables import Format, Table

from .support import (
    BINARY,
    DATABASES,
    DECODING,
    DETAILED,
    FORMATS,
    LINES,
    NOON,
    ORDERS,
    TEXT,
    batches,
    decoded,
    order,
    read,
    room,
    written,
)

HUGE = 10**30
LONG = "1" * 90
NAMES = [field.name for field in fields(OrderSummary)]


@frozen
class IdOnly:
    id: int


IDS = Table("ids", IdOnly)


@pytest.mark.parametrize(
    ("file_format", "name"),
    [
        ("jsonl", "orders.jsonl"),
        ("csv", "orders.csv"),
        ("parquet", "orders.parquet"),
        ("duckdb", "export.duckdb"),
        ("sqlite", "export.sqlite"),
    ],
)
def test_each_format_has_its_file_and_no_other(
    file_format: Format, name: str, tmp_path: Path
) -> None:
    written(file_format, tmp_path, decoded(order()))
    assert file_name(file_format, "orders", compress=False) == name
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("file_format", TEXT)
def test_compressed_text_says_so_in_its_name(file_format: Format) -> None:
    assert file_name(file_format, "orders", compress=True) == f"orders.{file_format}.gz"


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize("given", [(), (decoded(),)], ids=["no batch", "an empty batch"])
def test_a_table_without_rows_can_be_read_back(
    file_format: Format, given: tuple[()], tmp_path: Path
) -> None:
    path = written(file_format, tmp_path, *given)
    assert read(file_format, path) == []
    assert count_rows(file_format, path, ORDERS) == 0


@pytest.mark.parametrize("file_format", FORMATS)
def test_several_tables_are_written_one_after_the_other(
    file_format: Format, tmp_path: Path
) -> None:
    others = Table("others", OrderSummary)
    with SINKS[file_format](Options(folder=tmp_path)) as sink:
        for table, number in ((ORDERS, 1), (others, 2)):
            with sink.table(table) as write:
                for batch in batches([order(number)], 1):
                    write(batch)
    for table, number in ((ORDERS, 1), (others, 2)):
        path = tmp_path / file_name(file_format, table.name, compress=False)
        (row,) = read(file_format, path, table.name)
        assert str(row["id"]) == str(number)


@pytest.mark.parametrize("file_format", FORMATS)
def test_the_calls_may_come_from_different_threads(file_format: Format, tmp_path: Path) -> None:
    rows = decoded(*map(order, range(10_000)))  # as many as are written at once
    with SINKS[file_format](Options(folder=tmp_path)) as sink, sink.table(ORDERS) as write:
        thread = threading.Thread(target=write, args=(rows,))
        thread.start()
        thread.join()
    path = tmp_path / file_name(file_format, "orders", compress=False)
    assert count_rows(file_format, path, ORDERS) == 10_000


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize("size", [7, 1000])
def test_rows_are_counted_by_reading_them_back(
    file_format: Format, size: int, tmp_path: Path
) -> None:
    rows = [order(number, name='a "b"\r\n"c\n\r' * (number % 3)) for number in range(1, 101)]
    for compress in {False, file_format in TEXT}:
        folder = tmp_path / str(compress)
        path = written(file_format, folder, *batches(rows, size), compress=compress)
        assert count_rows(file_format, path, ORDERS) == 100


@pytest.mark.parametrize("file_format", FORMATS)
def test_a_file_that_was_cut_off_does_not_count_as_whole(
    file_format: Format, tmp_path: Path
) -> None:
    rows = [order(number, name="x" * 100) for number in range(1, 1001)]
    path = written(file_format, tmp_path, *batches(rows, 100))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    try:
        assert count_rows(file_format, path, ORDERS) < 1000
    except OSError as error:
        assert error.filename == str(path)
        assert f"can't be read as {file_format}" in str(error)


@pytest.mark.parametrize(
    "content", [b"\x1f\x8b\x08\x00", b"not packed", b"\x1f\x8b\x08" + bytes(7) + b"\xff" * 99]
)
def test_a_damaged_packed_file_can_not_be_counted(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "orders.jsonl.gz"
    path.write_bytes(content)
    with pytest.raises(OSError, match="can't be read as jsonl") as info:
        count_rows("jsonl", path, ORDERS)
    assert info.value.filename == str(path)


@pytest.mark.parametrize("file_format", FORMATS)
def test_a_file_that_is_not_there_is_named(file_format: Format, tmp_path: Path) -> None:
    path = tmp_path / file_name(file_format, "orders", compress=False)
    with pytest.raises(FileNotFoundError) as info:
        count_rows(file_format, path, ORDERS)
    assert str(info.value.filename) == str(path)
    assert not path.exists()


@pytest.mark.parametrize("file_format", DATABASES)
def test_a_table_that_is_not_in_the_database_can_not_be_counted(
    file_format: Format, tmp_path: Path
) -> None:
    path = written(file_format, tmp_path)
    with pytest.raises(OSError, match="others"):
        count_rows(file_format, path, Table("others", OrderSummary))


@pytest.mark.parametrize("file_format", FORMATS)
def test_the_error_of_the_block_is_the_one_that_counts(file_format: Format, tmp_path: Path) -> None:
    def fail() -> None:
        with (
            ExitStack() as stack,
            SINKS[file_format](Options(folder=tmp_path)) as sink,
            sink.table(ORDERS) as write,
        ):
            write(decoded(order()))
            stack.enter_context(room(0))  # what waits to be written can't be
            raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        fail()


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize("size", [0, 20_000, 100_000])
def test_a_full_disk_is_an_error_that_names_the_file(
    file_format: Format, size: int, tmp_path: Path
) -> None:
    rows = [order(number, name=f"{number**40}") for number in range(1, 15_001)]
    with room(size), pytest.raises(OSError) as info:
        written(file_format, tmp_path, *batches(rows, 1000))
    assert info.value.filename == str(tmp_path / file_name(file_format, "orders", compress=False))
    assert info.value.errno
    assert "\n" not in str(info.value)


@pytest.mark.parametrize("file_format", FORMATS)
def test_a_folder_that_is_not_there_is_an_error_that_names_the_file(
    file_format: Format, tmp_path: Path
) -> None:
    with (
        pytest.raises(FileNotFoundError) as info,
        SINKS[file_format](Options(folder=tmp_path / "gone")) as sink,
        sink.table(ORDERS),
    ):
        pass
    name = file_name(file_format, "orders", compress=False)
    assert str(info.value.filename) == str(tmp_path / "gone" / name)


@pytest.mark.parametrize("file_format", FORMATS)
def test_a_file_that_stands_there_already_is_not_written_over(
    file_format: Format, tmp_path: Path
) -> None:
    path = tmp_path / file_name(file_format, "orders", compress=False)
    path.write_bytes(b"mine")
    with pytest.raises(FileExistsError):
        written(file_format, tmp_path)
    assert path.read_bytes() == b"mine"


@pytest.mark.parametrize("file_format", DECODING)
def test_text_is_kept_to_the_character(file_format: Format, tmp_path: Path) -> None:
    names = ["", "a\0b", '"', "'", '"; DROP TABLE orders; --', "a\r\nb", "\r", "é😀", " x ", "=1"]
    rows = [order(number, name=name) for number, name in enumerate(names, 1)]
    path = written(file_format, tmp_path, decoded(*rows))
    assert [row["customer_name"] for row in read(file_format, path)] == names


@pytest.mark.parametrize("file_format", DECODING)
def test_a_status_the_reference_does_not_list_is_plain_text(
    file_format: Format, tmp_path: Path
) -> None:
    path = written(file_format, tmp_path, decoded(order(status="refunded"), order(2)))
    assert [row["status"] for row in read(file_format, path)] == ["refunded", "paid"]


@pytest.mark.parametrize("file_format", DECODING)
def test_text_that_utf_8_can_not_write_is_named(file_format: Format, tmp_path: Path) -> None:
    with pytest.raises(DecodeError, match=r"^orders\[1\]\.customer_name: .*surrogate.*x\?y"):
        written(file_format, tmp_path, decoded(order()), decoded(order(2, name="x\ud800y")))


@pytest.mark.parametrize("file_format", BINARY)
@pytest.mark.parametrize("number", [2**63, -(2**63) - 1, HUGE, int(LONG)])
def test_an_integer_that_a_column_can_not_hold_is_named(
    file_format: Format, number: int, tmp_path: Path
) -> None:
    with pytest.raises(DecodeError, match=r"^orders\[1\]\.id: expected .*64.*, got") as info:
        written(file_format, tmp_path, decoded(order()), decoded(order(number), order(3)))
    assert str(number).startswith(info.value.received.rstrip("…"))


@pytest.mark.parametrize("file_format", BINARY)
def test_the_largest_and_smallest_integers_are_held(file_format: Format, tmp_path: Path) -> None:
    rows = [order(number) for number in (-(2**63), 2**63 - 1)]
    path = written(file_format, tmp_path, decoded(*rows))
    assert [row["id"] for row in read(file_format, path)] == [-(2**63), 2**63 - 1]


@pytest.mark.parametrize("file_format", BINARY)
@pytest.mark.parametrize(
    "total",
    [
        "1.999",
        "0.001",
        "2.88999999999997E-27",
        "1e-60",
        "12345678901234567.10",
        "1e16",
        "1e90",
        LONG,
    ],
)
def test_money_that_a_column_can_not_hold_is_refused_and_not_rounded(
    file_format: Format, total: str, tmp_path: Path
) -> None:
    with pytest.raises(DecodeError, match=r"^orders\[2\]\.total: expected .*any value") as info:
        written(file_format, tmp_path, decoded(order(), order(2), order(3, total=total)))
    assert info.value.received.rstrip("…").rstrip("0")


@pytest.mark.parametrize("file_format", BINARY)
def test_the_row_an_error_names_is_counted_through_all_batches(
    file_format: Format, tmp_path: Path
) -> None:
    rows = [
        order(number, total="1.999" if number == 23_458 else "1") for number in range(1, 25_001)
    ]
    with pytest.raises(DecodeError, match=r"^orders\[23457\]\.total: "):
        written(file_format, tmp_path, *batches(rows, 700))


@pytest.mark.parametrize("file_format", BINARY)
def test_nothing_where_a_value_must_be_is_named(file_format: Format, tmp_path: Path) -> None:
    for field in ("id", "order_number", "total", "created_at"):
        bad = order(2)
        object.__setattr__(bad, field, None)
        with pytest.raises(
            DecodeError, match=rf"^orders\[1\]\.{field}: expected a value, got null"
        ):
            written(file_format, tmp_path / field, decoded(order(), bad))


@pytest.mark.parametrize("file_format", BINARY)
def test_what_is_optional_may_be_nothing(file_format: Format, tmp_path: Path) -> None:
    record = order()
    empty = DetailedOrder(
        id=1,
        order_number="x",
        status=record.status,
        total=record.total,
        created_at=NOON,
    )
    path = written(file_format, tmp_path, decoded(empty), table=DETAILED)
    (row,) = read(file_format, path)
    assert sum(value is None for value in row.values()) == 10


@pytest.mark.parametrize("file_format", DATABASES)
@pytest.mark.parametrize("apart", [False, True], ids=["in one batch", "far apart"])
def test_an_id_that_comes_twice_is_named(file_format: Format, apart: bool, tmp_path: Path) -> None:
    between = [order(number) for number in range(100, 10_200 if apart else 101)]
    with pytest.raises(DecodeError, match=r"^orders\.id: expected an id that no other.* got 7$"):
        written(file_format, tmp_path, decoded(order(7), *between), decoded(order(5), order(7)))


@pytest.mark.parametrize("file_format", BINARY)
def test_rows_without_an_id_may_be_equal(file_format: Format, tmp_path: Path) -> None:
    line = OrderLine(order_id=1, position=1, product_id=2, quantity=1, price=order().total)
    path = written(file_format, tmp_path, decoded(line, line), table=LINES)
    assert count_rows(file_format, path, LINES) == 2


@pytest.mark.parametrize(
    ("file_format", "compress", "excel", "message"),
    [
        ("parquet", True, False, "compress is for jsonl and csv, not for parquet"),
        ("sqlite", True, False, "compress"),
        ("duckdb", True, False, "compress"),
        ("jsonl", False, True, "excel is for csv, not for jsonl"),
        ("parquet", False, True, "excel"),
        (
            "xml",
            False,
            False,
            "format must be one of jsonl, csv, parquet, duckdb, sqlite, not 'xml'",
        ),
    ],
)
def test_an_option_that_a_format_does_not_have_is_refused(
    file_format: Format, compress: bool, excel: bool, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        check(file_format, compress, excel)


def test_the_options_that_a_format_has_are_taken() -> None:
    for file_format in FORMATS:
        check(file_format, file_format in TEXT, file_format == "csv")


@pytest.mark.parametrize(
    ("file_format", "missing"),
    [("parquet", "pyarrow"), ("duckdb", "duckdb"), ("duckdb", "pyarrow")],
)
def test_a_missing_library_is_said_early_and_when_it_is_needed(
    file_format: Format, missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    message = re.escape(f"{file_format} needs {missing}: {how_to_install(file_format)}")
    with pytest.raises(ConfigurationError, match=message):
        require(file_format)
    with pytest.raises(ConfigurationError, match=message):
        written(file_format, tmp_path)
    with pytest.raises(ConfigurationError, match=message):
        count_rows(file_format, tmp_path / "x", ORDERS)


def test_a_fault_inside_a_library_is_not_taken_for_a_missing_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pyarrow.py").write_text("import pyarrow_broken_inside")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "pyarrow", raising=False)
    with pytest.raises(ModuleNotFoundError, match="pyarrow_broken_inside"):
        require("parquet")


def test_what_is_there_is_not_refused() -> None:
    for file_format in FORMATS:
        require(file_format)


def test_the_sinks_can_be_imported_without_any_library() -> None:
    script = "import sys, devskin_async.export.sinks; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"pyarrow", "duckdb"} & {name.partition(".")[0] for name in loaded}


@pytest.mark.parametrize("file_format", BINARY)
def test_a_merge_needs_rows_with_an_id_and_a_time(file_format: Format, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^merge needs .* which order_items has not"):
        written(file_format, tmp_path, table=LINES, merge=Merge(since=NOON, ids=()))
    with pytest.raises(ValueError, match=r"^merge needs .* which ids has not"):
        written(file_format, tmp_path / "x", table=IDS, merge=Merge(since=NOON, ids=()))


@pytest.mark.parametrize("file_format", TEXT)
def test_a_merge_is_not_for_text(file_format: Format, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"^merge is not for {file_format}"):
        written(file_format, tmp_path, merge=Merge(since=NOON, ids=()))
    assert list(tmp_path.iterdir()) == []


def test_csv_and_the_columns_of_the_others_have_the_names_of_the_record(tmp_path: Path) -> None:
    for file_format in DECODING:
        (row,) = read(file_format, written(file_format, tmp_path, decoded(order())))
        assert list(row) == NAMES
