"""What an unfinished export has read: a SQLite journal, and the rows in files beside it.

Rows are on the disk before the journal says so; what the journal does not know of is written over
when the export goes on. One process at a time holds a journal.
"""

from __future__ import annotations

import math
import re
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from .database import open_database
from .files import naming
from .queries import JournalQueries
from .row_files import RowFiles
from .rows import rejected_entry
from .units import Unit, is_later_pass
from .work_folder import FOLDER, JOURNAL, WorkFolder

__all__ = ["FOLDER", "Journal"]

_TABLES = {"notes": "", "ids": "unit", "repeated": "unit", "rejected": "unit", "units": "id"}


class Journal(JournalQueries):
    """The journal of one export. Its methods block, and are called by one thread at a time.

    Args:
        out: The export's folder; the journal is found in `FOLDER` in it, or made there.
        fresh: Forget what the journal knows.

    Raises:
        ConfigurationError: Another export holds the journal, or it is none that this version
            can read.
        OSError: It can't be made or read; `filename` says which file.
    """

    def __init__(self, out: Path, *, fresh: bool = False) -> None:
        self.folder: Path = out / FOLDER
        self._ends: dict[str, int] = {}
        self.work: WorkFolder = WorkFolder(self.folder)
        try:
            connection = open_database(self.folder, fresh=fresh)
        except BaseException:
            self.work.close()
            raise
        super().__init__(self.folder / JOURNAL, connection, RowFiles(self.work))
        if fresh:
            self.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the journal; what it knows stays."""
        self._files.close()
        self._connection.close()
        self.work.close()

    def remove(self) -> None:
        """Remove the journal with all that belongs to it; what is not ours stays."""
        known = {str(file) for (file,) in self._rows("SELECT DISTINCT file FROM units")}
        known |= self._ends.keys()
        # Who is killed in between must not leave a journal that knows of files which are gone.
        self.clear()
        self.work.remove(known.__contains__)
        self.close()

    def clear(self) -> None:
        """Forget all that was read."""
        with self._transaction() as connection:
            for table in _TABLES:
                connection.execute(f"DELETE FROM {table}")  # noqa: S608 - the words above
        self._ends.clear()

    def keep(self, units: Iterable[Unit], notes: Mapping[str, bytes] | None = None) -> list[int]:
        """Keep units, all of them or none, and note values under their keys.

        Returns:
            Of each unit, how many of its rows had come in its scope before.

        Raises:
            OSError: The disk is full, or can't be written.
        """
        placed = [(unit, *self._write(unit)) for unit in units]
        self._files.sync({name for _, name, *_ in placed})
        with self._transaction() as connection:
            connection.executemany(
                "INSERT OR REPLACE INTO notes VALUES (?, ?)", (notes or {}).items()
            )
            return [self._insert(connection, *each) for each in placed]

    def drop(self, scope: str, read_between: tuple[float, float] | None = None) -> int:
        """Forget units of a scope, what they adopted, and the ids that they brought.

        Args:
            scope: The scope.
            read_between: Keep the units that were read between these times; None keeps none.

        Returns:
            How many units were forgotten.
        """
        first, last = read_between or (math.inf, math.inf)
        dropped = self._drop(scope, first, last)
        if dropped:
            # What is read again of a pass must not be newer than what the next pass has read.
            for later in self.scopes():
                if is_later_pass(later, scope):
                    dropped += self._drop(later, math.inf, math.inf)
        return dropped

    def _drop(self, scope: str, first: float, last: float) -> int:
        with self._transaction() as connection:
            connection.execute("CREATE TEMP TABLE stale (id INTEGER PRIMARY KEY, adopts TEXT)")
            stale = connection.execute(
                "INSERT INTO stale SELECT id, adopts FROM units"
                " WHERE scope = ? AND (at < ? OR at > ?)",
                (scope, first, last),
            ).rowcount
            if stale:
                # What came again in a unit may have come first in one that is forgotten.
                connection.execute(
                    "INSERT OR IGNORE INTO stale SELECT id, adopts FROM units WHERE scope = ?"
                    " AND (id IN (SELECT unit FROM repeated) OR adopts IN (SELECT scope FROM units"
                    " WHERE id IN (SELECT unit FROM repeated)))",
                    (scope,),
                )
            connection.execute(
                "INSERT OR IGNORE INTO stale SELECT id, NULL FROM units"
                " WHERE scope IN (SELECT adopts FROM stale)"
            )
            for table, column in _TABLES.items():
                if column:
                    connection.execute(
                        f"DELETE FROM {table} WHERE {column} IN (SELECT id FROM stale)"  # noqa: S608
                    )
            (count,) = connection.execute("SELECT count(*) FROM stale").fetchone()
            connection.execute("DROP TABLE stale")
        return int(count)

    def forget(self, key: str) -> None:
        """Forget what was noted under a key."""
        with self._transaction() as connection:
            connection.execute("DELETE FROM notes WHERE key = ?", (key,))

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        connection = self._connection
        with naming(self._path):
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:  # SQLite ends some that fail itself
                    connection.execute("ROLLBACK")
                raise

    def _write(self, unit: Unit) -> tuple[str, int, bytes]:
        """Write a unit's rows into their file, behind all that the journal knows of."""
        name = f"{re.split('[#@]', unit.scope)[0]}.rows"
        data = b"".join(line + b"\n" for line in unit.lines)
        if name not in self._ends:
            self._ends[name] = self._count(
                "SELECT coalesce(max(offset + length), 0) FROM units WHERE file = ?", name
            )
        offset = self._ends[name]
        self._files.write(name, offset, data)
        self._ends[name] = offset + len(data)
        return name, offset, data

    def _insert(
        self, connection: sqlite3.Connection, unit: Unit, file: str, offset: int, data: bytes
    ) -> int:
        place = (unit.scope, unit.number, file, offset, len(data), zlib.crc32(data), unit.at)
        added = connection.execute(
            "INSERT INTO units (scope, number, file, offset, length, crc, at, adopts, about)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (*place, unit.adopts, unit.about),
        ).lastrowid
        entries = [
            (added, row.id, rejected_entry(row.line, row.error)) for row in unit.rows if row.error
        ]
        connection.executemany("INSERT INTO rejected VALUES (?, ?, ?)", entries)
        if unit.adopts:
            return self._adopt(connection, unit.scope, unit.adopts)
        ids = [(unit.scope, row.id, added) for row in unit.rows]
        new = connection.executemany("INSERT OR IGNORE INTO ids VALUES (?, ?, ?)", ids).rowcount
        if new < len(ids):
            connection.executemany(
                "INSERT OR IGNORE INTO repeated"
                " SELECT ?, id FROM ids WHERE scope = ? AND id = ? AND unit <> ?",
                [(added, scope, row, added) for scope, row, _ in ids],
            )
        return len(ids) - max(new, 0)

    def _adopt(self, connection: sqlite3.Connection, scope: str, adopted: str) -> int:
        repeated = connection.execute(
            "INSERT OR IGNORE INTO repeated SELECT a.unit, a.id FROM ids AS a"
            " JOIN ids AS b ON a.id = b.id WHERE a.scope = ? AND b.scope = ?",
            (adopted, scope),
        ).rowcount
        connection.execute(
            "INSERT OR IGNORE INTO ids SELECT ?, id, unit FROM ids WHERE scope = ?",
            (scope, adopted),
        )
        return repeated
