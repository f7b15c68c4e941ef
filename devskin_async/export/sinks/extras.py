"""The libraries that a format needs beyond the package's own."""

from __future__ import annotations

from collections.abc import Mapping

from ... import _extras
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
    _extras.require(file_format, file_format, *_LIBRARIES.get(file_format, ()))
