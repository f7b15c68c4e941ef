"""An export is checked against its manifest."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from devskin_async import ConfigurationError, DevSkinClient
from devskin_async.export import Format, Manifest, export, read_manifest, verify

from .serving import cancelling, shop
from .support import ALL

FORMATS: tuple[Format, ...] = ("jsonl", "csv", "parquet", "duckdb", "sqlite")

each_format = pytest.mark.parametrize("file_format", FORMATS)


@pytest.fixture
async def out(store: DevSkinClient, tmp_path: Path) -> Path:
    """A finished export of customers."""
    folder = tmp_path / "out"
    await export(store, ["customers"], folder)
    return folder


def change(folder: Path, edit: Callable[[Any], object]) -> None:
    """Edit a manifest."""
    path = folder / "manifest.json"
    plain = json.loads(path.read_bytes())
    edit(plain)
    path.write_text(json.dumps(plain))


@each_format
async def test_all_is_well_after_an_export(
    file_format: Format, store: DevSkinClient, tmp_path: Path
) -> None:
    done = await export(store, ALL, tmp_path, format=file_format)
    checked = verify(tmp_path)
    assert (checked.problems, checked.unfinished) == ((), False)
    assert checked.manifest == done.manifest == read_manifest(tmp_path)


@each_format
async def test_all_is_well_where_there_are_no_rows(file_format: Format, tmp_path: Path) -> None:
    async with shop(orders=0, products=0, customers=0) as (_, store):
        await export(store, ["orders", "customers"], tmp_path, format=file_format)
    checked = verify(tmp_path)
    assert checked.problems == ()
    assert {name: each.rows for name, each in checked.manifest.resources.items()} == {
        "orders": 0,
        "customers": 0,
    }


@pytest.mark.parametrize("file_format", ["jsonl", "csv"])
async def test_compressed_text_is_counted_too(
    file_format: Format, store: DevSkinClient, tmp_path: Path
) -> None:
    await export(store, ["customers"], tmp_path, format=file_format, compress=True)
    assert verify(tmp_path).problems == ()


@each_format
async def test_details_are_counted_too(file_format: Format, tmp_path: Path) -> None:
    async with shop(orders=20) as (_, store):
        await export(store, ["orders"], tmp_path, format=file_format, details=True)
    assert verify(tmp_path).problems == ()


@each_format
async def test_a_changed_byte_is_found(
    file_format: Format, store: DevSkinClient, tmp_path: Path
) -> None:
    done = await export(store, ["customers"], tmp_path, format=file_format)
    path = tmp_path / done.manifest.files[0].name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert verify(tmp_path).problems == (f"{path.name}: its SHA-256 is not the manifest's",)


@each_format
async def test_a_file_that_was_cut_off_is_found(
    file_format: Format, store: DevSkinClient, tmp_path: Path
) -> None:
    done = await export(store, ["customers"], tmp_path, format=file_format)
    (file,) = done.manifest.files
    with (tmp_path / file.name).open("r+b") as made:
        made.truncate(file.size - 1)
    (problem,) = verify(tmp_path).problems
    assert problem == (
        f"{file.name}: {file.size - 1:,} bytes, where the manifest has {file.size:,}"
    )


async def test_a_missing_file_is_found_and_the_others_are_checked_all_the_same(
    store: DevSkinClient, tmp_path: Path
) -> None:
    await export(store, ["customers", "products", "overview"], tmp_path)
    (tmp_path / "customers.jsonl").unlink()
    (tmp_path / "products.jsonl").write_text("")
    gone, emptied = verify(tmp_path).problems
    assert gone == "customers.jsonl: it is not there"
    assert emptied.startswith("products.jsonl: 0 bytes")


async def test_a_folder_in_a_files_place_is_found(out: Path) -> None:
    (out / "customers.jsonl").unlink()
    (out / "customers.jsonl").mkdir()
    (problem,) = verify(out).problems
    assert problem.startswith("customers.jsonl: ")


@each_format
async def test_a_wrong_number_of_rows_is_found(
    file_format: Format, store: DevSkinClient, tmp_path: Path
) -> None:
    done = await export(store, ["customers"], tmp_path, format=file_format)
    change(tmp_path, lambda plain: plain["files"][0]["tables"].update(customers=31))
    assert verify(tmp_path).problems == (
        f"{done.manifest.files[0].name}: 30 rows of customers, where the manifest has 31",
    )


async def test_a_certificate_of_other_rows_than_its_file_is_found(out: Path) -> None:
    change(out, lambda plain: plain["resources"]["customers"].update(rows=1_000_000))
    assert verify(out).problems


@pytest.mark.parametrize(
    ("edit", "problem"),
    [
        (
            lambda orders: orders.update(total_before=451, total_after=451),
            "a total of 451",
        ),
        (
            lambda orders: orders.update(total_after=449, total_before=449),
            "a total of 449",
        ),
        (lambda orders: orders.update(distinct_ids=449), "slices have 450 rows, but 449"),
        (lambda orders: orders.update(rejected=3), "files have 450 rows, but 447"),
        (lambda orders: orders["slices"].pop(1), "leave out or repeat days"),
        (lambda orders: orders["slices"][0].update(total=1), "the slices have"),
        (lambda orders: orders["slices"][0].update(proof="unproven"), "a slice is not proven"),
        (lambda orders: orders.update(cached=2), "prove nothing about the store: 2"),
        (
            lambda orders: orders.update(closed_until="2030-01-01", closed_total=7),
            "a total of 7 up to 2030-01-01",
        ),
    ],
)
async def test_a_certificate_that_contradicts_itself_is_found(
    edit: Callable[[Any], object], problem: str, store: DevSkinClient, tmp_path: Path
) -> None:
    await export(store, ["orders"], tmp_path)
    change(tmp_path, lambda plain: edit(plain["resources"]["orders"]))
    problems = verify(tmp_path).problems
    assert any(problem in each for each in problems)
    assert all(each.startswith("manifest.json: orders: ") for each in problems)


@pytest.mark.parametrize("part", ["files", "resources"])
async def test_a_manifest_that_names_nothing_is_refused(part: str, out: Path) -> None:
    change(out, lambda plain: plain[part].clear())
    with pytest.raises(ConfigurationError, match="names no files of any resource"):
        verify(out)


def listen(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


@pytest.mark.parametrize("name", ["customers.jsonl", "manifest.json"])
@pytest.mark.parametrize(
    ("make", "told"),
    [
        (os.mkfifo, "a named pipe"),
        (lambda path: path.symlink_to("/dev/zero"), "a device"),
        (listen, "a socket"),
        (Path.mkdir, "Is a directory"),
    ],
    ids=["fifo", "device", "socket", "folder"],
)
async def test_what_is_no_file_is_told_of_and_not_read(
    make: Callable[[Path], object], told: str, name: str, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(out)  # the path of a socket may not be long
    (out / name).unlink()
    make(Path(name))
    if name == "manifest.json":
        with pytest.raises(ConfigurationError, match=told):
            verify(out)
    else:
        (problem,) = verify(out).problems
        assert told in problem


@pytest.mark.parametrize("part", ["manifest.json", "export.sqlite"])
async def test_an_export_does_not_wait_for_a_pipe_that_stands_in_the_way(
    part: str, store: DevSkinClient, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / part)
    if part == "manifest.json":
        with pytest.raises(ConfigurationError, match="a named pipe"):
            await export(store, ["customers"], tmp_path)
    else:
        await export(store, ["customers"], tmp_path, format="sqlite")
        assert verify(tmp_path).problems == ()


async def test_a_folder_without_an_export_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"no manifest\.json in .*no export has ended"):
        verify(tmp_path)


async def test_a_folder_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"no manifest\.json in"):
        verify(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no JSON",
        b"[]",
        b"null",
        b"{}",
        b'{"version": 1}',
        b"[" * 100_000,
        pytest.param(
            b'{"library": "\xff"}',
            id="no UTF-8",
        ),
        pytest.param(
            b'{"more": ' + b"[" * 100_000,
            id="deep",
        ),
    ],
)
async def test_a_manifest_that_is_none_is_refused(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_bytes(data)
    with pytest.raises(ConfigurationError, match="is not what an export writes"):
        verify(tmp_path)


@pytest.mark.parametrize(
    "edit",
    [
        lambda plain: plain.update(version=2),
        lambda plain: plain.update(format="xml"),
        lambda plain: plain.pop("files"),
        lambda plain: plain["resources"]["customers"].update(proof="trust me"),
        lambda plain: plain["files"][0].update(size="big"),
    ],
)
async def test_a_manifest_of_another_kind_is_refused(
    edit: Callable[[Any], object], out: Path
) -> None:
    change(out, edit)
    with pytest.raises(ConfigurationError, match="is not what an export writes"):
        verify(out)


async def test_a_manifest_of_a_later_library_with_more_to_tell_is_read(out: Path) -> None:
    change(out, lambda plain: plain.update(more={"than": "is known"}))
    assert isinstance(verify(out).manifest, Manifest)


@pytest.mark.parametrize("where", ["../secret", "../out/../secret", "{absolute}", "..", ""])
async def test_a_path_that_leads_out_of_the_folder_is_not_followed(where: str, out: Path) -> None:
    # Were it followed, all would be well.
    secret = (out / "customers.jsonl").rename(out.parent / "secret")
    change(out, lambda plain: plain["files"][0].update(name=where.format(absolute=secret)))
    (problem,) = verify(out).problems
    assert problem


@pytest.mark.parametrize(
    "edit",
    [
        lambda plain: plain["files"][0].update(tables={"nobody knows": 30}),
        lambda plain: plain["files"][0].update(name="a\0b"),
    ],
    ids=["table", "name"],
)
async def test_a_table_or_name_that_can_not_be_is_a_problem(
    edit: Callable[[Any], object], out: Path
) -> None:
    change(out, edit)
    (problem,) = verify(out).problems
    assert problem


async def test_an_export_that_has_not_ended_is_told_of_and_the_last_one_is_checked(
    store: DevSkinClient, out: Path
) -> None:
    async def stopped() -> None:
        await export(store, ["customers", "products"], out, on_progress=cancelling(2))

    with pytest.raises(asyncio.CancelledError):
        await asyncio.create_task(stopped())
    checked = verify(out)
    assert (checked.unfinished, checked.problems) == (True, ())
    await export(store, ["customers", "products"], out)
    assert not verify(out).unfinished


async def test_a_later_export_of_something_else_leaves_what_is_known_of_the_first(
    store: DevSkinClient, out: Path
) -> None:
    await export(store, ["overview"], out)
    checked = verify(out)
    assert set(checked.manifest.resources) == {"customers", "overview"}
    assert checked.problems == ()
