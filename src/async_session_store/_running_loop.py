"""The running event loop, asyncio's or trio's: calls into it, and futures that its tasks await."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

from async_session_store._background import runs_asyncio
from async_session_store._captured import Captured

if TYPE_CHECKING:
    import trio

_T = TypeVar("_T")
_T_contra = TypeVar("_T_contra", contravariant=True)


class Promise(Protocol[_T_contra]):
    """A result that is not known yet."""

    def done(self) -> bool:
        """Return whether it has a result or an exception, or nobody awaits it any more."""
        ...

    def set_result(self, result: _T_contra, /) -> None: ...

    def set_exception(self, exception: BaseException, /) -> None: ...


class Future(Promise[_T], Protocol[_T]):
    """A result that one task awaits. Only the thread of its loop may use it."""

    def cancel(self) -> object:
        """Give it up. A task that is cancelled while it waits does so by itself."""
        ...

    def __await__(self) -> Generator[Any, Any, _T]: ...


class RunningLoop:
    """The event loop that runs where this is made.

    Attributes:
        new_future: Returns a new :class:`Future`.
        call_soon: Calls a function in the next turn of the loop, from the loop's own thread.
        call_soon_threadsafe: The same, from any thread. Raises ``RuntimeError`` if the loop ended.
    """

    # Bound here, since anyio's own functions look for the loop on each call, which takes four times
    # as long.
    new_future: Callable[[], Future[Any]]
    call_soon: Callable[[Callable[[], None]], object]
    call_soon_threadsafe: Callable[[Callable[[], None]], object]

    def __init__(self) -> None:
        if runs_asyncio():
            loop = asyncio.get_running_loop()
            self.new_future = loop.create_future
            self.call_soon = loop.call_soon
            self.call_soon_threadsafe = loop.call_soon_threadsafe
        else:
            import trio

            token = trio.lowlevel.current_trio_token()
            self.new_future = TrioFuture
            self.call_soon = self.call_soon_threadsafe = token.run_sync_soon


class TrioFuture:
    """A future for trio, which has none."""

    __slots__ = ("_is_cancelled", "_outcome", "_task")

    def __init__(self) -> None:
        self._outcome: Captured[Any] | None = None
        self._task: trio.lowlevel.Task | None = None
        self._is_cancelled = False

    def done(self) -> bool:
        return self._is_cancelled or self._outcome is not None

    def cancel(self) -> None:
        self._is_cancelled = True

    def set_result(self, result: Any, /) -> None:
        self._set(Captured(value=result))

    def set_exception(self, exception: BaseException, /) -> None:
        self._set(Captured(error=exception))

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._wait().__await__()

    async def _wait(self) -> Any:
        import trio

        if self._outcome is None:
            try:
                self._task = trio.lowlevel.current_task()
                await trio.lowlevel.wait_task_rescheduled(self._cancel)
            finally:  # trio's KeyboardInterrupt may come before the task waits
                self._task = None
        return cast("Captured[Any]", self._outcome).result()

    def _cancel(self, _: object) -> trio.lowlevel.Abort:
        import trio

        self._is_cancelled = True
        return trio.lowlevel.Abort.SUCCEEDED

    def _set(self, outcome: Captured[Any]) -> None:
        import trio

        self._outcome = outcome
        if self._task is not None:
            trio.lowlevel.reschedule(self._task)
