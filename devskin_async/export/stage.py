"""The journal as a coroutine sees it: what several readers keep at once is written together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import ParamSpec, Self, TypeVar

from .journal import Journal
from .units import Unit

P = ParamSpec("P")
T = TypeVar("T")


class Stage:
    """Opens a journal in a thread of its own, and closes it with the block.

    Args:
        out: The export's folder.
        fresh: Forget what the journal knows.
    """

    def __init__(self, out: Path, *, fresh: bool = False) -> None:
        self._out = out
        self._fresh = fresh
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="devskin-export")
        self._waiting: list[tuple[Sequence[Unit], asyncio.Future[list[int]]]] = []
        self._notes: dict[str, bytes] = {}
        self._writing: asyncio.Task[None] | None = None
        self.journal: Journal

    async def __aenter__(self) -> Self:
        opening = asyncio.ensure_future(self.run(Journal, self._out, fresh=self._fresh))
        try:
            await _to_the_end(opening)
            self.journal = opening.result()
        except BaseException:
            if not opening.exception():
                await _to_the_end(asyncio.ensure_future(self.run(opening.result().close)))
            self._thread.shutdown(wait=False)
            raise
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if self._writing is not None:
                await asyncio.wait((self._writing,))
        finally:
            # A task of its own: whoever is cancelled again while this waits still closes it.
            try:
                await _to_the_end(asyncio.ensure_future(self.run(self.journal.close)))
            finally:
                self._thread.shutdown(wait=False)

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function in the journal's thread, after what was asked for before."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, lambda: function(*args, **kwargs))

    def note(self, key: str, value: bytes) -> None:
        """Note a value under a key, with the next units that are kept."""
        self._notes[key] = value

    async def keep(self, *units: Unit) -> list[int]:
        """Keep units, all of them or none; they are on the disk when this returns.

        Returns:
            Of each unit, how many of its rows had come in its scope before.

        Raises:
            OSError: The disk is full, or can't be written.
        """
        kept: asyncio.Future[list[int]] = asyncio.get_running_loop().create_future()
        self._waiting.append((units, kept))
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write())
        return await kept

    async def save(self) -> None:
        """Write the notes that no unit has taken along."""
        await self._write()

    async def _write(self) -> None:
        while self._waiting or self._notes:
            waiting, self._waiting = self._waiting, []
            notes, self._notes = self._notes, {}
            units = [unit for several, _ in waiting for unit in several]
            try:
                repeated = iter(await self.run(self.journal.keep, units, notes))
            except Exception as error:
                self._notes = {**notes, **self._notes}
                if not waiting:
                    raise
                for _, kept in waiting:
                    if not kept.done():
                        kept.set_exception(error)
                if not self._waiting:
                    return
                continue
            for several, kept in waiting:
                counts = [next(repeated) for _ in several]
                if not kept.done():
                    kept.set_result(counts)


async def _to_the_end(future: asyncio.Future[T]) -> None:
    """Wait until a future is done, however often this is cancelled meanwhile."""
    cancelled: asyncio.CancelledError | None = None
    while not future.done():
        try:
            await asyncio.shield(future)
        except asyncio.CancelledError as error:
            cancelled = error
    future.result()
    if cancelled is not None:
        raise cancelled
