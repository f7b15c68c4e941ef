"""The libraries that a part needs beyond the package's own."""

from __future__ import annotations

import importlib

from .errors import ConfigurationError


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
            raise ConfigurationError(
                f'{what} needs {library}: pip install "devskin-async[{extra}]"'
            ) from None
