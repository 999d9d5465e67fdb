"""A thread that runs an asyncio loop for other threads and loops."""

from __future__ import annotations

import _thread
import asyncio
import atexit
import os
import time
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context, copy_context
from queue import SimpleQueue
from threading import Thread
from typing import Final, TypeVar
from weakref import WeakSet

import anyio

from async_session_store._captured import Captured, capture
from async_session_store._loop_calls import LoopCalls
from async_session_store.errors import StoreUsageError

_STOP_TIMEOUT: Final = 30.0  # seconds
_STOP_PULSE: Final = 0.001  # seconds

_T = TypeVar("_T")


class LoopThread:
    """A thread that runs an asyncio loop.

    It is a daemon, and is stopped at the interpreter's exit: a store that nobody closed, or that
    was copied by a fork without its thread, must not keep a process from ending.
    """

    def __init__(self, name: str) -> None:
        self._process = os.getpid()
        self._calls: LoopCalls | None = None
        self._tasks_left_behind: set[asyncio.Task[object]] = set()
        self._started: SimpleQueue[Captured[None]] = SimpleQueue()
        self._stop_asked = False
        self._context = Context()
        self._wake: asyncio.Event | None = None
        self._thread = Thread(target=self._run, name=name, daemon=True)

    @property
    def calls(self) -> LoopCalls:
        """The calls into the loop, once the thread is started."""
        check_process(self._process)
        if self._calls is None:
            raise StoreUsageError("the thread of this store was not started")
        return self._calls

    def context(self) -> Context:
        """Return a copy of the caller's context in which anyio finds the thread's loop running."""
        context = copy_context()
        for variable, value in self._context.items():
            context.run(variable.set, value)
        return context

    def start(self) -> None:
        """Start the thread and wait until its loop runs."""
        atexit.register(self.stop)
        try:
            uninterrupted(self._start)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Cancel what still runs in the loop, and wait up to 30 seconds for the thread to end."""
        if os.getpid() == self._process:
            self._stop_asked = True
            if self._calls is not None and self._wake is not None:
                with suppress(RuntimeError):  # the loop has ended
                    self._calls.loop.call_soon_threadsafe(self._wake.set)
            try:
                uninterrupted(self._join)
            except RuntimeError:  # Python 3.12 starts no thread while the interpreter exits
                self._join()
        atexit.unregister(self.stop)  # last: if this is interrupted, the exit stops the thread

    def keep_tasks(self) -> None:
        """Keep the tasks alive in a forked process, so that they are never finalized there.

        A task that is finalized would close its connection, and the selector that both processes
        share would forget the parent's. This object is never freed in the child: the stack of
        the thread, which stayed in the parent, still refers to it, and nothing unwinds that stack.
        """
        if self._calls is not None:
            self._tasks_left_behind = asyncio.all_tasks(self._calls.loop)

    def _start(self) -> None:
        if self._stop_asked:
            return
        self._thread.start()
        self._started.get().result()

    def _join(self) -> None:
        # Not Thread.join: it would add the helper thread to those that threading lists, for good.
        give_up_at = time.monotonic() + _STOP_TIMEOUT
        while self._thread.is_alive() and time.monotonic() < give_up_at:
            time.sleep(_STOP_PULSE)

    def _run(self) -> None:
        try:
            anyio.run(self._serve)
        except BaseException as error:
            if self._calls is not None:
                raise
            self._started.put(Captured(error=error))
        finally:
            if self._calls is not None:
                self._calls.end()

    async def _serve(self) -> None:
        _loop_threads.add(self)
        self._context = copy_context()
        self._wake = wake = asyncio.Event()
        self._calls = calls = LoopCalls(asyncio.get_running_loop(), copy_context())
        self._started.put(Captured())
        try:
            if not self._stop_asked:
                await wake.wait()
        finally:  # a callback that raised SystemExit ends the loop too
            calls.refuse()
        # asyncio.run now cancels the tasks that still run, and awaits them.


_loop_threads: Final[WeakSet[LoopThread]] = WeakSet()


def _keep_tasks() -> None:
    for thread in _loop_threads:
        thread.keep_tasks()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_keep_tasks)


def uninterrupted(act: Callable[[], _T]) -> _T:
    """Run ``act`` in a thread of its own, where no signal handler can interrupt it.

    ``threading`` and ``concurrent.futures`` take their locks in Python code. A handler that raises
    there leaves them locked, and the next thread that needs them waits forever. The caller of this
    waits in C code, which survives an interrupt.
    """
    reply: SimpleQueue[Captured[_T]] = SimpleQueue()
    _thread.start_new_thread(_answer, (act, reply))
    return reply.get().result()


def _answer(act: Callable[[], _T], reply: SimpleQueue[Captured[_T]]) -> None:
    reply.put(capture(act))


def check_process(process: int) -> None:
    """Raise if a fork brought us here: the threads that would answer stayed in the parent."""
    if os.getpid() != process:
        raise StoreUsageError(
            "this store is from before a fork, and its thread stayed in the parent process; "
            "open a new one in this one"
        )
