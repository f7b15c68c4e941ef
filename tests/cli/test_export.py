"""`devskin export`: what it writes, and what it says of it."""

from __future__ import annotations

import json
import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from devskin_async.sandbox import Sandbox

from .support import Devskin, answering, in_thread, never_at_rest, store_options

ALL = ("orders", "products", "customers", "revenue", "overview")
BAD_ROW = b"""{"success": true, "data": {"total": 2, "page": 1, "limit": 100, "items": [
    {"id": 1, "name": "A", "total_orders": 1, "total_spent": 1,
     "created_at": "2026-02-10T14:30:00.000Z"},
    {"id": 2, "name": "B", "total_orders": "many"}
]}}"""


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_the_command_a_newcomer_runs_first_exports_everything(
    devskin: Devskin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = devskin("export", "all", "--sandbox", "--out", "export")
    assert (ran.code, ran.out) == (0, "")
    head, *rows, blank, summary, hint = ran.err.splitlines()
    assert head.split() == ["resource", "rows", "proof", "requests", "file"]
    assert [row.split()[0] for row in rows] == list(ALL)
    assert rows[0].split()[:3] == ["orders", "1,563", "sliced"]
    assert rows[0].endswith("  export/orders.jsonl")
    assert blank == ""
    assert summary.startswith("5 files in export: ")
    assert " rows, all proven complete, " in summary
    assert " requests, 0 refused, " in summary
    assert "DEVSKIN_API_KEY" in hint
    assert len(Path("export/orders.jsonl").read_bytes().splitlines()) == 1563


def test_export_of_a_store_ends_with_what_was_done(
    devskin: Devskin, box: Sandbox, tmp_path: Path
) -> None:
    ran = devskin("export", "overview", "--out", str(tmp_path), *store_options(box))
    last = ran.err.splitlines()[-1]
    told = f"1 file in {tmp_path}: 1 row, all proven complete, 1 request, 0 refused, "
    assert last.startswith(told)


@pytest.mark.parametrize("file_format", ["jsonl", "csv", "parquet"])
def test_the_format_is_the_files_ending(
    file_format: str, devskin: Devskin, box: Sandbox, tmp_path: Path
) -> None:
    argv = ("export", "revenue", "products", "--format", file_format, "--out", str(tmp_path))
    assert devskin(*argv, *store_options(box)).code == 0
    assert names_in(tmp_path) == {
        f"products.{file_format}", f"revenue.{file_format}", "manifest.json",
    }  # fmt: skip


@pytest.mark.parametrize("file_format", ["duckdb", "sqlite"])
def test_a_database_is_one_file_for_all_resources(
    file_format: str, devskin: Devskin, box: Sandbox, tmp_path: Path
) -> None:
    argv = ("export", "revenue", "products", "--format", file_format, "--out", str(tmp_path))
    ran = devskin(*argv, *store_options(box))
    assert ran.code == 0
    assert ran.err.splitlines()[-1].startswith("1 file in ")
    assert names_in(tmp_path) == {f"export.{file_format}", "manifest.json"}


def test_details_come_with_a_table_of_items(devskin: Devskin, tmp_path: Path) -> None:
    with in_thread(lambda: Sandbox(orders=9, limiter="none")) as box:
        argv = ("export", "orders", "--details", "--format", "sqlite", "--out", str(tmp_path))
        ran = devskin(*argv, *store_options(box))
    assert ran.code == 0
    _, orders, items, *_ = ran.err.splitlines()
    assert orders.split()[:4] == ["orders", "9", "atomic", "10"]
    assert items.split()[0] == "order_items"
    with closing(sqlite3.connect(tmp_path / "export.sqlite")) as database:
        (count,) = database.execute("SELECT count(*) FROM order_items").fetchone()
    assert items.split()[1] == str(count)


def test_a_status_and_days_choose_orders(devskin: Devskin, box: Sandbox, tmp_path: Path) -> None:
    options = ("--status", "paid", "--date-from", "2020-01-01", *store_options(box))
    listed = devskin("orders", "--json", *options).out.splitlines()
    for further in ((), ("--filter-on-server",)):
        argv = ("export", "orders", "--out", str(tmp_path), *further)
        assert devskin(*argv, *options).code == 0
        rows = (tmp_path / "orders.jsonl").read_text().splitlines()
        assert sorted(json.loads(row)["id"] for row in rows) == sorted(
            json.loads(row)["id"] for row in listed
        )


def test_text_is_compressed_where_that_is_asked_for(
    devskin: Devskin, box: Sandbox, tmp_path: Path
) -> None:
    argv = ("export", "products", "--compress", "--format", "csv", "--excel")
    assert devskin(*argv, "--out", str(tmp_path), *store_options(box)).code == 0
    assert names_in(tmp_path) == {"products.csv.gz", "manifest.json"}


def test_a_list_that_changes_with_each_reading_is_unproven_and_exit_code_3(
    devskin: Devskin, tmp_path: Path
) -> None:
    with in_thread(never_at_rest) as url:
        argv = ("export", "orders", "--out", str(tmp_path), "--base-url", url, "--api-key", "key")
        ran = devskin(*argv)
    assert (ran.code, ran.out) == (3, "")
    _, row, _, summary, named, kept, again, *why = ran.err.splitlines()
    assert row.split()[2] == "unproven"
    assert ", not all proven complete, " in summary
    assert re.fullmatch(r"Not proven to be complete: orders (of|from) \d{4}-\d\d-\d\d.*\.", named)
    assert kept == "The files still contain everything that was read."
    assert any("the list changed during each of 4 passes" in each for each in why)
    assert re.fullmatch(r"orders: \d+ rows came again; the file has each row once\.", again)
    assert len((tmp_path / "orders.jsonl").read_bytes().splitlines()) > 150


def test_export_without_a_resource_is_a_wrong_use(devskin: Devskin) -> None:
    ran = devskin("export", "--sandbox")
    assert ran.code == 2
    assert ran.err.startswith("devskin: name what to export: all, orders, ")
    assert len(ran.err.splitlines()) == 1


def test_a_row_that_can_not_be_decoded_ends_the_export_and_says_what_would_help(
    devskin: Devskin, tmp_path: Path
) -> None:
    argv = ("export", "customers", "--out", str(tmp_path), "--api-key", "key")
    with in_thread(lambda: answering(BAD_ROW)) as url:
        ran = devskin(*argv, "--base-url", url)
    assert ran.code == 1
    error, hint = ran.err.splitlines()
    assert "$.data.items[1].total_orders" in error
    assert hint == "--rejects DIR of devskin export sets such rows aside."


def test_rejected_rows_and_unknown_fields_are_told(devskin: Devskin, tmp_path: Path) -> None:
    body = BAD_ROW.replace(b'"name": "A"', rb'"name": "A", "\u001b[31mvip": 1')
    argv = ("export", "customers", "--out", str(tmp_path), "--api-key", "key")
    rejects = tmp_path / "bad"
    with in_thread(lambda: answering(body)) as url:
        ran = devskin(*argv, "--base-url", url, "--rejects", str(rejects))
    assert ran.code == 3
    assert ", all others proven complete, set aside: 1 of customers, " in ran.err
    *_, rejected, unknown = ran.err.splitlines()
    path = rejects / "customers.rejected.jsonl"
    assert rejected == f"customers: 1 row set aside: {path}"
    assert len(path.read_bytes().splitlines()) == 1
    assert unknown.startswith("customers: not in the API's reference: ")
    assert "[31mvip (1)" in unknown
    assert "\x1b" not in ran.err


def test_refusals_get_a_column_where_there_were_any(devskin: Devskin, tmp_path: Path) -> None:
    with in_thread(lambda: Sandbox(orders=9, limiter="none")) as box:
        box.fail_next("429")
        ran = devskin("export", "all", "--out", str(tmp_path), *store_options(box))
    assert ran.code == 0
    head = next(line for line in ran.err.splitlines() if line.startswith("resource"))
    assert head.split()[4] == "refused"
    assert ", 0 refused" not in ran.err


def test_what_was_replaced_rounded_or_set_aside_is_told(devskin: Devskin, tmp_path: Path) -> None:
    rows = [
        rb'{"id": 1, "name": "\ud83d", "total_spent": 3.3000000000000003, "created_at": "%b"}',
        rb'{"id": 2, "name": "\ud83d", "total_spent": 1.234, "created_at": "%b"}',
    ]
    page = b'{"success": true, "data": {"items": [%b], "total": 2, "page": 1, "limit": 100}}'
    body = page % b", ".join(row % b"2026-02-10T14:30:00Z" for row in rows)
    argv = ("export", "customers", "--format", "sqlite", "--api-key", "key")
    with in_thread(lambda: answering(body)) as url:
        strict = devskin(*argv, "--base-url", url, "--out", str(tmp_path / "strict"))
        ran = devskin(
            *argv, "--base-url", url, "--out", str(tmp_path / "out"), "--rejects", str(tmp_path)
        )
    assert strict.code == 1
    error, hint = strict.err.splitlines()
    assert "$.data.items[1].total_spent" in error
    assert hint == "--rejects DIR of devskin export sets such rows aside."
    assert ran.code == 3
    assert ran.err.splitlines()[-3:] == [
        f"customers: 1 row set aside: {tmp_path / 'customers.rejected.jsonl'}",
        "customers: 1 unpaired surrogate, written as U+FFFD.",
        "customers: 1 amount with float noise, rounded in the file.",
    ]
