"""A thread for calls that may block, whose outcomes come back to an event loop."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from threading import Thread
from typing import TypeVar
from weakref import finalize

from async_session_store._captured import Captured, capture
from async_session_store._running_loop import RunningLoop
from async_session_store.errors import StoreUsageError

_T = TypeVar("_T")


class CallThread:
    """A thread that makes one call after another for an event loop.

    The thread is a daemon, so a store that was never closed does not keep the interpreter from
    exiting. Nothing is lost with it: every answered write is committed.

    Args:
        loop: The loop that gets the outcomes.
        name: The name of the thread.
        at_end: The last call of the thread, made when this is ended, or dropped without that.
    """

    def __init__(self, loop: RunningLoop, name: str, at_end: Callable[[], object]) -> None:
        self._process = os.getpid()
        self._loop = loop
        self._calls: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        Thread(target=_serve, args=[self._calls], name=name, daemon=True).start()
        # The thread also ends when a store is dropped together with its loop without being closed.
        self._at_end = at_end
        self._finalizer = finalize(self, _drop, self._calls, at_end)
        self._finalizer.atexit = False

    @property
    def is_forked(self) -> bool:
        """Whether this is a copy in a forked process, which has no such thread."""
        return os.getpid() != self._process

    def call(self, function: Callable[[], _T], then: Callable[[Captured[_T]], None]) -> None:
        """Make a call there, and pass its outcome to ``then`` in the loop, if that still runs."""
        if self.is_forked:
            error = StoreUsageError(
                "this process was forked after the store was opened; nothing was done. Close "
                "stores before forking"
            )
            self._loop.call_soon(partial(then, Captured(error=error)))
            return
        self._calls.put(partial(_call, function, then, self._loop.call_soon_threadsafe))

    def end(self, then: Callable[[Captured[object]], None]) -> None:
        """End the thread after its last call, whose outcome is passed to ``then``.

        If this is interrupted, call it again.
        """
        self.call(self._at_end, then)
        self._calls.put(None)
        self._finalizer.detach()


def _serve(calls: SimpleQueue[Callable[[], object] | None]) -> None:
    while call := calls.get():
        call()
        del call  # otherwise its references would live until the next call


def _call(
    function: Callable[[], _T],
    then: Callable[[Captured[_T]], None],
    call_soon_threadsafe: Callable[[Callable[[], None]], object],
) -> None:
    outcome = capture(function)
    with suppress(RuntimeError):  # the loop has ended, so nobody waits
        call_soon_threadsafe(partial(then, outcome))


def _drop(calls: SimpleQueue[Callable[[], object] | None], at_end: Callable[[], object]) -> None:
    calls.put(at_end)
    calls.put(None)
