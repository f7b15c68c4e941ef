"""How a command that failed ends: one line on stderr, and an exit code."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import cast

from cyclopts import CycloptsError

from ..errors import ConfigurationError, DevSkinError
from .render import printable

FAILED = 1
WRONG_USE = 2

_SIGPIPE = 13  # not among the signals of Windows


class Terminated(BaseException):
    """SIGTERM came."""


@contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """Let SIGTERM end the block as Ctrl-C does: cancelled, through its `finally` blocks.

    Raises:
        Terminated: It did, and the block did not end otherwise.
    """
    loop = asyncio.get_running_loop()
    task = cast(asyncio.Task[object], asyncio.current_task())
    came = asyncio.Event()

    def end() -> None:
        came.set()
        task.cancel()

    # Neither Windows nor another thread has such signals.
    with suppress(NotImplementedError, RuntimeError, ValueError):
        loop.add_signal_handler(signal.SIGTERM, end)
    try:
        yield
    except asyncio.CancelledError:
        if came.is_set():
            raise Terminated from None
        raise
    finally:
        with suppress(NotImplementedError):
            loop.remove_signal_handler(signal.SIGTERM)


@contextmanager
def needing_extra(name: str) -> Iterator[None]:
    """Say which extra to install where an import of the block finds its library missing.

    Args:
        name: The extra of this package.

    Raises:
        ConfigurationError: A library is missing.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"this needs the extra [{name}], and {error.name} is not installed: "
            f'pip install "devskin-async[{name}]"'
        ) from None


def report(error: BaseException, argv: Sequence[str]) -> int:
    """Tell on stderr why a command ended.

    Args:
        error: What ended it.
        argv: The command's words.

    Returns:
        The exit code.
    """
    if isinstance(error, BrokenPipeError | SystemExit):  # rich makes the second of the first
        _drop_output()
        return 128 + _SIGPIPE
    line, code = _explained(error)
    told = f"devskin: {printable(line)}\n"
    if os.environ.get("DEVSKIN_DEBUG"):
        told = "".join(traceback.format_exception(error)) + told
    for key in _keys(argv):
        told = re.sub(rf"(?<!\w){re.escape(key)}(?!\w)", "[the API key]", told)
    sys.stderr.write(told)
    return code


def _explained(error: BaseException) -> tuple[str, int]:
    line, code = str(error), FAILED
    match error:
        case KeyboardInterrupt():
            line, code = "interrupted", 128 + signal.SIGINT
        case Terminated():
            line, code = "terminated", 128 + signal.SIGTERM
        case CycloptsError():
            command = " ".join(("devskin", *(error.command_chain or ())))
            line, code = f"{error} See {command} --help.", WRONG_USE
        case ValueError():
            code = WRONG_USE
        case OSError(strerror=str(reason)):
            line = f"{error.filename}: {reason}" if error.filename else reason
        case _ if not _is_expected(error):
            line = f"unexpected {type(error).__name__}: {error} (DEVSKIN_DEBUG=1 shows where)"
    return line, code


def _is_expected(error: BaseException) -> bool:
    if isinstance(error, DevSkinError | OSError):
        return True
    try:
        from ..sandbox import SandboxError
    except ModuleNotFoundError:
        return False
    return isinstance(error, SandboxError)


def _keys(argv: Sequence[str]) -> Iterator[str]:
    """Find the API keys that a message could repeat, wherever they were misplaced."""
    if key := os.environ.get("DEVSKIN_API_KEY", "").strip():
        yield key
    for word, following in zip(argv, (*argv[1:], ""), strict=True):
        option, _, value = word.partition("=")
        if option == "--api-key" and (key := value or following):
            yield key


def _drop_output() -> None:
    """Send the rest of stdout nowhere, or Python complains of the closed pipe as it exits."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
