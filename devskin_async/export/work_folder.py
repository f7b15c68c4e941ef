"""The folder of an unfinished export: nobody else's, and only what we made is removed."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, get_args

from ..errors import ConfigurationError
from .files import make_folder, naming
from .tables import ORDER_ITEMS, Format, Resource

FOLDER: Final = ".devskin-export"
JOURNAL: Final = "journal.sqlite"
FILES: Final = "files"
PRIVATE: Final = 0o600

NO_FOLLOW: Final[int] = getattr(os, "O_NOFOLLOW", 0)
_OPEN_FOLDER: Final[int] = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | NO_FOLLOW
# With the folder's own descriptor nothing happens in another that was put in its place meanwhile.
_BY_DESCRIPTOR: Final = os.unlink in os.supports_dir_fd and os.listdir in os.supports_fd

_RESOURCES = "|".join(get_args(Resource))
_ENDS = "|".join(get_args(Format))
_OURS = re.compile(
    rf"journal\.sqlite(-wal|-shm|-journal)?|({_RESOURCES}|details)\.rows"
    rf"|manifest\.json|({_RESOURCES})\.rejected\.jsonl"
)
_OURS_IN_FILES = re.compile(
    rf"({_RESOURCES}|{ORDER_ITEMS.name})\.({_ENDS})(\.gz)?"
    r"|export\.(duckdb|sqlite)(\.wal|-wal|-shm|-journal)?"
)
_OURS_IN_TEMPORARY = re.compile(r"duckdb_temp_.*")  # what DuckDB leaves when it is killed
_TEMPORARY = "export.duckdb.tmp"


class WorkFolder:
    """Opens the folder of an export's journal, or makes it.

    Args:
        path: The folder.

    Raises:
        ConfigurationError: A link stands there, or a folder of somebody else's.
        OSError: It can't be made; `filename` says which.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None
        make_folder(path.parent)
        with naming(path), suppress(FileExistsError):
            path.mkdir(0o700)
        with naming(path):
            self._found = path.lstat()
            _check_ours(path, self._found)
            if _BY_DESCRIPTOR:
                self._descriptor = os.open(path, _OPEN_FOLDER)
                with suppress(OSError):  # some file systems have no permissions
                    os.fchmod(self._descriptor, 0o700)
        try:
            self.check()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the folder."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def check(self) -> None:
        """See that the folder's name still leads to it.

        Raises:
            ConfigurationError: Something else was put in its place.
        """
        with naming(self.path):
            found = [self.path.lstat()]
            if self._descriptor is not None:
                found.append(os.fstat(self._descriptor))
        if not all(os.path.samestat(self._found, each) for each in found):
            raise ConfigurationError(f"{self.path} was replaced while an export was using it")

    def open(self, name: str, flags: int) -> int:
        """Open a file of the folder, as `open_private` does."""
        if self._descriptor is None:
            return open_private(self.path / name, flags)
        return open_private(name, flags, self._descriptor)

    def files(self) -> Path:
        """Make the folder for files to be made in, without any that were left in it."""
        self.check()
        path = self.path / FILES
        with naming(path):
            with suppress(FileExistsError):
                path.mkdir(0o700)
            _check_ours(path, path.lstat())
            self._clear_files()
        return path

    def remove(self, own: Callable[[str], bool]) -> None:
        """Remove what we have made, and the folder where nothing else is in it.

        Args:
            own: Says of a name whether the journal knows it for its own.
        """
        with naming(self.path):
            self._clear_files()
            self._remove_folder(FILES)
            # The lock goes last, so that nobody begins in a folder that is being removed.
            names = sorted(self._names(), key=lambda name: name.startswith(JOURNAL))
            for name in names:
                if _OURS.fullmatch(name) or own(name):
                    self._unlink(name)
        with suppress(OSError):  # somebody else's files stay, and so does their folder
            self.path.rmdir()

    def _clear_files(self) -> None:
        self._clear(f"{FILES}/{_TEMPORARY}", _OURS_IN_TEMPORARY)
        self._remove_folder(f"{FILES}/{_TEMPORARY}")
        self._clear(FILES, _OURS_IN_FILES)

    def _clear(self, folder: str, ours: re.Pattern[str]) -> None:
        for name in self._names(folder):
            if ours.fullmatch(name):
                self._unlink(f"{folder}/{name}")

    def _names(self, folder: str = ".") -> list[str]:
        try:
            if self._descriptor is None:
                return [path.name for path in (self.path / folder).iterdir()]
            inner = os.open(folder, _OPEN_FOLDER, dir_fd=self._descriptor)
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            if error.errno == errno.ELOOP:  # a link
                return []
            raise
        try:
            return os.listdir(inner)  # noqa: PTH208 - a descriptor is no path
        finally:
            os.close(inner)

    def _unlink(self, name: str) -> None:
        if self._descriptor is None:
            (self.path / name).unlink(missing_ok=True)
            return
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self._descriptor)

    def _remove_folder(self, name: str) -> None:
        with suppress(OSError):
            if self._descriptor is None:
                (self.path / name).rmdir()
            else:
                os.rmdir(name, dir_fd=self._descriptor)


def open_private(path: Path | str, flags: int, folder: int | None = None) -> int:
    """Open a file that nobody else may read, or make it; a link is not followed.

    Args:
        path: The file.
        flags: As `os.open` takes them.
        folder: The descriptor of the folder that `path` is relative to.

    Raises:
        OSError: It can't be opened, or is no plain file.
    """
    flags |= os.O_CREAT | NO_FOLLOW | getattr(os, "O_NONBLOCK", 0)
    descriptor = os.open(path, flags, PRIVATE, dir_fd=folder)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "not a regular file")  # noqa: TRY301 - it is closed below
        with suppress(OSError, AttributeError):  # some file systems have no permissions
            os.fchmod(descriptor, PRIVATE)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _check_ours(path: Path, found: os.stat_result) -> None:
    if stat.S_ISLNK(found.st_mode):
        raise ConfigurationError(
            f"{path} is a symbolic link; an export deletes its own files there. Remove the link"
            " or choose another folder"
        )
    if not stat.S_ISDIR(found.st_mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    if hasattr(os, "geteuid") and found.st_uid != os.geteuid():
        raise ConfigurationError(f"{path} belongs to another user: give another folder")
