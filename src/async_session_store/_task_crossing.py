"""Calls from tasks into the asyncio loop of another thread: each task awaits its outcome."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Protocol, TypeVar, cast

import anyio
from anyio import to_thread
from typing_extensions import ParamSpec

from async_session_store._background import loop_getter, runs_asyncio
from async_session_store._captured import Captured
from async_session_store._loop_calls import LoopCall, LoopCalls
from async_session_store._loop_thread import LoopThread
from async_session_store._mailbox import Mailbox
from async_session_store._running_loop import RunningLoop

_P = ParamSpec("_P")
_T = TypeVar("_T")


class _Event(Protocol):
    def set(self) -> object: ...
    async def wait(self) -> object: ...


class TaskCrossing:
    """Makes calls from the running loop into an asyncio loop on a thread of its own.

    Args:
        name: The name of the thread.

    Attributes:
        replies: What the other loop has for the running one.
    """

    def __init__(self, name: str) -> None:
        loop = RunningLoop()
        self._running_loop = loop_getter()
        self._loop = self._running_loop()
        self._new_event = _event_class()
        self._wake_loop = loop.call_soon_threadsafe
        self.replies = Mailbox(self._wake)
        self._thread = LoopThread(name)

    async def open(
        self, first: Callable[_P, Awaitable[object]], *args: _P.args, **kwargs: _P.kwargs
    ) -> None:
        """Start the thread, and make a first call there. If that fails, stop the thread."""
        self._thread.start()  # it blocks for a millisecond: a wait could be cancelled
        try:
            await self.call(first, *args, **kwargs)
        except BaseException:
            await self._stop()
            raise

    @property
    def calls(self) -> LoopCalls:
        """The calls into the other loop. Raises in a forked process."""
        return self._thread.calls

    async def call(
        self, method: Callable[_P, Awaitable[_T]], *args: _P.args, **kwargs: _P.kwargs
    ) -> _T:
        """Make a call there, and return what it returns or raise what it raises.

        If the caller is cancelled, cancel the call, once, and wait for its end.
        """
        ended = self._new_event()
        call = LoopCall(
            self.calls,
            partial(method, *args, **kwargs),
            self._thread.context(),
            partial(self.replies.post, ended.set),
        )
        try:
            call.begin()
            await ended.wait()
        except GeneratorExit:
            call.cancel()
            raise
        except BaseException:
            call.cancel()
            with anyio.CancelScope(shield=True):
                await ended.wait()
            raise
        return cast("Captured[_T]", call.outcome).result()

    async def aclose(self, last: Callable[[], Awaitable[object]]) -> None:
        """Make a last call, and stop the thread.

        In another loop, only stop the thread, which ends all that runs there: replies go to the
        loop that this was made in, and if that has ended, no call has a caller any more.
        """
        with anyio.CancelScope(shield=True):
            try:
                if self._is_at_home():
                    await self.call(last)
            finally:
                await self._stop()

    def _is_at_home(self) -> bool:
        try:
            return self._running_loop() is self._loop
        except RuntimeError:  # another library's loop runs here
            return False

    async def _stop(self) -> None:
        with anyio.CancelScope(shield=True):
            await to_thread.run_sync(self._thread.stop)

    def _wake(self, act: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # the loop of the tasks has ended
            self._wake_loop(act)


def _event_class() -> Callable[[], _Event]:
    """Return the event class of the running loop."""
    # Not anyio's events: each would ask for the loop again, which takes four times as long.
    if runs_asyncio():
        return asyncio.Event
    import trio

    return trio.Event
