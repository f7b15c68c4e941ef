"""`devskin sandbox keys`: the API keys in a sandbox's file."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

from cyclopts import App, Parameter
from rich.text import Text

from ..errors import ConfigurationError
from .failures import needing_extra
from .options import LocalPath, Whole
from .render import Column, show, stderr, stdout, table, words

if TYPE_CHECKING:
    from ..sandbox import KeyInfo

app: App = App(name="keys", help="Make, list and revoke the API keys in a sandbox's file.")

Database: TypeAlias = Annotated[LocalPath, Parameter(name="--db")]

_COLUMNS: Sequence[Column[KeyInfo]] = (
    Column("ID", lambda key: Text(str(key.id)), "right"),
    Column("Store", lambda key: Text(str(key.store_id)), "right", spare=3),
    Column("Name", lambda key: words(key.name), shrinks=True),
    Column(
        "May read", lambda key: Text("all" if key.only is None else ", ".join(key.only)), spare=2
    ),
    Column("Created", lambda key: Text(key.created_at), spare=1),
    Column("Revoked", lambda key: Text(key.revoked_at or "")),
)


@app.command
def create(name: str, /, *, db: Database, only: str | None = None, store: Whole = 1) -> None:
    """Make a key and print it, this once: only its SHA-256 is kept.

    Example: devskin sandbox keys create nightly --only orders,products --db shop.db

    Args:
        name: What to call it.
        db: The sandbox's file.
        only: The resources it may read, with commas between them; all, if not given.
        store: The id of the store it opens.
    """
    resources = None if only is None else [part.strip() for part in only.split(",")]
    with sandbox_file(db) as connection:
        from ..sandbox import keys

        text = keys.create(connection, store, name, resources)
    show(stdout(), text)
    show(stderr(), "Copy it now: it is shown this once.")


@app.command(name="list")
def list_keys(*, db: Database) -> None:
    """List the keys ever made, the revoked ones too.

    Example: devskin sandbox keys list --db shop.db

    Args:
        db: The sandbox's file.
    """
    with sandbox_file(db) as connection:
        from ..sandbox import keys

        found = keys.list_keys(connection)
    show(stdout(), table(_COLUMNS, found))


@app.command
def revoke(id_or_name: Annotated[str, Parameter(name="ID-OR-NAME")], /, *, db: Database) -> None:
    """Revoke a key: requests with it are refused from now on.

    Example: devskin sandbox keys revoke nightly --db shop.db

    Args:
        id_or_name: The key's id or name, as the list has them.
        db: The sandbox's file.
    """
    with sandbox_file(db) as connection:
        from ..sandbox import keys

        gone = keys.revoke(connection, id_or_name)
    show(stderr(), f"Revoked key {gone.id}, {gone.name}.")


@contextmanager
def sandbox_file(db: Path) -> Iterator[sqlite3.Connection]:
    """Open the sandbox's file that is there already."""
    if not db.is_file():
        # Opening it would make an empty one.
        raise ConfigurationError(
            f"there is no {db}: run devskin sandbox --db {db} first, in another terminal"
        )
    with needing_extra("sandbox"):
        from ..sandbox import open_database
    try:
        with closing(open_database(db)) as connection:
            yield connection
    except sqlite3.Error as error:
        raise ConfigurationError(f"{db}: {error}") from error
