"""The libraries that a format needs beyond the package's own."""

from __future__ import annotations

import importlib
from collections.abc import Mapping

from ...errors import ConfigurationError
from ..tables import Format

_LIBRARIES: Mapping[Format, tuple[str, ...]] = {
    "parquet": ("pyarrow",),
    "duckdb": ("duckdb", "pyarrow"),
}


def require(file_format: Format) -> None:
    """See that a format can be written here.

    Raises:
        ConfigurationError: A library is not installed; the message says how to get it.
    """
    for library in _LIBRARIES.get(file_format, ()):
        try:
            importlib.import_module(library)
        except ModuleNotFoundError as error:
            if error.name != library:
                raise
            raise ConfigurationError(
                f'{file_format} needs {library}: pip install "devskin-async[{file_format}]"'
            ) from None
