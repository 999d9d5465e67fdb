"""Calls into an asyncio loop from outside it, and their outcomes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from contextvars import Context
from dataclasses import dataclass
from typing import Final, Generic, TypeVar, cast
from weakref import WeakSet

from async_session_store.errors import StoreUsageError, closed_before_begun, cut_off

_T = TypeVar("_T")


_ending: Final[WeakSet[asyncio.AbstractEventLoop]] = WeakSet()


def refuse_calls(loop: asyncio.AbstractEventLoop) -> None:
    """Cut off all calls that a loop has yet to begin, called in the loop before its end.

    A loop cancels its tasks once when it ends. One that began after that would never run.
    """
    _ending.add(loop)


def _do_nothing(_: None) -> None:
    pass


@dataclass(frozen=True, slots=True)
class Captured(Generic[_T]):
    """The outcome of a call: its value, or the error that it raised."""

    value: _T | None = None
    error: BaseException | None = None

    def result(self) -> _T:
        if self.error is not None:
            raise self.error
        return cast("_T", self.value)


class LoopCall(Generic[_T]):
    """A call that runs as a task in a loop.

    Its reply is a value even if it is an error, so that an error does not replace the caller's
    cancellation, and ``SystemExit`` does not end a loop that serves others. The reply goes to
    ``deliver``, in the loop's thread.

    Nothing here takes a lock in Python code. The calling thread may be interrupted at any bytecode,
    and could leave such a lock locked; the loop would then wait for it for ever.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        call: Callable[[], Awaitable[_T]],
        deliver: Callable[[Captured[_T]], object],
        context: Context | None = None,
    ) -> None:
        self._loop = loop
        self._context = context
        self._call = call
        self._deliver = deliver
        self._task: asyncio.Task[Captured[_T]] | None = None

    def begin(self) -> None:
        """Have the loop begin the call."""
        try:
            self._loop.call_soon_threadsafe(self._begin, context=self._context)
        except RuntimeError as error:
            raise StoreUsageError("the event loop of this store has ended") from error

    def cancel(self, settled: Callable[[None], object] = _do_nothing) -> None:
        """Have the loop cancel the call, and call ``settled`` when it has ended."""
        with suppress(RuntimeError):  # the loop has ended, and the call before it
            self._loop.call_soon_threadsafe(self._cancel, settled)

    def _begin(self) -> None:
        if self._loop in _ending:
            self._deliver(Captured(error=closed_before_begun()))
            return
        self._task = self._loop.create_task(_capture(self._call))
        self._task.add_done_callback(self._end)

    def _end(self, task: asyncio.Task[Captured[_T]]) -> None:
        self._deliver(Captured(error=cut_off()) if task.cancelled() else task.result())

    def _cancel(self, settled: Callable[[None], object]) -> None:
        if self._task is None:  # the thread was interrupted before it handed the call over
            settled(None)
            return
        self._task.add_done_callback(lambda _: settled(None))
        self._task.cancel()


async def _capture(call: Callable[[], Awaitable[_T]]) -> Captured[_T]:
    try:
        return Captured(value=await call())
    except asyncio.CancelledError:
        raise
    except BaseException as error:  # noqa: BLE001  # it is raised where the call came from
        return Captured(error=error)
