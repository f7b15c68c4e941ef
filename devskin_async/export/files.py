"""Files that appear under their name only when they are whole, and errors that name them."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_SQLITE_ERRORS = {
    sqlite3.SQLITE_FULL: errno.ENOSPC,
    sqlite3.SQLITE_READONLY: errno.EROFS,
    sqlite3.SQLITE_CANTOPEN: errno.EACCES,
    sqlite3.SQLITE_PERM: errno.EACCES,
}

_KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
# `Path` makes one slash of two. A single letter before the colon is a drive of Windows.
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")


def check_folder_name(folder: Path | str, name: str = "out") -> Path:
    """Check a folder that files are to be written to, or read from.

    Args:
        folder: The folder, as it was given.
        name: What it is called in the error.

    Raises:
        ValueError: It is empty, `-`, an address such as `s3://…`, begins with a `~` that nobody
            has expanded, or can be no path at all.
    """
    text = os.fspath(folder)
    if not text:
        raise ValueError(f"{name} must not be empty")
    if text == "-":
        raise ValueError(f"{name} must be a folder, not '-': an export is several files")
    if _ADDRESS.match(text):
        raise ValueError(f"{name} must be a folder on this machine, not {text!r}")
    if text == "~" or text.startswith("~/"):
        raise ValueError(
            f"{name} must be a folder, and '~' is not expanded in {text!r}:"
            " use Path(...).expanduser()"
        )
    if "\0" in text:
        raise ValueError(f"{name} must be a folder, not {text!r}")
    return Path(folder)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Let an error of the block be an `OSError` that names a file or folder.

    Raises:
        OSError: The block raised one, or SQLite failed in it; `filename` is `path`.
    """
    try:
        yield
    except OSError as error:
        number = error.errno or errno.EIO
        raise OSError(number, error.strerror or str(error), str(path)) from error
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        number = _SQLITE_ERRORS.get(code, errno.EIO)
        reason = os.strerror(number) if code in _SQLITE_ERRORS else str(error)
        raise OSError(number, reason, str(path)) from error


def make_folder(folder: Path) -> None:
    """Make a folder with those above it, where they are missing.

    Raises:
        OSError: It can't be made, or something else stands there; `filename` is `folder`.
    """
    with naming(folder):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except FileExistsError:
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)) from None


def place(made: Path, path: Path, mode: int | None = None) -> None:
    """Put a file that is whole under its name; what stood there before stays until then.

    A link that stands there is replaced, and what it leads to is left alone: somebody else may
    have put it there. The file keeps the permissions of one that it replaces.

    Args:
        made: The file.
        path: Its name, in a folder that exists.
        mode: The permissions of a file that replaces none; None leaves them as they are.

    Raises:
        OSError: It can't be; `filename` is `path`.
    """
    with naming(path):
        there = _status(path)
        if there is not None and stat.S_ISDIR(there.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if there is not None and stat.S_ISREG(there.st_mode):
            mode = stat.S_IMODE(there.st_mode) & 0o777
        if mode is not None:
            with suppress(OSError):  # some file systems have no permissions
                made.chmod(mode)
        sync(made)
        try:
            made.replace(path)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            _place_from_elsewhere(made, path)


def write_whole(path: Path, data: bytes, work: Path) -> None:
    """Write a small file, which appears when it is whole.

    Args:
        path: Its name, in a folder that exists.
        data: What it has.
        work: A folder to write it in; what a kill leaves there is its owner's to clear.

    Raises:
        OSError: It can't be written; `filename` is `path`.
    """
    made = work / path.name
    try:
        with naming(path):
            made.write_bytes(data)
        place(made, path)
    finally:
        made.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Wait until a file is on the disk."""
    with path.open("r+b") as file:
        os.fsync(file.fileno())


def digest(path: Path) -> str:
    """Give the SHA-256 of a file, in hexadecimal.

    Raises:
        OSError: It can't be read, or is no plain file; `filename` is `path`.
    """
    check_plain(path)
    with naming(path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_plain(path: Path) -> None:
    """See that a path is of a file: to open a pipe waits for ever, and a device never ends.

    Raises:
        OSError: It is something else, or is not there; `filename` is `path`.
    """
    with naming(path):
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not stat.S_ISREG(mode):
            kind = _KINDS.get(stat.S_IFMT(mode), "something else")
            raise OSError(errno.EINVAL, f"{kind}, not a regular file")


def _status(path: Path) -> os.stat_result | None:
    """Give what stands under a name, a link itself; None where nothing does."""
    try:
        return path.lstat()
    except FileNotFoundError:
        return None


def _place_from_elsewhere(made: Path, target: Path) -> None:
    # Always the same name: what a kill leaves is written over by whoever goes on.
    part = target.with_name(f".{target.name}.part")
    part.unlink(missing_ok=True)  # or else a link of that name would be followed
    try:
        shutil.copyfile(made, part)
        with suppress(OSError):
            shutil.copymode(made, part)
        sync(part)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    made.unlink()
