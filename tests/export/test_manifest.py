"""The manifest says what an export did, and is read as it was written."""

from __future__ import annotations

import datetime as dt
import json
import tempfile
from pathlib import Path

import pytest
from attrs import evolve

from devskin_async import ConfigurationError
from devskin_async.export import Format
from devskin_async.export.manifest import (
    NAME,
    Certificate,
    MadeFile,
    Manifest,
    Proof,
    SliceProof,
    added_up,
    days,
    instant_of,
    known_before,
    read_manifest,
    write_manifest,
)

NOON = dt.datetime(2026, 2, 10, 12, 0, 0, 123456, tzinfo=dt.UTC)
FIRST = dt.date(2026, 1, 1)


def certificate(proof: Proof = "two-pass", *slices: SliceProof) -> Certificate:
    return Certificate(
        proof=proof,
        rows=3,
        distinct_ids=3,
        total_before=3,
        repairs=0,
        requests=4,
        refused=0,
        sessions=1,
        began=NOON,
        ended=NOON,
        unknown={"channel": 2, "status=refunded": 1},
        slices=slices,
    )


def part(proof: Proof, first: dt.date | None, last: dt.date | None) -> SliceProof:
    return SliceProof(first=first, last=last, proof=proof, total=5, pages=1, passes=1, at=NOON)


def file(name: str, **tables: int) -> MadeFile:
    return MadeFile(name=name, sha256="ab", size=10, tables=tables)


def manifest(*files: MadeFile, **resources: Certificate) -> Manifest:
    return Manifest(
        library="devskin-async 0.1.0",
        base_url="https://a.test/api/v1",
        format="jsonl",
        resources=resources,
        files=files,
    )


def write(folder: Path, written: Manifest) -> None:
    with tempfile.TemporaryDirectory() as work:
        write_manifest(folder, written, Path(work))


def put(folder: Path, before: Manifest) -> None:
    write(folder, before)
    for each in before.files:
        (folder / each.name).touch()


def test_a_manifest_is_read_as_it_was_written(tmp_path: Path) -> None:
    sliced = certificate("sliced", part("atomic", None, FIRST), part("two-pass", FIRST, None))
    written = manifest(
        file("orders.jsonl", orders=3),
        orders=evolve(sliced, since=FIRST, gone=1, status="paid", inclusive=False),
        products=certificate(),
    )
    write(tmp_path, written)
    assert read_manifest(tmp_path) == written
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


def test_a_manifest_is_text_for_people_too(tmp_path: Path) -> None:
    write(tmp_path, manifest(file("orders.jsonl", orders=3), orders=certificate()))
    text = (tmp_path / NAME).read_text()
    assert text.endswith("}\n")
    assert '\n "format": "jsonl"' in text
    assert json.loads(text)["version"] == 1
    assert json.loads(text)["resources"]["orders"]["began"] == "2026-02-10T12:00:00.123456Z"


def test_a_folder_without_a_manifest_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no export has ended there"):
        read_manifest(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{}",
        b"[]",
        b"\xff",
        b'{"version": 1}',
        pytest.param(None, id="another version"),
        pytest.param(b'{"dependencies": {}, "manifest_version": 3}', id="of a browser extension"),
    ],
)
def test_what_is_no_manifest_is_named(tmp_path: Path, text: bytes | None) -> None:
    write(tmp_path, manifest(orders=certificate()))
    path = tmp_path / NAME
    if text is None:
        text = path.read_bytes().replace(b'"version": 1', b'"version": 2')
    path.write_bytes(text)
    with pytest.raises(ConfigurationError, match="is not what an export writes") as caught:
        read_manifest(tmp_path)
    assert str(path) in str(caught.value)


def test_a_manifest_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / NAME).mkdir()
    with pytest.raises(ConfigurationError, match=NAME):
        read_manifest(tmp_path)


def test_a_field_of_a_later_version_does_no_harm(tmp_path: Path) -> None:
    written = manifest(orders=certificate())
    write(tmp_path, written)
    path = tmp_path / NAME
    path.write_bytes(path.read_bytes().replace(b'"version": 1', b'"version": 1, "new": [1]'))
    assert read_manifest(tmp_path) == written


def test_a_manifest_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / NAME).mkdir()
    with pytest.raises(IsADirectoryError) as caught:
        write(tmp_path, manifest())
    assert caught.value.filename == str(tmp_path / NAME)


def test_files_of_earlier_exports_stay_known_with_how_they_were_read(tmp_path: Path) -> None:
    put(tmp_path, manifest(file("products.jsonl", products=3), products=certificate("counted")))
    new = manifest(file("orders.jsonl", orders=3), orders=certificate())
    merged = known_before(tmp_path, new, merged=False)
    assert {each.name for each in merged.files} == {"orders.jsonl", "products.jsonl"}
    assert merged.resources == {"products": certificate("counted"), "orders": certificate()}


def test_what_was_exported_again_is_known_anew(tmp_path: Path) -> None:
    put(tmp_path, manifest(file("orders.jsonl", orders=9), orders=certificate("unproven")))
    new = manifest(file("orders.jsonl", orders=3), orders=certificate())
    assert known_before(tmp_path, new, merged=False) == new


def test_files_that_are_gone_are_not_known_any_more(tmp_path: Path) -> None:
    put(tmp_path, manifest(file("products.jsonl", products=3), products=certificate()))
    (tmp_path / "products.jsonl").unlink()
    new = manifest(file("orders.jsonl", orders=3), orders=certificate())
    assert known_before(tmp_path, new, merged=False) == new


@pytest.mark.parametrize(
    ("file_format", "base_url"),
    [("csv", "https://a.test/api/v1"), ("jsonl", "https://b.test/api/v1")],
)
def test_an_export_of_another_kind_is_not_known(
    tmp_path: Path, file_format: Format, base_url: str
) -> None:
    before = manifest(file("products.jsonl", products=3), products=certificate())
    put(tmp_path, evolve(before, format=file_format, base_url=base_url))
    new = manifest(file("orders.jsonl", orders=3), orders=certificate())
    assert known_before(tmp_path, new, merged=False) == new


@pytest.mark.parametrize("text", [None, b"{}"])
def test_nothing_is_known_where_there_is_no_manifest(tmp_path: Path, text: bytes | None) -> None:
    if text is not None:
        (tmp_path / NAME).write_bytes(text)
    new = manifest(file("orders.jsonl", orders=3), orders=certificate())
    assert known_before(tmp_path, new, merged=False) == new


@pytest.mark.parametrize("merged", [True, False])
def test_tables_of_a_file_that_was_written_anew_are_known_only_if_they_were_kept(
    tmp_path: Path, merged: bool
) -> None:
    before = manifest(
        file("store.db", products=3, orders=9), products=certificate(), orders=certificate()
    )
    put(tmp_path, before)
    new = manifest(file("store.db", orders=3), orders=certificate("sliced"))
    known = known_before(tmp_path, new, merged=merged)
    (one,) = known.files
    assert one.tables == ({"products": 3, "orders": 3} if merged else {"orders": 3})
    assert set(known.resources) == ({"products", "orders"} if merged else {"orders"})
    assert known.resources["orders"] == certificate("sliced")


def test_what_is_unproven_is_told_in_words() -> None:
    parts = (
        part("atomic", None, FIRST),
        part("unproven", dt.date(2026, 1, 2), dt.date(2026, 1, 2)),
        part("unproven", dt.date(2026, 1, 3), None),
    )
    told = manifest(
        orders=certificate("unproven", *parts),
        products=certificate("unproven"),
        customers=certificate("counted"),
    ).unproven
    assert told == ("orders of 2026-01-02", "orders from 2026-01-03 on", "products")


def test_days_are_told_in_words() -> None:
    assert days(FIRST, FIRST) == "of 2026-01-01"
    assert days(FIRST, FIRST.replace(day=3)) == "from 2026-01-01 to 2026-01-03"
    assert days(None, FIRST) == "from the beginning to 2026-01-01"
    assert days(None, None) == "from the beginning on"


def test_counts_are_added_up_the_most_frequent_first() -> None:
    assert list(added_up([{"a": 1, "b": 2}, {"a": 4}, {}]).items()) == [("a", 5), ("b", 2)]


def test_an_instant_is_told_in_utc() -> None:
    assert instant_of(0) == dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
