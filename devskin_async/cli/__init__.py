"""The `devskin` command."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence

from .._extras import how_to_install


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
        library = (error.name or "").partition(".")[0]
        if library not in ("cyclopts", "rich"):
            raise
        sys.stderr.write(f"devskin: the command needs {library}: {how_to_install('cli')}\n")
        return 1
    return run(sys.argv[1:] if argv is None else argv)
