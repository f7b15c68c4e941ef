"""Files that appear under their name only when they are whole."""

from __future__ import annotations

import asyncio
import errno
import io
import os
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


@asynccontextmanager
async def whole_file(path: Path) -> AsyncIterator[BinaryIO]:
    """Write a file beside its name, and rename it into place when the block is done.

    What stood under the name before stays until then. If the block raises, or is cancelled,
    what was written is removed. A link stays, and what it leads to is written.

    Args:
        path: The name. Missing folders above it are made.

    Yields:
        A file to write to.

    Raises:
        OSError: The file can't be written; `filename` is `path`, or the folder in its way.
    """
    _make_folder(path.parent)
    target = _target(path)
    # The name is drawn, so that two exports into one folder can't write into each other's file.
    part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    with _naming(path):
        raw = _NamedFile(part, path)
    try:
        with io.BufferedWriter(raw) as file:
            yield file
        with _naming(path):
            await asyncio.to_thread(_sync, part)
            part.replace(target)
    finally:
        part.unlink(missing_ok=True)


class _NamedFile(io.FileIO):
    """A new file whose write errors, such as a full disk, say which file they are about."""

    def __init__(self, part: Path, path: Path) -> None:
        super().__init__(part, "xb")
        self._path = path

    def write(self, data: ReadableBuffer, /) -> int:
        with _naming(self._path):
            return super().write(data)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Let an `OSError` name the file that was asked for: the one beside it is gone by then."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


def _target(path: Path) -> Path:
    """Tell which file a name is of in the end."""
    if not path.is_symlink():
        return path
    target = Path(os.path.realpath(path))
    # Renaming would put a plain file in the place of a device, or of a link of a circle.
    if target.is_symlink() or (target.exists() and not target.is_file()):
        raise OSError(errno.EINVAL, "the link leads to no file", str(path))
    return target


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        reason = os.strerror(errno.ENOTDIR)
        raise NotADirectoryError(errno.ENOTDIR, reason, str(folder)) from None


def _sync(path: Path) -> None:
    """Wait until a file is on the disk.

    It has a descriptor of its own: a cancelled export closes and removes its file while this
    runs on in its thread.
    """
    with path.open("r+b") as file:
        os.fsync(file.fileno())
