"""Wake-ups of the callers that wait for their turn at a scope."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Final

import anyio

from async_session_store._background import Background
from async_session_store._waking import wait_until_set
from async_session_store.abc import ClaimKey
from async_session_store.errors import SessionStoreError
from async_session_store.models import Owner

_PAUSE: Final = 0.025  # seconds between two polls, which notice changes by other processes


class TurnWatch:
    """Polls the queues for all waiting callers of a backend.

    It polls regularly while any of them waits, and immediately when this process has ended a claim.
    Between two polls there is only a timer. It outlasts the last caller, and then does nothing.

    Args:
        loop: Has the timer, and runs the polls.
        next_in_line: Returns the tokens whose turn it is. It must change nothing.
    """

    def __init__(
        self, loop: Background, next_in_line: Callable[[], Awaitable[frozenset[str]]]
    ) -> None:
        self._loop = loop
        self._next_in_line = next_in_line
        self._waiting: dict[str, tuple[ClaimKey, anyio.Event]] = {}
        self._is_timer_set = False
        self._is_polling = False
        self._polls_again = False
        self._is_closed = False

    async def wait(self, place: ClaimKey, seconds: float) -> None:
        """Wait for at most ``seconds`` until it may be the turn of a place."""
        wake_up = anyio.Event()
        self._waiting[place.token] = (place, wake_up)
        self._set_timer()
        try:
            await wait_until_set(wake_up, seconds)
        finally:
            del self._waiting[place.token]

    def poll_for(self, owner: Owner, scope_hash: str) -> None:
        """Poll now if a caller of this backend waits at a scope."""
        for place, _ in self._waiting.values():
            if place.scope_hash == scope_hash and place.owner == owner:
                self._poll()
                return

    def close(self) -> None:
        """Stop polling, and wake all callers, whose next call finds the backend closed."""
        self._is_closed = True
        self._wake(self._waiting)

    def _set_timer(self) -> None:
        if not (self._is_timer_set or self._is_polling or self._is_closed):
            self._is_timer_set = True
            self._loop.set_timer(_PAUSE, self._on_timer)

    def _on_timer(self) -> None:
        self._is_timer_set = False
        if self._waiting:
            self._poll()

    def _poll(self) -> None:
        if self._is_polling:
            self._polls_again = True
        elif not self._is_closed:
            self._is_polling = True
            self._loop.start(self._poll_until_done)

    async def _poll_until_done(self) -> None:
        try:
            self._polls_again = True
            while self._polls_again:
                self._polls_again = False
                self._wake(await self._next_in_line())
        except SessionStoreError:
            pass  # the callers get it when they renew their places
        finally:
            self._is_polling = False
        if self._waiting:
            self._set_timer()

    def _wake(self, tokens: Iterable[str]) -> None:
        for token in tokens:
            if token in self._waiting:
                self._waiting[token][1].set()
