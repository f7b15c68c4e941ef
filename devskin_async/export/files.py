"""Files that appear under their name only when they are whole, and errors that name them."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_SQLITE_ERRORS = {
    sqlite3.SQLITE_FULL: errno.ENOSPC,
    sqlite3.SQLITE_READONLY: errno.EROFS,
    sqlite3.SQLITE_CANTOPEN: errno.EACCES,
    sqlite3.SQLITE_PERM: errno.EACCES,
}


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


def place(made: Path, path: Path) -> None:
    """Put a file that is whole under its name; what stood there before stays until then.

    A link stays, and what it leads to is replaced.

    Args:
        made: The file.
        path: Its name, in a folder that exists.

    Raises:
        OSError: It can't be; `filename` is `path`.
    """
    with naming(path):
        target = _target(path)
        sync(made)
        try:
            made.replace(target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            _place_from_elsewhere(made, target)


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
    """Give the SHA-256 of a file, in hexadecimal."""
    with naming(path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _target(path: Path) -> Path:
    """Tell which file a name is of in the end."""
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not path.is_symlink():
        return path
    target = Path(os.path.realpath(path))
    # Renaming would put a plain file in the place of a device, or of a link of a circle.
    if target.is_symlink() or (target.exists() and not target.is_file()):
        raise OSError(errno.EINVAL, "the link leads to no file")
    return target


def _place_from_elsewhere(made: Path, target: Path) -> None:
    # Always the same name: what a kill leaves is written over by whoever goes on.
    part = target.with_name(f".{target.name}.part")
    try:
        shutil.copyfile(made, part)
        sync(part)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    made.unlink()
