"""A file stands under its name only when it is whole, and an error tells which file it is about."""

from __future__ import annotations

import errno
import hashlib
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from devskin_async.export.files import digest, make_folder, naming, place, sync, write_whole


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A file that is whole, in a folder beside the one it goes to."""
    path = tmp_path / "made" / "orders.jsonl"
    path.parent.mkdir()
    path.write_text("new")
    return path


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


@pytest.fixture
def work(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Path]:
    """A folder on another file system."""
    shared = Path("/dev/shm")
    if not shared.is_dir() or shared.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no other file system")
    with tempfile.TemporaryDirectory(dir=shared) as folder:
        yield Path(folder)


def killed_in(function: str, call: str) -> None:
    """Make a call in a process that is killed as soon as a function was called."""
    words = f"""
import os, shutil, signal
from pathlib import Path
from devskin_async.export import files

called = {function}

def last(*args):
    called(*args)
    os.kill(os.getpid(), signal.SIGKILL)

{function} = last
{call}
"""
    ended = subprocess.run([sys.executable, "-c", words], check=False)
    assert ended.returncode == -signal.SIGKILL


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_placed_under_its_name(made: Path, out: Path) -> None:
    place(made, out / "orders.jsonl")
    assert (out / "orders.jsonl").read_text() == "new"
    assert not made.exists()


def test_a_file_takes_the_place_of_another(made: Path, out: Path) -> None:
    (out / "orders.jsonl").write_text("old")
    place(made, out / "orders.jsonl")
    assert (out / "orders.jsonl").read_text() == "new"
    assert names(out) == ["orders.jsonl"]


@pytest.mark.parametrize("leads_to", ["file", "nothing", "folder", "itself", "device"])
def test_a_link_is_replaced_and_what_it_leads_to_is_left_alone(
    made: Path, out: Path, tmp_path: Path, leads_to: str
) -> None:
    real = tmp_path / "real.jsonl"
    real.write_text("somebody else's")
    path = out / "orders.jsonl"
    targets = {"file": real, "nothing": tmp_path / "nothing", "folder": tmp_path, "itself": path}
    path.symlink_to(targets.get(leads_to, Path("/dev/null")))
    place(made, path)
    assert path.read_text() == "new"
    assert not path.is_symlink()
    assert real.read_text() == "somebody else's"
    assert not (tmp_path / "nothing").exists()
    assert not Path("/dev/null").is_file()


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644])
def test_a_file_keeps_the_permissions_of_the_one_that_it_replaces(
    made: Path, out: Path, mode: int
) -> None:
    (out / "orders.jsonl").write_text("old")
    (out / "orders.jsonl").chmod(mode)
    place(made, out / "orders.jsonl", 0o666)
    assert (out / "orders.jsonl").stat().st_mode & 0o777 == mode


def test_a_new_file_has_the_permissions_that_it_is_to_have(made: Path, out: Path) -> None:
    place(made, out / "export.sqlite", 0o600)
    assert (out / "export.sqlite").stat().st_mode & 0o777 == 0o600


def test_a_folder_under_the_name_is_an_error_and_stays(made: Path, out: Path) -> None:
    (out / "orders.jsonl").mkdir()
    with pytest.raises(IsADirectoryError) as caught:
        place(made, out / "orders.jsonl")
    assert caught.value.filename == str(out / "orders.jsonl")
    assert (out / "orders.jsonl").is_dir()
    assert made.exists()


def test_a_folder_that_is_not_there_is_an_error_that_names_the_file(made: Path, out: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        place(made, out / "nowhere" / "orders.jsonl")
    assert caught.value.filename == str(out / "nowhere" / "orders.jsonl")


def test_a_file_goes_to_another_file_system(made: Path, elsewhere: Path) -> None:
    (elsewhere / "orders.jsonl").write_text("old")
    place(made, elsewhere / "orders.jsonl")
    assert (elsewhere / "orders.jsonl").read_text() == "new"
    assert names(elsewhere) == ["orders.jsonl"]
    assert not made.exists()


def test_a_link_where_a_part_is_written_is_not_followed(
    made: Path, elsewhere: Path, tmp_path: Path
) -> None:
    (tmp_path / "victim").write_text("somebody else's")
    (elsewhere / ".orders.jsonl.part").symlink_to(tmp_path / "victim")
    place(made, elsewhere / "orders.jsonl")
    assert (elsewhere / "orders.jsonl").read_text() == "new"
    assert (tmp_path / "victim").read_text() == "somebody else's"


def test_another_file_system_that_is_full_leaves_what_stood_there(
    made: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: object, part: Path) -> None:
        part.write_text("n")
        raise OSError(errno.ENOSPC, "No space left on device")

    (elsewhere / "orders.jsonl").write_text("old")
    monkeypatch.setattr("shutil.copyfile", full)
    with pytest.raises(OSError, match="No space left") as caught:
        place(made, elsewhere / "orders.jsonl")
    assert caught.value.filename == str(elsewhere / "orders.jsonl")
    assert (elsewhere / "orders.jsonl").read_text() == "old"
    assert names(elsewhere) == ["orders.jsonl"]
    assert made.exists()


def test_what_a_kill_leaves_on_another_file_system_is_written_over(
    made: Path, elsewhere: Path
) -> None:
    path = elsewhere / "orders.jsonl"
    killed_in("shutil.copyfile", f"files.place(Path({str(made)!r}), Path({str(path)!r}))")
    (left,) = elsewhere.iterdir()
    left.write_text("half of it")
    place(made, path)
    assert path.read_text() == "new"
    assert names(elsewhere) == ["orders.jsonl"]


def test_a_small_file_appears_whole(out: Path, work: Path) -> None:
    write_whole(out / "a.json", b"1", work)
    write_whole(out / "a.json", b"22", work)
    assert (out / "a.json").read_bytes() == b"22"
    assert (names(out), names(work)) == (["a.json"], [])


def test_a_small_file_that_a_kill_leaves_is_in_the_folder_it_was_written_in(
    out: Path, work: Path
) -> None:
    path = out / "a.json"
    killed_in("files.sync", f"files.write_whole(Path({str(path)!r}), b'1', Path({str(work)!r}))")
    assert (names(out), names(work)) == ([], ["a.json"])


def test_a_small_file_that_cannot_be_written_leaves_what_stood_there(
    out: Path, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    write_whole(out / "a.json", b"1", work)
    monkeypatch.setattr("devskin_async.export.files.sync", full)
    with pytest.raises(OSError, match="No space left") as caught:
        write_whole(out / "a.json", b"22", work)
    assert caught.value.filename == str(out / "a.json")
    assert (out / "a.json").read_bytes() == b"1"
    assert (names(out), names(work)) == (["a.json"], [])


def test_a_file_is_told_by_its_digest(made: Path) -> None:
    sync(made)
    assert digest(made) == hashlib.sha256(b"new").hexdigest()


def test_a_file_that_cannot_be_digested_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        digest(tmp_path / "nothing")
    assert caught.value.filename == str(tmp_path / "nothing")


def test_a_folder_is_made_with_those_above_it(tmp_path: Path) -> None:
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()


@pytest.mark.parametrize("path", ["file", "file/b"])
def test_a_file_where_a_folder_is_needed_is_named(tmp_path: Path, path: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError) as caught:
        make_folder(tmp_path / path)
    assert caught.value.filename == str(tmp_path / path)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.ENOENT, errno.EACCES])
def test_an_error_of_the_system_stays_what_it_is_and_names_the_file(number: int) -> None:
    with pytest.raises(OSError) as caught, naming(Path("a/b")):
        raise OSError(number, os.strerror(number), "else")
    assert caught.type is type(OSError(number, ""))
    assert (caught.value.errno, caught.value.strerror) == (number, os.strerror(number))
    assert caught.value.filename == str(Path("a/b"))


def test_an_error_without_a_number_still_says_what_it_is() -> None:
    with pytest.raises(OSError, match="something") as caught, naming(Path("a")):
        raise OSError("something")
    assert caught.value.filename == "a"


@pytest.mark.parametrize(
    ("code", "number"),
    [
        (sqlite3.SQLITE_FULL, errno.ENOSPC),
        (sqlite3.SQLITE_READONLY, errno.EROFS),
        (sqlite3.SQLITE_READONLY_DBMOVED, errno.EROFS),
        (sqlite3.SQLITE_CANTOPEN, errno.EACCES),
        (sqlite3.SQLITE_PERM, errno.EACCES),
        (sqlite3.SQLITE_IOERR, errno.EIO),
    ],
)
def test_an_error_of_sqlite_becomes_the_systems_own(code: int, number: int) -> None:
    error = sqlite3.OperationalError("what SQLite says")
    error.sqlite_errorcode = code
    with pytest.raises(OSError) as caught, naming(Path("a")):
        raise error
    assert (caught.value.errno, caught.value.filename) == (number, "a")


def test_an_error_of_sqlite_that_has_no_number_says_what_it_is() -> None:
    with pytest.raises(OSError, match="what SQLite says"), naming(Path("a")):
        raise sqlite3.DatabaseError("what SQLite says")


def test_other_errors_pass() -> None:
    with pytest.raises(KeyError), naming(Path("a")):
        raise KeyError
