"""Calls from threads into an asyncio loop: each thread waits for the end of its call."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from contextvars import Context, copy_context
from functools import partial
from queue import Empty, SimpleQueue
from typing import Final, Generic, TypeVar

from anyio.from_thread import BlockingPortal
from typing_extensions import ParamSpec, override

from async_session_store._captured import Captured
from async_session_store._loop_calls import LoopCall, LoopCalls
from async_session_store._loop_thread import LoopThread, check_process, uninterrupted
from async_session_store.errors import InvalidInputError, StoreUsageError

CANCEL_TIMEOUT: Final = 10.0  # seconds
_PULSE: Final = 1.0  # seconds

_P = ParamSpec("_P")
_T = TypeVar("_T")


class Call(Generic[_T]):
    """A call into a loop, for the thread that begins it."""

    def __init__(self, calls: LoopCalls, call: Callable[[], Awaitable[_T]]) -> None:
        self._calls = calls
        self._ended: SimpleQueue[None] = SimpleQueue()
        self._call = LoopCall(calls, call, copy_context(), partial(self._ended.put, None))

    def result(self) -> _T:
        """Make the call and wait for its end.

        If the thread is interrupted, cancel the call and wait up to 10 seconds for its end.
        """
        try:
            self._call.begin()
            outcome = self._await_end()
        except BaseException:
            self._cancel()
            raise
        return outcome.result()

    def _await_end(self) -> Captured[_T]:
        while (outcome := self._call.outcome) is None:
            try:
                self._ended.get(timeout=_PULSE)
            except Empty:
                self._check_loop()
        return outcome

    def _check_loop(self) -> None:
        if not self._calls.loop.is_running():  # a portal's; it has ended, and may not be closed
            self._call.cut_off()
            return
        # If a portal's loop runs in the main thread, a signal handler may have interrupted it just
        # as it took a wake-up.
        with suppress(RuntimeError):  # the loop was closed this very moment
            self._calls.mailbox.wake()

    def _cancel(self) -> None:
        self._call.cancel()
        if self._call.outcome is None and self._calls.loop.is_running():
            with suppress(Empty):
                self._ended.get(timeout=CANCEL_TIMEOUT)


class Crossing:
    """Makes calls from threads into an asyncio loop: a portal's, or one on a thread of its own.

    Threads may share it. If it has a thread of its own, closing it ends what still runs there.
    """

    def __init__(self, portal: BlockingPortal | None) -> None:
        self._process = os.getpid()
        self._portal = portal
        self._thread = LoopThread("async_session_store") if portal is None else None
        self._calls: LoopCalls | None = None
        self._is_open = True

    @override
    def __repr__(self) -> str:
        where = "a portal's loop" if self._thread is None else "a thread of its own"
        return f"<Crossing to {where}, {'open' if self._is_open else 'closed'}>"

    @property
    def is_forked(self) -> bool:
        """Whether this process was forked off the one that has the loop."""
        return os.getpid() != self._process

    @property
    def is_running(self) -> bool:
        """Whether its loop runs, and takes calls."""
        calls = self._calls
        return calls is not None and calls.loop.is_running() and not calls.is_ending

    @property
    def is_open(self) -> bool:
        """Whether it has not been closed."""
        return self._is_open

    def open(self) -> None:
        """Find the loop of the portal, or start one."""
        if self._thread is not None:
            self._thread.start()
            self._calls = self._thread.calls
        elif self._portal is not None:
            self._calls = LoopCalls(uninterrupted(partial(_loop_of, self._portal)), Context())

    def call(self, method: Callable[_P, Awaitable[_T]], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Make a call in the loop, and return what it returns or raise what it raises."""
        refuse_event_loop()
        check_process(self._process)
        if not self._is_open:
            raise StoreUsageError("this store is closed")
        if self._calls is None:
            raise StoreUsageError("this store is not open yet; another thread opens it")
        if not self._calls.loop.is_running():  # one that only stopped would take the call for good
            raise StoreUsageError("the event loop of this store has ended")
        return Call(self._calls, partial(method, *args, **kwargs)).result()

    def close(self) -> None:
        self._is_open = False
        if self._thread is not None:
            self._thread.stop()


def refuse_event_loop() -> None:
    """Raise in a thread that runs an event loop: waiting here would freeze it."""
    if runs_event_loop():
        raise StoreUsageError(
            "SessionStore blocks, and this thread runs an event loop: "
            "await AsyncSessionStore here, or call this in a worker thread"
        )


def runs_event_loop() -> bool:
    """Return whether this thread runs an event loop."""
    # Not asyncio.current_task: a callback has none. Both functions only look at a thread's local.
    if asyncio._get_running_loop() is not None:  # noqa: SLF001  # public, in spite of its name
        return True
    if "trio" not in sys.modules:
        return False
    import trio

    return trio.lowlevel.in_trio_run()


def _loop_of(portal: BlockingPortal) -> asyncio.AbstractEventLoop:
    try:
        loop = portal.call(_running_loop)
    except RuntimeError as error:
        raise StoreUsageError("portal: it does not run") from error
    if loop is None:
        raise InvalidInputError("portal: give one whose loop is asyncio's")
    return loop


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
