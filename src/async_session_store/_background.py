"""Timers and background tasks, on asyncio and on trio."""

from __future__ import annotations

import asyncio
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any

import anyio
from typing_extensions import override


class BackgroundTask(ABC):
    """A background task."""

    @abstractmethod
    async def cancel(self) -> None:
        """Cancel the task and wait until it has ended."""


class Background(ABC):
    """One timer and any number of tasks, none of which outlives :meth:`aclose`.

    The owner may open and close it in different tasks, which rules out a task group. The tasks run
    in an empty context, because they serve all callers and inherit from none.
    """

    @abstractmethod
    def now(self) -> float:
        """Return the event loop's time, in seconds."""

    @abstractmethod
    def set_timer(self, seconds: float, act: Callable[[], None]) -> None:
        """Call ``act`` after ``seconds``. A timer that was set before is replaced."""

    @abstractmethod
    def start(self, act: Callable[[], Coroutine[Any, Any, None]]) -> BackgroundTask:
        """Run ``act`` in a task. ``act`` must not raise."""

    @abstractmethod
    async def aclose(self) -> None:
        """Stop the timer, cancel the tasks, and wait until they have ended."""


class _AsyncioTask(BackgroundTask):
    def __init__(self, task: asyncio.Task[None]) -> None:
        self._task = task

    @override
    async def cancel(self) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])


class AsyncioBackground(Background):
    """A background of the running asyncio loop. Its timer needs no task."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @override
    def now(self) -> float:
        return self._loop.time()

    @override
    def set_timer(self, seconds: float, act: Callable[[], None]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(seconds, act, context=Context())

    @override
    def start(self, act: Callable[[], Coroutine[Any, Any, None]]) -> BackgroundTask:
        task = Context().run(self._loop.create_task, act())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return _AsyncioTask(task)

    @override
    async def aclose(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)


class _TrioTask(BackgroundTask):
    def __init__(self) -> None:
        self.scope = anyio.CancelScope()
        self.ended = anyio.Event()

    @override
    async def cancel(self) -> None:
        self.scope.cancel()
        await self.ended.wait()


class TrioBackground(Background):
    """A background of the running trio loop.

    It spawns system tasks, because a nursery ends with the task that opened it.
    """

    def __init__(self) -> None:
        import trio

        # anyio's functions detect the loop on each call, which takes three times as long.
        self._current_time = trio.current_time
        self._timer_scope: anyio.CancelScope | None = None
        self._tasks: set[_TrioTask] = set()

    @override
    def now(self) -> float:
        return self._current_time()

    @override
    def set_timer(self, seconds: float, act: Callable[[], None]) -> None:
        async def sleep_and_act() -> None:
            await anyio.sleep(seconds)
            act()

        if self._timer_scope is not None:
            self._timer_scope.cancel()
        self._timer_scope = self._start(sleep_and_act).scope

    @override
    def start(self, act: Callable[[], Coroutine[Any, Any, None]]) -> BackgroundTask:
        return self._start(act)

    @override
    async def aclose(self) -> None:
        for task in list(self._tasks):
            task.scope.cancel()
        while self._tasks:
            await next(iter(self._tasks)).ended.wait()

    def _start(self, act: Callable[[], Coroutine[Any, Any, None]]) -> _TrioTask:
        import trio

        task = _TrioTask()
        trio.lowlevel.spawn_system_task(self._run, task, act, name="async_session_store")
        self._tasks.add(task)
        return task

    async def _run(self, task: _TrioTask, act: Callable[[], Coroutine[Any, Any, None]]) -> None:
        try:
            with task.scope:
                await act()
        finally:
            self._tasks.discard(task)
            task.ended.set()


def loop_getter() -> Callable[[], object]:
    """Return a function that returns the running event loop, or raises ``RuntimeError``.

    Callers run in the same loop if and only if they get the same object: asyncio's loop, or trio's
    token. The function works only under the async library that runs now. anyio's ``current_token``
    would serve both, but takes ten times as long.
    """
    if runs_asyncio():
        return asyncio.get_running_loop
    import trio

    return trio.lowlevel.current_trio_token


def background() -> Background:
    """Return a new background of the running event loop."""
    return AsyncioBackground() if runs_asyncio() else TrioBackground()


def runs_asyncio() -> bool:
    """Return whether the caller runs under asyncio. Trio may run as a guest of an asyncio loop."""
    if "trio" not in sys.modules:
        return True  # the check below takes half a microsecond; programs without trio skip it
    return anyio.get_cancelled_exc_class() is asyncio.CancelledError
