"""One connection for many callers: calls that arrive while a batch runs form the next batch.

Tasks of the worker, not of its callers, open the connection, run one batch after another on it,
and close it. So a cancelled caller cannot break anything. If its operation has not begun, it is
dropped; otherwise it finishes without its caller, and later calls run after it.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any, Final, Generic, Protocol, TypeVar

import anyio

from async_session_store.backends._job_queue import Job, JobQueue, copy_for_caller
from async_session_store.errors import StoreUsageError, closed_before_begun, cut_off

CLOSE_TIMEOUT: Final = 30.0  # seconds

_Operation = TypeVar("_Operation")
_Reply = TypeVar("_Reply")


class Runner(Protocol[_Operation, _Reply]):
    """Runs operations on an open connection."""

    async def run_batch(self, jobs: list[Job[_Operation, _Reply]]) -> None:
        """Run the jobs and settle each of them.

        If this raises an exception, the worker fails all jobs in flight that are not settled.
        A runner that can pipeline may take further batches from the queue meanwhile.
        """


class BatchWorker(Generic[_Operation, _Reply]):
    """Runs the jobs of a queue on one connection, in order of arrival, batch by batch.

    Args:
        queue: The queue, which bounds the size of a batch.
        connect: Opens the connection and yields its runner.
    """

    def __init__(
        self,
        queue: JobQueue[_Operation, _Reply],
        connect: Callable[[], AbstractAsyncContextManager[Runner[_Operation, _Reply]]],
    ) -> None:
        self._queue = queue
        self._connect = connect
        self._runner: Runner[_Operation, _Reply] | None = None
        self._burst: asyncio.Task[None] | None = None
        self._closing = False
        self._ending = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._ready: asyncio.Future[None] = self._loop.create_future()
        self._task = self._loop.create_task(self._work())
        self._watch = self._loop.create_task(self._end_with_the_loop())

    async def wait_until_open(self) -> None:
        """Wait until the connection is open. If opening it failed, raise that error."""
        try:
            await asyncio.shield(self._ready)
        except asyncio.CancelledError:
            await self.aclose()
            raise

    def submit(self, operation: _Operation, size: int = 0) -> asyncio.Future[_Reply]:
        """Run an operation that writes ``size`` bytes. Await the returned future for its reply."""
        future: asyncio.Future[_Reply] = self._loop.create_future()
        self.add(Job(operation, size, future))
        return future

    def add(self, job: Job[_Operation, _Reply]) -> None:
        """Run a job."""
        if self._closing:
            raise StoreUsageError("this store is closed")
        self._queue.add(job)
        if self._burst is None and self._runner is not None:
            self._begin_burst(self._runner)

    async def aclose(self) -> None:
        """Run the queued jobs, then close the connection. Cancel jobs that still run after 30 s.

        If the caller is cancelled, closing still finishes, and then raises the cancellation.
        """
        self._closing = True
        self._ending.set()
        with anyio.CancelScope(shield=True):
            await _outlast(self._task, CLOSE_TIMEOUT)

    async def _work(self) -> None:
        try:
            async with self._connect() as runner:
                self._runner = runner
                self._ready.set_result(None)
                self._begin_burst(runner)
                await self._until_ended()
        except Exception as error:
            if self._ready.done():
                raise
            self._ready.set_exception(error)
        finally:
            self._closing = True
            self._watch.cancel()
            self._queue.fail_waiting(closed_before_begun)

    async def _until_ended(self) -> None:
        try:
            await self._ending.wait()
            if self._burst is not None:
                await self._burst
        except asyncio.CancelledError:
            # The connection must not be closed under a burst that still uses it.
            if self._burst is not None:
                self._burst.cancel()
                await asyncio.wait([self._burst])
            raise

    async def _end_with_the_loop(self) -> None:
        """End the worker when ``asyncio.run`` cancels all tasks at the end of the loop.

        Before Python 3.12, a driver that times out at that moment can swallow the cancellation of
        the worker's own task. ``asyncio.run`` cancels only once, and would wait for the worker
        forever. Nothing can swallow the cancellation of this task.
        """
        try:
            await self._loop.create_future()
        finally:
            self._closing = True
            self._ending.set()

    def _begin_burst(self, runner: Runner[_Operation, _Reply]) -> None:
        """Start a task that runs batches until the queue is empty.

        If the last batch was a single job, this one probably stays alone too, so the task starts
        eagerly and saves the lone caller a turn of the loop. Otherwise it starts in the next turn,
        and all calls of this turn share its first batch.
        """
        eager = self._queue.last_batch_was_single
        create_task = _create_eager_task if eager else self._loop.create_task
        burst = create_task(self._run_burst(runner))
        self._burst = None if burst.done() else burst

    async def _run_burst(self, runner: Runner[_Operation, _Reply]) -> None:
        queue = self._queue
        try:
            while batch := queue.take_batch():
                try:
                    await runner.run_batch(batch)
                except Exception as error:  # noqa: BLE001  # each caller gets it
                    queue.fail_in_flight(partial(copy_for_caller, error))
        except BaseException:
            # Usually the loop is ending. The connection may be in the middle of a batch, so nothing
            # else may run on it.
            self._closing = True
            self._ending.set()
            queue.fail_in_flight(cut_off)
            raise
        finally:
            self._burst = None
            queue.forget_in_flight()


def _create_eager_task(coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """Create a task that starts immediately; before Python 3.12, in the next turn of the loop."""
    if sys.version_info >= (3, 12):
        return asyncio.Task(coroutine, loop=asyncio.get_running_loop(), eager_start=True)
    return asyncio.create_task(coroutine)


async def _outlast(task: asyncio.Task[None], seconds: float) -> None:
    """Wait for a task even if this one is cancelled. Cancel the task when the time is up."""
    cancelled: asyncio.CancelledError | None = None
    end = time.monotonic() + seconds
    while not task.done() and (left := end - time.monotonic()) > 0:
        try:
            await asyncio.wait([task], timeout=left)
        except asyncio.CancelledError as error:
            cancelled = error
    task.cancel()
    if cancelled is not None:
        raise cancelled
