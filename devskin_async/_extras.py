"""The libraries that a part needs beyond the package's own."""

from __future__ import annotations

import importlib

from .errors import ConfigurationError


def how_to_install(extra: str) -> str:
    """Say how to install the libraries of an extra, wherever the package itself came from."""
    return (
        f'python -m pip install ".[{extra}]" in a checkout, or "devskin-async[{extra}]" from an '
        "index"
    )


def require(what: str, extra: str, *libraries: str) -> None:
    """See that the libraries of an extra are installed.

    Args:
        what: What needs them, for the message.
        extra: The extra of the package that installs them.
        libraries: The modules.

    Raises:
        ConfigurationError: One is not installed; the message says how to get it.
    """
    for library in libraries:
        try:
            importlib.import_module(library)
        except ModuleNotFoundError as error:
            if error.name != library:
                raise
            raise ConfigurationError(f"{what} needs {library}: {how_to_install(extra)}") from None
