"""Jobs of trio's tasks in the asyncio loop of another thread, without a task there for each."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any, TypeAlias, TypeVar

import trio
from typing_extensions import override

from async_session_store._crossed_futures import CrossedFuture, Replies
from async_session_store._loop_calls import loop_ended
from async_session_store._running_loop import Future, Promise, set_exception
from async_session_store._task_crossing import TaskCrossing
from async_session_store._trio_future import TrioFuture

_T = TypeVar("_T")
_Job: TypeAlias = "tuple[CrossedFuture[Any], Callable[[Promise[Any]], object]]"


class JobCrossing(trio.abc.Instrument):
    """Takes the jobs of trio's tasks through a crossing, all those of one turn together.

    trio calls an instrument at the end of each turn. If each job crossed when it is submitted, the
    first one would wake the other thread, and that one would take the GIL before the second.
    """

    def __init__(self, crossing: TaskCrossing) -> None:
        self._crossing = crossing
        self._calls = crossing.calls
        self._replies = Replies(self._calls.loop, crossing.replies)
        self._calls.at_end += [self._begin_all, self._replies.send]
        self._jobs: deque[_Job] = deque()  # each step of it is atomic, in C
        self._run_sync_soon = trio.lowlevel.current_trio_token().run_sync_soon
        self._is_closed = False
        self._listen()

    def submit(self, act: Callable[[Promise[_T]], object]) -> Future[_T]:
        """Have ``act`` called there. Await the returned future for what it promises.

        If the caller is cancelled before ``act`` is called, it is not called. Otherwise ``act`` has
        to see to it that the promise is kept, even if the loop ends: see ``LoopCalls.at_end``.
        """
        _ = self._crossing.calls  # raises in a forked process
        future = TrioFuture()
        crossed: CrossedFuture[_T] = CrossedFuture(future, self._replies)
        try:
            self._jobs.append((crossed, act))
        except BaseException:  # trio's KeyboardInterrupt: nobody awaits it
            future.cancel()
            raise
        return future

    @override
    def before_io_wait(self, timeout: float) -> None:
        try:
            self._cross()
        except BaseException:  # a signal handler's: trio drops an instrument that raises
            self._run_sync_soon(self._listen)
            raise

    def close(self) -> None:
        """Take over what was submitted in this turn. Nothing may be submitted after that."""
        self._is_closed = True
        self._cross()
        with suppress(KeyError, RuntimeError):  # it was closed before; another loop runs here
            trio.lowlevel.remove_instrument(self)

    def _listen(self) -> None:
        if not self._is_closed:
            trio.lowlevel.add_instrument(self)

    def _cross(self) -> None:
        if not self._jobs:
            return
        try:
            self._calls.mailbox.post(self._begin_all)
        except RuntimeError as error:
            # Posted too: a task that becomes ready now would not shorten trio's wait.
            for crossed, _ in self._take_all():
                fail = partial(set_exception, crossed.future, loop_ended(error))
                self._crossing.replies.post(fail)

    def _begin_all(self) -> None:
        """Begin what was submitted. Only the thread of the other loop calls this."""
        for crossed, act in self._take_all():
            crossed.begin(act, is_ending=self._calls.is_ending)

    def _take_all(self) -> Iterator[_Job]:
        with suppress(IndexError):  # none is left
            while True:
                yield self._jobs.popleft()
