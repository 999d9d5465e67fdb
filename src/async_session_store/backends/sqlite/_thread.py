"""The database in aiosqlite's thread: each batch of operations is one hop to it.

A hop takes the loop longer than most operations. So one that comes alone, and need not wait, runs
in the loop's own thread.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final, TypeAlias, TypeVar, cast

import aiosqlite
from typing_extensions import override

from async_session_store.backends._batches import Job, RunBatch
from async_session_store.backends.sqlite._database import Database, Operation
from async_session_store.backends.sqlite._faults import unavailable
from async_session_store.backends.sqlite._schema import Settings

_LONGEST_TURN: Final = 0.001  # seconds

_T = TypeVar("_T")

OperationJob: TypeAlias = "Job[Operation, object]"


@asynccontextmanager
async def opened(settings: Settings) -> AsyncGenerator[RunBatch[Operation, object], None]:
    """Open the database, and give the function that runs a batch of operations on it."""
    # aiosqlite does not wait for its thread when connecting fails. This connection cannot fail;
    # it serves to run functions in the thread, where the database is opened as one of them.
    async with aiosqlite.connect(":memory:", factory=_FunctionRunner) as thread:
        try:
            database = await _run(thread, partial(Database, settings))
        except (sqlite3.Error, OSError) as error:
            raise unavailable(error) from error
        try:
            yield _BatchRunner(thread, database).run_batch
        finally:
            await _run(thread, database.close)


class _BatchRunner:
    """Runs batches in the thread, and a brief operation that comes alone at once."""

    def __init__(self, thread: aiosqlite.Connection, database: Database) -> None:
        self._thread = thread
        self._database = database
        self._now = asyncio.get_running_loop().time
        self._rested_at = self._now()

    async def run_batch(self, jobs: list[OperationJob]) -> None:
        operations = [job.operation for job in jobs]
        try:
            at_once = self._database.run_at_once(operations[0]) if len(jobs) == 1 else []
            replies = at_once or await _run(
                self._thread, partial(self._database.run_batch, operations)
            )
        except (sqlite3.Error, OSError) as error:
            for job in jobs:
                job.fail(unavailable(error))
            return
        for job, reply in zip(jobs, replies, strict=True):
            _settle(job, reply)
        if at_once:
            await self._rest()

    async def _rest(self) -> None:
        """Let others have a turn of the loop now and then; their calls form the next batch."""
        if self._now() - self._rested_at >= _LONGEST_TURN:
            await asyncio.sleep(0)
            self._rested_at = self._now()


def _settle(job: OperationJob, reply: object) -> None:
    if isinstance(reply, sqlite3.Error):
        job.fail(unavailable(reply))
    elif isinstance(reply, Exception):
        job.fail(reply)
    else:
        job.succeed(reply)


async def _run(thread: aiosqlite.Connection, function: Callable[[], _T]) -> _T:
    return cast("_T", await thread.execute_fetchall("", [function]))


class _FunctionRunner(sqlite3.Connection):
    """Its statements are functions, and their result is all that they fetch."""

    @override
    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        (function,) = parameters
        cursor = self.cursor(_Result)
        cursor.result = function()
        return cursor


class _Result(sqlite3.Cursor):
    result: Any

    @override
    def fetchall(self) -> Any:
        return self.result
