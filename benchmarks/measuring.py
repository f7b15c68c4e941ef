"""How things are measured: in turn, on a core of their own, beside servers on another."""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from attrs import frozen

from devskin_async import RateLimit

TWO_CORES = (os.cpu_count() or 1) > 1 and hasattr(os, "sched_setaffinity")
CLIENT_CORE, SERVER_CORE = (0, 1) if TWO_CORES else (None, None)
MIB = 1 << 20
# More than any client here can send; a short window, so that little of it is remembered.
LIFTED = RateLimit(100_000, 1, burst=100_000, reserve=0)


def pin(core: int | None) -> None:
    """Keep this process on a core; None leaves it free."""
    if core is not None:
        os.sched_setaffinity(0, {core})


def prepare() -> None:
    """Bring this process into the state in which all that is compared is measured.

    It is pinned, and glibc's allocator keeps large buffers: it gives the first ones back to the
    system each time, until one has been freed, and who comes first would pay for that.
    """
    pin(CLIENT_CORE)
    buffer = bytearray(MIB)
    del buffer


def rounds_asked(name: str, doc: str | None, usual: int) -> int:
    """Read the command line of a benchmark that takes only a number of rounds."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=doc)
    text = f"measurements of each ({usual}); with another number nothing is kept"
    parser.add_argument("--rounds", type=int, default=usual, help=text)
    rounds: int = parser.parse_args().rounds
    return rounds


def in_turn(measures: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Measure all in each round, each round from the next one on, after one that does not count."""
    found: dict[str, list[float]] = {name: [] for name in measures}
    names = list(measures)
    for again in range(rounds + 1):
        first = again % len(names)
        for name in names[first:] + names[:first]:
            gc.collect()
            took = measures[name]()
            if again:
                found[name].append(took)
    return found


def cpu_seconds(main: Callable[[], Awaitable[object]]) -> float:
    """Give the CPU time that this process takes for a coroutine, on a new event loop."""

    async def timed() -> float:
        start = time.process_time()
        await main()
        return time.process_time() - start

    return asyncio.run(timed())


@frozen
class Server:
    """A server that prints its port, and serves until its standard input ends."""

    process: subprocess.Popen[str]
    port: int

    @property
    def base_url(self) -> str:
        """Where a page server's API is."""
        return f"http://127.0.0.1:{self.port}/api/v1"

    @property
    def busy(self) -> float:
        """The CPU seconds that it has taken."""
        try:
            stat = Path(f"/proc/{self.process.pid}/stat").read_text()
        except OSError:
            return 0.0
        fields = stat.rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def end(self) -> str:
        """End it, and give what it says at last."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        return self.process.stdout.read()


@contextmanager
def serving(module: str, *arguments: str) -> Iterator[Server]:
    """Have a server of `benchmarks` run meanwhile, on a core of its own."""
    command = [sys.executable, "-m", f"benchmarks.{module}", *arguments]
    command += [] if SERVER_CORE is None else ["--core", str(SERVER_CORE)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield Server(process, int(process.stdout.readline()))
        finally:
            process.stdin.close()
