"""Rows that can't be decoded: the export ends, or they are set aside and counted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from devskin_async import DecodeError
from devskin_async.export import Format, Resource, export, verify

from .serving import names, order, orders_of, product, read_table, shelved

FORMATS: tuple[Format, ...] = ("jsonl", "csv", "parquet", "duckdb", "sqlite")
MISSING = order(7).replace(b'"order_number": "ORD-7", ', b"")
NO_UTF8 = order(7).replace(b"Ana", b"A\xff")

each_format = pytest.mark.parametrize("file_format", FORMATS)
each_bad_row = pytest.mark.parametrize(
    ("bad", "path", "expected", "received"),
    [
        pytest.param(order(7, total="much"), "$.total", "a number", '"much"', id="text"),
        pytest.param(order(7, status=3), "$.status", "a string", "3", id="number"),
        pytest.param(order("seven"), "$.id", "an integer", '"seven"', id="id"),
        pytest.param(order(7, day="2026-02-31"), "$.created_at", None, None, id="day"),
        pytest.param(MISSING, "$.order_number", None, None, id="missing"),
        pytest.param(b"null", "$", "an object", "null", id="null"),
        pytest.param(b"[1, 2]", "$", "an object", "an array", id="array"),
        pytest.param(b'"row"', "$", "an object", '"row"', id="string"),
        pytest.param(order(7).replace(b"9.5", b"1e400"), "$.total", None, None, id="huge"),
        pytest.param(order(7).replace(b"9.5", b"9" * 200), "$.total", None, None, id="long"),
        pytest.param(NO_UTF8, "$", "JSON", None, id="no UTF-8"),
    ],
)


def rejected(folder: Path, resource: Resource = "orders") -> list[dict[str, Any]]:
    lines = (folder / f"{resource}.rejected.jsonl").read_bytes().splitlines()
    return [json.loads(line) for line in lines]


@each_bad_row
async def test_without_rejects_the_export_ends_and_names_the_place(
    bad: bytes, path: str, expected: str | None, received: str | None, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    async with shelved(orders=[order(1)]) as (_, store):
        await export(store, ["orders"], out)
    stood = {each.name: each.read_bytes() for each in out.iterdir()}
    async with shelved(orders=[order(1), bad, order(2)]) as (_, store):
        with pytest.raises(DecodeError) as info:
            await export(store, ["orders"], out)
    assert info.value.path == f"$.data.items[1]{path[1:]}"
    assert expected in (None, info.value.expected)
    assert received in (None, info.value.received)
    for name, data in stood.items():
        assert (out / name).read_bytes() == data
    assert verify(out).problems == ()


@each_bad_row
async def test_with_rejects_the_others_are_exported_and_it_is_told_of(
    bad: bytes, path: str, expected: str | None, received: str | None, tmp_path: Path
) -> None:
    async with shelved(orders=[order(1), bad, order(2)]) as (_, store):
        done = await export(store, ["orders"], tmp_path / "out", rejects=tmp_path / "bad")
    assert {row["id"] for row in read_table(tmp_path / "out", "jsonl")} == {1, 2}
    (entry,) = rejected(tmp_path / "bad")
    assert entry.keys() == {"path", "expected", "received", "row"}
    assert entry["path"] == path
    assert expected in (None, entry["expected"])
    assert received in (None, entry["received"])
    certificate = orders_of(done.certificates)
    assert (certificate.rows, certificate.rejected, certificate.distinct_ids) == (2, 1, 3)
    assert (certificate.proof, done.unproven) == ("atomic", ())
    assert verify(tmp_path / "out").problems == ()


async def test_a_rejected_row_is_written_as_the_server_wrote_it(tmp_path: Path) -> None:
    bad = order(7, total="much").replace(b'"id": 7', b'"id":  7.000, "more": 1e2')
    async with shelved(orders=[bad]) as (_, store):
        await export(store, ["orders"], tmp_path / "out", rejects=tmp_path)
    assert b'"row":' + bad + b"}\n" in (tmp_path / "orders.rejected.jsonl").read_bytes()


async def test_a_rejected_row_that_is_no_utf8_is_written_as_text(tmp_path: Path) -> None:
    async with shelved(orders=[NO_UTF8]) as (_, store):
        await export(store, ["orders"], tmp_path / "out", rejects=tmp_path)
    (entry,) = rejected(tmp_path)
    assert "A\N{REPLACEMENT CHARACTER}" in entry["row"]


@each_format
async def test_each_format_leaves_rejected_rows_out(file_format: Format, tmp_path: Path) -> None:
    rows = [order(1), order(2, total=None), order(3)]
    async with shelved(orders=rows) as (_, store):
        done = await export(store, ["orders"], tmp_path, format=file_format, rejects=tmp_path)
    assert [int(row["id"]) for row in read_table(tmp_path, file_format)] == [1, 3]
    assert orders_of(done.certificates).rejected == 1


@each_format
async def test_where_all_rows_are_bad_there_is_an_empty_table_and_a_proof(
    file_format: Format, tmp_path: Path
) -> None:
    rows = [order(number, total="much") for number in range(5)]
    async with shelved(orders=rows) as (_, store):
        done = await export(store, ["orders"], tmp_path, format=file_format, rejects=tmp_path)
    certificate = orders_of(done.certificates)
    assert (certificate.rows, certificate.rejected, certificate.proof) == (0, 5, "atomic")
    assert read_table(tmp_path, file_format) == []
    assert len(rejected(tmp_path)) == 5


@pytest.mark.parametrize("days", [1, 40])
async def test_hundreds_of_bad_orders_are_all_told_of_once(days: int, tmp_path: Path) -> None:
    rows = [
        order(number, total="much", day=f"2026-{1 + number % days // 28:02}-{1 + number % 28:02}")
        for number in range(350)
    ]
    async with shelved(orders=rows) as (_, store):
        done = await export(store, ["orders"], tmp_path, rejects=tmp_path)
    certificate = orders_of(done.certificates)
    assert (certificate.distinct_ids, certificate.rejected, done.unproven) == (350, 350, ())
    assert {entry["row"]["id"] for entry in rejected(tmp_path)} == set(range(350))
    assert len(rejected(tmp_path)) == 350


@pytest.mark.parametrize("verify_how", ["twice", "once"])
async def test_rejected_rows_count_in_the_proof_of_a_list(verify_how: Any, tmp_path: Path) -> None:
    rows = [product(number, **({"price": []} if number % 50 == 9 else {})) for number in range(250)]
    async with shelved(products=rows) as (_, store):
        done = await export(store, ["products"], tmp_path, verify=verify_how, rejects=tmp_path)
    certificate = done.certificates["products"]
    assert certificate.proof == ("two-pass" if verify_how == "twice" else "counted")
    assert (certificate.rows, certificate.rejected, certificate.distinct_ids) == (245, 5, 250)
    assert len(rejected(tmp_path, "products")) == 5


async def test_a_rejected_row_of_an_unproven_list_is_told_of_once(tmp_path: Path) -> None:
    async with shelved(products=[product(1), product(2, price=[])]) as (shelf, store):
        shelf.hidden = [product(3)]
        done = await export(store, ["products"], tmp_path, rejects=tmp_path)
    certificate = done.certificates["products"]
    assert (certificate.proof, certificate.rows) == ("unproven", 1)
    assert (certificate.rejected, len(rejected(tmp_path, "products"))) == (1, 1)


async def test_a_bad_row_that_comes_on_two_pages_is_rejected_once(tmp_path: Path) -> None:
    rows = [product(number) for number in range(200)]
    rows[99] = rows[100] = product(99, price=[])
    async with shelved(products=rows) as (_, store):
        done = await export(store, ["products"], tmp_path, rejects=tmp_path)
    assert done.certificates["products"].rejected == 1


async def test_bad_rows_that_are_alike_are_each_told_of(tmp_path: Path) -> None:
    async with shelved(products=[product(1), b"null", b"null"]) as (_, store):
        done = await export(store, ["products"], tmp_path, rejects=tmp_path)
    assert done.unproven == ()
    assert len(rejected(tmp_path, "products")) == 2


@pytest.mark.parametrize(
    "good_first",
    [
        False,
        pytest.param(
            True,
        ),
    ],
)
async def test_a_good_row_is_exported_whatever_other_rows_claim_its_id(
    good_first: bool, tmp_path: Path
) -> None:
    rows = [order(1, total="much"), order(1)]
    async with shelved(orders=rows[::-1] if good_first else rows) as (_, store):
        await export(store, ["orders"], tmp_path, rejects=tmp_path)
    assert [row["id"] for row in read_table(tmp_path, "jsonl")] == [1]


async def test_a_rejects_file_goes_when_there_is_nothing_to_reject_any_more(
    tmp_path: Path,
) -> None:
    async with shelved(orders=[order(1, total="much")]) as (shelf, store):
        await export(store, ["orders"], tmp_path / "out", rejects=tmp_path / "bad")
        assert names(tmp_path / "bad") == {"orders.rejected.jsonl"}
        shelf.lists = {"orders": [order(1)]}
        await export(store, ["orders"], tmp_path / "out", rejects=tmp_path / "bad")
    assert names(tmp_path / "bad") == set()


async def test_without_anything_to_reject_there_is_no_file(tmp_path: Path) -> None:
    async with shelved(orders=[order(1)]) as (_, store):
        await export(store, ["orders"], tmp_path / "out", rejects=tmp_path / "bad")
    assert names(tmp_path / "bad") == set()


async def test_the_rejects_of_other_resources_stay(tmp_path: Path) -> None:
    async with shelved(orders=[b"1"], products=[b"2"]) as (_, store):
        await export(store, ["products"], tmp_path / "out", rejects=tmp_path / "bad")
        await export(store, ["orders"], tmp_path / "out", rejects=tmp_path / "bad")
    assert names(tmp_path / "bad") == {"orders.rejected.jsonl", "products.rejected.jsonl"}


async def test_rejected_rows_do_not_pass_a_filter_and_are_told_of_all_the_same(
    tmp_path: Path,
) -> None:
    rows = [order(1), order(2, status="shipped"), order(3, status="shipped", total=[])]
    async with shelved(orders=rows) as (_, store):
        await export(store, ["orders"], tmp_path, status="paid", rejects=tmp_path)
    assert [row["id"] for row in read_table(tmp_path, "jsonl")] == [1]
    assert [entry["row"]["id"] for entry in rejected(tmp_path)] == [3]


async def test_jsonl_holds_ids_of_any_size(tmp_path: Path) -> None:
    async with shelved(orders=[order(2**70), order(-(2**70))]) as (_, store):
        done = await export(store, ["orders"], tmp_path)
    assert {row["id"] for row in read_table(tmp_path, "jsonl")} == {2**70, -(2**70)}
    assert orders_of(done.certificates).proof == "atomic"


async def test_rejects_after_an_error_go_on_with_what_was_read(tmp_path: Path) -> None:
    rows = [product(number) for number in range(200)]
    async with shelved(products=rows, customers=[b"1"]) as (_, store):
        with pytest.raises(DecodeError):
            await export(store, ["products", "customers"], tmp_path)
        done = await export(store, ["products", "customers"], tmp_path, rejects=tmp_path)
    assert done.resumed
