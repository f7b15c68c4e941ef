"""The command line as a whole: its commands, and how each of them ends."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from io import TextIOWrapper
from pathlib import Path
from typing import TextIO

from cyclopts import App

from .._version import __version__
from . import budget, export, read, sandbox, sync, webhooks
from .failures import report

_EXAMPLES = """\
Try it without a key, on made-up data:

  devskin overview --sandbox
  devskin revenue --period 90d --sandbox
  devskin export all --sandbox --out export

Your own store, with a key from its Settings page:

  export DEVSKIN_API_KEY=...
  devskin orders --status paid --date-from 2026-01-14
  devskin orders --json | jq .total
  devskin export orders customers --out export --format parquet
  devskin sync --out copy

Its webhooks, with an endpoint's secret in DEVSKIN_WEBHOOK_SECRET:

  devskin webhooks listen --forward-to http://localhost:8000/webhooks

Each command has its own --help.

Exit codes:

  0    done
  1    failed; one line says what
  2    wrong usage; one line says what is expected
  3    done, but the data may be incomplete, or rows were set aside
  129  ended by SIGHUP, as when the terminal was closed
  130  ended by Ctrl-C
  141  the program reading the output stopped reading
  143  ended by SIGTERM
"""


def make_app() -> App:
    """Put the commands together."""
    app = App(
        name="devskin",
        help="Read a DevSkin Marketplace store, within its rate limit.",
        help_epilogue=_EXAMPLES,
        help_format="plaintext",
        version=f"devskin {__version__}",
        version_flags=("--version", "-V"),
        suppress_keyboard_interrupt=False,
    )
    for command in (
        read.overview,
        read.revenue,
        read.orders,
        read.order,
        read.products,
        read.customers,
    ):
        app.command(command, help_epilogue="")
    app.command(export.app)
    app.command(sync.sync, help_epilogue="", usage="Usage: devskin sync [RESOURCE...] [OPTIONS]")
    app.command(budget.budget, help_epilogue="")
    app.command(webhooks.app)
    app.command(sandbox.app)
    return app


def _spelled_out(argv: Sequence[str]) -> list[str]:
    """Take the words that other programs have for --help and --version."""
    match list(argv):
        case ["help", *command]:
            return [*command, "--help"]
        case ["version"]:
            return ["--version"]
        case others:
            return others


def _nowhere() -> TextIO:
    """Stand in for a stream that was closed before the command began."""
    return Path(os.devnull).open("w", encoding="utf-8")


def run(argv: Sequence[str]) -> int:
    """Run one command and say on stderr how it failed, if it did.

    Args:
        argv: The command's words.

    Returns:
        The exit code: the command's own, where it ends with one.
    """
    # Retries are logged, and what nobody handles would be printed through the progress bars.
    logging.getLogger().addHandler(logging.NullHandler())
    sys.stdout = sys.stdout or _nowhere()
    sys.stderr = sys.stderr or _nowhere()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # a name that the terminal can't show is no error
    try:
        ended = make_app()(
            _spelled_out(argv),
            print_error=False,
            exit_on_error=False,
            result_action="return_value",
        )
        sys.stdout.flush()
    except BaseException as error:  # noqa: BLE001 - no traceback reaches the user
        return report(error, argv)
    return ended if isinstance(ended, int) else 0
