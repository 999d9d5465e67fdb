"""A time limit on replies that costs next to nothing as long as they arrive in time."""

from __future__ import annotations

import asyncio
import math
import sys
from types import TracebackType
from typing import Final

from typing_extensions import Self

_GRACE: Final = 0.02
"""Grace period after a deadline, or after the previous reply, before a wait is cancelled; seconds.

If the loop itself was late, because a callback blocked it or the process was stopped, its timers
run before it reads from its sockets. A reply that has already arrived must not count as a time-out.
"""


class Watchdog:
    """Cancels a wait that takes too long, like ``asyncio.timeout``, with one timer for many waits.

    A timer for each wait would double the cost of a command. This timer is set again only when it
    fires. Within a ``with`` block, :meth:`expect` sets the deadline of the next reply. If that
    deadline passes, the task is cancelled, and the block raises ``TimeoutError``.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._deadline = math.inf
        self._is_overdue = False
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[object] | None = None
        self._cancel_count = 0

    def expect(self, deadline: float) -> None:
        """Set the deadline of the next reply, on the loop's clock."""
        self._deadline, self._is_overdue = deadline, False
        if self._timer is None:
            self._timer = self._loop.call_at(deadline, self._on_timer)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def __enter__(self) -> Self:
        self._task = asyncio.current_task()
        self._cancel_count = 0
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._deadline, task, self._task = math.inf, self._task, None
        others = self._uncancel(task)
        if self._cancel_count and not others and isinstance(exc_value, asyncio.CancelledError):
            raise TimeoutError from exc_value

    def _uncancel(self, task: asyncio.Task[object] | None) -> int:
        """Undo our cancellations, even swallowed ones. Return the number of others that remain."""
        left = 0
        if sys.version_info >= (3, 11) and task is not None:
            for _ in range(self._cancel_count):
                left = task.uncancel()
        return left

    def _on_timer(self) -> None:
        self._timer = None
        if self._deadline == math.inf:
            return
        if self._loop.time() < self._deadline:
            self._timer = self._loop.call_at(self._deadline, self._on_timer)
        elif not self._is_overdue:
            self._is_overdue = True
            self._timer = self._loop.call_later(_GRACE, self._on_timer)
        elif self._task is not None:
            self._cancel_count += 1
            self._task.cancel()
