"""The database in aiosqlite's thread: each batch of operations is one hop to it.

A hop costs the loop itself more time than most operations take. So one that comes alone, and need
not wait, runs in the loop's own thread.
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

from async_session_store.backends._batches import Job, Runner
from async_session_store.backends.sqlite._database import Database, Operation
from async_session_store.backends.sqlite._faults import unavailable
from async_session_store.backends.sqlite._schema import Settings
from async_session_store.errors import StoreUnavailableError

_LONGEST_TURN: Final = 0.001  # seconds, of calls one after the other
_FAULTS: Final = (sqlite3.Error, OSError, StoreUnavailableError)

_T = TypeVar("_T")

OperationJob: TypeAlias = "Job[Operation, object]"


@asynccontextmanager
async def opened(settings: Settings) -> AsyncGenerator[Runner[Operation, object], None]:
    """Open the database, and give what runs operations on it."""
    # aiosqlite does not wait for its thread when connecting fails. This connection cannot fail;
    # it serves to run functions in the thread, where the database is opened as one of them.
    async with aiosqlite.connect(":memory:", factory=_FunctionRunner) as thread:
        try:
            database = await _run(thread, partial(Database, settings))
        except (sqlite3.Error, OSError) as error:
            raise unavailable(error) from error
        try:
            yield _DatabaseRunner(thread, database)
        finally:
            await _run(thread, database.close)


class _DatabaseRunner:
    """Runs batches in SQLite's thread, and a brief operation that comes alone in the loop's own."""

    def __init__(self, thread: aiosqlite.Connection, database: Database) -> None:
        self._thread = thread
        self._database = database
        self._now = asyncio.get_running_loop().time
        self._turn_began_at = self._now()

    def run_at_once(self, job: OperationJob) -> bool:
        return not self._turn_is_long() and self._try_at_once(job)

    async def run_batch(
        self,
        jobs: list[OperationJob],
        more: Callable[[], list[OperationJob]],  # noqa: ARG002  # it comes into the next transaction
    ) -> None:
        if len(jobs) == 1 and self._try_at_once(jobs[0]):
            if self._turn_is_long():
                await self._end_turn()
            return
        operations = [job.operation for job in jobs]
        try:
            replies = await _run(self._thread, partial(self._database.run_batch, operations))
        except _FAULTS as fault:
            replies = [fault] * len(jobs)
        for job, reply in zip(jobs, replies, strict=True):
            _settle(job, reply)

    def _try_at_once(self, job: OperationJob) -> bool:
        try:
            replies = self._database.run_at_once(job.operation)
        except _FAULTS as fault:
            replies = [fault]
        for reply in replies:
            _settle(job, reply)
        return bool(replies)

    def _turn_is_long(self) -> bool:
        return self._now() - self._turn_began_at >= _LONGEST_TURN

    async def _end_turn(self) -> None:
        """Let others have theirs. What they call for forms the next batch."""
        await asyncio.sleep(0)
        self._turn_began_at = self._now()


def _settle(job: OperationJob, reply: object) -> None:
    if isinstance(reply, (sqlite3.Error, OSError)):
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
