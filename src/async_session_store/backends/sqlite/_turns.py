"""Wake-ups of the callers that wait for their turn at a scope."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextvars import Context
from typing import Final

import anyio

from async_session_store._waking import wait_until_set
from async_session_store.abc import ClaimKey
from async_session_store.errors import StoreUsageError
from async_session_store.models import Owner

_PAUSE: Final = 0.025  # seconds between two polls, which notice changes by other processes


class TurnWatch:
    """Polls the queues for all waiting callers of a backend.

    It polls regularly while any of them waits, and immediately when this process has ended a claim.
    It uses a timer and not a task, so a cancelled caller leaves no task behind.

    Args:
        next_in_line: Returns the tokens whose turn it is. It must change nothing.
    """

    def __init__(self, next_in_line: Callable[[], Awaitable[frozenset[str]]]) -> None:
        self._next_in_line = next_in_line
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[str, tuple[ClaimKey, anyio.Event]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._polling: asyncio.Future[frozenset[str]] | None = None
        self._polls_again = False
        self._is_closed = False

    async def wait(self, place: ClaimKey, seconds: float) -> None:
        """Wait for at most ``seconds`` until it may be the turn of a place."""
        wake_up = anyio.Event()
        self._waiting[place.token] = (place, wake_up)
        if self._timer is None and self._polling is None:
            self._set_timer()
        try:
            await wait_until_set(wake_up, seconds)
        finally:
            del self._waiting[place.token]
            if not self._waiting:
                self._stop_timer()

    def poll_for(self, owner: Owner, scope_hash: str) -> None:
        """Poll now if a caller of this backend waits at a scope."""
        for place, _ in self._waiting.values():
            if place.scope_hash == scope_hash and place.owner == owner:
                self._poll()
                return

    def close(self) -> None:
        """Stop polling, and wake all callers, whose next call finds the backend closed."""
        self._is_closed = True
        self._stop_timer()
        self._wake(self._waiting)

    def _set_timer(self) -> None:
        if not self._is_closed:
            # In an empty context, since it serves all callers.
            self._timer = self._loop.call_later(_PAUSE, self._poll, context=Context())

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _poll(self) -> None:
        self._stop_timer()
        if self._polling is not None:
            self._polls_again = True
            return
        try:
            self._polling = asyncio.ensure_future(self._next_in_line())
        except StoreUsageError:  # the backend is closed
            self._wake(self._waiting)
        else:
            self._polling.add_done_callback(self._on_polled)

    def _on_polled(self, polling: asyncio.Future[frozenset[str]]) -> None:
        self._polling = None
        # If the poll has failed, the callers get the error when they renew their places.
        if not polling.cancelled() and polling.exception() is None:
            self._wake(polling.result())
        polls_again, self._polls_again = self._polls_again, False
        if not self._waiting:
            return
        if polls_again:
            self._poll()
        else:
            self._set_timer()

    def _wake(self, tokens: Iterable[str]) -> None:
        for token in tokens:
            if token in self._waiting:
                self._waiting[token][1].set()
