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
from typing import TypeVar, cast
from urllib.parse import unquote

from cyclopts import CycloptsError

from .._extras import how_to_install
from ..errors import ConfigurationError, DevSkinError, InconsistentListError
from ..paging import PageNote
from . import usage
from .render import printable

N = TypeVar("N", bound=str)

FAILED = 1
WRONG_USE = 2
UNPROVEN = 3

_SIGPIPE = 13  # not among the signals of Windows

_ENDS = {"SIGTERM": "terminated", "SIGHUP": "hung up"}

_KEY, _SECRET = "the API key", "the webhook secret"
_SECRET_VARIABLES = {"DEVSKIN_API_KEY": _KEY, "DEVSKIN_WEBHOOK_SECRET": _SECRET}
_SECRET_OPTIONS = {
    "--api-key": _KEY,
    "--key": _KEY,
    "--token": _KEY,
    "--secret": _SECRET,
    "--webhook-secret": _SECRET,
    "--proxy": "the proxy's password",
    "--budget": "the budget's password",
}
_WITH_PASSWORD = ("--proxy", "--budget")  # addresses that can have one


class Hint(str):
    """What somebody may do about an error: a note of it, told in a line below."""

    __slots__ = ()


class Terminated(BaseException):
    """A signal came that ends the command; its name is the argument."""


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the block as Ctrl-C does, through its `finally` blocks.

    Raises:
        Terminated: One did, and the block did not end otherwise.
    """
    loop = asyncio.get_running_loop()
    task = cast(asyncio.Task[object], asyncio.current_task())
    came: list[str] = []

    def end(name: str) -> None:
        came.append(name)
        task.cancel()

    # Neither Windows nor another thread has such signals.
    numbers = {name: getattr(signal, name) for name in _ENDS if hasattr(signal, name)}
    with suppress(NotImplementedError, RuntimeError, ValueError):
        for name, number in numbers.items():
            loop.add_signal_handler(number, end, name)
    try:
        yield
    except asyncio.CancelledError:
        if came:
            raise Terminated(came[0]) from None
        raise
    finally:
        with suppress(NotImplementedError):
            for number in numbers.values():
                loop.remove_signal_handler(number)


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
            f"this needs {error.name}, which is not installed: {how_to_install(name)}"
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
    line += "".join(f" ({note})" for note in _notes(error, PageNote))
    told = "".join(f"{printable(each)}\n" for each in (f"devskin: {line}", *_hints(error)))
    if os.environ.get("DEVSKIN_DEBUG"):
        told = "".join(traceback.format_exception(error)) + told
    for secret, name in _secrets(argv):
        told = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", f"[{name}]", told)
    sys.stderr.write(told)
    return code


def _explained(error: BaseException) -> tuple[str, int]:
    line, code = str(error), FAILED
    match error:
        case KeyboardInterrupt():
            line, code = "interrupted", 128 + signal.SIGINT
        case Terminated():
            line, code = _ENDS[str(error)], 128 + getattr(signal, str(error))
        case CycloptsError():
            line, code = usage.explained(error), WRONG_USE
        case ValueError():
            code = WRONG_USE
        case InconsistentListError():
            code = UNPROVEN
        case OSError(strerror=str(reason)):
            line = f"{error.filename}: {reason}" if error.filename else reason
        case _ if not _is_expected(error):
            what = f"{type(error).__name__}: {error}".removesuffix(": ")
            line = f"unexpected {what} (DEVSKIN_DEBUG=1 shows where)"
    return line, code


def _hints(error: BaseException | None) -> Iterator[Hint]:
    """Find the hints of an error; a signal's own error follows on the one that has them."""
    while error is not None:
        yield from _notes(error, Hint)
        error = error.__context__


def _notes(error: BaseException, kind: type[N]) -> Iterator[N]:
    return (note for note in getattr(error, "__notes__", ()) if isinstance(note, kind))


def _is_expected(error: BaseException) -> bool:
    if isinstance(error, DevSkinError | OSError):
        return True
    try:
        from ..sandbox import SandboxError
    except ModuleNotFoundError:
        return False
    return isinstance(error, SandboxError)


def _secrets(argv: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Find what a message could repeat and must not, wherever it was misplaced, and its name."""
    for variable, name in _SECRET_VARIABLES.items():
        if secret := os.environ.get(variable, "").strip():
            yield secret, name
    yield from _passwords(os.environ.get("DEVSKIN_BUDGET", ""), "--budget")
    for word, following in zip(argv, (*argv[1:], ""), strict=True):
        option, _, value = word.partition("=")
        secret = value or following
        if option in _WITH_PASSWORD:
            yield from _passwords(secret, option)
        elif option in _SECRET_OPTIONS and secret:
            yield secret, _SECRET_OPTIONS[option]


def _passwords(address: str, option: str) -> Iterator[tuple[str, str]]:
    """Cut the password out of an address, as it was typed and as it is sent."""
    login, _, _ = address.rpartition("@")
    _, _, password = login.split("://", 1)[-1].partition(":")
    for secret in {password, unquote(password)} - {""}:
        yield secret, _SECRET_OPTIONS[option]


def _drop_output() -> None:
    """Send the rest of stdout nowhere, or Python complains of the closed pipe as it exits."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
