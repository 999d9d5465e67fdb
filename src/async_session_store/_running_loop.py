"""The running event loop, asyncio's or trio's: calls into it, and futures that its tasks await."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from typing import Any, Protocol, TypeVar

from async_session_store._background import runs_asyncio

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
        """Say that nobody awaits it. A task that is cancelled while it waits needs no such call."""
        ...

    def __await__(self) -> Generator[Any, Any, _T]: ...


def set_result(future: Future[_T], result: _T) -> None:
    """Settle a future, unless its caller was cancelled."""
    if not future.done():
        future.set_result(result)


def set_exception(future: Future[Any], exception: BaseException) -> None:
    """Settle a future, unless its caller was cancelled."""
    if not future.done():
        future.set_exception(exception)


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

            from async_session_store._trio_future import TrioFuture

            token = trio.lowlevel.current_trio_token()
            self.new_future = TrioFuture
            self.call_soon = self.call_soon_threadsafe = token.run_sync_soon
