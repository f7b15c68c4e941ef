"""The `devskin` command."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: The command's words; None takes them from the process.

    Returns:
        The exit code: 0, 1 for an error, 2 for a wrong use, 3 where an export is not proven to be
        complete, and 128 + N where signal N ended it.
    """
    try:
        from .app import run
    except KeyboardInterrupt:
        sys.stderr.write("devskin: interrupted\n")
        return 128 + signal.SIGINT
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("cyclopts", "rich"):
            raise
        sys.stderr.write('devskin: the command needs: pip install "devskin-async[cli]"\n')
        return 1
    return run(sys.argv[1:] if argv is None else argv)
