"""Jobs of trio's tasks in the asyncio loop of another thread, without a task there for each."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, TypeAlias, TypeVar

import trio
from typing_extensions import override

from async_session_store._crossed_futures import CrossedFuture, Replies, set_exception
from async_session_store._loop_calls import LoopCalls, loop_ended
from async_session_store._running_loop import Future, Promise
from async_session_store._task_crossing import TaskCrossing
from async_session_store._trio_future import TrioFuture

_T = TypeVar("_T")
_Job: TypeAlias = (
    "tuple[TrioFuture, CrossedFuture[Any], Callable[[Promise[Any]], object]]"  # its two sides
)


class JobCrossing(trio.abc.Instrument):
    """Takes jobs through a crossing. Those of one turn of trio's loop cross together.

    trio calls an instrument at the end of each turn. If each job crossed when it is submitted, the
    first one would wake the other thread, and that one would take the GIL before the second.
    """

    def __init__(self, crossing: TaskCrossing) -> None:
        self._crossing = crossing
        self._calls = crossing.calls
        self._replies = Replies(self._calls.loop, crossing.replies)
        self._calls.at_end.append(self._replies.send)
        self._jobs: list[_Job] = []
        trio.lowlevel.add_instrument(self)

    def submit(self, act: Callable[[Promise[_T]], object]) -> Future[_T]:
        """Have ``act`` called there. Await the returned future for what it promises.

        If the caller is cancelled before ``act`` is called, it is not called. Otherwise ``act`` has
        to see to it that the promise is kept, even if the loop ends: see ``LoopCalls.at_end``.
        """
        _ = self._crossing.calls  # raises in a forked process
        future = TrioFuture()
        crossed: CrossedFuture[_T] = CrossedFuture(future, self._replies)
        try:
            self._jobs.append((future, crossed, act))
        except BaseException:  # trio's KeyboardInterrupt: nobody awaits it
            future.cancel()
            raise
        return future

    @override
    def before_io_wait(self, timeout: float) -> None:
        self._cross()

    @trio.lowlevel.enable_ki_protection  # as instruments are: it would lose what it has taken
    def close(self) -> None:
        """Take over what was submitted in this turn. Nothing may be submitted after that."""
        self._cross()
        with suppress(KeyError, RuntimeError):  # it was closed before; another loop runs here
            trio.lowlevel.remove_instrument(self)

    def _cross(self) -> None:
        if not self._jobs:
            return
        jobs, self._jobs = self._jobs, []
        try:
            self._calls.mailbox.post(partial(_begin_all, jobs, self._calls))
        except RuntimeError as error:
            # Posted too: a task that becomes ready now would not shorten trio's wait.
            for future, _, _ in jobs:
                self._crossing.replies.post(partial(set_exception, future, loop_ended(error)))


def _begin_all(jobs: list[_Job], calls: LoopCalls) -> None:
    to_begin = iter(jobs)
    try:
        for _, crossed, act in to_begin:
            crossed.begin(act, is_ending=calls.is_ending)
    except BaseException:  # a SystemExit, which ends the loop but must not strand the others
        calls.mailbox.post(partial(_begin_all, list(to_begin), calls))
        raise
