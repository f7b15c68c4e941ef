"""The files that sinks make: their names, and what stands in the errors about them."""

from __future__ import annotations

import errno
import io
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol, TypeVar

from ...errors import ConfigurationError
from ..files import naming
from ..tables import Format

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class _Closable(Protocol):
    def close(self) -> object: ...


_C = TypeVar("_C", bound=_Closable)


def file_name(file_format: Format, table_name: str, *, compress: bool = False) -> str:
    """Name the file that a table is written to; in a database all tables have the same."""
    if file_format in ("duckdb", "sqlite"):
        return f"export.{file_format}"
    return f"{table_name}.{file_format}{'.gz' if compress else ''}"


@contextmanager
def closing(resource: _C) -> Iterator[_C]:
    """Close a resource after the block; if the block raises, its error is the one that counts."""
    try:
        yield resource
    except BaseException:
        with suppress(Exception):
            resource.close()
        raise
    resource.close()


@contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """Write a file that is not there yet.

    Raises:
        OSError: The file can't be made or written; `filename` is `path`.
    """
    with closing(_NamedFile(path)) as raw, closing(io.BufferedWriter(raw)) as file:
        yield file


class _NamedFile(io.FileIO):
    """A new file whose write errors, such as a full disk, say which file they are about."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "xb")
        self._path = path

    def write(self, data: ReadableBuffer, /) -> int:
        with naming(self._path):
            return super().write(data)

    def close(self) -> None:
        with naming(self._path):
            super().close()


def unusable(base: Path, reason: object) -> ConfigurationError:
    """Make the error for an earlier export that nothing can be merged into."""
    lines = str(reason).splitlines() or [""]
    return ConfigurationError(f"{base} can't be merged into: {lines[0]}; --fresh writes it anew")


def unreadable(path: Path, file_format: Format, reason: object) -> OSError:
    """Make the error for a file that is not whole, or not of its format."""
    lines = str(reason).splitlines() or [""]
    return OSError(errno.EIO, f"it can't be read as {file_format}: {lines[0]}", str(path))
