"""What threads hand to a loop: one wake-up of the loop brings all that has come."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable


class Mailbox:
    """Has a loop run what other threads post, in the order in which each of them posts.

    Waking a loop that sleeps in another thread takes longer than most of what it is woken for. So
    a post wakes the loop only if no wake-up is on its way, and a wake-up runs all that has come.

    A post may be interrupted at any bytecode, by a signal handler that raises or by trio's
    ``KeyboardInterrupt``. So it takes no lock, and it leaves the wake-up to another post only once
    that one has sent it. A wake-up starts a new round before it takes anything. If a post finds
    that the wake-up for the current round was sent, that wake-up has not started yet, and will
    take what was posted. A post that is interrupted before it notes what it sent costs the next
    one a second wake-up; none is lost.

    Args:
        wake: Has the loop call a function soon. Any thread may call it. Raises ``RuntimeError`` if
            the loop is closed.
    """

    __slots__ = ("_posted", "_round", "_round_woken", "_wake")

    def __init__(self, wake: Callable[[Callable[[], None]], object]) -> None:
        self._wake = wake
        self._posted: deque[Callable[[], object]] = deque()  # each step of it is atomic, in C
        self._round = 0
        self._round_woken = -1

    def post(self, act: Callable[[], object]) -> None:
        """Have the loop run ``act``. Raise ``RuntimeError`` if the loop is closed."""
        self._posted.append(act)
        current = self._round
        if self._round_woken != current:
            self._wake(self.run_posted)
            self._round_woken = current

    def wake(self) -> None:
        """Wake the loop, even if a wake-up is on its way."""
        self._wake(self.run_posted)

    def run_posted(self) -> None:
        """Run what was posted. Only the loop's thread may call this."""
        self._round += 1
        try:
            for _ in range(len(self._posted)):  # what is posted meanwhile brings a wake-up along
                self._posted.popleft()()
        except BaseException:
            self._wake(self.run_posted)  # for what was posted after the one that failed
            raise
