"""One worker for many callers: calls that come while a batch is under way form the next one.

Tasks of the worker, not its callers, open the connection, run one batch after the other on it,
and close it. So a cancelled caller can break nothing: its operation is dropped if it has not
begun, and otherwise finishes, and later calls come after it. Only what takes no waiting may run in
the call itself, while nothing else is under way.
"""

from __future__ import annotations

import asyncio
import copy
import sys
import time
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any, Final, Generic, Protocol, TypeVar

import anyio

from async_session_store.errors import SessionStoreError, StoreUnavailableError, cut_off

CLOSE_TIMEOUT: Final = 30.0  # seconds

_Operation = TypeVar("_Operation")
_Reply = TypeVar("_Reply")


class Job(Generic[_Operation, _Reply]):
    """An operation, how many bytes it writes, and the caller that waits for its reply."""

    __slots__ = ("_future", "operation", "size")

    def __init__(self, operation: _Operation, size: int, future: asyncio.Future[_Reply]) -> None:
        self.operation = operation
        self.size = size
        self._future = future

    @property
    def settled(self) -> bool:
        """Whether no one waits any more: it was answered, or its caller was cancelled."""
        return self._future.done()

    def succeed(self, reply: _Reply) -> None:
        if not self._future.done():
            self._future.set_result(reply)

    def fail(self, error: BaseException) -> None:
        if not self._future.done():
            self._future.set_exception(error)


class Runner(Protocol[_Operation, _Reply]):
    """Runs operations on a connection."""

    async def run_batch(
        self, jobs: list[Job[_Operation, _Reply]], more: Callable[[], list[Job[_Operation, _Reply]]]
    ) -> None:
        """Settle each job. May take ``more``, which came meanwhile, and must settle that too.

        An exception fails all that was left unsettled.
        """

    def run_at_once(self, job: Job[_Operation, _Reply]) -> bool:
        """Settle a job if that takes no waiting, and others have had their turn; whether it did."""
        ...


class BatchWorker(Generic[_Operation, _Reply]):
    """Runs operations in the order they come, as many at a time as are waiting.

    Args:
        connect: Opens the connection and gives what runs operations on it.
        most: How many operations are under way at most; further callers wait for their turn.
        most_bytes: How many bytes are in flight at most; further callers wait. A call that writes
            more goes alone: a server may refuse it for its size, and hang up on all calls with it.
    """

    def __init__(
        self,
        connect: Callable[[], AbstractAsyncContextManager[Runner[_Operation, _Reply]]],
        *,
        most: int,
        most_bytes: int,
    ) -> None:
        self._connect = connect
        self._most = most
        self._most_bytes = most_bytes
        self._waiting: deque[Job[_Operation, _Reply]] = deque()
        self._under_way: deque[Job[_Operation, _Reply]] = deque()
        self._bytes_under_way = 0
        self._runner: Runner[_Operation, _Reply] | None = None
        self._burst: asyncio.Task[None] | None = None
        self._comes_alone = False
        self._closing = False
        self._ending = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._ready: asyncio.Future[None] = self._loop.create_future()
        self._task = self._loop.create_task(self._work())
        self._watch = self._loop.create_task(self._end_with_the_loop())

    async def opened(self) -> None:
        """Wait until the connection is open; raise what opening it raised."""
        try:
            await asyncio.shield(self._ready)
        except asyncio.CancelledError:
            await self.aclose()
            raise

    def submit(self, operation: _Operation, size: int = 0) -> asyncio.Future[_Reply]:
        """Have an operation run, which writes so many bytes; await its reply."""
        if asyncio.get_running_loop() is not self._loop:
            raise StoreUnavailableError("this store was opened in another event loop")
        if self._closing:
            raise StoreUnavailableError("this store is closed")
        future: asyncio.Future[_Reply] = self._loop.create_future()
        job = Job(operation, size, future)
        idle = self._runner if self._burst is None else None
        if idle is not None and self._comes_alone and idle.run_at_once(job):
            return future
        self._waiting.append(job)
        if idle is not None:
            self._begin_burst(idle)
        return future

    def take(self) -> list[Job[_Operation, _Reply]]:
        """What waits to be run, in the order it came."""
        if not self._waiting:
            return []
        while self._under_way and self._under_way[0].settled:
            self._bytes_under_way -= self._under_way.popleft().size
        taken: list[Job[_Operation, _Reply]] = []
        while self._waiting and self._has_room(self._waiting[0]):
            job = self._waiting.popleft()
            if not job.settled:
                taken.append(job)
                self._under_way.append(job)
                self._bytes_under_way += job.size
        self._comes_alone = len(taken) == 1
        return taken

    def _has_room(self, job: Job[_Operation, _Reply]) -> bool:
        if not self._under_way:
            return True
        return (
            len(self._under_way) < self._most
            and max(self._bytes_under_way, job.size) < self._most_bytes
        )

    async def aclose(self) -> None:
        """Run what is waiting, then close the connection; after 30 seconds, end what still runs.

        Cancellation is raised only then.
        """
        self._closing = True
        self._ending.set()
        with anyio.CancelScope(shield=True):
            await _outlast(self._task, CLOSE_TIMEOUT)

    async def _work(self) -> None:
        try:
            async with self._connect() as self._runner:
                self._ready.set_result(None)
                self._begin_burst(self._runner)
                await self._until_ended()
        except Exception as error:
            if self._ready.done():
                raise
            self._ready.set_exception(error)
        finally:
            self._closing = True
            self._watch.cancel()
            _fail_all(self._waiting, _closed)

    async def _until_ended(self) -> None:
        try:
            await self._ending.wait()
            if self._burst is not None:
                await self._burst
        except asyncio.CancelledError:
            if self._burst is not None:
                self._burst.cancel()
                await asyncio.wait([self._burst])
            raise

    async def _end_with_the_loop(self) -> None:
        """End the worker too when the loop ends: before Python 3.12 a driver can swallow that."""
        try:
            await self._loop.create_future()
        finally:
            self._closing = True
            self._ending.set()

    def _begin_burst(self, runner: Runner[_Operation, _Reply]) -> None:
        """Run what waits, and what comes meanwhile.

        At once, if the last call came alone; else with all that come in this turn of the loop.
        """
        begin = _create_eager_task if self._comes_alone else self._loop.create_task
        burst = begin(self._run_burst(runner))
        self._burst = None if burst.done() else burst

    async def _run_burst(self, runner: Runner[_Operation, _Reply]) -> None:
        try:
            while batch := self.take():
                try:
                    await runner.run_batch(batch, self.take)
                except Exception as error:  # noqa: BLE001  # the callers must hear of it
                    _fail_all(self._under_way, partial(_own, error))
        except BaseException:
            # Mostly the loop is ending. The connection may still be in use, so no one else gets it.
            self._closing = True
            self._ending.set()
            _fail_all(self._under_way, cut_off)
            raise
        finally:
            self._burst = None
            self._under_way.clear()  # all settled, and maybe large
            self._bytes_under_way = 0


def _create_eager_task(coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """Create a task that runs its first step at once; before Python 3.12, in the next turn."""
    if sys.version_info >= (3, 12):
        return asyncio.Task(coroutine, loop=asyncio.get_running_loop(), eager_start=True)
    return asyncio.create_task(coroutine)


async def _outlast(task: asyncio.Task[None], seconds: float) -> None:
    """Wait for a task, however often this one is cancelled, and cancel it when the time is over."""
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


def _fail_all(jobs: deque[Job[_Operation, _Reply]], error: Callable[[], Exception]) -> None:
    """Fail each job with its own error: every caller that raises it adds to its traceback."""
    for job in jobs:
        job.fail(error())


def _closed() -> StoreUnavailableError:
    return StoreUnavailableError("this store was closed meanwhile")


def _own(error: Exception) -> SessionStoreError:
    own = (
        copy.copy(error)
        if isinstance(error, SessionStoreError)
        else StoreUnavailableError("the storage failed unexpectedly; the outcome is unknown")
    )
    own.__cause__ = error.__cause__ or error
    return own
