"""`devskin sync`."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from devskin_async.sandbox import Sandbox

from .support import Devskin, in_thread, store_options


def ids_in(out: Path) -> set[int]:
    with closing(sqlite3.connect(out / "export.sqlite")) as database:
        return {number for (number,) in database.execute("SELECT id FROM orders")}


def test_a_first_sync_writes_the_whole_export(
    devskin: Devskin, box: Sandbox, tmp_path: Path
) -> None:
    ran = devskin("sync", "--out", str(tmp_path), *store_options(box))
    assert (ran.code, ran.out) == (0, "")
    head, orders, _, summary = ran.err.splitlines()
    assert head.split() == ["resource", "rows", "proof", "requests", "file"]
    assert orders.split()[:3] == ["orders", "1,563", "sliced"]
    assert orders.endswith("orders.parquet")
    assert summary.startswith(f"1 file in {tmp_path}: 1,563 rows, all proven complete, ")


def test_a_later_sync_reads_only_what_may_have_changed(devskin: Devskin, tmp_path: Path) -> None:
    with in_thread(lambda: Sandbox(limiter="none")) as box:
        options = ("--out", str(tmp_path), "--format", "sqlite", *store_options(box))
        assert devskin("sync", "orders", *options, "--lookback", "3").code == 0
        first, before = box.counts.requests, ids_in(tmp_path)
        ran = devskin("sync", "orders", *options, "--lookback", "3")
        second = box.counts.requests - first
    assert ran.code == 0
    assert "orders: read again from " in ran.err
    assert second < first
    assert ids_in(tmp_path) == before


def test_all_resources_can_be_synced(devskin: Devskin, box: Sandbox, tmp_path: Path) -> None:
    ran = devskin("sync", "all", "--out", str(tmp_path), *store_options(box))
    assert ran.code == 0
    assert ran.err.splitlines()[-1].startswith("5 files in ")
    assert devskin("export", "verify", str(tmp_path)).code == 0


def test_a_folder_of_another_format_is_one_line(
    devskin: Devskin, box: Sandbox, tmp_path: Path
) -> None:
    options = ("--out", str(tmp_path), *store_options(box))
    assert devskin("export", "orders", *options).code == 0
    ran = devskin("sync", *options)
    assert (ran.code, ran.out) == (1, "")
    assert "jsonl" in ran.err
    assert len(ran.err.splitlines()) == 1


def test_fresh_writes_everything_anew(devskin: Devskin, box: Sandbox, tmp_path: Path) -> None:
    options = ("--out", str(tmp_path), "--format", "sqlite", *store_options(box))
    assert devskin("sync", *options).code == 0
    ran = devskin("sync", *options, "--fresh")
    assert ran.code == 0
    assert "read again from" not in ran.err
