"""`devskin export verify`."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from devskin_async.sandbox import Sandbox

from .support import Devskin, in_thread, never_at_rest, store_options


@pytest.fixture
def exported(devskin: Devskin, box: Sandbox, tmp_path: Path) -> Path:
    out = tmp_path / "export"
    argv = ("export", "orders", "products", "--out", str(out))
    assert devskin(*argv, *store_options(box)).code == 0
    return out


def test_files_as_the_manifest_has_them_are_ok(devskin: Devskin, exported: Path) -> None:
    ran = devskin("export", "verify", str(exported))
    assert (ran.code, ran.err) == (0, "")
    head, orders, products, blank, proofs = ran.out.splitlines()
    assert head.split() == ["file", "rows", "size", "found"]
    assert orders.split()[:2] == ["orders.jsonl", "1,563"]
    assert orders.endswith(" kB  ok")
    assert products.endswith(" ok")
    assert blank == ""
    assert proofs == "All proven complete when read: orders sliced, products atomic."


@pytest.mark.parametrize("change", ["cut", "changed", "gone"])
def test_a_file_that_is_not_as_it_was_is_told_and_exit_code_1(
    change: str, devskin: Devskin, exported: Path
) -> None:
    path = exported / "orders.jsonl"
    data = path.read_bytes()
    if change == "gone":
        path.unlink()
    else:
        path.write_bytes(data[:-1] if change == "cut" else data.replace(b"1", b"2", 1))
    told = {"cut": "bytes, where", "changed": "SHA-256", "gone": "it is not there"}[change]
    ran = devskin("export", "verify", str(exported))
    assert ran.code == 1
    _, orders, products, *_ = ran.out.splitlines()
    assert told in orders
    assert products.endswith(" ok")
    assert ran.err == "devskin: 1 of 2 files is not as the manifest says\n"


def test_whole_files_that_are_not_proven_complete_are_exit_code_3(
    devskin: Devskin, tmp_path: Path
) -> None:
    with in_thread(never_at_rest) as url:
        argv = ("--out", str(tmp_path), "--base-url", url, "--api-key", "key")
        assert devskin("export", "orders", *argv).code == 3
    ran = devskin("export", "verify", str(tmp_path))
    assert (ran.code, ran.err) == (3, "")
    assert "\nNot all proven complete when read: orders unproven.\n" in ran.out
    assert "\nNot proven to be complete: orders " in ran.out


def test_an_unfinished_export_is_told(devskin: Devskin, exported: Path) -> None:
    (exported / ".devskin-export").mkdir()
    (exported / ".devskin-export" / "journal.sqlite").touch()
    ran = devskin("export", "verify", str(exported))
    assert ran.code == 0
    assert f"An unfinished export lies in {exported} too: " in ran.out


def test_a_folder_without_a_manifest_is_one_line(devskin: Devskin, tmp_path: Path) -> None:
    told = f"devskin: there is no manifest.json in {tmp_path}: no export has ended there\n"
    assert devskin("export", "verify", str(tmp_path)) == (1, "", told)


def test_a_manifest_that_is_none_is_one_line(devskin: Devskin, exported: Path) -> None:
    (exported / "manifest.json").write_text("{")
    ran = devskin("export", "verify", str(exported))
    assert (ran.code, ran.out) == (1, "")
    assert "manifest.json is not what an export writes" in ran.err
    assert len(ran.err.splitlines()) == 1


def test_an_export_can_be_checked_where_it_was_moved_to(
    devskin: Devskin, exported: Path, tmp_path: Path
) -> None:
    shutil.move(exported, tmp_path / "moved")
    assert devskin("export", "verify", str(tmp_path / "moved")).code == 0
