"""Exports in processes of their own, which can be killed.

Run as a program it has everything imported already, and forks a child for each line of JSON that
it reads: a process that can be killed is there within milliseconds.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

READY = "ready"


class Forks:
    """Starts exports, one at a time."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def start(self, **order: Any) -> int:
        """Start an export; what it is given is read by `_export`. Gives the process' id."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order, default=str).encode() + b"\n")
        await self._process.stdin.drain()
        return int(await self.line())

    async def line(self) -> str:
        assert self._process.stdout is not None
        return (await self._process.stdout.readline()).decode().strip()

    async def ended(self) -> int:
        """Wait until the export has ended, and give its exit code; negative for a signal."""
        return int(await self.line())


@asynccontextmanager
async def forking() -> AsyncIterator[Forks]:
    """Have a process that forks exports."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        __name__,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    forks = Forks(process)
    assert await forks.line() == READY
    try:
        yield forks
    finally:
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()


def _main() -> None:
    for name in ("devskin_async.export", "tests.conftest"):
        import_module(name)
    print(READY, flush=True)  # noqa: T201
    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if child == 0:
            os._exit(_run(order))
        print(child, flush=True)  # noqa: T201
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)  # noqa: T201


def _run(order: dict[str, Any]) -> int:
    try:
        asyncio.run(_export(**order))
    except Exception as error:  # noqa: BLE001 - the test sees it
        print(repr(error), file=sys.stderr, flush=True)  # noqa: T201
        return 1
    return 0


async def _export(base_url: str, key: str, out: str, resources: list[Any], **options: Any) -> None:
    from devskin_async import DevSkinClient
    from devskin_async.export import export
    from tests.conftest import AT_ONCE, UNLIMITED

    async with DevSkinClient(key, base_url=base_url, rate_limit=UNLIMITED, retry=AT_ONCE) as store:
        await export(store, resources, out, **options)


if __name__ == "__main__":
    _main()
