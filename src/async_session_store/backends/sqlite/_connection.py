"""One SQLite connection: opening it, and running batches of operations in its thread."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from typing import Any, Final, cast

import aiosqlite
from typing_extensions import override

from async_session_store.backends._batches import Job, RunBatch
from async_session_store.backends.sqlite._faults import unavailable
from async_session_store.backends.sqlite._file import FileIdentity, create_private
from async_session_store.backends.sqlite._table import SessionTable
from async_session_store.errors import StoreUnavailableError

_OLDEST_SQLITE: Final = (3, 24, 0)
_SCHEMA_VERSION: Final = 1
_RUN_BATCH: Final = "RUN BATCH"
_PACKAGE: Final = "async_session_store.backends.sqlite"


@dataclass(frozen=True, slots=True)
class Operation:
    """What to do with the table, and whether that changes it."""

    run: Callable[[SessionTable], object]
    writes: bool


@asynccontextmanager
async def connection(
    path: str,
    *,
    synchronous: str,
    busy_timeout: float,
    clock: Callable[[], float],
    max_document_bytes: int,
) -> AsyncGenerator[RunBatch[Operation, object], None]:
    """Open the database, and give the function that runs a batch of operations on it."""
    factory = partial(
        _Connection, synchronous=synchronous, clock=clock, max_document_bytes=max_document_bytes
    )
    try:
        database = await aiosqlite.connect(
            path, timeout=busy_timeout, isolation_level=None, factory=factory
        )
    except (sqlite3.Error, OSError) as error:
        raise unavailable(error) from error
    try:
        yield partial(_run_batch, database)
    finally:
        await database.close()


async def _run_batch(database: aiosqlite.Connection, jobs: list[Job[Operation, object]]) -> None:
    operations = [job.operation for job in jobs]
    try:
        replies = await database.execute_fetchall(_RUN_BATCH, operations)
    except (sqlite3.Error, OSError) as error:
        for job in jobs:
            job.fail(unavailable(error))
        return
    for job, reply in zip(jobs, cast("Iterable[object]", replies), strict=True):
        if isinstance(reply, sqlite3.Error):
            job.fail(unavailable(reply))
        elif isinstance(reply, Exception):
            job.fail(reply)
        else:
            job.succeed(reply)


class _OperationFailedError(Exception):
    """An operation of a batch failed, and the batch was rolled back."""


class _Replies(sqlite3.Cursor):
    """The replies to a batch, as the rows of a cursor."""

    replies: list[object]

    @override
    def fetchall(self) -> list[object]:
        return self.replies


class _Connection(sqlite3.Connection):
    """A connection that runs a whole batch as one statement: in one hop to aiosqlite's thread."""

    def __init__(
        self,
        path: str,
        *arguments: Any,
        synchronous: str,
        clock: Callable[[], float],
        max_document_bytes: int,
        **options: Any,
    ) -> None:
        _check_version()
        create_private(path)
        super().__init__(path, *arguments, **options)
        try:
            self._prepare(synchronous)
        except BaseException:
            self.close()
            raise
        self._file = FileIdentity(path)
        self._table = SessionTable(
            super().execute, clock=clock, max_document_bytes=max_document_bytes
        )

    @override
    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        if sql != _RUN_BATCH:
            return super().execute(sql, parameters)
        cursor = self.cursor(_Replies)
        cursor.replies = self._run_batch(parameters)
        return cursor

    def _prepare(self, synchronous: str) -> None:
        self.execute("PRAGMA journal_mode = WAL")
        self.execute(f"PRAGMA synchronous = {synchronous}")
        self.execute("BEGIN IMMEDIATE")
        (version,) = self.execute("PRAGMA user_version").fetchone()
        if version > _SCHEMA_VERSION:
            raise StoreUnavailableError(
                "the SQLite file was written by a newer version of this library; update it here too"
            )
        if version == 0:
            self._create_schema()
        self.execute("COMMIT")

    def _create_schema(self) -> None:
        if self.execute("SELECT 1 FROM sqlite_master").fetchone():
            raise StoreUnavailableError(
                "the SQLite file holds tables of another application; give this store its own file"
            )
        schema = files(_PACKAGE).joinpath("schema.sql").read_text(encoding="utf-8")
        for statement in schema.split(";"):
            self.execute(statement)
        self.execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")

    def _run_batch(self, operations: list[Operation]) -> list[object]:
        try:
            replies = self._transaction(operations)
        except _OperationFailedError as failure:
            replies = self._run_alone(operations, failure)
        self._file.check()
        return replies

    def _run_alone(
        self, operations: list[Operation], failure: _OperationFailedError
    ) -> list[object]:
        """Give each operation a transaction of its own, so that only those fail that must."""
        if len(operations) == 1:
            return [failure.__cause__]
        return [reply for operation in operations for reply in self._run_batch([operation])]

    def _transaction(self, operations: list[Operation]) -> list[object]:
        writes = any(operation.writes for operation in operations)
        self.execute("BEGIN IMMEDIATE" if writes else "BEGIN")
        try:
            replies = [operation.run(self._table) for operation in operations]
        except Exception as error:
            self._roll_back()
            raise _OperationFailedError from error
        try:
            self.execute("COMMIT")
        except sqlite3.Error:
            self._roll_back()
            raise
        return replies

    def _roll_back(self) -> None:
        # After a full disk, for one, SQLite has rolled back already.
        if self.in_transaction:
            self.execute("ROLLBACK")


def _check_version() -> None:
    if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
        oldest = ".".join(map(str, _OLDEST_SQLITE))
        raise StoreUnavailableError(
            f"SQLite {sqlite3.sqlite_version} is too old; this library needs {oldest} or newer"
        )
