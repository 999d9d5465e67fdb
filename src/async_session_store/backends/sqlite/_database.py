"""The database: opening its file, and running batches of operations in transactions.

Everything here blocks, and runs in one thread.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Final, NamedTuple

from async_session_store.backends.sqlite._claims import ClaimTable
from async_session_store.backends.sqlite._clock import Clock
from async_session_store.backends.sqlite._file import FileIdentity, create_private
from async_session_store.backends.sqlite._table import SessionTable
from async_session_store.errors import StoreUnavailableError

_OLDEST_SQLITE: Final = (3, 24, 0)
_SCHEMA_VERSION: Final = 2
_LOCK_PAUSE: Final = 0.005  # seconds
_SCHEMA: Final = files("async_session_store.backends.sqlite").joinpath("schema")


@dataclass(frozen=True, slots=True)
class Tables:
    """What the database holds."""

    sessions: SessionTable
    claims: ClaimTable


class Operation(NamedTuple):
    """What to do with the tables, and whether that changes them.

    One that is a ``single`` statement needs no transaction around it. Another may have a
    ``shortcut``: one statement that does it all, or else nothing, and then gives None.
    """

    run: Callable[[Tables], object]
    writes: bool
    single: bool = False
    shortcut: Callable[[Tables], object] | None = None


@dataclass(frozen=True, slots=True)
class Settings:
    """How to open a database; times in seconds."""

    path: str
    synchronous: str
    busy_timeout: float
    clock: Callable[[], float]
    max_document_bytes: int


class _OperationFailedError(Exception):
    """An operation of a batch, or its commit, failed; the batch was rolled back."""


class Database:
    """An open database file.

    Opening raises ``sqlite3.Error``, ``OSError``, or ``StoreUnavailableError`` for a file that is
    not this library's, which it leaves as it is.
    """

    def __init__(self, settings: Settings) -> None:
        _check_version()
        create_private(settings.path)
        self._connection = sqlite3.connect(
            settings.path, timeout=settings.busy_timeout, isolation_level=None
        )
        try:
            self._prepare(settings)
        except BaseException:
            self._connection.close()
            raise
        self._file = FileIdentity(settings.path)
        execute, clock = self._connection.execute, Clock(settings.clock)
        sessions = SessionTable(execute, clock, max_document_bytes=settings.max_document_bytes)
        self._tables = Tables(sessions, ClaimTable(execute, clock, sessions))

    def close(self) -> None:
        self._connection.close()

    def run_batch(self, operations: Sequence[Operation]) -> list[object]:
        """Run the operations in one transaction; what each returned, or the exception it raised.

        Raises ``sqlite3.Error`` or ``StoreUnavailableError`` if none of them was carried out.
        """
        replies = self._run_single(operations[0]) if len(operations) == 1 else None
        if replies is None:
            replies = self._run(operations)
        self._file.check()
        return replies

    def _run_single(self, operation: Operation) -> list[object] | None:
        """Run a single statement, which is its own transaction; None if that is not enough."""
        if operation.single:
            return [operation.run(self._tables)]
        reply = operation.shortcut and operation.shortcut(self._tables)
        return None if reply is None else [reply]

    def _run(self, operations: Sequence[Operation]) -> list[object]:
        writes = any(operation.writes for operation in operations)
        try:
            self._connection.execute("BEGIN IMMEDIATE" if writes else "BEGIN")
        except sqlite3.Error as error:
            return self._run_reads(operations, error)
        try:
            return self._finish(operations)
        except _OperationFailedError as failure:
            return self._run_each(operations, failure)

    def _run_each(
        self, operations: Sequence[Operation], failure: _OperationFailedError
    ) -> list[object]:
        """Run each operation alone, so that only those fail that must."""
        if len(operations) == 1:
            return [failure.__cause__]
        replies: list[object] = []
        refused: sqlite3.Error | None = None
        for operation in operations:
            if refused is not None and operation.writes:
                replies.append(refused)
                continue
            try:
                replies += self._run([operation])
            except sqlite3.Error as error:
                # The lock cannot be had now: what writes after this need not wait for it too.
                refused = error
                replies.append(error)
        return replies

    def _run_reads(self, operations: Sequence[Operation], error: sqlite3.Error) -> list[object]:
        """Run what does not need the lock that the error says cannot be had."""
        reads = [operation for operation in operations if not operation.writes]
        if not reads or len(reads) == len(operations):
            raise error
        replies = iter(self._run(reads))
        return [error if operation.writes else next(replies) for operation in operations]

    def _finish(self, operations: Sequence[Operation]) -> list[object]:
        """Run the operations in the transaction that was begun, and end it."""
        try:
            replies = [operation.run(self._tables) for operation in operations]
            self._connection.execute("COMMIT")
        except Exception as error:
            # After a full disk, for one, SQLite has rolled back already.
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise _OperationFailedError from error
        return replies

    def _prepare(self, settings: Settings) -> None:
        execute = self._connection.execute
        execute("BEGIN")
        version = self._check_schema()
        execute("COMMIT")
        self._switch_to_wal(settings.busy_timeout)
        execute(f"PRAGMA synchronous = {settings.synchronous}")
        if version < _SCHEMA_VERSION:
            self._migrate()

    def _switch_to_wal(self, busy_timeout: float) -> None:
        """Switch the journal mode, for which SQLite itself does not wait."""
        give_up_at = time.monotonic() + busy_timeout
        while True:
            try:
                self._connection.execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() >= give_up_at:
                    raise
                time.sleep(_LOCK_PAUSE)
            else:
                return

    def _migrate(self) -> None:
        execute = self._connection.execute
        execute("BEGIN IMMEDIATE")
        for version in range(self._check_schema() + 1, _SCHEMA_VERSION + 1):
            migration = _SCHEMA.joinpath(f"{version}.sql").read_text(encoding="utf-8")
            for statement in _statements(migration):
                execute(statement)
        execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")
        execute("COMMIT")

    def _check_schema(self) -> int:
        """The version of the schema, 0 for a new file, as a transaction sees it."""
        execute = self._connection.execute
        (version,) = execute("PRAGMA user_version").fetchone()
        if version > _SCHEMA_VERSION:
            raise StoreUnavailableError(
                "the SQLite file was written by a newer version of this library; update it here too"
            )
        if version == 0 and execute("SELECT 1 FROM sqlite_master").fetchone():
            raise StoreUnavailableError(
                "the SQLite file holds tables of another application; give this store its own file"
            )
        return int(version)


def _statements(script: str) -> Iterator[str]:
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def _check_version() -> None:
    if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
        oldest = ".".join(map(str, _OLDEST_SQLITE))
        raise StoreUnavailableError(
            f"SQLite {sqlite3.sqlite_version} is too old; this library needs {oldest} or newer"
        )
