"""The folder that an export works in: what is not its own it neither follows nor removes."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from devskin_async import ConfigurationError, DevSkinClient
from devskin_async.export import Format, export, sync, verify

from .serving import cancelling, names, shop
from .support import ALL

WORK = ".devskin-export"
DATABASES: tuple[Format, ...] = ("duckdb", "sqlite")
ODD_NAMES = [
    "a?b",
    "a\\b",
    "a#b",
    "a%20b",
    "a'b",
    'a"b',
    "a\nb",
    "a;b",
    "a?access_mode=READ_ONLY",
    "file:x",
    "md:x",
    ":memory:",
    os.fsdecode(b"a\xffb"),
]


@pytest.fixture
async def store() -> AsyncIterator[DevSkinClient]:
    """A small store."""
    async with shop(orders=30) as (_, client):
        yield client


@pytest.fixture
def precious(tmp_path: Path) -> Path:
    """A folder of somebody's own."""
    folder = tmp_path / "precious"
    (folder / "files").mkdir(parents=True)
    for name in ("journal.sqlite", "orders.rows", "thesis.txt", "files/orders.jsonl", "files/x"):
        (folder / name).write_text("mine")
    return folder


def everything(folder: Path) -> dict[str, str]:
    """Read all files below a folder."""
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in folder.rglob("*")
        if path.is_file()
    }


def modes(folder: Path) -> dict[str, int]:
    """Give the permissions of all that is below a folder, and of the folder."""
    return {
        str(path.relative_to(folder)): stat.S_IMODE(path.lstat().st_mode)
        for path in [folder, *folder.rglob("*")]
    }


@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize("to", ["a folder", "nothing", "a file"])
async def test_a_link_in_the_place_of_the_work_folder_is_refused(
    to: str, fresh: bool, store: DevSkinClient, precious: Path, tmp_path: Path
) -> None:
    before = everything(precious)
    targets = {"a folder": precious, "a file": precious / "thesis.txt"}
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / WORK).symlink_to(targets.get(to, tmp_path / "nothing"))
    with pytest.raises(ConfigurationError, match="is a symbolic link"):
        await export(store, ["orders"], tmp_path / "out", fresh=fresh)
    assert everything(precious) == before
    assert names(tmp_path / "out") == {WORK}
    assert not (tmp_path / "nothing").exists()


@pytest.mark.parametrize("name", ["orders.rows", "journal.sqlite", "files"])
async def test_a_link_in_the_work_folder_is_not_followed(
    name: str, store: DevSkinClient, precious: Path, tmp_path: Path
) -> None:
    before = everything(precious)
    (tmp_path / "out" / WORK).mkdir(parents=True)
    (tmp_path / "out" / WORK / name).symlink_to(
        precious if name == "files" else precious / "thesis.txt"
    )
    with pytest.raises((ConfigurationError, OSError)):
        await export(store, ["orders"], tmp_path / "out")
    assert everything(precious) == before


async def test_files_of_others_in_the_work_folder_stay(
    store: DevSkinClient, tmp_path: Path
) -> None:
    work = tmp_path / WORK
    theirs = ["thesis.txt", "files/x.jsonl", "files/deep/er", "journal.sqlite.backup", "my.rows"]
    for name in theirs:
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        (work / name).write_text("mine")
    await export(store, ALL, tmp_path)
    assert everything(work) == dict.fromkeys(theirs, "mine")
    checked = verify(tmp_path)
    assert (checked.problems, checked.unfinished) == ((), False)
    await export(store, ALL, tmp_path, format="duckdb", fresh=True)
    assert everything(work) == dict.fromkeys(theirs, "mine")


@pytest.mark.parametrize("file_format", ["jsonl", "csv", "parquet", "duckdb", "sqlite"])
async def test_of_what_an_export_has_made_nothing_stays(
    file_format: Format, store: DevSkinClient, tmp_path: Path
) -> None:
    made = tmp_path / WORK / "files" / "export.duckdb.tmp"
    made.mkdir(parents=True)
    for name in ("duckdb_temp_storage-0.tmp", "../export.duckdb", "../orders.csv.gz"):
        (made / name).write_text("left by a kill")
    await export(store, ALL, tmp_path, format=file_format)
    assert WORK not in names(tmp_path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
async def test_a_work_folder_of_another_user_is_refused(
    store: DevSkinClient, tmp_path: Path
) -> None:
    (tmp_path / WORK).mkdir()
    os.chown(tmp_path / WORK, 12345, -1)
    with pytest.raises(ConfigurationError, match="belongs to another user"):
        await export(store, ["orders"], tmp_path)


async def test_a_link_that_takes_the_folders_place_meanwhile_is_not_followed(
    store: DevSkinClient, precious: Path, tmp_path: Path
) -> None:
    before = everything(precious)
    out = tmp_path / "out"

    def swap(_: object) -> None:
        if not (out / WORK).is_symlink():
            (out / WORK).rename(tmp_path / "moved")
            (out / WORK).symlink_to(precious)

    with pytest.raises((ConfigurationError, OSError)):
        await export(store, ["products"], out, on_progress=swap)
    assert everything(precious) == before


async def test_what_an_unfinished_export_has_read_is_for_its_owner_alone(
    store: DevSkinClient, tmp_path: Path
) -> None:
    before = os.umask(0)
    try:
        with pytest.raises(asyncio.CancelledError):
            await asyncio.create_task(_stopped(store, tmp_path))
    finally:
        os.umask(before)
    found = modes(tmp_path / WORK)
    assert found["."] == 0o700
    assert {"orders.rows", "journal.sqlite"} < found.keys()
    assert {mode for name, mode in found.items() if name != "."} == {0o600}


async def test_permissions_of_an_earlier_version_are_mended(
    store: DevSkinClient, tmp_path: Path
) -> None:
    with pytest.raises(asyncio.CancelledError):
        await asyncio.create_task(_stopped(store, tmp_path))
    for path in [tmp_path / WORK, *(tmp_path / WORK).iterdir()]:
        path.chmod(0o755)
    with pytest.raises(asyncio.CancelledError):
        await asyncio.create_task(_stopped(store, tmp_path, after=4))
    found = modes(tmp_path / WORK)
    assert found["."] == 0o700
    assert found["journal.sqlite"] == 0o600


async def _stopped(store: DevSkinClient, out: Path, after: int = 2) -> None:
    await export(store, ALL, out, on_progress=cancelling(after))


@pytest.mark.parametrize("file_format", DATABASES)
async def test_a_new_database_is_for_its_owner_alone_and_an_old_one_stays_as_open_as_it_was(
    file_format: Format, store: DevSkinClient, tmp_path: Path
) -> None:
    await export(store, ["orders"], tmp_path, format=file_format)
    path = tmp_path / f"export.{file_format}"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o640)
    await sync(store, tmp_path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


@pytest.mark.parametrize("name", ODD_NAMES)
async def test_a_folder_may_have_any_name(
    name: str, store: DevSkinClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for file_format in ("duckdb", "sqlite", "parquet"):
        await export(store, ["orders"], name, format=file_format)
        await sync(store, name)
        assert verify(name).problems == ()
    assert names(Path(name)) == {
        "export.duckdb",
        "export.sqlite",
        "orders.parquet",
        "manifest.json",
    }
    assert os.listdir(tmp_path) == [name]  # noqa: PTH208 - as it was given


ADDRESSES = ["", "-", "s3://bucket/x", "gs://b", "az://c/x", "https://x.example", "~", "~/x", "\0"]


@pytest.mark.parametrize("out", ADDRESSES)
async def test_an_address_is_no_folder(
    out: str, store: DevSkinClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for call in (
        export(store, ["orders"], out),
        export(store, ["orders"], "x", rejects=out),
        sync(store, out),
    ):
        with pytest.raises(ValueError, match=r"^(out|rejects) must "):
            await call
    with pytest.raises(ValueError, match=r"^folder must "):
        verify(out)
    assert not names(tmp_path)


async def test_an_address_that_was_made_a_path_is_no_folder_either(
    store: DevSkinClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for out in (Path("s3://bucket/x"), Path("-")):
        with pytest.raises(ValueError, match="out must be a folder"):
            await export(store, ["orders"], out)


@pytest.mark.parametrize("out", [".", "a:b", "x-", "-x", "c"])
async def test_other_names_are_folders(
    out: str, store: DevSkinClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    await export(store, ["orders"], out)
    assert (tmp_path / out / "orders.jsonl").is_file()
