"""Preparing a database file: checking whose it is, enabling its WAL, and migrating its tables."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Final

from async_session_store._deliveries import delivery_digest
from async_session_store.backends._resources import read_resource
from async_session_store.backends.sqlite._faults import is_locked
from async_session_store.backends.sqlite._place import IN_MEMORY
from async_session_store.errors import StoreUnavailableError

OLDEST_SQLITE: Final = (3, 24, 0)
LATEST: Final = 6
_STAMPED_SINCE: Final = 3  # the first version that sets the application id
APPLICATION_ID: Final = 0x73657373
_LOCK_PAUSE: Final = 0.005  # seconds


@dataclass(frozen=True, slots=True)
class Settings:
    """How to open a database. Times are in seconds."""

    path: str
    synchronous: str
    busy_timeout: float
    clock: Callable[[], float]
    max_document_bytes: int


def check_sqlite() -> None:
    """Raise ``StoreUnavailableError`` if SQLite itself is too old."""
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        oldest = ".".join(map(str, OLDEST_SQLITE))
        raise StoreUnavailableError(
            f"SQLite {sqlite3.sqlite_version} is too old; this library needs {oldest} or newer"
        )


def prepare(connection: sqlite3.Connection, settings: Settings) -> None:
    """Prepare an open file for use.

    Raises ``sqlite3.Error``, or ``StoreUnavailableError`` for a file that does not belong to this
    library, which stays as it is.
    """
    connection.execute("BEGIN")
    version = read_version(connection)
    connection.execute("COMMIT")
    _enable_wal(connection, settings.busy_timeout)
    connection.execute(f"PRAGMA synchronous = {settings.synchronous}")
    if version < LATEST:
        _migrate(connection)


def record_file(connection: sqlite3.Connection, inode: int) -> None:
    """Record a file's inode in the file, and checkpoint, so that it can be read without the WAL."""
    recorded = connection.execute("SELECT inode FROM file").fetchall()
    if recorded == [(str(inode),)]:
        return
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("DELETE FROM file")
    connection.execute("INSERT INTO file VALUES (?)", (str(inode),))
    connection.execute("COMMIT")
    connection.execute("PRAGMA wal_checkpoint").close()


def read_version(connection: sqlite3.Connection) -> int:
    """Return the version of the schema, 0 for a new file. Refuse a file that is not ours."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application == APPLICATION_ID and version > LATEST:
        raise StoreUnavailableError(
            "the SQLite file was written by a newer version of this library; update it here too"
        )
    if application != APPLICATION_ID and (
        application or version >= _STAMPED_SINCE or _tables(connection) != _tables_of(version)
    ):
        raise StoreUnavailableError(
            "the SQLite file belongs to another application; give this store its own file"
        )
    return int(version)


def _tables(connection: sqlite3.Connection) -> dict[str, list[object]]:
    """Return the columns of each table."""
    names = connection.execute(
        "SELECT name FROM sqlite_master"
        " WHERE type <> 'index' AND name NOT LIKE 'sqlite@_%' ESCAPE '@'"
    )
    return {
        name: connection.execute("SELECT * FROM pragma_table_info(?)", (name,)).fetchall()
        for (name,) in names.fetchall()
    }


def _tables_of(version: int) -> dict[str, list[object]]:
    """Return the columns that each table has in a version of the schema."""
    with closing(sqlite3.connect(IN_MEMORY, isolation_level=None)) as database:
        _run_migrations(database, 0, version)
        return _tables(database)


def _enable_wal(connection: sqlite3.Connection, busy_timeout: float) -> None:
    """Enable the WAL. SQLite itself does not wait for the lock that this takes."""
    give_up_at = time.monotonic() + busy_timeout
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if not is_locked(error) or time.monotonic() >= give_up_at:
                raise
            time.sleep(_LOCK_PAUSE)
        else:
            return


def _migrate(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN IMMEDIATE")
    _run_migrations(connection, read_version(connection), LATEST)
    connection.execute(f"PRAGMA user_version = {LATEST}")
    connection.execute("COMMIT")


def _run_migrations(connection: sqlite3.Connection, since: int, until: int) -> None:
    connection.create_function("delivery_digest", 2, delivery_digest)
    for version in range(since + 1, until + 1):
        migration = read_resource("async_session_store.backends.sqlite", "schema", f"{version}.sql")
        for statement in _statements(migration):
            connection.execute(statement)


def _statements(script: str) -> Iterator[str]:
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
