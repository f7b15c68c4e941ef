"""The sink that both databases share: one file, one table a resource."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol, TypeAlias

from attrs import frozen

from ..._columns import Column, Kind, columns
from ..tables import Table
from .base import Merge, Write
from .files import unusable
from .merging import check_mergeable, differences

Types: TypeAlias = Mapping[Kind, str]
# A column's name, its type, whether it is NOT NULL, and whether it is the key.
Declared: TypeAlias = tuple[str, str, bool, bool]

TABLE_INFO = 'SELECT name, type, "notnull", pk FROM pragma_table_info({})'


class Engine(Protocol):
    """A database that is being written."""

    @property
    def types(self) -> Types:
        """The name of each kind of column, as the database itself gives it."""
        ...

    def execute(self, statement: str) -> object:
        """Run a statement."""
        ...

    def declared(self, table: str) -> Sequence[Declared]:
        """Tell what is declared of each column of a table.

        Returns:
            Nothing, where there is no such table.
        """
        ...

    def discard(self, table: Table, merge: Merge) -> None:
        """Delete the rows of a table that a merge does not keep."""
        ...

    def inserting(self, table: Table) -> AbstractContextManager[Write]:
        """Insert rows into a table."""
        ...


@frozen
class DatabaseSink:
    """Writes tables into a database that starts as a copy of the earlier one.

    Args:
        engine: The database.
        base: The earlier database; None where there is none.
    """

    _engine: Engine
    _base: Path | None

    @contextmanager
    def table(self, table: Table, merge: Merge | None = None) -> Iterator[Write]:
        """Write one table; see `Sink`."""
        check_mergeable(table, merge)
        found = self._engine.declared(table.name) if merge and self._base else ()
        if merge and self._base and found:
            types = self._engine.types
            wanted = [_declaration(table, column, types) for column in columns(table.record)]
            if list(found) != wanted:
                reason = differences(_described(found), _described(wanted))
                raise unusable(self._base, f"in its table {table.name} {reason}")
            self._engine.discard(table, merge)
        else:
            self._engine.execute(f"DROP TABLE IF EXISTS {quoted(table.name)}")
            self._engine.execute(_create(table, self._engine.types))
        with self._engine.inserting(table) as write:
            yield write


def quoted(name: str, quote: str = '"') -> str:
    """Write a name so that SQL takes it for one."""
    return quote + name.replace(quote, 2 * quote) + quote


def _declaration(table: Table, column: Column, types: Types) -> Declared:
    key = table.key and column.name == "id"
    return column.name, types[column.kind], not column.optional, key


def _create(table: Table, types: Types) -> str:
    lines = [
        f"{quoted(column.name)} {types[column.kind]}{'' if column.optional else ' NOT NULL'}"
        for column in columns(table.record)
    ]
    if table.key:
        lines.append("PRIMARY KEY (id)")
    return f"CREATE TABLE {quoted(table.name)} ({', '.join(lines)})"


def _described(declared: Sequence[Declared]) -> dict[str, str]:
    return {
        name: f"{kind}{' NOT NULL' * required}{' PRIMARY KEY' * key}"
        for name, kind, required, key in declared
    }
