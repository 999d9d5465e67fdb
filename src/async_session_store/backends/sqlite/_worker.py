"""The calls of an event loop on a database: batch by batch in a thread of its own, or inline.

Calls that arrive while a batch runs form the next one. All that happens in the loop are callbacks
and no tasks, so the loop, asyncio's or trio's, has nothing to cancel when it ends. A cancelled call
that has not begun is dropped; one that has begun finishes without its caller.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Final, Protocol, TypeAlias, TypeVar

import anyio

from async_session_store._captured import Captured
from async_session_store._running_loop import Future, RunningLoop, set_exception, set_result
from async_session_store._waking import outlast
from async_session_store.backends._job_queue import Job, JobQueue, copy_for_caller
from async_session_store.backends.sqlite._database import Operation
from async_session_store.backends.sqlite._faults import unavailable
from async_session_store.backends.sqlite._thread import CallThread
from async_session_store.errors import (
    StoreUnavailableError,
    StoreUsageError,
    closed_before_begun,
    cut_off,
)

CLOSE_TIMEOUT: Final = 30.0  # seconds
_MAX_IN_FLIGHT: Final = 256  # calls in one transaction
_MAX_BYTES_IN_FLIGHT: Final = 4 * 1024 * 1024
_MAX_INLINE_TIME: Final = 0.001  # seconds in a row, before other tasks get their turn
_FAULTS: Final = (sqlite3.Error, OSError, StoreUnavailableError, StoreUsageError)

_T = TypeVar("_T")
_Job: TypeAlias = "Job[Operation, object]"


class OpenDatabase(Protocol):
    """What the worker needs of a database. Only one thread at a time may use it."""

    def run_batch(self, operations: Sequence[Operation], /) -> list[object]:
        """Run the operations. Return each one's result or exception."""
        ...

    def try_run_inline(self, operation: Operation, /) -> list[object]:
        """Run an operation like a batch of one. Return no results if it would have to wait."""
        ...

    def close(self) -> None: ...


async def open_worker(open_database: Callable[[], OpenDatabase]) -> DatabaseWorker:
    """Open a database in a thread of its own. If this is cancelled, close it again."""
    loop, resources = RunningLoop(), ExitStack()
    thread = CallThread(loop, "async-session-store SQLite", at_end=resources.close)
    opened = loop.new_future()
    thread.call(partial(_open, open_database, resources), partial(_settle_future, opened))
    try:
        return DatabaseWorker(loop, thread, await opened)
    except GeneratorExit:  # nothing can wait here: dropping the thread closes what it opens
        raise
    except BaseException as error:
        closed = anyio.Event()
        thread.end(lambda _: closed.set())
        await outlast(closed, CLOSE_TIMEOUT)
        if isinstance(error, (sqlite3.Error, OSError)):
            raise unavailable(error) from error
        raise


class DatabaseWorker:
    """Runs operations on one database, in order of arrival.

    A hop to the thread costs the loop itself more time than most operations take. So an operation
    that comes alone and cannot block runs inline, in the loop's own thread.
    """

    def __init__(self, loop: RunningLoop, thread: CallThread, database: OpenDatabase) -> None:
        self._loop = loop
        self._new_future = loop.new_future
        self._thread = thread
        self._database = database
        self._queue = JobQueue[Operation, object](
            max_in_flight=_MAX_IN_FLIGHT, max_bytes_in_flight=_MAX_BYTES_IN_FLIGHT
        )
        self._is_busy = False
        self._in_thread: list[_Job] | None = None
        self._turn_began_at = time.monotonic()
        self._is_closing = False
        self._is_closed = False
        self._closed = anyio.Event()  # also set when the wait for it takes too long

    def submit(self, operation: Operation, size: int = 0) -> Future[object]:
        """Run an operation that writes ``size`` bytes. Await the returned future for its reply."""
        if self._is_closing:
            raise StoreUsageError("this store is closed")
        future = self._new_future()
        job = Job(operation, size, future)
        if self._is_busy:
            self._queue.add(job)
            return future
        # Only a call that is likely to be alone runs inline: others are cheaper as one batch.
        is_alone = self._queue.last_batch_was_single
        if is_alone and not self._turn_is_long() and self._try_inline(job):
            return future
        try:
            self._queue.add(job)
            if is_alone:
                self._run_next()
            else:  # all calls of this turn of the loop share the batch
                self._loop.call_soon(self._run_next)
                self._is_busy = True
        except BaseException:  # the next call may run inline, and this one must not run after it
            job.fail(cut_off())
            raise
        return future

    async def aclose(self) -> None:
        """Run the queued jobs, then close the database. Fail jobs that still run after 30 seconds.

        If the caller is cancelled, closing still finishes, and then raises the cancellation. In a
        forked process it does nothing: the thread stayed in the parent, and so did the database.
        """
        if self._thread.is_forked:
            return
        self._is_closing = True
        if not self._is_busy:  # even if it was closed before, as that may have been interrupted
            self._end_thread()
        await outlast(self._closed, CLOSE_TIMEOUT)
        if not self._is_closed:
            self._closed.set()
            self._queue.fail_in_flight(cut_off)
            self.drop_waiting()

    def drop_waiting(self) -> None:
        """Fail the jobs that have not begun."""
        self._queue.fail_waiting(closed_before_begun)

    def _run_next(self) -> None:
        """Run the jobs that wait, until a batch is under way in the thread, or none is left."""
        if self._in_thread is not None:  # its end calls this
            return
        try:
            while batch := self._queue.take_batch():
                self._is_busy = True
                if len(batch) > 1 or not self._try_inline(batch[0]):
                    self._run_in_thread(batch)
                    return
                if self._turn_is_long():
                    self._loop.call_soon(self._begin_turn)
                    return
        except BaseException as error:
            self._queue.fail_in_flight(partial(copy_for_caller, error))
            # trio's KeyboardInterrupt may come when the thread has the batch already. The empty one
            # ends after it, and only then may anything run inline.
            self._run_in_thread([])
            if not isinstance(error, Exception):
                raise
        else:
            self._is_busy = False
            self._queue.forget_in_flight()
            if self._is_closing:
                self._end_thread()

    def _begin_turn(self) -> None:
        """Go on after other tasks had their turn. Their calls form the next batch."""
        self._turn_began_at = time.monotonic()
        self._run_next()

    def _turn_is_long(self) -> bool:
        return time.monotonic() - self._turn_began_at >= _MAX_INLINE_TIME

    def _try_inline(self, job: _Job) -> bool:
        try:
            replies = self._database.try_run_inline(job.operation)
        except _FAULTS as fault:
            replies = [fault]
        for reply in replies:
            _settle(job, reply)
        return bool(replies)

    def _run_in_thread(self, batch: list[_Job]) -> None:
        operations = [job.operation for job in batch]
        self._in_thread = batch
        self._thread.call(
            partial(self._database.run_batch, operations), partial(self._settle, batch)
        )

    def _settle(self, batch: list[_Job], outcome: Captured[list[object]]) -> None:
        if outcome.error is None:
            replies = outcome.result()
        elif isinstance(outcome.error, (sqlite3.Error, OSError)):
            replies = [outcome.error] * len(batch)  # _settle makes an error for each caller
        else:
            replies = [copy_for_caller(outcome.error) for _ in batch]
        for job, reply in zip(batch, replies, strict=True):
            _settle(job, reply)
        if batch is self._in_thread:
            self._in_thread = None
            self._run_next()

    def _end_thread(self) -> None:
        self._thread.end(self._on_closed)

    def _on_closed(self, _: Captured[object]) -> None:
        self._is_closed = True
        self._closed.set()


def _open(open_database: Callable[[], OpenDatabase], resources: ExitStack) -> OpenDatabase:
    database = open_database()
    resources.callback(database.close)
    return database


def _settle(job: _Job, reply: object) -> None:
    if isinstance(reply, (sqlite3.Error, OSError)):
        job.fail(unavailable(reply))
    elif isinstance(reply, Exception):
        job.fail(reply)
    else:
        job.succeed(reply)


def _settle_future(future: Future[_T], outcome: Captured[_T]) -> None:
    if outcome.error is None:
        set_result(future, outcome.result())
    else:
        set_exception(future, outcome.error)
