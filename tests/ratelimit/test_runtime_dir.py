"""Budgets of the machine are in a directory of this user alone, or in none."""

from __future__ import annotations

import os
import stat
import sys
import tempfile
import warnings
from pathlib import Path

import platformdirs
import pytest

from devskin_async.ratelimit import runtime_dir
from devskin_async.ratelimit.runtime_dir import budget_directory, file_system
from devskin_async.ratelimit.store import StoreUnavailableError

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX owners and modes")


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's runtime directory."""
    path = tmp_path / "run"
    path.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(path))
    return path


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory for temporary files."""
    path = tmp_path / "tmp"
    path.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(path))
    return path


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def own(temporary: Path) -> Path:
    return temporary / f"devskin-async-{os.geteuid()}"


def test_budgets_are_kept_in_the_runtime_directory(runtime: Path) -> None:
    assert budget_directory() == runtime / "devskin-async"
    assert mode(runtime / "devskin-async") == 0o700


def test_a_directory_that_others_can_read_is_made_private(runtime: Path) -> None:
    (runtime / "devskin-async").mkdir(mode=0o755)
    assert mode(budget_directory()) == 0o700


def test_without_a_runtime_directory_a_private_one_under_the_temporary_one_is_used(
    runtime: Path, temporary: Path
) -> None:
    (runtime / "devskin-async").touch()  # no directory can be there
    assert budget_directory() == own(temporary)
    assert mode(own(temporary)) == 0o700


def test_no_runtime_directory_in_the_environment_gives_no_warning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert budget_directory().is_dir()


def test_a_link_is_not_followed(runtime: Path, temporary: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    (runtime / "devskin-async").symlink_to(elsewhere)
    assert budget_directory() == own(temporary)
    own(temporary).rmdir()
    own(temporary).symlink_to(elsewhere)
    with pytest.raises(StoreUnavailableError, match="is not a directory"):
        budget_directory()


def test_a_directory_of_somebody_else_is_not_used(
    runtime: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = os.geteuid()
    (runtime / "devskin-async").mkdir(mode=0o700)
    (temporary / f"devskin-async-{user + 1}").mkdir(mode=0o700)
    monkeypatch.setattr(os, "geteuid", lambda: user + 1)
    with pytest.raises(StoreUnavailableError, match="belongs to another user"):
        budget_directory()


def test_a_runtime_directory_that_others_can_write_to_is_not_used(
    runtime: Path, temporary: Path
) -> None:
    runtime.chmod(0o777)
    assert runtime not in budget_directory().parents


def test_the_error_without_any_usable_directory_says_why_and_what_to_do(
    runtime: Path, temporary: Path
) -> None:
    (runtime / "devskin-async").touch()
    own(temporary).touch()
    reasons = rf"{runtime}/devskin-async: File exists; {own(temporary)}: File exists"
    with pytest.raises(StoreUnavailableError, match=f"{reasons}; set XDG_RUNTIME_DIR to a direc"):
        budget_directory()


def test_if_the_system_has_no_directory_for_the_user_it_is_under_the_temporary_one(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> Path:
        raise PermissionError("owned by uid 1, not 0")

    monkeypatch.setattr(platformdirs, "user_runtime_path", refuse)
    assert budget_directory() == own(temporary)


def test_a_network_file_system_is_not_used(
    runtime: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds = {runtime / "devskin-async": "nfs4", own(temporary): "fuse.sshfs"}
    monkeypatch.setattr(runtime_dir, "file_system", kinds.__getitem__)
    with pytest.raises(StoreUnavailableError, match=r"network file system \(nfs4\).*fuse\.sshfs"):
        budget_directory()


def test_the_file_system_of_a_path_is_that_of_the_nearest_mount(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(
        "/dev/vda / ext4 rw 0 0\n"
        "tmpfs /run/user/1000 tmpfs rw 0 0\n"
        "host:/home /home nfs4 rw 0 0\n"
        "host:/a\\040b /srv/a\\040b cifs rw 0 0\n"
        "tmpfs /home tmpfs rw 0 0\n"
    )
    assert file_system(Path("/run/user/1000/devskin-async"), str(mounts)) == "tmpfs"
    assert file_system(Path("/run/user/10001"), str(mounts)) == "ext4"
    assert file_system(Path("/srv/a b/c"), str(mounts)) == "cifs"
    assert file_system(Path("/home/me"), str(mounts)) == "tmpfs"


def test_without_a_list_of_mounts_the_file_system_is_unknown(tmp_path: Path) -> None:
    assert file_system(tmp_path, str(tmp_path / "none")) == ""
