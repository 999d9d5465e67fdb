"""Calls from tasks into the asyncio loop of another thread: each task awaits its reply."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Generic, TypeVar

import anyio
from anyio import to_thread
from typing_extensions import ParamSpec

from async_session_store._background import runs_asyncio
from async_session_store._loop_calls import Captured, LoopCall
from async_session_store._loop_thread import LoopThread
from async_session_store.errors import cut_off

_P = ParamSpec("_P")
_T = TypeVar("_T")


class _Reply(Generic[_T]):
    """The reply to a call: it arrives in the loop's thread, and wakes the task that awaits it."""

    def __init__(self, wake: Callable[[Callable[[], object]], object]) -> None:
        self._wake = wake
        self.came = anyio.Event()
        self.captured: Captured[_T] = Captured(error=cut_off())

    def deliver(self, captured: Captured[_T]) -> None:
        self.captured = captured
        self.cut_off()

    def cut_off(self) -> None:
        with suppress(RuntimeError):  # the loop of the task has ended
            self._wake(self.came.set)


class TaskCrossing:
    """Makes calls from the running loop into an asyncio loop on a thread of its own."""

    def __init__(self) -> None:
        self._wake = _waker()
        self._awaited: set[Callable[[], None]] = set()
        self._thread = LoopThread("async_session_store bridge", at_end=self._cut_off)

    def open(self) -> None:
        """Start the thread. This blocks for a millisecond, as awaiting it could be cancelled."""
        self._thread.start()

    async def call(
        self, method: Callable[_P, Awaitable[_T]], *args: _P.args, **kwargs: _P.kwargs
    ) -> _T:
        """Make a call there. Cancelling this cancels the call, once, and waits for its end."""
        reply: _Reply[_T] = _Reply(self._wake)
        act = partial(method, *args, **kwargs)
        call = LoopCall(self._thread.loop, act, reply.deliver, self._thread.context())
        self._awaited.add(reply.cut_off)
        try:
            call.begin()
            await self._end(call, reply.came)
        finally:
            self._awaited.discard(reply.cut_off)
        return reply.captured.result()

    async def aclose(self) -> None:
        """Stop the thread."""
        with anyio.CancelScope(shield=True):
            await to_thread.run_sync(self._thread.stop)

    async def _end(self, call: LoopCall[_T], came: anyio.Event) -> None:
        try:
            await came.wait()
        except GeneratorExit:
            call.cancel()
            raise
        except BaseException:
            call.cancel()
            with anyio.CancelScope(shield=True):
                await came.wait()
            raise

    def _cut_off(self) -> None:
        for cut_off_reply in list(self._awaited):
            cut_off_reply()


def _waker() -> Callable[[Callable[[], object]], object]:
    """Return a function that has the running loop call something, from any thread."""
    if runs_asyncio():
        return asyncio.get_running_loop().call_soon_threadsafe
    import trio

    return trio.lowlevel.current_trio_token().run_sync_soon
