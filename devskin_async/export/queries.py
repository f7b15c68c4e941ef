"""What a journal knows: its units, their rows and ids."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .files import naming
from .row_files import RowFiles
from .rows import RowId, line_id
from .units import Kept

_OF_SCOPE = "(scope = ? OR scope IN (SELECT adopts FROM units WHERE scope = ?))"
_SELECT = "SELECT id, scope, number, file, offset, length, crc, at, adopts, about FROM units"


class JournalQueries:
    """The questions that a journal answers; none of them changes it.

    Args:
        path: The journal's database, for errors to name.
        connection: The database.
        files: The files of rows beside it.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection, files: RowFiles) -> None:
        self._path = path
        self._connection = connection
        self._files = files

    def note(self, key: str) -> bytes | None:
        """Give what was noted under a key."""
        found = self._rows("SELECT value FROM notes WHERE key = ?", key)
        return next((value for (value,) in found), None)

    def scopes(self) -> list[str]:
        """List the scopes that have units, and which no unit has adopted."""
        found = self._rows(
            "SELECT DISTINCT scope FROM units WHERE scope NOT IN"
            " (SELECT adopts FROM units WHERE adopts IS NOT NULL)"
        )
        return [str(scope) for (scope,) in found]

    def units(self, scope: str) -> list[Kept]:
        """List the units of a scope, by their numbers."""
        found = self._rows(f"{_SELECT} WHERE scope = ? ORDER BY number", scope)
        return list(map(Kept._make, found))

    def count(self, scope: str, about: bytes | None = None) -> int:
        """Count the units of a scope; with `about`, those of which just this is known."""
        return self._count(
            "SELECT count(*) FROM units WHERE scope = ? AND about = coalesce(?, about)",
            scope,
            about,
        )

    def unit(self, scope: str, number: int) -> Kept | None:
        """Give the unit of a number."""
        found = self._rows(f"{_SELECT} WHERE scope = ? AND number = ?", scope, number)
        return next(map(Kept._make, found), None)

    def batches(self, scope: str) -> Iterator[list[bytes]]:
        """Read the rows of a scope, unit by unit, without those that had come before.

        Raises:
            ConfigurationError: The file is not as it was written.
            OSError: The file can't be read.
        """
        for unit in self.units(scope):
            if unit.adopts:
                yield from map(self.lines, self.units(unit.adopts))
            else:
                yield self.lines(unit)

    def lines(self, unit: Kept) -> list[bytes]:
        """Read the rows of one unit, as `batches` does."""
        if not unit.length:
            return []
        data = self._files.read(unit.file, unit.offset, unit.length, unit.crc)
        lines = data.split(b"\n")[:-1]
        repeated = {row for (row,) in self._rows("SELECT id FROM repeated WHERE unit = ?", unit.id)}
        return [line for line in lines if line_id(line) not in repeated] if repeated else lines

    def abouts(self, scope: str) -> dict[bytes, int]:
        """Count what is known of the units of a scope besides their rows."""
        return dict(
            self._rows("SELECT about, count(*) FROM units WHERE scope = ? GROUP BY about", scope)
        )

    def rejected(self, scope: str) -> Iterator[bytes]:
        """Go through the entries of a scope's rejected rows."""
        sql = (
            "SELECT entry FROM rejected JOIN units ON units.id = rejected.unit"  # noqa: S608
            f" WHERE {_OF_SCOPE} AND NOT EXISTS (SELECT 1 FROM repeated"
            " WHERE repeated.unit = rejected.unit AND repeated.id = rejected.id)"
            " ORDER BY number, rejected.rowid"
        )
        found = self._rows(sql, scope, scope)
        return (entry for (entry,) in found)

    def rejected_in(self, scope: str) -> int:
        """Count the rejected rows of a scope."""
        return sum(1 for _ in self.rejected(scope))

    def repeated_in(self, scope: str) -> int:
        """Count the rows of a scope that had come in it before."""
        return self._count(
            f"SELECT count(*) FROM repeated WHERE unit IN (SELECT id FROM units WHERE {_OF_SCOPE})",  # noqa: S608 - the words above
            scope,
            scope,
        )

    def ids(self, scope: str) -> Iterator[RowId]:
        """Go through the ids of a scope."""
        return (row for (row,) in self._rows("SELECT id FROM ids WHERE scope = ?", scope))

    def unit_ids(self, unit: Kept) -> list[RowId]:
        """List the ids that a unit brought, or what it adopted."""
        found = self._rows(
            "SELECT id FROM ids WHERE unit = ? OR scope = ?", unit.id, unit.adopts or ""
        )
        return [row for (row,) in found]

    def distinct(self, scope: str) -> int:
        """Count the ids of a scope."""
        return self._count("SELECT count(*) FROM ids WHERE scope = ?", scope)

    def shared_ids(self, scope: str, other: str) -> int:
        """Count the ids that two scopes have in common."""
        return self._count(
            "SELECT count(*) FROM ids AS a JOIN ids AS b ON a.id = b.id"
            " WHERE a.scope = ? AND b.scope = ?",
            scope,
            other,
        )

    def _rows(self, sql: str, *values: str | int | bytes | None) -> Iterator[Any]:
        with naming(self._path):
            yield from self._connection.execute(sql, values)

    def _count(self, sql: str, *values: str | int | bytes | None) -> int:
        ((count,),) = self._rows(sql, *values)
        return int(count)
