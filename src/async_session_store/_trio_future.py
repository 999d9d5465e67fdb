"""A future for trio, which has none."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import trio


class TrioFuture:
    """A result that one task of trio awaits. Only the thread of its loop may settle it."""

    __slots__ = ("_error", "_is_cancelled", "_is_set", "_result", "_task")

    def __init__(self) -> None:
        self._result: Any = None
        self._error: BaseException | None = None
        self._is_set = False
        self._is_cancelled = False
        self._task: trio.lowlevel.Task | None = None

    def done(self) -> bool:
        return self._is_set or self._is_cancelled

    def cancel(self) -> None:
        self._is_cancelled = True

    def set_result(self, result: Any, /) -> None:
        self._result = result
        self._set()

    def set_exception(self, exception: BaseException, /) -> None:
        self._error = exception
        self._set()

    def __await__(self) -> Generator[Any, Any, Any]:
        # A generator: a coroutine in it would cost each call as much again.
        if not self._is_set:
            try:
                self._task = trio.lowlevel.current_task()
                waiting = trio.lowlevel.wait_task_rescheduled(self._abort)  # noqa: ASYNC105
                yield from waiting.__await__()
            finally:  # trio's KeyboardInterrupt may come before the task waits
                self._task = None
        if self._error is not None:
            raise self._error
        return self._result

    def _abort(self, _: object) -> trio.lowlevel.Abort:
        self._is_cancelled = True
        return trio.lowlevel.Abort.SUCCEEDED

    def _set(self) -> None:
        self._is_set = True
        if self._task is not None:
            trio.lowlevel.reschedule(self._task)
