"""Cancelling a block when its lease is lost, and nothing else that its task does."""

from __future__ import annotations

import asyncio
import gc
import inspect
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Final

from typing_extensions import override

from async_session_store._background import runs_asyncio

if TYPE_CHECKING:
    import trio

# Functions that run an async generator only to enter it as a context manager.
_ENTERING: Final = frozenset({"__aenter__", "enter_async_context"})
_AWAITED: Final = {"cr_frame": "cr_await", "ag_frame": "ag_await", "gi_frame": "gi_yieldfrom"}


class BlockScope(ABC):
    """A scope around a block, opened where the block begins."""

    @abstractmethod
    def cancel(self) -> bool:
        """Cancel the block if its task is inside it now.

        Return False if the task has left the block for a while (an async generator yielded out of
        it), so that the caller tries again later.
        """

    @abstractmethod
    def close(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        """Close the scope. Return whether this scope, and nothing else, cancelled the block."""


class _AsyncioScope(BlockScope):
    """Cancels the task that began the block, as ``asyncio.timeout`` does."""

    def __init__(self, task: asyncio.Task[object] | None, generator: FrameType | None) -> None:
        self._generator = generator
        self._task = task
        self._was_cancelled = False
        self._cancelled_before = 0
        if sys.version_info >= (3, 11) and self._task is not None:
            self._cancelled_before = self._task.cancelling()

    @override
    def cancel(self) -> bool:
        if self._task is None or self._task.done():
            return True  # the block continues in other tasks, which we cannot find
        if self._generator is not None and self._generator not in _frames(self._task.get_coro()):
            return False
        self._was_cancelled = True
        self._task.cancel()
        return True

    @override
    def close(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        self._generator = None
        if not self._was_cancelled or self._task is None:
            return False
        is_cancelled_by_others = False
        if sys.version_info >= (3, 11):
            is_cancelled_by_others = self._task.uncancel() > self._cancelled_before
        if exc is None:
            return True  # the block swallowed the cancellation
        return isinstance(exc, asyncio.CancelledError) and not is_cancelled_by_others


class _TrioScope(BlockScope):
    """A cancel scope of the task that began the block."""

    def __init__(self, task: trio.lowlevel.Task) -> None:
        import trio

        self._task = task
        self._scope = trio.CancelScope()  # anyio's costs twice as much
        self._scope.__enter__()

    @override
    def cancel(self) -> bool:
        self._scope.cancel()
        return True

    @override
    def close(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        import trio

        if trio.lowlevel.current_task() is not self._task:
            return False  # trio lets only the task that opened a scope close it
        self._scope.__exit__(exc_type, exc, traceback)  # re-raises a group's other exceptions
        caught_in_block = exc is None and self._scope.cancel_called
        return caught_in_block or self._scope.cancelled_caught


class _TrioGeneratorScope(BlockScope):
    """Cancels nothing: trio forbids a scope that stays open across a ``yield``."""

    @override
    def cancel(self) -> bool:
        return True

    @override
    def close(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        return False


def block_scope() -> BlockScope:
    """Open a scope around a block. Called from the ``__aenter__`` of its context manager."""
    if runs_asyncio():
        task = asyncio.current_task()
        return _AsyncioScope(task, _iterated_generator(task and task.get_coro()))
    import trio

    trio_task = trio.lowlevel.current_task()
    if _iterated_generator(trio_task.coro) is not None:
        return _TrioGeneratorScope()
    return _TrioScope(trio_task)


def _iterated_generator(coroutine: object) -> FrameType | None:
    """Return the frame of an async generator that can yield out of the block, or None.

    Search every frame up to the task's own coroutine, because other context managers and functions
    may stand between the generator and us. A generator behind ``asynccontextmanager`` does not
    count: it yields once, and the code that runs meanwhile is the block itself.
    """
    root: FrameType | None = getattr(coroutine, "cr_frame", None)
    # The loop ends with `frame` rebound. A frame that keeps a reference to itself is a cycle, and
    # would keep the block, its claim and its data alive until the garbage collector runs.
    frame = inspect.currentframe()
    while frame is not None and frame is not root:
        caller = frame.f_back
        is_generator = frame.f_code.co_flags & inspect.CO_ASYNC_GENERATOR
        if is_generator and (caller is None or caller.f_code.co_name not in _ENTERING):
            return frame
        frame = caller
    return None


def _frames(awaitable: object) -> Iterator[FrameType]:
    """Yield the suspended frames of a coroutine, from the outermost to the innermost."""
    while awaitable is not None:
        name = next((name for name in _AWAITED if hasattr(awaitable, name)), None)
        if name is not None:
            frame: FrameType | None = getattr(awaitable, name)
            if frame is not None:
                yield frame
            awaitable = getattr(awaitable, _AWAITED[name])
        else:
            awaitable = _wrapped(awaitable)


def _wrapped(awaitable: object) -> object | None:
    """Return the generator or coroutine behind an awaitable that hides it.

    Python does not expose it (python/cpython#76991), so ask the garbage collector.
    """
    referents: list[object] = gc.get_referents(awaitable)
    for referent in referents:
        if any(hasattr(referent, name) for name in _AWAITED):
            return referent
        if hasattr(referent, "send") and hasattr(referent, "throw"):  # anext() wraps one in another
            return referent
    return None
