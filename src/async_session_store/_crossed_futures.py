"""Futures that a task awaits in its own loop, and that the thread of an asyncio loop settles."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Generic, TypeVar

from async_session_store._mailbox import Mailbox
from async_session_store._running_loop import Future, Promise, set_exception, set_result
from async_session_store.errors import closed_before_begun

_T = TypeVar("_T")


class Replies:
    """Takes the replies of one turn of the asyncio loop to the loop of the tasks, all together.

    Only the asyncio loop's thread may use it. A reply that went alone would wake the other thread,
    which would then compete for the GIL with the replies that are still to come.

    Args:
        loop: The asyncio loop.
        mailbox: The mailbox of the tasks' loop.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, mailbox: Mailbox) -> None:
        self._loop = loop
        self._mailbox = mailbox
        self._settled: list[Callable[[], None]] = []

    def add(self, act: Callable[[], None]) -> None:
        """Have the loop of the tasks call ``act``."""
        self._settled.append(act)
        if len(self._settled) == 1:
            try:
                self._loop.call_soon(self.send)
            except RuntimeError:  # the asyncio loop has ended
                self.send()

    def send(self) -> None:
        """Send the replies so far. Called once more after the loop's end."""
        if self._settled:
            settled, self._settled = self._settled, []
            self._mailbox.post(partial(_run_all, settled))


class CrossedFuture(Generic[_T]):
    """The asyncio loop's side of a future, for that loop's thread alone.

    Of the caller's future, that thread only reads whether the caller still waits.

    Args:
        future: The future that the caller awaits.
        replies: Takes the outcome to the caller's loop.
    """

    __slots__ = ("_is_settled", "_replies", "future")

    def __init__(self, future: Future[_T], replies: Replies) -> None:
        self.future = future
        self._replies = replies
        self._is_settled = False

    def begin(self, act: Callable[[Promise[_T]], object], *, is_ending: bool) -> None:
        """Call ``act``, which settles this sooner or later, unless nobody waits for that."""
        if self.future.done():
            return
        if is_ending:
            self.set_exception(closed_before_begun())
            return
        try:
            act(self)
        except Exception as error:  # noqa: BLE001  # it is raised where the call came from
            self.set_exception(error)

    def done(self) -> bool:
        """Return whether it was settled, or its caller was cancelled."""
        return self._is_settled or self.future.done()

    def set_result(self, result: _T, /) -> None:
        self._is_settled = True
        self._replies.add(partial(set_result, self.future, result))

    def set_exception(self, exception: BaseException, /) -> None:
        self._is_settled = True
        self._replies.add(partial(set_exception, self.future, exception))


def _run_all(acts: list[Callable[[], None]]) -> None:
    for act in acts:
        act()
