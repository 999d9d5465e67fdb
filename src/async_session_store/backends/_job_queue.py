"""The queue of calls that wait for a connection, and the bounds on the calls in flight on it."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from async_session_store._running_loop import Promise
from async_session_store.errors import SessionStoreError, StoreUnavailableError

_Operation = TypeVar("_Operation")
_Reply = TypeVar("_Reply")


class Job(Generic[_Operation, _Reply]):
    """An operation, the number of bytes it writes, and the reply that its caller awaits."""

    __slots__ = ("_promise", "operation", "size")

    def __init__(self, operation: _Operation, size: int, promise: Promise[_Reply]) -> None:
        self.operation = operation
        self.size = size
        self._promise = promise

    @property
    def settled(self) -> bool:
        """Whether nobody awaits a reply any more: it was given, or the caller was cancelled."""
        return self._promise.done()

    def succeed(self, reply: _Reply) -> None:
        if not self._promise.done():
            self._promise.set_result(reply)

    def fail(self, error: BaseException) -> None:
        if not self._promise.done():
            self._promise.set_exception(error)


class JobQueue(Generic[_Operation, _Reply]):
    """Jobs in order of arrival: those that wait, and those that are in flight.

    Args:
        max_in_flight: The largest number of jobs in flight. Further jobs wait.
        max_bytes_in_flight: Once the jobs in flight write this many bytes, further jobs wait.
    """

    def __init__(self, *, max_in_flight: int, max_bytes_in_flight: int) -> None:
        self._max_in_flight = max_in_flight
        self._max_bytes_in_flight = max_bytes_in_flight
        self._waiting: deque[Job[_Operation, _Reply]] = deque()
        self._in_flight: deque[Job[_Operation, _Reply]] = deque()
        self._bytes_in_flight = 0
        self.last_batch_was_single = False
        """Whether the last batch was one job. If so, the next job is likely to come alone too."""

    def add(self, job: Job[_Operation, _Reply]) -> None:
        self._waiting.append(job)

    def take_batch(self) -> list[Job[_Operation, _Reply]]:
        """Move as many waiting jobs in flight as there is room for, and return them.

        Jobs of cancelled callers are dropped: they must not run after calls that arrived later.
        """
        if not self._waiting:
            return []
        # Replies come in the order of the jobs, so the settled ones are at the front.
        while self._in_flight and self._in_flight[0].settled:
            self._bytes_in_flight -= self._in_flight.popleft().size
        batch: list[Job[_Operation, _Reply]] = []
        while self._waiting and self._has_room_for(self._waiting[0]):
            job = self._waiting.popleft()
            if not job.settled:
                batch.append(job)
                self._in_flight.append(job)
                self._bytes_in_flight += job.size
        self.last_batch_was_single = len(batch) == 1
        return batch

    def _has_room_for(self, job: Job[_Operation, _Reply]) -> bool:
        if not self._in_flight:
            return True
        if len(self._in_flight) >= self._max_in_flight:
            return False
        # A job that alone reaches the limit runs alone. A server may refuse it for its size and
        # hang up, and every other job in flight would then end with an unknown outcome.
        return max(self._bytes_in_flight, job.size) < self._max_bytes_in_flight

    def fail_waiting(self, make_error: Callable[[], Exception]) -> None:
        _fail_all(self._waiting, make_error)

    def fail_in_flight(self, make_error: Callable[[], Exception]) -> None:
        """Fail the jobs in flight that have no reply yet."""
        _fail_all(self._in_flight, make_error)

    def forget_in_flight(self) -> None:
        """Drop the settled jobs of a burst that has ended. Their documents may be large."""
        self._in_flight.clear()
        self._bytes_in_flight = 0


def _fail_all(jobs: deque[Job[_Operation, _Reply]], make_error: Callable[[], Exception]) -> None:
    """Fail each job with an error of its own: every caller that raises one adds a traceback."""
    for job in jobs:
        job.fail(make_error())


def copy_for_caller(error: BaseException) -> SessionStoreError:
    """Return a copy of an error for one caller: each caller that raises it adds a traceback."""
    own = (
        copy.copy(error)
        if isinstance(error, SessionStoreError)
        else StoreUnavailableError("the storage failed unexpectedly; the outcome is unknown")
    )
    # Set by hand: a copy loses its cause, and an error that is set on a future has no `raise from`.
    own.__cause__ = error.__cause__ or error
    return own
