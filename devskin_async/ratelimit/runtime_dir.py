"""The directory of this user's budgets on this machine, which no other user can reach."""

from __future__ import annotations

import os
import stat
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

from .store import StoreUnavailableError

_NAME = "devskin-async"
# File systems shared with other machines: locks are slow or missing there, and clocks differ.
_NETWORK = {"9p", "afs", "beegfs", "ceph", "cifs", "coda", "glusterfs", "gpfs", "lustre", "ncpfs"}
_NETWORK |= {
    "nfs",
    "nfs4",
    "prl_fs",
    "s3fs",
    "smb2",
    "smb3",
    "smbfs",
    "sshfs",
    "vboxsf",
    "virtiofs",
}
_PRIVATE = 0o700
_ADVICE = "set XDG_RUNTIME_DIR to a directory of your own on a local disk"


def budget_directory() -> Path:
    """Return the directory of this user's budgets; create it if it is missing.

    It is never a symbolic link, and no other user can read it or write to it.

    Raises:
        StoreUnavailableError: No such directory can be used.
    """
    reasons = []
    for path in _candidates():
        try:
            _make_own(path)
        except OSError as error:
            reasons.append(f"{path}: {error.strerror or error}")
        except StoreUnavailableError as error:
            reasons.append(str(error))
        else:
            return path
    raise StoreUnavailableError(f"{'; '.join(reasons)}; {_ADVICE}")


def _candidates() -> Iterator[Path]:
    import platformdirs  # not with the package, whose import it would make slower

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns wherever XDG_RUNTIME_DIR is not set
            yield platformdirs.user_runtime_path(_NAME, appauthor=False)
    except (OSError, RuntimeError, LookupError, ValueError):
        pass  # no home directory, or another user's
    user = os.geteuid() if sys.platform != "win32" else "budgets"
    yield Path(tempfile.gettempdir()) / f"{_NAME}-{user}"


def _make_own(path: Path) -> None:
    """Create a directory and its parent if they are missing; check that they are this user's."""
    for directory in (path.parent, path):
        if directory != Path(tempfile.gettempdir()):
            directory.mkdir(mode=_PRIVATE, exist_ok=True)
            _check_own(directory)
    if sys.platform != "win32" and stat.S_IMODE(path.lstat().st_mode) != _PRIVATE:
        path.chmod(_PRIVATE)
    if not os.access(path, os.W_OK | os.X_OK):
        raise StoreUnavailableError(f"{path} is not writable")
    if (kind := file_system(path)).removeprefix("fuse.") in _NETWORK:
        raise StoreUnavailableError(f"{path} is on a network file system ({kind})")


def _check_own(directory: Path) -> None:
    status = directory.lstat()
    if not stat.S_ISDIR(status.st_mode):
        raise StoreUnavailableError(f"{directory} is not a directory")
    if sys.platform == "win32":
        return
    if status.st_uid != os.geteuid():
        raise StoreUnavailableError(f"{directory} belongs to another user")
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise StoreUnavailableError(f"{directory} is writable by other users")


def file_system(path: Path, mounts: str = "/proc/self/mounts") -> str:
    """Return the kind of the file system that a path is on; an empty text if it is not known."""
    try:
        lines = Path(mounts).read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return ""
    found, kind = "", ""
    real = os.path.realpath(path)
    for line in lines:
        _, mounted, this, *_ = line.split(" ")
        mounted = mounted.replace("\\040", " ")
        inside = mounted in ("/", real) or real.startswith(f"{mounted}/")
        if inside and len(mounted) >= len(found):  # a later mount hides an earlier one
            found, kind = mounted, this
    return kind
