"""Calls from threads into an asyncio loop: each thread waits for the end of its call."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, TimeoutError, wait  # noqa: A004  # in 3.10 not the built-in
from contextlib import suppress
from functools import partial
from threading import RLock
from typing import Final, Generic, TypeVar

from anyio.from_thread import BlockingPortal
from anyio.lowlevel import current_token
from typing_extensions import ParamSpec

from async_session_store._portal import Ended, PortalThread, check_process, ended
from async_session_store.errors import InvalidInputError, StoreUnavailableError, cut_off

CANCEL_TIMEOUT: Final = 10.0  # seconds
_PULSE: Final = 1.0  # seconds

_P = ParamSpec("_P")
_T = TypeVar("_T")


class Call(Generic[_T]):
    """A call that runs as a task in a loop, for the thread that began it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, call: Callable[[], Awaitable[_T]]) -> None:
        self._process = os.getpid()
        self._loop = loop
        self._call = call
        self._task: asyncio.Task[Ended[_T]] | None = None
        self._reply: Future[Ended[_T]] = Future()

    def hand_over(self) -> None:
        """Have the loop begin it."""
        try:
            self._loop.call_soon_threadsafe(self._begin)
        except RuntimeError as error:
            raise StoreUnavailableError("the event loop of this store has ended") from error

    def result(self) -> _T:
        """Wait for its end. If the thread is interrupted meanwhile, it is cancelled first."""
        try:
            reply = self._await_reply()
        except BaseException:
            self.cancel()
            raise
        return reply.result()

    def cancel(self) -> None:
        """Cancel it, and wait for its end: at most 10 seconds, and not where a loop runs."""
        if os.getpid() != self._process:
            return  # it stayed in the parent
        with suppress(RuntimeError):  # the loop has ended, and the call before it
            self._loop.call_soon_threadsafe(self._cancel)
        # The garbage collector can bring any thread here, also the one that runs the loop.
        if self._loop.is_running() and not _runs_event_loop():
            wait([self._reply], CANCEL_TIMEOUT)

    def _await_reply(self) -> Ended[_T]:
        while True:
            try:
                return self._reply.result(_PULSE)
            except TimeoutError:
                if not self._loop.is_running():  # it never began what it was handed at its end
                    return self._cut_off()

    def _begin(self) -> None:
        self._task = self._loop.create_task(ended(self._call))
        self._task.add_done_callback(self._end)

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _end(self, task: asyncio.Task[Ended[_T]]) -> None:
        self._reply.set_result(self._cut_off() if task.cancelled() else task.result())

    def _cut_off(self) -> Ended[_T]:
        return Ended(error=cut_off())


class Crossing:
    """The way from threads into an asyncio loop: that of a portal, or one on a thread of its own.

    Threads may share it. Everything that was begun before :meth:`close` ends with it, if the
    thread is its own.
    """

    def __init__(self, portal: BlockingPortal | None) -> None:
        self._process = os.getpid()
        self._thread: PortalThread | None = None
        if portal is None:
            self._thread = PortalThread("async_session_store")
            self._thread.start()
            portal = self._thread.portal
        self._loop = _loop_of(portal)
        self._open = True
        self._lock = RLock()  # a signal handler may call, wherever its thread is

    @property
    def is_forked(self) -> bool:
        """Whether this process was forked off the one that has the loop."""
        return os.getpid() != self._process

    @property
    def is_running(self) -> bool:
        """Whether its loop has not ended yet."""
        return self._loop.is_running()

    def call(self, method: Callable[_P, Awaitable[_T]], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Make a call in the loop, and give what it gives or raises."""
        return self.begin(method, *args, **kwargs).result()

    def begin(
        self, method: Callable[_P, Awaitable[_T]], *args: _P.args, **kwargs: _P.kwargs
    ) -> Call[_T]:
        """Begin a call, which the thread must await or cancel."""
        refuse_event_loop()
        check_process(self._process)
        call = Call(self._loop, partial(method, *args, **kwargs))
        with self._lock:  # what is handed to a loop that has ended is never run
            if not self._open:
                raise StoreUnavailableError("this store is closed")
            call.hand_over()
        return call

    def close(self) -> None:
        with self._lock:
            self._open = False
        if self._thread is not None:
            self._thread.stop()


def refuse_event_loop() -> None:
    """Raise in a thread that runs an event loop: waiting here would freeze it."""
    if _runs_event_loop():
        raise StoreUnavailableError(
            "SessionStore blocks, and this thread runs an event loop: "
            "await AsyncSessionStore here, or call this in a worker thread"
        )


def _runs_event_loop() -> bool:
    # The second one finds trio, the first also a callback of asyncio, which has no task.
    for running in (asyncio.get_running_loop, current_token):
        try:
            running()
        except RuntimeError:
            continue
        return True
    return False


def _loop_of(portal: BlockingPortal) -> asyncio.AbstractEventLoop:
    try:
        loop = portal.call(_running_loop)
    except RuntimeError as error:
        raise StoreUnavailableError("portal: it does not run") from error
    if loop is None:
        raise InvalidInputError("portal: give one whose loop is asyncio's")
    return loop


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
