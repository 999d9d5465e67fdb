"""Ending a claim, whatever happens to the caller or the storage."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Final

import anyio

from async_session_store.errors import ClaimLostError

_TIMEOUT: Final = 5.0  # seconds

_logger = logging.getLogger("async_session_store")


async def end(act: Callable[[], Awaitable[object]]) -> None:
    """Complete or release a claim, even if the caller is cancelled.

    A cancelled call may not have begun, so it is made again. If it was carried out, the second
    finds it ended. A shield would not help if asyncio itself cancels a task, as its time-outs do,
    and takes an eighth of the time of a block in memory.
    """
    try:
        await act()
    except anyio.get_cancelled_exc_class():
        await end_quietly(act)
        raise


async def end_quietly(act: Callable[[], Awaitable[object]]) -> None:
    """End a claim if possible; log a failure, since the reason for ending it matters more."""
    with anyio.move_on_after(_TIMEOUT, shield=True):
        try:
            await act()
        except ClaimLostError:
            pass  # it has ended already
        except Exception:  # whatever a backend raises, it must not replace the block's own error
            _logger.warning("a claim could not be ended; its lease will end", exc_info=True)
