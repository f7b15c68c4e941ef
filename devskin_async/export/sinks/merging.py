"""What a merge asks of a table and of the earlier export."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ..._columns import columns
from ..tables import Table
from .base import Merge, Options


def base_file(options: Options, name: str) -> Path | None:
    """Find the earlier file of a name; None where there is none."""
    path = options.base and options.base / name
    return path if path and path.exists() else None


def check_mergeable(table: Table, merge: Merge | None) -> None:
    """Refuse a merge into a table whose rows have no id or no time.

    Raises:
        ValueError: `merge` is given and the table lacks `id` or `created_at`.
    """
    names = {column.name for column in columns(table.record)}
    if merge is not None and not {"id", "created_at"} <= names:
        raise ValueError(f"merge needs rows with id and created_at, which {table.name} has not")


def differences(found: Mapping[str, str], wanted: Mapping[str, str]) -> str:
    """Say how the columns of an earlier export differ from those that are written now.

    Args:
        found: Each column's declaration in the earlier export, by its name.
        wanted: The same of the columns that are written now.
    """
    parts = [f"it lacks the column {name}" for name in wanted if name not in found]
    parts += [f"it has a column {name} more" for name in found if name not in wanted]
    parts += [
        f"its column {name} is {found[name]} and not {wanted[name]}"
        for name in wanted
        if name in found and found[name] != wanted[name]
    ]
    return ", ".join(parts) or "its columns are in another order"
