"""The files beside a journal that hold its rows."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable
from typing import Final

from ..errors import ConfigurationError
from .files import naming
from .work_folder import WorkFolder

O_BINARY: Final[int] = getattr(os, "O_BINARY", 0)  # Windows would translate line ends


class RowFiles:
    """Writes and reads pieces of files; where each piece lies is for the journal to know.

    Args:
        work: Where the files are.
    """

    def __init__(self, work: WorkFolder) -> None:
        self._folder = work.path
        self._work = work
        self._open: dict[str, int] = {}

    def write(self, name: str, offset: int, data: bytes) -> None:
        """Write a piece; it is on the disk after `sync`.

        Raises:
            OSError: The disk is full, or can't be written; `filename` is the file.
        """
        path = self._folder / name
        with naming(path):
            if name not in self._open:
                self._open[name] = self._work.open(name, os.O_RDWR | O_BINARY)
            os.lseek(self._open[name], offset, os.SEEK_SET)
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(self._open[name], rest) :]

    def sync(self, names: Iterable[str]) -> None:
        """Wait until what was written is on the disk."""
        for name in names:
            with naming(self._folder / name):
                os.fsync(self._open[name])

    def read(self, name: str, offset: int, length: int, crc: int) -> bytes:
        """Read a piece.

        Raises:
            ConfigurationError: The file is not as it was written.
            OSError: It can't be read; `filename` is the file.
        """
        path = self._folder / name
        with naming(path), path.open("rb") as file:
            file.seek(offset)
            data = file.read(length)
        if zlib.crc32(data) != crc:
            raise ConfigurationError(f"{path} is damaged: --fresh reads everything anew")
        return data

    def close(self) -> None:
        """Let go of the files."""
        while self._open:
            os.close(self._open.popitem()[1])
