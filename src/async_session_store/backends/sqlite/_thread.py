"""The database in a thread of its own: each batch of operations is one hop to it.

A hop costs the loop itself more time than most operations take. So an operation that comes alone
and cannot block runs in the loop's own thread.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import AsyncGenerator, Callable
from contextlib import ExitStack, asynccontextmanager, suppress
from functools import partial
from queue import SimpleQueue
from threading import Thread
from typing import Final, TypeAlias, TypeVar
from weakref import finalize

from async_session_store.backends._batches import InlineRunner
from async_session_store.backends._job_queue import Job
from async_session_store.backends.sqlite._database import Database, Operation
from async_session_store.backends.sqlite._faults import unavailable
from async_session_store.backends.sqlite._schema import Settings
from async_session_store.errors import StoreUnavailableError, StoreUsageError

_MAX_INLINE_TIME: Final = 0.001  # seconds in a row, before other tasks get their turn
_FAULTS: Final = (sqlite3.Error, OSError, StoreUnavailableError, StoreUsageError)

_T = TypeVar("_T")

OperationJob: TypeAlias = "Job[Operation, object]"


@asynccontextmanager
async def open_runner(settings: Settings) -> AsyncGenerator[InlineRunner[Operation, object], None]:
    """Open the database, and yield the runner of its operations."""
    thread, resources = FunctionThread("async-session-store SQLite"), ExitStack()

    def open_database() -> Database:
        database = Database(settings)
        resources.callback(database.close)
        return database

    try:
        try:
            database = await thread.run(open_database)
        except (sqlite3.Error, OSError) as error:
            raise unavailable(error) from error
        yield _DatabaseRunner(thread, database)
    finally:
        # This runs even if the caller was cancelled while the thread opened the database.
        await thread.run_last(resources.close)


class FunctionThread:
    """A thread that runs one function after another, for a loop that awaits their results.

    The thread is a daemon, so a store that was never closed does not keep the interpreter from
    exiting. Nothing is lost with it: every answered write is committed.
    """

    def __init__(self, name: str) -> None:
        self._process = os.getpid()
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        Thread(target=_serve, args=[self._calls], name=name, daemon=True).start()
        # The thread also ends when a store is dropped together with its loop without being closed.
        self._end = finalize(self, self._calls.put, None)
        self._end.atexit = False

    async def run(self, function: Callable[[], _T]) -> _T:
        """Run a function and return its result. It runs to its end even if this is cancelled."""
        return await self._hand_over(function)

    async def run_last(self, function: Callable[[], None]) -> None:
        """Run a function, and end the thread. A forked process has no thread, so nothing runs."""
        if os.getpid() == self._process:
            future = self._hand_over(function)
            self._end()
            await future

    def _hand_over(self, function: Callable[[], _T]) -> asyncio.Future[_T]:
        if os.getpid() != self._process:
            raise StoreUsageError(
                "this process was forked after the store was opened; nothing was done. Close "
                "stores before forking"
            )
        loop = asyncio.get_running_loop()
        future: asyncio.Future[_T] = loop.create_future()
        self._calls.put(partial(_call, function, future, loop))
        return future


def _serve(calls: SimpleQueue[Callable[[], None] | None]) -> None:
    while call := calls.get():
        call()
        del call  # otherwise its references would live until the next call


def _call(
    function: Callable[[], _T], future: asyncio.Future[_T], loop: asyncio.AbstractEventLoop
) -> None:
    """Call a function, and hand its result or exception over to the loop."""
    settle: Callable[[], None]
    try:
        settle = partial(_succeed, future, function())
    except BaseException as error:  # noqa: BLE001  # it is raised where the call is awaited
        settle = partial(_fail, future, error)
    with suppress(RuntimeError):  # the loop is closed, so nobody waits
        loop.call_soon_threadsafe(settle)


def _succeed(future: asyncio.Future[_T], result: _T) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: asyncio.Future[_T], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)


class _DatabaseRunner:
    """Runs batches in SQLite's thread, and a lone short operation in the loop's own thread."""

    def __init__(self, thread: FunctionThread, database: Database) -> None:
        self._thread = thread
        self._database = database
        self._now = asyncio.get_running_loop().time
        self._turn_began_at = self._now()

    def try_run_inline(self, job: OperationJob) -> bool:
        return not self._turn_is_long() and self._try_inline(job)

    async def run_batch(self, jobs: list[OperationJob]) -> None:
        if len(jobs) == 1 and self._try_inline(jobs[0]):
            if self._turn_is_long():
                await self._end_turn()
            return
        operations = [job.operation for job in jobs]
        try:
            replies = await self._thread.run(partial(self._database.run_batch, operations))
        except (sqlite3.Error, OSError) as fault:  # _settle makes an error for each caller
            replies = [fault] * len(jobs)
        for job, reply in zip(jobs, replies, strict=True):
            _settle(job, reply)

    def _try_inline(self, job: OperationJob) -> bool:
        try:
            replies = self._database.try_run_inline(job.operation)
        except _FAULTS as fault:
            replies = [fault]
        for reply in replies:
            _settle(job, reply)
        return bool(replies)

    def _turn_is_long(self) -> bool:
        return self._now() - self._turn_began_at >= _MAX_INLINE_TIME

    async def _end_turn(self) -> None:
        """Let other tasks run. Their calls form the next batch."""
        await asyncio.sleep(0)
        self._turn_began_at = self._now()


def _settle(job: OperationJob, reply: object) -> None:
    if isinstance(reply, (sqlite3.Error, OSError)):
        job.fail(unavailable(reply))
    elif isinstance(reply, Exception):
        job.fail(reply)
    else:
        job.succeed(reply)
