"""A bound on waiting that costs next to nothing while answers come in time."""

from __future__ import annotations

import asyncio
import math
import sys
from types import TracebackType
from typing import Final

from typing_extensions import Self

_GRACE: Final = 0.02
"""How long after its deadline a wait ends, or after the answer before it, in seconds.

Where it was the loop that was late, as a callback blocked it or the process was stopped, its timers
are due before it has read what came in the meantime. An answer that is there is no time-out.
"""


class Watchdog:
    """Ends a wait that lasts too long, as ``asyncio.timeout`` does, with one timer for many waits.

    A timer for each costs as much as all else that a command takes. This one is set anew only when
    it goes off. In its block, :meth:`expect` says by when something must come; if it does not, the
    task is cancelled and ``TimeoutError`` comes out of the block.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._deadline = math.inf
        self._is_overdue = False
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[object] | None = None
        self._bites = 0

    def expect(self, deadline: float) -> None:
        """From now on wait until the deadline, a time of the loop."""
        self._deadline, self._is_overdue = deadline, False
        if self._timer is None:
            self._timer = self._loop.call_at(deadline, self._look)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def __enter__(self) -> Self:
        self._task = asyncio.current_task()
        self._bites = 0
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._deadline, task, self._task = math.inf, self._task, None
        by_others = self._take_back(task)
        if self._bites and not by_others and isinstance(exc_value, asyncio.CancelledError):
            raise TimeoutError from exc_value

    def _take_back(self, task: asyncio.Task[object] | None) -> int:
        """Undo each cancellation, as a callee may have swallowed one; how many others are left."""
        left = 0
        if sys.version_info >= (3, 11) and task is not None:
            for _ in range(self._bites):
                left = task.uncancel()
        return left

    def _look(self) -> None:
        self._timer = None
        if self._deadline == math.inf:
            return
        if self._loop.time() < self._deadline:
            self._timer = self._loop.call_at(self._deadline, self._look)
        elif not self._is_overdue:
            self._is_overdue = True
            self._timer = self._loop.call_later(_GRACE, self._look)
        elif self._task is not None:
            self._bites += 1
            self._task.cancel()
