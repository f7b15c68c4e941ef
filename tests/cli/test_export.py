"""`devskin export`."""

from __future__ import annotations

from pathlib import Path

import pytest

from devskin_async.sandbox import Faults, Sandbox

from .support import Devskin, in_thread, store_options

ALL = ("orders", "products", "customers", "revenue", "overview")


def test_the_command_a_newcomer_runs_first_exports_everything(
    devskin: Devskin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = devskin("export", "all", "--sandbox", "--out", "export")
    assert (ran.code, ran.out) == (0, "")
    head, *rows, blank, summary, hint = ran.err.splitlines()
    assert head.split() == ["resource", "rows", "pages", "requests", "refused", "seconds", "file"]
    assert [row.split()[0] for row in rows] == list(ALL)
    assert rows[0].split()[:5] == ["orders", "1,563", "16", "16", "0"]
    assert rows[0].endswith("  export/orders.jsonl")
    assert blank == ""
    assert summary.startswith("5 files in export: ")
    assert summary.endswith(" in 23 requests, none refused.")
    assert "DEVSKIN_API_KEY" in hint
    assert len(Path("export/orders.jsonl").read_bytes().splitlines()) == 1563


def test_export_of_a_store_ends_with_what_was_done(
    devskin: Devskin, box: Sandbox, tmp_path: Path
) -> None:
    ran = devskin("export", "overview", "--out", str(tmp_path), *store_options(box))
    last = ran.err.splitlines()[-1]
    assert last == f"1 file in {tmp_path}: 1 row in 1 request, none refused."


@pytest.mark.parametrize("file_format", ["jsonl", "csv", "parquet"])
def test_the_format_is_the_files_ending(
    file_format: str, devskin: Devskin, box: Sandbox, tmp_path: Path
) -> None:
    argv = ("export", "revenue", "products", "--format", file_format, "--out", str(tmp_path))
    assert devskin(*argv, *store_options(box)).code == 0
    assert {path.name for path in tmp_path.iterdir()} == {
        f"products.{file_format}", f"revenue.{file_format}",
    }  # fmt: skip


def test_export_without_a_resource_is_a_wrong_use(devskin: Devskin) -> None:
    ran = devskin("export", "--sandbox")
    assert ran.code == 2
    assert ran.err.startswith("devskin: export what? all, orders, ")
    assert len(ran.err.splitlines()) == 1


@pytest.mark.usefixtures("no_waiting")
def test_an_export_that_fails_says_what_it_has_finished(devskin: Devskin, tmp_path: Path) -> None:
    faults = Faults(script=("ok", *("500",) * 10))
    with in_thread(lambda: Sandbox(orders=9, limiter="none", faults=faults)) as box:
        ran = devskin("export", "all", "--out", str(tmp_path), *store_options(box))
    head, orders, blank, error = ran.err.splitlines()
    assert (ran.code, head.split()[0], blank) == (1, "resource", "")
    assert orders.endswith("orders.jsonl")
    assert "GET /products: 500" in error
    assert [path.name for path in tmp_path.iterdir()] == ["orders.jsonl"]


def test_an_unwritable_folder_is_one_line(devskin: Devskin, box: Sandbox, tmp_path: Path) -> None:
    out = tmp_path / "file"
    out.touch()
    ran = devskin("export", "all", "--out", str(out), *store_options(box))
    assert (ran.code, ran.out) == (1, "")
    assert ran.err == f"devskin: {out}: Not a directory\n"


def test_bars_are_drawn_where_there_is_a_terminal_to_draw_on(
    devskin: Devskin, box: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    ran = devskin("export", "products", "--out", str(tmp_path), *store_options(box))
    assert (ran.code, ran.out) == (0, "")
    assert "━" in ran.err
    assert "87 of 87 rows" in ran.err
