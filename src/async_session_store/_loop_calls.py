"""Calls into an asyncio loop from outside it, and their outcomes."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import Context
from functools import partial
from typing import Any, Generic, TypeVar

from async_session_store._captured import Captured
from async_session_store._mailbox import Mailbox
from async_session_store.errors import StoreUsageError, closed_before_begun, cut_off

_T = TypeVar("_T")


class LoopCalls:
    """The calls from other threads into one asyncio loop.

    Args:
        loop: The loop.
        context: What is posted runs in this context. Otherwise it would run in that of the thread
            that wakes the loop, where anyio may find another library's loop running.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, context: Context) -> None:
        self.loop = loop
        self.mailbox = Mailbox(partial(loop.call_soon_threadsafe, context=context))
        self.in_flight: set[LoopCall[Any]] = set()
        self.is_ending = False
        self.at_end: list[Callable[[], object]] = []
        """Called in the loop's thread, after its end, to fail what has no outcome."""

    def refuse(self) -> None:
        """Cut off each call that has not begun yet. Called in the loop, before it ends.

        A loop that ends cancels its tasks once. A task that began after that would never finish.
        """
        self.is_ending = True

    def end(self) -> None:
        """Cut off all calls that have no outcome. Called in the loop's thread, after its end."""
        self.is_ending = True
        self.mailbox.run_posted()
        for call in list(self.in_flight):
            call.cut_off()
        for act in self.at_end:
            act()


class LoopCall(Generic[_T]):
    """A call that runs as a task in a loop.

    Its outcome is a value even if it is an error. An error that was raised in the loop would
    replace the caller's cancellation, and ``SystemExit`` would end a loop that serves others too.

    Nothing here takes a lock in Python code. The calling thread may be interrupted at any bytecode,
    and could leave such a lock locked. The loop would then wait for it forever.

    Args:
        calls: The calls into the loop, of which this is one.
        call: The function to call there.
        context: The context to call it in.
        on_end: Called once, as soon as :attr:`outcome` is set, from whichever thread sets it.
    """

    __slots__ = (
        "_call",
        "_calls",
        "_context",
        "_has_begun",
        "_is_cancelled",
        "_on_end",
        "_task",
        "outcome",
    )

    def __init__(
        self,
        calls: LoopCalls,
        call: Callable[[], Awaitable[_T]],
        context: Context,
        on_end: Callable[[], object],
    ) -> None:
        self._calls = calls
        self._context = context
        self._call = call
        self._on_end = on_end
        self._is_cancelled = False
        self._has_begun = False
        self._task: asyncio.Task[None] | None = None
        self.outcome: Captured[_T] | None = None

    def begin(self) -> None:
        """Have the loop begin the call."""
        try:
            self._calls.mailbox.post(self._begin)
        except RuntimeError as error:
            self._end(Captured(error=loop_ended(error)))

    def cancel(self) -> None:
        """Have the loop cancel the call, which then ends, even if it was never begun."""
        self._is_cancelled = True
        try:
            self._calls.mailbox.post(self._cancel)
        except RuntimeError:  # the loop has ended, and the call with it
            self.cut_off()

    def cut_off(self) -> None:
        """End the call without its own outcome, unless it has ended."""
        self._end(Captured(error=cut_off() if self._has_begun else closed_before_begun()))

    def _begin(self) -> None:
        if self._is_cancelled or self._calls.is_ending:
            self.cut_off()
            return
        task = _create_eager_task(self._calls.loop, self._run(), self._context)
        if self.outcome is None:
            self._task = task
            self._calls.in_flight.add(self)

    async def _run(self) -> None:
        self._has_begun = True
        self._end(await _capture(self._call))

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()
        if not self._has_begun:  # nor will it: its task was cancelled before the first step
            self.cut_off()

    def _end(self, outcome: Captured[_T]) -> None:
        if self.outcome is None:
            self._calls.in_flight.discard(self)
            self.outcome = outcome
            self._on_end()


def _create_eager_task(
    loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, None], context: Context
) -> asyncio.Task[None]:
    """Create a task that runs its first step at once; before Python 3.12, in the next turn."""
    if sys.version_info >= (3, 12):
        return asyncio.Task(coroutine, loop=loop, context=context, eager_start=True)
    return context.run(loop.create_task, coroutine)


async def _capture(call: Callable[[], Awaitable[_T]]) -> Captured[_T]:
    try:
        return Captured(value=await call())
    except asyncio.CancelledError:
        return Captured(error=cut_off())
    except BaseException as error:  # noqa: BLE001  # it is raised where the call came from
        return Captured(error=error)


def loop_ended(cause: RuntimeError) -> StoreUsageError:
    """Return the error for a call into a loop that has ended."""
    error = StoreUsageError("the event loop of this store has ended")
    error.__cause__ = cause  # by hand, as it is not raised here
    return error
