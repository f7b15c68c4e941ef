"""What `devskin export` says and does where a server or a folder is not as it should be."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.export.lying import Liar, is_late, serving

from .support import Devskin, in_thread

KEY = ("--api-key", "key")


def test_a_filter_that_leaves_orders_out_ends_with_exit_code_3_and_a_line(
    devskin: Devskin, tmp_path: Path
) -> None:
    liar = Liar(hides=lambda row, last: is_late(row, last, "23:59"))
    with in_thread(lambda: serving(liar)) as url:
        ran = devskin("export", "orders", "--out", str(tmp_path), "--base-url", url, *KEY)
    assert ran.code == 3
    assert ", not all proven complete, " in ran.err
    assert "Not proven to be complete: orders." in ran.err
    assert "orders: the API reported a total of 1,500, but its days hold 1,4" in ran.err
    assert devskin("export", "verify", str(tmp_path)).code == 3


def test_a_wrong_total_is_told_in_a_line(devskin: Devskin, tmp_path: Path) -> None:
    liar = Liar(orders=150, total=lambda _: 20_000)
    with in_thread(lambda: serving(liar)) as url:
        ran = devskin("export", "orders", "--out", str(tmp_path), "--base-url", url, *KEY)
    assert ran.code == 3
    assert "orders: the API's totals contradict its own pages" in ran.err
    assert "the API reported a total of 20,000, but its pages hold 150 rows." in ran.err


@pytest.mark.usefixtures("no_waiting")
def test_an_order_that_always_fails_is_set_aside_and_named_in_the_closing_line(
    devskin: Devskin, tmp_path: Path
) -> None:
    argv = ("export", "orders", "--details", "--out", str(tmp_path / "out"), *KEY)
    with in_thread(lambda: serving(Liar(orders=30, failing={7: 500}))) as url:
        ended = devskin(*argv, "--base-url", url)
        ran = devskin(*argv, "--base-url", url, "--rejects", str(tmp_path / "bad"))
    *retries, error, hint = ended.err.splitlines()
    assert all("GET /orders/7: 500 It broke; trying again" in line for line in retries)
    assert (ended.code, error) == (1, "devskin: GET /orders/7: 500 It broke")
    assert hint.startswith("Use --rejects DIR to set such an order aside")
    assert ran.code == 3
    assert ", all others proven complete, set aside: 1 of orders, " in ran.err
    path = tmp_path / "bad" / "orders.rejected.jsonl"
    assert f"orders: 1 row set aside: {path}" in ran.err
    checked = devskin("export", "verify", str(tmp_path / "out"))
    assert checked.code == 3
    assert "Set aside when read: 1 of orders." in checked.out


def test_a_link_in_the_place_of_the_work_folder_is_one_line(
    devskin: Devskin, tmp_path: Path
) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.txt").touch()
    (tmp_path / ".devskin-export").symlink_to(tmp_path / "precious")
    ran = devskin("export", "products", "--sandbox", "--out", str(tmp_path))
    assert (ran.code, len(ran.err.splitlines())) == (1, 1)
    assert "/.devskin-export is a symbolic link" in ran.err
    assert (tmp_path / "precious" / "thesis.txt").exists()


@pytest.mark.parametrize("command", ["export", "sync"])
@pytest.mark.parametrize("out", ["s3://bucket/x", "-", "gs://bucket"])
def test_an_address_is_no_folder_and_a_wrong_use(
    command: str, out: str, devskin: Devskin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = devskin(command, "products", "--sandbox", f"--out={out}")
    assert (ran.code, len(ran.err.splitlines())) == (2, 1)
    assert not list(tmp_path.iterdir())


def test_verify_names_a_pipe_and_a_manifest_that_contradicts_itself(
    devskin: Devskin, tmp_path: Path
) -> None:
    assert devskin("export", "products", "--sandbox", "--out", str(tmp_path)).code == 0
    path = tmp_path / "manifest.json"
    plain = json.loads(path.read_bytes())
    plain["resources"]["products"]["total_before"] = 88
    plain["resources"]["products"]["total_after"] = 88
    path.write_text(json.dumps(plain))
    ran = devskin("export", "verify", str(tmp_path))
    assert ran.code == 1
    assert "products: the API reported a total of 88, but its pages hold 87 rows" in ran.out
    assert ran.err == "devskin: the manifest contradicts itself and proves nothing\n"
    (tmp_path / "products.jsonl").unlink()
    os.mkfifo(tmp_path / "products.jsonl")
    ran = devskin("export", "verify", str(tmp_path))
    assert ran.code == 1
    assert "a named pipe, not a regular file" in ran.out
    path.unlink()
    os.mkfifo(path)
    ran = devskin("export", "verify", str(tmp_path))
    assert (ran.code, ran.out) == (1, "")
    assert ran.err == f"devskin: {path}: a named pipe, not a regular file\n"
