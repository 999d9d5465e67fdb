"""Expired waits, handed out one by one as they fall due."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Awaitable, Callable

import anyio
from typing_extensions import Self

from async_session_store._ending import end_quietly
from async_session_store._waking import wait_until_set
from async_session_store.claims import WaitClaim
from async_session_store.errors import StoreTimeoutError, StoreUnavailableError
from async_session_store.models import SessionKey

__all__ = ["ExpiredWaits"]

_logger = logging.getLogger("async_session_store")


class HandOuts:
    """The waits that were handed out in the last seconds.

    A wait that a worker gives back is due again immediately. If its handler always fails, the
    worker would do nothing else, in a tight loop.

    Threads may share it. Each step on the mapping is one call in C, so it needs no lock, which a
    signal handler could leave locked.

    Args:
        seconds: How long to remember a wait.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._handed_out: dict[SessionKey, float] = {}
        self._forget_at = 0.0

    def comes_too_soon(self, key: SessionKey) -> bool:
        """Return whether a wait was handed out a moment ago. If not, note that it is now."""
        now = time.monotonic()
        if now >= self._forget_at:
            self._forget_at = now + self._seconds
            self._forget(now - self._seconds)
        if self._handed_out.get(key, -math.inf) > now - self._seconds:
            return True
        self._handed_out[key] = now
        return False

    def _forget(self, before: float) -> None:
        # Iterate over the keys, not the items: each item is a new tuple, whose creation may collect
        # garbage, run a finalizer and switch threads in the middle of the iteration.
        for key in list(self._handed_out):
            if self._handed_out.get(key, math.inf) <= before:
                self._handed_out.pop(key, None)


class Outage:
    """An outage of the storage. Logs a warning when it begins and when it ends."""

    def __init__(self) -> None:
        self._lasts = False

    def begin(self, error: Exception) -> None:
        """Note that a call failed because the storage is unreachable."""
        if not self._lasts:
            _logger.warning("expired waits cannot be claimed; trying again", exc_info=error)
        self._lasts = True

    def end(self) -> None:
        """Note that a call was answered."""
        if self._lasts:
            _logger.warning("expired waits can be claimed again")
        self._lasts = False


class ExpiredWaits:
    """Expired waits as they fall due, to iterate over with ``async for``.

    Each item is a :class:`WaitClaim`, which the loop's body completes or releases; ``expired_turn``
    does so by itself. The iterator holds no claim that it has not handed out, so the loop may be
    left or cancelled at any time. A wait that was given back is not handed out again before
    ``poll`` has passed. While the storage is unreachable, the loop logs a warning and keeps trying.
    When the store is closed, the loop raises ``StoreUsageError``.

    Several tasks may iterate over one object, and share the waits that fall due.
    """

    def __init__(
        self,
        claim_one: Callable[[], Awaitable[list[WaitClaim]]],
        poll: float,
    ) -> None:
        self._claim_one = claim_one
        self._poll = poll
        self._hand_outs = HandOuts(poll)
        self._outage = Outage()
        self._is_stopped = False
        self._pauses: set[anyio.Event] = set()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> WaitClaim:
        while not self._is_stopped:
            claim = await self._next()
            if claim is not None:
                return claim
            await self._pause()
        raise StopAsyncIteration

    def stop(self) -> None:
        """End the loop once its body is done with the wait that it has, if any.

        Call it in the store's event loop, for example when the program shuts down.
        """
        self._is_stopped = True
        for pause in self._pauses:
            pause.set()

    async def _next(self) -> WaitClaim | None:
        """Claim the next expired wait. Return None if it is time for a pause."""
        try:
            claims = await self._claim_one()
        except (StoreTimeoutError, StoreUnavailableError) as error:
            self._outage.begin(error)
            return None
        self._outage.end()
        for claim in claims:
            if claim.record is None or not self._hand_outs.comes_too_soon(claim.record.key):
                return claim
            await end_quietly(claim.release)
        return None

    async def _pause(self) -> None:
        pause = anyio.Event()
        self._pauses.add(pause)
        try:
            await wait_until_set(pause, self._poll)
        finally:
            self._pauses.discard(pause)
