"""`--excel` and `--separator`: csv that a spreadsheet opens as it is meant, and runs nothing of."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from .support import Devskin, answering, in_thread

FULL_WIDTH = "\uff1d\uff0b\uff0d\uff20"
SIGNS = f"=+-@{FULL_WIDTH}\ufe66\ufe62\ufe63\ufe6b"
UNSEEN = ("", " ", "   ", "\t", "\r", "\n", "\r\n", "\xa0", "\u3000", "\ufeff", "\u200b", "\x00 ")
FORMULAS = [
    *(f"{before}{sign}1" for before in UNSEEN for sign in f"=@{FULL_WIDTH[0]}"),
    *(f"{sign}1+1" for sign in SIGNS),
    "\tx", "\rx", "\nx",
]  # fmt: skip
HARMLESS = ["Ana", "a=b", " Ana", "4=2", "(1)", "'=1", "ção", "\xa0Ana", "", "João; Maria, Zé"]


def export_csv(devskin: Devskin, out: Path, names: list[str], *options: str) -> str:
    """Export customers of these names, and give the file's text without its byte order mark."""
    items = [
        {"id": number, "name": name, "email": "a@example.com", "total_orders": -1}
        | {"total_spent": 1234.5, "created_at": "2026-02-10T14:30:00.000Z"}
        for number, name in enumerate(names, 1)
    ]
    data = {"items": items, "total": len(items), "page": 1, "limit": 100}
    with in_thread(lambda: answering(json.dumps({"success": True, "data": data}).encode())) as url:
        store = ("--base-url", url, "--api-key", "key")
        ran = devskin("export", "customers", "--format", "csv", "--out", str(out), *options, *store)
    assert ran.code == 0, ran.err
    assert devskin("export", "verify", str(out)).code == 0
    return (out / "customers.csv").read_bytes().decode("utf-8-sig")


def cells(text: str, column: str, separator: str = ",") -> list[str]:
    return [row[column] for row in csv.DictReader(io.StringIO(text, ""), delimiter=separator)]


def test_excel_takes_no_text_for_a_formula_however_it_begins(
    devskin: Devskin, tmp_path: Path
) -> None:
    text = export_csv(devskin, tmp_path, FORMULAS + HARMLESS, "--excel")
    assert cells(text, "name") == [f"'{name}" for name in FORMULAS] + HARMLESS
    assert cells(text, "total_orders")[0] == "-1"


def test_without_excel_every_text_is_as_it_came(devskin: Devskin, tmp_path: Path) -> None:
    text = export_csv(devskin, tmp_path, FORMULAS + HARMLESS)
    assert cells(text, "name") == FORMULAS + HARMLESS


@pytest.mark.parametrize("word", [";", "semicolon"])
def test_excel_in_brazil_gets_semicolons_and_decimal_commas(
    word: str, devskin: Devskin, tmp_path: Path
) -> None:
    names = ["=1", "João; Maria, Zé", "a\r\nb"]
    text = export_csv(devskin, tmp_path, names, "--excel", "--separator", word)
    assert text.splitlines()[0] == "id;name;email;total_orders;total_spent;created_at"
    assert cells(text, "name", ";") == ["'=1", *names[1:]]
    assert cells(text, "total_spent", ";") == ["1234,5"] * 3


def test_a_separator_alone_changes_no_value(devskin: Devskin, tmp_path: Path) -> None:
    names = ["=1", "João; Maria, Zé"]
    text = export_csv(devskin, tmp_path, names, "--separator", ";")
    assert cells(text, "name", ";") == names
    assert cells(text, "total_spent", ";") == ["1234.5"] * 2


def test_a_comma_is_the_separator_that_is_not_named(devskin: Devskin, tmp_path: Path) -> None:
    named = export_csv(devskin, tmp_path / "a", HARMLESS, "--separator", "comma")
    assert named == export_csv(devskin, tmp_path / "b", HARMLESS)
