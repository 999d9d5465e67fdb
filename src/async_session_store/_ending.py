"""Ending a claim, whatever happens to the caller or the storage."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Final

import anyio

from async_session_store.errors import ClaimLostError

_TIMEOUT: Final = 5.0  # seconds
_ATTEMPTS: Final = 3  # a bound, as a backend may raise the error of cancellation all by itself

_logger = logging.getLogger("async_session_store")


async def end(act: Callable[[], Awaitable[object]]) -> None:
    """Complete or release a claim, even if the caller is cancelled.

    A cancelled call may not have begun, so it is made again. If it was carried out, the second
    finds the claim ended. To shield the first call as well would take an eighth of the time of a
    block in memory.
    """
    try:
        await act()
    except anyio.get_cancelled_exc_class():
        await end_quietly(act)
        raise


async def end_quietly(act: Callable[[], Awaitable[object]]) -> None:
    """End a claim if possible; log a failure, since the reason for ending it matters more.

    A cancellation that no shield stops comes out at the end: asyncio's own, by ``asyncio.timeout``
    or ``Task.cancel``, which a server's shutdown adds to the one that brought us here.
    """
    cancelled: BaseException | None = None
    with anyio.move_on_after(_TIMEOUT, shield=True) as scope:
        for _ in range(_ATTEMPTS):
            try:
                await _end_or_log(act)
                break
            except anyio.get_cancelled_exc_class() as error:
                if scope.cancel_called:
                    raise
                cancelled = error
    if cancelled is not None:
        raise cancelled


async def _end_or_log(act: Callable[[], Awaitable[object]]) -> None:
    try:
        await act()
    except ClaimLostError:
        pass  # it has ended already
    except Exception:  # whatever a backend raises, it must not replace the block's own error
        _logger.warning("a claim could not be ended; its lease will end", exc_info=True)
